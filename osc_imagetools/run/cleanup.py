# SPDX-License-Identifier: Apache-2.0
"""What has to be undone, registered before it is done.

Contract: an effect registers its removal first and makes the resource second; the removal finds out by
itself whether there is anything to remove. Removing early (when the bytes are safe) and removing at the
end of a run that failed are the same entry, run once. Thread-safe.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from osc_imagetools import errors
from osc_imagetools.cloud.names import printable
from osc_imagetools.progress.model import NullProgress, Progress

LOG = logging.getLogger(__name__)
FIND_LEFT = "openstack leftover list shows what is left behind, openstack leftover delete removes it."


class CleanupStep:
    """A registered removal of what *label* names; ``remove`` raises an ImagetoolsError on failure.

    ``settled`` is called once, when it is removed or kept. What is ``urgent`` is undone before all else. What
    certainly was never made, says ``exists``, is neither removed nor told.
    """

    def __init__(
        self,
        label: Callable[[], str],
        remove: Callable[[], None],
        settled: Callable[[], None],
        urgent: bool,
        exists: Callable[[], bool],
    ) -> None:
        self.urgent = urgent
        self._label = label
        self._exists = exists
        self._remove = remove
        self._settled = settled
        self._done = False
        self._lock = threading.Lock()

    @property
    def what(self) -> str:
        return self._label()

    @property
    def done(self) -> bool:
        return self._done

    @property
    def exists(self) -> bool:
        """Whether there may be something to remove."""
        return not self._done and self._exists()

    def run(self) -> None:
        """Removes it, unless that has been done already."""
        with self._lock:
            if not self._done:
                if self._exists():
                    self._remove()
                self._end()

    def keep(self) -> None:
        """What was made is the user's now: there is nothing to remove any more."""
        with self._lock:
            if not self._done:
                self._end()

    def leave(self) -> None:
        """It is not removed now, and still ours: ``leftover list`` finds it."""
        with self._lock:
            self._done = True

    def _end(self) -> None:
        self._done = True
        self._settled()


class Cleanup:
    """The removals of one run.

    :param frame: what holds while they are carried out: how patient requests are then.
    :param cancelled: set by the user who does not want to wait for them.
    """

    def __init__(
        self,
        frame: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._frame = frame
        self._cancelled = cancelled or threading.Event()
        self._entries: list[CleanupStep] = []
        self._lock = threading.Lock()

    def register(
        self,
        label: str | Callable[[], str],
        remove: Callable[[], None],
        settled: Callable[[], None] = lambda: None,
        *,
        urgent: bool = False,
        exists: Callable[[], bool] = lambda: True,
    ) -> CleanupStep:
        """A removal to come; see :class:`CleanupStep`."""
        text = label if callable(label) else lambda: label
        entry = CleanupStep(text, remove, settled, urgent, exists)
        with self._lock:
            self._entries.append(entry)
        return entry

    def pending(self) -> tuple[CleanupStep, ...]:
        """What is not removed yet, last registered first; what is urgent before that."""
        with self._lock:
            left = [entry for entry in reversed(self._entries) if not entry.done]
        return tuple(sorted(left, key=lambda entry: not entry.urgent))

    def unwind(self, progress: Progress | None = None) -> tuple[str, ...]:
        """Removes all that is pending, last registered first; what could not be removed, and why.

        A failure does not stop the rest.
        """
        progress = progress or NullProgress()
        left: list[str] = []
        with self._frame():
            for entry in self.pending():
                if self._cancelled.is_set() and entry.exists:
                    left.append(entry.what)
                    continue
                try:
                    shown = progress.step("clean-up", printable(entry.what))
                    with shown if entry.exists else contextlib.nullcontext():
                        entry.run()
                except Exception as exc:
                    left.append(f"{entry.what} ({getattr(exc, 'message', exc)})")
        return tuple(left)

    def last_words(self) -> str:
        """What is to be said when the process is ended in the middle of it."""
        left = [entry.what for entry in self.pending() if entry.exists]
        return f"These resources may still exist: {'; '.join(left)}\n{FIND_LEFT}" if left else ""


def clean_up_after(cleanup: Cleanup, exc: BaseException, progress: Progress | None = None) -> None:
    """The clean-up after a failure or an interrupt; *exc* learns what is left behind.

    An interrupt that could not wait (KeyboardInterrupt) finds requests still under way: nothing can be
    removed safely then, and what there may be is told.
    """
    count = sum(entry.exists for entry in cleanup.pending())
    if isinstance(exc, KeyboardInterrupt):
        if count:
            LOG.error("%s", cleanup.last_words())
        return
    if count:
        LOG.warning("Removing what was made so far (%d); please wait.", count)
    try:
        left = cleanup.unwind(progress)
    except KeyboardInterrupt:
        LOG.error("%s", cleanup.last_words())
        raise
    if isinstance(exc, errors.ImagetoolsError):
        exc.left = (*exc.left, *left)
        if left:
            exc.hint = "\n".join(filter(None, (exc.hint, FIND_LEFT)))
    elif left:
        LOG.error("Left behind: %s", "; ".join(left))
