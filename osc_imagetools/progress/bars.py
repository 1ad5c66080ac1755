# SPDX-License-Identifier: Apache-2.0
"""Progress bars on stderr, one for each transfer or list; nothing without a terminal.

Contract: implements :class:`osc_imagetools.progress.model.Progress` with rich; never writes to stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from osc_imagetools.progress.model import Progress


class _NoTask:
    """The progress of one transfer, not shown."""

    def set_total(self, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def message(self, text: str) -> None: ...

    def done(self) -> None: ...


class NoProgress:
    """Shows nothing, because stderr is not a terminal."""

    def task(self, label: str, total: int | None) -> _NoTask:
        return _NoTask()


class _Task:
    """One bar; it goes back if data is fetched again."""

    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def set_total(self, total: int) -> None:
        self._bars.update(self._task, total=total)

    def advance(self, count: int) -> None:
        self._bars.advance(self._task, count)

    def message(self, text: str) -> None:
        self._bars.update(self._task, note=text)

    def done(self) -> None:
        self._bars.stop_task(self._task)


class _Bars:
    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    def task(self, label: str, total: int | None) -> _Task:
        return _Task(self._bars, self._bars.add_task(label, total=total, note=""))


@contextmanager
def terminal_progress() -> Iterator[Progress]:
    """Progress bars on stderr while the context lasts, if stderr is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():  # None: it is closed
        yield NoProgress()
        return
    bars = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
    )
    with bars:
        yield _Bars(bars)


@contextmanager
def terminal_counts() -> Iterator[Callable[[str, int], None]]:
    """A line on stderr for each list that is read: its name and the number of entries so far."""
    if sys.stderr is None or not sys.stderr.isatty():  # None: it is closed
        yield lambda kind, number: None
        return
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
    lines: dict[str, TaskID] = {}
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bars:

        def count(kind: str, number: int) -> None:
            if kind not in lines:
                lines[kind] = bars.add_task(kind, total=None)
            bars.update(lines[kind], completed=number)

        yield count
