# SPDX-License-Identifier: Apache-2.0
"""Progress on a terminal that cannot move its cursor: a line for each step.

Contract: writes whole lines.
"""

from __future__ import annotations

from typing import TextIO

from osc_imagetools.progress.model import Step


class PlainPresenter:
    """Writes to *stream*."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def began(self, step: Step) -> None:
        """A step begins."""
        if step.name:
            self._stream.write(f"{step.line}: {step.name}\n")
            self._stream.flush()

    def ended(self, step: Step) -> None:
        """A step is over: the next one says so."""
