# SPDX-License-Identifier: Apache-2.0
"""One pass over the data of one image: streams, hash and sync at the same time.

Contract: ``run`` returns when every byte is in the part and hashed, or raises, and leaves no thread
behind but one that is stuck in the network, which then does nothing more. It begins with one
stream, which is enough where the hash is what limits; if the hash waits for data most of the time
and the store has ranges, it adds streams while ``--jobs`` allows it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.data.assembly import Assembly, Over
from osc_imagetools.data.digest import Digest
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.http import ImageData, Login
from osc_imagetools.data.limits import Buffers, Slots
from osc_imagetools.data.part import Part
from osc_imagetools.data.ranges import RangeSupport
from osc_imagetools.data.retry import RESUME_HINT, Attempts, RetryPolicy
from osc_imagetools.data.stream import Stream
from osc_imagetools.data.stream_count import Growth
from osc_imagetools.progress.model import Account

# Seconds between two looks at a cancellation and at whether more streams would help.
TICK = 0.2
# Bytes written before they are synced while more are coming, and seconds between two looks at that.
_SYNC = 64 * 1024 * 1024
_SYNC_POLL = 0.5
# Seconds that a thread which is stuck in the network or on a disk is waited for.
_PATIENCE = 0.5


@dataclass(frozen=True)
class TransferContext:
    """What all transfers of a run have in common."""

    login: Login
    ranges: RangeSupport
    slots: Slots
    buffers: Buffers
    cancelled: threading.Event
    policy: RetryPolicy


class Pass:
    """One pass; ``whole`` as one stream without ranges, else only what is missing in the part."""

    def __init__(
        self,
        shared: TransferContext,
        source: DownloadSource,
        part: Part,
        digest: Digest,
        account: Account,
        *,
        whole: bool,
    ) -> None:
        self._shared = shared
        self._source = source
        self._part = part
        self._digest = digest
        self._account = account
        self._whole = whole
        self._assembly = Assembly(part, shared.buffers, account, size=source.size, whole=whole)
        self._lock = threading.Lock()
        self._streams: list[Stream] = []
        self._too_many = False
        self._threads: list[threading.Thread] = []
        self._working = 0

    def run(self) -> int:
        """Returns the size in bytes. Raises Cancelled, RangeRefused, or an error for the user."""
        try:
            self._start("hash", self._hash)
            self._start("write", self._assembly.write_out)
            self._start("sync", self._sync, needed=False)
            if self._assembly.wanting():
                if not self._shared.slots.first(self._shared.cancelled):
                    raise self._cancelled()
                self._add_stream()
            self._attend()
            self._assembly.result()
        finally:
            self._stop()
        return self._assembly.size or 0

    def _attend(self) -> None:
        """Wait for the end; meanwhile add streams where these help."""
        growth = Growth()
        while not self._assembly.over.wait(TICK):
            if self._shared.cancelled.is_set():
                raise self._cancelled()
            change = growth.decide(
                time.monotonic(), self._account.fetched, self._assembly.starved, len(self._streams)
            )
            if change > 0 and self._another_helps():
                self._add_stream()
            elif change < 0:
                self._too_many = True

    def _another_helps(self) -> bool:
        """Whether one more stream has something to do and can be had; takes the slot for it."""
        return (
            not self._whole
            and self._shared.ranges.works(self._source) is True
            and self._assembly.wanting()
            and self._shared.slots.extra()
        )

    def _add_stream(self) -> None:
        """Start a stream; its slot is taken already."""
        attempts = Attempts(self._shared.policy, self._source.label, self._account, self._assembly.over.wait)
        stream = Stream(
            ImageData(self._shared.login, self._source, self._shared.policy),
            self._assembly,
            self._account,
            attempts,
            whole=self._whole,
            alone=lambda: len(self._streams) == 1,
            proven=lambda: self._shared.ranges.learn(self._source, True),
        )
        with self._lock:
            self._streams.append(stream)
        self._start("stream", lambda: self._drive(stream))

    def _drive(self, stream: Stream) -> None:
        """The work of a stream's thread."""
        try:
            while not self._gives_way(stream) and (chunk := self._assembly.take()) is not None:
                stream.fill(chunk)
            stream.finish()
        finally:
            stream.close()
            self._shared.slots.release()
            with self._lock:
                if stream in self._streams:
                    self._streams.remove(stream)

    def _gives_way(self, stream: Stream) -> bool:
        """Whether this stream is of no use, or another file, which has none, gets its slot."""
        with self._lock:
            too_many, self._too_many = self._too_many, False
            if len(self._streams) == 1 or not (too_many or self._shared.slots.wanted()):
                return False
            self._streams.remove(stream)
            return True

    def _hash(self) -> None:
        """The work of the hash's thread."""
        for piece in self._assembly.pieces():
            self._digest.update(piece)

    def _sync(self) -> None:
        """Sync while more is coming, so that little is left to be synced at the end."""
        while not self._assembly.over.wait(_SYNC_POLL):
            if self._part.unsynced() >= _SYNC:
                self._part.sync()

    def _start(self, name: str, work: Callable[[], None], *, needed: bool = True) -> None:
        """Start a thread; its failure ends the pass, as does the end of the last one needed."""

        def guarded() -> None:
            try:
                work()
            except Over:
                pass
            except BaseException as failure:  # raised again where the pass was started
                self._assembly.fail(failure)
            with self._lock:
                self._working -= needed
                last = not self._working
            if last:
                self._assembly.end()

        with self._lock:
            self._working += needed
        # A daemon: one that is stuck must not keep the process from ending.
        thread = threading.Thread(target=guarded, name=f"imagetools-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _stop(self) -> None:
        """End all threads; one that is stuck keeps the file open."""
        self._assembly.end()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.interrupt()
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if any(thread.is_alive() for thread in self._threads):
            self._part.keep_open()
        self._assembly.close()

    def _cancelled(self) -> errors.Cancelled:
        return errors.Cancelled(f"{self._source.label}: interrupted", hint=RESUME_HINT)
