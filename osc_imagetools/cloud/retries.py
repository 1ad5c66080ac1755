# SPDX-License-Identifier: Apache-2.0
"""How long a service that does not answer is asked again, and how the waits between are ended.

Contract: knows time and threads, and nothing of HTTP. One object for a run, shared by all its threads and all
its logins. A service that is out is given up at once by all who ask it when it has been out for too long; a
single request that fails again and again is given up by itself. Every wait ends at once on an interrupt.
"""

from __future__ import annotations

import enum
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from osc_imagetools import errors

LOG = logging.getLogger(__name__)
FIRST_WAIT = 0.5  # seconds, doubled each time, less up to a half at random
LONGEST_WAIT = 15.0
LONGEST_RETRY_AFTER = 120.0
TELL_AFTER = 2.0  # seconds that a service may be out before the user is told


class RetryPhase(enum.Enum):
    """What a run is about, which decides how long a service may be out."""

    BEFORE_EFFECTS = "before the first effect"
    WORKING = "working"
    CLEANING_UP = "cleaning up"


# Seconds that a service may be out.
LIMITS: Mapping[RetryPhase, float] = {
    RetryPhase.BEFORE_EFFECTS: 15.0,
    RetryPhase.WORKING: 600.0,
    RetryPhase.CLEANING_UP: 1800.0,
}


@dataclass
class Outage:
    """A service that does not answer: since when, and whether the user knows."""

    since: float
    told: bool = False


@dataclass
class Retries:
    """``phase`` says how patient requests are; ``cancelled`` ends their waits; ``count`` is what was retried.

    ``limits`` and ``first_wait`` are in seconds.
    """

    phase: RetryPhase = RetryPhase.BEFORE_EFFECTS
    cancelled: threading.Event = field(default_factory=threading.Event)
    count: int = 0
    limits: Mapping[RetryPhase, float] = field(default_factory=lambda: LIMITS)
    first_wait: float = FIRST_WAIT
    _outages: dict[str, Outage] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def patience(self) -> float:
        """Seconds that a service may be out now."""
        return self.limits[self.phase]

    def enter(self, phase: RetryPhase, cancelled: threading.Event) -> None:
        """From now on requests are as patient as *phase* says, and wait until *cancelled* is set."""
        with self._lock:
            # What has been out during the work gets the patience of the clean-up from its beginning.
            self._outages.clear()
            self.phase, self.cancelled = phase, cancelled

    @contextmanager
    def during(self, phase: RetryPhase, cancelled: threading.Event) -> Iterator[None]:
        """As :meth:`enter`, and within it only."""
        before = self.phase, self.cancelled
        self.enter(phase, cancelled)
        try:
            yield
        finally:
            self.enter(*before)

    def request(self, origin: str) -> RequestRetries:
        """The tries of one request to a service at *origin*."""
        return RequestRetries(self, origin)

    def answered(self, origin: str) -> None:
        """A service has answered: whatever it was, it is over."""
        if origin not in self._outages:  # without the lock: nearly always
            return
        with self._lock:
            outage = self._outages.pop(origin, None)
        if outage and outage.told:
            LOG.warning("%s answers again, after %.0f s.", origin, time.monotonic() - outage.since)

    def failed(self, origin: str, reason: str) -> float:
        """A service has not answered; seconds that it may go on so."""
        now = time.monotonic()
        with self._lock:
            outage = self._outages.setdefault(origin, Outage(now))
            left = self.patience - (now - outage.since)
            # A single hiccup is for the log alone; so is what is asked again for seconds only.
            tell = (
                not outage.told
                and self.phase is not RetryPhase.BEFORE_EFFECTS
                and now - outage.since >= TELL_AFTER
            )
            outage.told = outage.told or tell
        if tell:
            minutes = self.patience / 60
            LOG.warning("%s; asking again for up to %.0f minutes.", _sentence(reason), minutes)
        return left

    def pause(self, seconds: float) -> None:
        """Waits before the next try.

        :raises errors.Cancelled: interrupted.
        """
        with self._lock:
            self.count += 1
        if self.cancelled.wait(seconds):
            raise errors.Cancelled("interrupted")


class RequestRetries:
    """The tries of one request: :meth:`again` after each one that failed."""

    def __init__(self, retries: Retries, origin: str) -> None:
        self._retries = retries
        self._origin = origin
        self._failures = 0
        self._since: float | None = None

    def answered(self) -> None:
        """There is an answer."""
        self._retries.answered(self._origin)

    def again(self, reason: str, retry_after: float | None = None) -> bool:
        """Waits for the next try; False if there is none, because the time is over.

        :param retry_after: seconds that the service asks for.
        :raises errors.Cancelled: interrupted.
        """
        self._failures += 1
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        left = self._retries.failed(self._origin, reason)
        left = min(left, self._retries.patience - (now - self._since))
        if self._retries.cancelled.is_set():
            raise errors.Cancelled("interrupted")
        if left <= 0:
            return False
        wait = self._wait(retry_after)
        if retry_after is not None and wait > left:
            return False  # it has said itself that it will not answer within that time
        LOG.info("%s; next try in %.1f s", reason, min(wait, left))
        self._retries.pause(min(wait, left))
        return True

    def _wait(self, retry_after: float | None) -> float:
        if retry_after is not None:
            return min(max(retry_after, 0.1), LONGEST_RETRY_AFTER)
        longest = min(self._retries.first_wait * 2.0 ** min(self._failures - 1, 16), LONGEST_WAIT)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]
