# SPDX-License-Identifier: Apache-2.0
"""The progress of a run: steps, each with a state, on a line for each disk and one for the run.

Contract: the one model that a terminal, the log and a caller of the API each present in their own way
(:class:`Presenter`); may be called from any thread. A step may go backwards: a transfer that starts over
takes back what it had announced. What is done within a step of a line (a transfer, a wait) is told to that
step without being handed it: each thread knows its current one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass
class Step:
    """A step of a line. ``done`` and ``total`` are bytes or, with ``counted``, entries of a list.

    ``then`` is what comes next on the line, ``detail`` what the cloud says of how far it is, ``last`` how
    many seconds the same step took the last time. ``began`` and ``ended`` are of ``time.monotonic``.
    """

    line: str
    name: str
    then: str | None = None
    total: int | None = None
    counted: bool = False
    last: float | None = None
    presenter: Presenter | None = None
    moved: int = 0
    detail: str = ""
    failed: bool = False
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set_total(self, total: int) -> None:
        """There will be so many bytes."""
        self.total = total

    def advance(self, count: int) -> None:
        """*count* more bytes; fewer, if it is negative."""
        with self._lock:
            self.moved += count

    def message(self, text: str) -> None:
        """Something to know about the step, in place of what was told before."""
        self.detail = text

    def done(self) -> None:
        """The step is over, well or not."""
        if self.ended is None:
            self.ended = time.monotonic()
            if self.presenter is not None:
                self.presenter.ended(self)

    @property
    def seconds(self) -> float:
        """How long it takes, or took."""
        return (self.ended or time.monotonic()) - self.began


class TaskProgress(Protocol):
    """What a transfer tells: a :class:`Step`, or a part of one."""

    def set_total(self, total: int) -> None:
        """There will be so many bytes."""

    def advance(self, count: int) -> None:
        """*count* more bytes; fewer, if it is negative."""

    def message(self, text: str) -> None:
        """Something to know about it."""

    def done(self) -> None:
        """Nothing more comes, whether it went well or not."""


class Presenter(Protocol):
    """Presents steps; called from any thread."""

    def began(self, step: Step) -> None:
        """A step begins."""

    def ended(self, step: Step) -> None:
        """A step is over."""


class _Part:
    """A transfer within a step, whose end is not the step's."""

    def __init__(self, step: Step, total: int | None) -> None:
        self._step = step
        step.moved, step.total = 0, total

    def set_total(self, total: int) -> None:
        self._step.set_total(total)

    def advance(self, count: int) -> None:
        self._step.advance(count)

    def message(self, text: str) -> None:
        self._step.message(text)

    def done(self) -> None:
        """What follows in the step is no transfer."""


class Progress:
    """The steps of a run. Without a presenter nothing is shown."""

    def __init__(self, presenter: Presenter | None = None) -> None:
        self._presenter = presenter
        self._current = threading.local()
        self._counts: dict[str, Step] = {}
        self._lasted: dict[str, float] = {}  # seconds, by the name of the step
        self._lock = threading.Lock()

    @contextmanager
    def step(self, line: str, name: str, *, then: str | None = None) -> Iterator[Step]:
        """A step of this thread: what is told within it is about it."""
        step = self._begin(Step(line, name, then, last=self._lasted.get(name), presenter=self._presenter))
        before, self._current.step = getattr(self._current, "step", None), step
        try:
            yield step
        except BaseException:
            step.failed = True
            raise
        finally:
            self._current.step = before
            step.done()
            self._lasted[name] = step.seconds

    def task(self, label: str, total: int | None) -> TaskProgress:
        """A transfer of *total* bytes (None: not known yet): of the current step, or a line of its own."""
        step: Step | None = getattr(self._current, "step", None)
        if step is not None:
            return _Part(step, total)
        return self._begin(Step(label, "", total=total, presenter=self._presenter))

    def told(self, text: str) -> None:
        """What the cloud says of how far the current step is."""
        step: Step | None = getattr(self._current, "step", None)
        if step is not None:
            step.message(text)

    def count(self, kind: str, number: int) -> None:
        """So many entries of a list have been read, or things of a kind been dealt with."""
        with self._lock:
            step = self._counts.get(kind)
        if step is None:
            step = self._begin(Step(kind, "", counted=True, presenter=self._presenter))
            with self._lock:
                self._counts[kind] = step
        step.moved = number

    def _begin(self, step: Step) -> Step:
        if self._presenter is not None:
            self._presenter.began(step)
        return step


class NullProgress(Progress):
    """Shows nothing."""


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
