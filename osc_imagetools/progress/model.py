# SPDX-License-Identifier: Apache-2.0
"""How a transfer tells of its progress, and what it counts.

Contract: the two protocols are what a display must offer; it may be called from any thread.
Progress may go backwards: a transfer that starts over takes back what it had announced.
"""

from __future__ import annotations

import threading
from typing import Protocol


class TaskProgress(Protocol):
    """One file on its way."""

    def set_total(self, total: int) -> None:
        """Tell the number of bytes that are to come, once it is known."""

    def advance(self, count: int) -> None:
        """Tell of ``count`` more bytes; of fewer, if it is negative."""

    def message(self, text: str) -> None:
        """Show a line about this file."""

    def done(self) -> None:
        """Nothing more will come, whether it went well or not."""


class Progress(Protocol):
    """The display of a whole run."""

    def task(self, label: str, total: int | None) -> TaskProgress:
        """Begin to show a file of ``total`` bytes (None: not known yet)."""


class NullProgress:
    """Shows nothing; it is its own task."""

    def task(self, label: str, total: int | None) -> TaskProgress:
        """Begin to show nothing."""
        return self

    def set_total(self, total: int) -> None:
        """Show nothing."""

    def advance(self, count: int) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def done(self) -> None:
        """Nothing was shown."""


class Account:
    """What one fetch has moved so far; its task follows. Thread-safe."""

    def __init__(self, task: TaskProgress) -> None:
        self._task = task
        self._lock = threading.Lock()
        self._shown = 0
        self.fetched = 0
        self.reused = 0
        self.retries = 0

    def received(self, count: int) -> None:
        """``count`` bytes came over the network, useful or not."""
        with self._lock:
            self.fetched += count

    def accepted(self, count: int) -> None:
        """``count`` bytes more are where they belong."""
        with self._lock:
            self._shown += count
            self._task.advance(count)

    def kept(self, count: int) -> None:
        """``count`` bytes on disk need not be written again."""
        with self._lock:
            self.reused += count

    def retried(self) -> None:
        """A fault was met and is to be survived."""
        with self._lock:
            self.retries += 1

    def total(self, count: int) -> None:
        """There will be ``count`` bytes: known only now."""
        with self._lock:
            self._task.set_total(count)

    def restart(self) -> None:
        """All bytes are gone through once more: nothing is shown or reused yet."""
        with self._lock:
            if self._shown:
                self._task.advance(-self._shown)
            self._shown = 0
            self.reused = 0

    def say(self, text: str) -> None:
        """Show a line about this file."""
        with self._lock:
            self._task.message(text)
