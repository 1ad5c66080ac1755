# SPDX-License-Identifier: Apache-2.0
"""How often a fault is survived, and how long to wait before the next try.

Contract: failures are counted in a row; whatever moves forward clears the count, so that a transfer
of terabytes over a link that breaks every hour ends, and one that does not move any more fails.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.progress.model import Account

LOG = logging.getLogger(__name__)

RESUME_HINT = "Run the same command again: it continues where it stopped."
# Fewer bytes than these (64 KiB) between two failures are no progress.
_PROGRESS = 64 * 1024
# Logins refused one after the other, with no data in between, before the account is to blame.
_LOGINS = 3


class Broken(Exception):
    """The connection or the service failed in a way that may pass.

    ``wait``: seconds that the service asked for. ``login``: the token was refused, and a new one
    can be had.
    """

    def __init__(self, reason: str, *, wait: float | None = None, login: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.login = login


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds, times in seconds.

    ``attempts`` and ``patience``: failures in a row, and seconds that these take, before giving up. The
    waits between them double from
    ``first_wait`` to ``longest_wait``, less up to a half at random. ``Retry-After`` is honoured up
    to ``longest_retry_after``. ``read_timeout`` is how long a connection may be silent.
    ``hash_patience`` is how long a hash is waited for that the service is computing, after all bytes are
    here; ``hash_pause`` the time between two looks.
    """

    attempts: int = 8
    patience: float = 600.0
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 120.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    hash_patience: float = 600.0
    hash_pause: float = 5.0

    def wait(self, failures: int, broken: Broken) -> float:
        """Seconds to wait after that many ``failures`` in a row, of which this is the last."""
        if broken.wait is not None:
            return min(max(broken.wait, 0.0), self.longest_retry_after)
        if broken.login and failures == 1:
            return 0.0
        longest = min(self.first_wait * 2.0 ** (failures - 1), self.longest_wait)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311


DEFAULT_POLICY = RetryPolicy()


class Attempts:
    """The failures in a row of one stream.

    ``pause(seconds)`` waits, and is True if the wait was cut short because all is over.
    """

    def __init__(
        self, policy: RetryPolicy, label: str, account: Account, pause: Callable[[float], bool]
    ) -> None:
        self._policy = policy
        self._label = label
        self._account = account
        self._pause = pause
        self._failures = 0
        self._logins = 0
        self._moved = 0
        self._since = 0.0  # the first of the failures in a row

    def moved(self, count: int) -> None:
        """``count`` bytes came that were not here before."""
        self._moved += count
        if self._moved >= _PROGRESS:
            self._failures = self._logins = 0

    def failed(self, broken: Broken) -> None:
        """Count a failure and wait; raises TransferError or Forbidden when there is no point in
        going on.
        """
        self._moved = 0
        self._failures += 1
        if self._failures == 1:
            self._since = time.monotonic()
        self._logins = self._logins + 1 if broken.login else 0
        if self._logins >= _LOGINS:
            raise errors.Forbidden(
                f"{self._label}: the service refuses the new login too ({broken.reason})",
                hint=RESUME_HINT,
            )
        over = time.monotonic() - self._since >= self._policy.patience
        if over and self._failures >= self._policy.attempts:
            raise errors.TransferError(
                f"{self._label}: {broken.reason}; given up after {self._failures} tries in a row",
                hint=RESUME_HINT,
            )
        self._account.retried()
        wait = self._policy.wait(self._failures, broken)
        LOG.info("%s: %s; next try in %.1f s", self._label, broken.reason, wait)
        if wait >= 1:
            self._account.say(f"{broken.reason}; next try in {wait:.0f} s")
        self._pause(wait)
