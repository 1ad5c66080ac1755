# SPDX-License-Identifier: Apache-2.0
"""Waiting for a resource: until it is there, until it fails, until it is gone.

Contract: no hidden time limit. A wait ends when the resource reaches its state, when it can no longer
reach it, when the user interrupts, or at the deadline that the user gave.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from osc_imagetools import errors

FIRST_PAUSE = 0.3  # seconds
LONGEST_PAUSE = 5.0


@dataclass
class Deadline:
    """How long a run waits: until ``cancelled`` is set, or until ``timeout`` seconds of one wait are over."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    timeout: float | None = None

    def check(self) -> None:
        """:raises errors.Cancelled: the user has interrupted the run."""
        if self.cancelled.is_set():
            raise errors.Cancelled("interrupted")

    def until(self, what: str, reached: Callable[[], bool], *, once: bool = False) -> None:
        """Asks *reached* again and again, pausing longer each time.

        :param what: for the message, "volume 1234 to become available".
        :param once: ask once even if the run is interrupted: what is over must not be told otherwise.
        :raises errors.WaitTimeout: the time is over; :raises errors.Cancelled: interrupted.
        """
        pause, first = FIRST_PAUSE, once
        end = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            if not first:
                self.check()
            first = False
            if reached():
                return
            if end is not None and time.monotonic() >= end:
                raise errors.WaitTimeout(
                    f"waited {self.timeout:g} s for {what}",
                    hint="Give a longer --timeout, or none.",
                )
            self.cancelled.wait(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE)
