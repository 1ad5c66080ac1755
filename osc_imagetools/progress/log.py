# SPDX-License-Identifier: Apache-2.0
"""Progress as lines of a log.

Contract: a line when a step begins and when it ends, and one every :data:`EVERY` seconds while it goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from osc_imagetools.progress import step_words, words
from osc_imagetools.progress.model import Step

LOG = logging.getLogger(__name__)
EVERY = 30.0  # seconds


class LogPresenter:
    """Writes to the log; a context manager, which ends the thread that watches long steps."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._steps: dict[int, tuple[Step, float]] = {}  # each with when it was last told
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def began(self, step: Step) -> None:
        """A step begins."""
        with self._lock:
            self._steps[id(step)] = step, time.monotonic()
        LOG.info("%s", ": ".join(filter(None, (step.line, step.name))))

    def ended(self, step: Step) -> None:
        """A step is over."""
        with self._lock:
            self._steps.pop(id(step), None)
        moved = f", {words.size(step.moved)}" if step.moved and not step.counted else ""
        how = "failed" if step.failed else "done"
        what = ": ".join(filter(None, (step.line, step.name)))
        LOG.info("%s: %s after %s%s", what, how, words.span(step.seconds), moved)

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._every / 3)):
            now = time.monotonic()
            with self._lock:
                due = [step for step, told in self._steps.values() if now - told >= self._every]
                for step in due:
                    self._steps[id(step)] = step, now
            for step in due:
                rate = step.moved / step.seconds if step.total and step.seconds else None
                LOG.info("%s: %s", step.line, step_words.state(step, rate))
