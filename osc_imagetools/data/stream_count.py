# SPDX-License-Identifier: Apache-2.0
"""How many streams one file is worth.

Contract: pure, times are handed in. One stream is enough where the hash is what limits; more of
them mean a request for each few MiB instead of one for all. So a stream is added only while the
hash waits for data, and taken back if it did not bring what it should: a link, a service or
processors that are used up already get slower from more streams, not faster.
"""

from __future__ import annotations

# Seconds over which is measured.
_WINDOW = 0.6
# The part of the time that the hash must wait for data.
_STARVED = 0.5
# Of what one stream more would bring if all were independent of each other, it must bring this
# part.
_GAIN = 0.3
# Seconds before it is tried again after it did not help; each time twice as long.
_HOLD, _LONGEST_HOLD = 5.0, 120.0


class Growth:
    """Decides for one file, from what is measured while it is on its way."""

    def __init__(self) -> None:
        self._since: tuple[float, int, float] | None = None
        self._trial: tuple[int, float] | None = None
        self._hold = _HOLD
        self._not_before = 0.0

    def decide(self, now: float, received: int, starved: float, streams: int) -> int:
        """Returns by how many streams to change: 1, 0 or -1.

        ``received`` bytes and ``starved`` seconds of the hash are counted from the beginning,
        ``now`` is in seconds of any clock that does not go back.
        """
        if self._since is None:
            if received:
                self._since = now, received, starved
            return 0
        seconds = now - self._since[0]
        if seconds < _WINDOW:
            return 0
        rate = (received - self._since[1]) / seconds
        hungry = (starved - self._since[2]) / seconds > _STARVED
        self._since = now, received, starved
        if self._failed(rate, streams):
            self._not_before = now + self._hold
            self._hold = min(self._hold * 2, _LONGEST_HOLD)
            return -1
        if not hungry or now < self._not_before:
            return 0
        self._trial = streams + 1, rate
        return 1

    def _failed(self, rate: float, streams: int) -> bool:
        """Whether the stream that was added last, if it is still there, did not bring enough."""
        trial, self._trial = self._trial, None
        if trial is None or trial[0] != streams:
            return False
        before = trial[1]
        if rate >= before * (1 + _GAIN / (streams - 1)):
            self._hold = _HOLD
            return False
        return True
