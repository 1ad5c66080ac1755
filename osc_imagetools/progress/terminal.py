# SPDX-License-Identifier: Apache-2.0
"""Progress on a terminal: one line for each disk and for the run, redrawn in place.

Contract: draws on stderr while the context lasts, and leaves nothing behind. Lines of the log and warnings
stand above it. A job in the background draws nothing; one that was stopped (Ctrl-Z) draws again when it is
continued, and its speeds are those of the time since then.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from osc_imagetools.progress import step_words
from osc_imagetools.progress.model import Step

WINDOW = 10.0  # seconds over which a speed is measured
PAUSE = 3.0  # seconds without a drawing after which the process was stopped
MOST_LINES = 20


class TerminalPresenter:
    """Draws the current step of each line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: dict[str, Step] = {}
        self._samples: dict[int, deque[tuple[float, int]]] = {}
        self._lock = threading.Lock()
        self._drawn = time.monotonic()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []

    def __enter__(self) -> Self:
        before = sys.stderr
        self._live.start()
        for handler in logging.getLogger().handlers:  # their lines stand above ours
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                self._handlers.append((handler, handler.setStream(sys.stderr)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._live.stop()

    def began(self, step: Step) -> None:
        """A step begins: it takes the place of the last one of its line."""
        with self._lock:
            self._lines[step.line] = step
            self._samples[id(step)] = deque()

    def ended(self, step: Step) -> None:
        """A step is over: its line stays until the next step of it, or until all is over."""
        with self._lock:
            self._samples.pop(id(step), None)
            if self._lines.get(step.line) is step and not step.then:
                del self._lines[step.line]

    def _render(self) -> Group:
        now = time.monotonic()
        with self._lock:
            if now - self._drawn > PAUSE:  # stopped meanwhile: older samples tell nothing
                for samples in self._samples.values():
                    samples.clear()
            self._drawn = now
            if not in_foreground():
                return Group()
            steps = list(self._lines.values())
            rates = [self._rate(step, now) for step in steps]
        width = max((len(step.line) for step in steps), default=0)
        width = min(width, max(8, self._console.width // 3))
        texts = [
            Text(f"{_cut(step.line, width):{width}}  {how}", no_wrap=True, overflow="ellipsis")
            for step, rate in zip(steps, rates, strict=True)
            if (how := step_words.state(step, rate))
        ]
        most = max(1, min(MOST_LINES, self._console.height - 2))
        if len(texts) > most:
            texts[most - 1 :] = [Text(f"... and {len(texts) - most + 1} more")]
        return Group(*texts)

    def _rate(self, step: Step, now: float) -> float | None:
        """Bytes a second of the last seconds; None where nothing moves."""
        samples = self._samples.get(id(step))
        if samples is None or not step.total:
            return None
        samples.append((now, step.moved))
        while now - samples[0][0] > WINDOW:
            samples.popleft()
        since, before = samples[0]
        seconds, moved = now - since, step.moved - before
        if moved < 0:
            samples.clear()
        return moved / seconds if seconds > 0.5 and moved > 0 else None


def in_foreground() -> bool:
    """Whether this process may draw on its terminal."""
    try:
        return os.tcgetpgrp(sys.__stderr__.fileno()) == os.getpgrp()  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return True  # no job control


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
