# SPDX-License-Identifier: Apache-2.0
"""What all transfers of a run share: streams and memory.

Contract: never more streams than ``--jobs`` over all disks, and never more than 32 MiB of buffers,
whatever the sizes are. Each transfer is served: it waits for one stream at most as long as others
need theirs, and nobody takes a second one meanwhile. Everything here is thread-safe.
"""

from __future__ import annotations

import mmap
import threading

from osc_imagetools.data.blockmap import BLOCK

_BUDGET = 32 * 1024 * 1024
# Two for each stream: one that is being filled, one that is being hashed.
_PER_STREAM = 2
# Larger requests have less overhead, smaller ones let more streams work in the same memory.
_LARGEST = 4 * BLOCK
# Seconds between two looks at whether all is over.
_POLL = 0.2


class Slots:
    """Permissions to have a stream open."""

    def __init__(self, jobs: int) -> None:
        self._condition = threading.Condition()
        self._free = jobs
        self._waiting = 0

    def first(self, cancelled: threading.Event) -> bool:
        """Wait for the one stream that a transfer cannot do without; False if cancelled."""
        with self._condition:
            self._waiting += 1
            try:
                while not self._free:
                    if cancelled.is_set():
                        return False
                    self._condition.wait(_POLL)
                self._free -= 1
                return True
            finally:
                self._waiting -= 1

    def extra(self) -> bool:
        """Take one more stream if nobody needs it more."""
        with self._condition:
            if self._waiting or not self._free:
                return False
            self._free -= 1
            return True

    def wanted(self) -> bool:
        """Whether a transfer waits for its first stream: those with several give one back then."""
        with self._condition:
            return self._waiting > 0

    def release(self) -> None:
        """Give one back."""
        with self._condition:
            self._free += 1
            self._condition.notify()


class Buffers:
    """Memory for the bytes that were received and are not hashed or written yet.

    ``size`` is that of each buffer, in bytes, a multiple of BLOCK. The buffers are aligned to
    pages.
    """

    def __init__(self, jobs: int) -> None:
        share = _BUDGET // (_PER_STREAM * jobs)
        self.size = max(BLOCK, min(_LARGEST, share - share % BLOCK))
        self._condition = threading.Condition()
        self._count = max(_BUDGET // self.size, _PER_STREAM)
        self._unmade = self._count
        self._free: list[memoryview] = []
        self._held: dict[object, int] = {}

    def join(self, owner: object) -> None:
        """A transfer begins to use buffers."""
        with self._condition:
            self._held[owner] = 0

    def leave(self, owner: object) -> None:
        """A transfer ended. A buffer that a stuck thread still holds is replaced, not given to
        another.
        """
        with self._condition:
            self._unmade += self._held.pop(owner)
            self._condition.notify_all()

    def acquire(self, owner: object, over: threading.Event) -> memoryview | None:
        """Wait for a buffer, for which each transfer has its share; None if all is ``over``."""
        with self._condition:
            while not over.is_set():
                share = max(_PER_STREAM, self._count // max(len(self._held), 1))
                if self._held.get(owner, share) < share and (self._free or self._unmade):
                    self._held[owner] += 1
                    return self._free.pop() if self._free else self._make()
                self._condition.wait(_POLL)
        return None

    def release(self, owner: object, buffer: memoryview) -> None:
        """Give a buffer back."""
        with self._condition:
            if owner in self._held:
                self._held[owner] -= 1
                self._free.append(buffer)
                self._condition.notify_all()

    def _make(self) -> memoryview:
        self._unmade -= 1
        return memoryview(mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
