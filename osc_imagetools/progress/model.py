# SPDX-License-Identifier: Apache-2.0
"""How a transfer reports its progress, and what it counts.

Contract: a display implements the two protocols; it may be called from any thread. Progress may go back: a
transfer that starts over reports a negative number of bytes.
"""

from __future__ import annotations

import threading
from typing import Protocol


class TaskProgress(Protocol):
    """The display of one transfer."""

    def set_total(self, total: int) -> None:
        """Set the total number of bytes, once it is known."""

    def advance(self, count: int) -> None:
        """Add ``count`` bytes, which may be negative."""

    def message(self, text: str) -> None:
        """Show a message for this transfer."""

    def done(self) -> None:
        """End the display, whether the transfer succeeded or not."""


class Progress(Protocol):
    """The display of a whole run."""

    def task(self, label: str, total: int | None) -> TaskProgress:
        """Show a transfer of ``total`` bytes (None: not known yet)."""


class NullProgress:
    """Shows nothing; it is also its own task."""

    def task(self, label: str, total: int | None) -> TaskProgress:
        """Show nothing."""
        return self

    def set_total(self, total: int) -> None:
        """Show nothing."""

    def advance(self, count: int) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def done(self) -> None:
        """Show nothing."""


class Account:
    """The counters of one download, which also update its display. Thread-safe."""

    def __init__(self, task: TaskProgress) -> None:
        self._task = task
        self._lock = threading.Lock()
        self._shown = 0
        self.fetched = 0
        self.reused = 0
        self.retries = 0

    def received(self, count: int) -> None:
        """``count`` bytes were received, used or not."""
        with self._lock:
            self.fetched += count

    def accepted(self, count: int) -> None:
        """``count`` bytes were stored."""
        with self._lock:
            self._shown += count
            self._task.advance(count)

    def kept(self, count: int) -> None:
        """``count`` bytes on disk are used again."""
        with self._lock:
            self.reused += count

    def retried(self) -> None:
        """A transfer failed and is retried."""
        with self._lock:
            self.retries += 1

    def total(self, count: int) -> None:
        """The total is ``count`` bytes, which is known only now."""
        with self._lock:
            self._task.set_total(count)

    def restart(self) -> None:
        """Start over: nothing is stored or used again yet."""
        with self._lock:
            if self._shown:
                self._task.advance(-self._shown)
            self._shown = 0
            self.reused = 0

    def say(self, text: str) -> None:
        """Show a message for this transfer."""
        with self._lock:
            self._task.message(text)
