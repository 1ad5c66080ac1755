# SPDX-License-Identifier: Apache-2.0
"""Which bundles of one subject are kept: restic's rules, applied to bundles.

Contract: pure. The rules mean what they mean to ``restic forget``: each counts the calendar's hours, days,
weeks (ISO 8601), months or years that have a bundle, newest first, and keeps the newest bundle of each;
while a rule has not counted to its end it keeps the oldest bundle too; ``within`` counts back from the
newest bundle. Times are in UTC, as those of the manifest. Only complete bundles take part, and the newest
complete one and the newest whose restore check succeeded are kept whatever the rules say.
Source: https://restic.readthedocs.io/en/stable/060_forget.html
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

T = TypeVar("T")
ALL = -1
COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")  # the rules that count
_SPAN = re.compile(r"(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?")


@dataclass(frozen=True)
class Span:
    """A length of time by the calendar: ``1y6m7d12h``."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> Span:
        """:raises ValueError: it is not of that form, or nothing."""
        match = _SPAN.fullmatch(text)
        if match is None or not any(int(number or 0) for number in match.groups()):
            raise ValueError(text)
        return cls(*(int(number or 0) for number in match.groups()))

    def before(self, time: datetime) -> datetime:
        """The time that lies this long before *time*; a day that a month does not have is one of the next."""
        count = time.year * 12 + time.month - 1 - self.years * 12 - self.months
        year, month = count // 12, count % 12 + 1
        if year < 1:
            return datetime.min.replace(tzinfo=UTC)
        overflow = max(0, time.day - calendar.monthrange(year, month)[1])
        first = time.replace(year=year, month=month, day=time.day - overflow)
        try:
            return first + timedelta(days=overflow - self.days, hours=-self.hours)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)

    def __str__(self) -> str:
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{number}{unit}" for number, unit in parts if number)


@dataclass(frozen=True)
class KeepRules:
    """What is kept; a number of :data:`ALL` is all, 0 is no rule.

    :param tags: each a set of tags, all of which a bundle must have.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Span | None = None
    tags: tuple[frozenset[str], ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no rule at all, so that nothing would be kept."""
        counts = (self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly)
        return not any(counts) and self.within is None and not self.tags


@dataclass(frozen=True)
class Candidate(Generic[T]):
    """A complete bundle of the subject that is looked at: when it was made, and what decides about it."""

    what: T
    time: datetime
    tags: frozenset[str] = frozenset()
    restored: bool = False


@dataclass(frozen=True)
class Decision(Generic[T]):
    """Why a bundle is kept.

    :param reasons: rules that keep it, in the order of the options.
    :param protection: why it is kept whatever the rules say.
    """

    what: T
    reasons: tuple[str, ...]
    protection: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons or self.protection)


def decide(candidates: Sequence[Candidate[T]], rules: KeepRules, *, now: datetime) -> list[Decision[T]]:
    """What happens to each complete bundle of one subject, newest first.

    :param now: ``within`` does not count back from a bundle of the future.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.time, reverse=True)
    counters = _counters(rules)
    past = [c.time for c in ordered if c.time <= now]
    border = rules.within.before(past[0]) if rules.within and past else None
    newest_restored = next((n for n, c in enumerate(ordered) if c.restored), None)
    decisions = []
    for number, candidate in enumerate(ordered):
        reasons = [c.reason for c in counters if c.keeps(candidate, number, number == len(ordered) - 1)]
        if border is not None and candidate.time > border:
            reasons.append(f"within {rules.within}")
        reasons += [f"tagged {','.join(sorted(tags))}" for tags in rules.tags if tags <= candidate.tags]
        protection = []
        if number == 0:
            protection.append("newest complete")
        if number == newest_restored:
            protection.append("newest with a successful restore check")
        decisions.append(Decision(candidate.what, tuple(reasons), tuple(protection)))
    return decisions


@dataclass
class _Counter:
    """One rule while it counts."""

    reason: str
    left: int
    period: Callable[[datetime, int], Hashable]
    _seen: Hashable = field(default=None)

    def keeps(self, candidate: Candidate[T], number: int, oldest: bool) -> bool:
        if self.left == 0:
            return False
        period = self.period(candidate.time.astimezone(UTC), number)
        if period == self._seen and not oldest:
            return False
        self._seen = period
        if self.left > 0:
            self.left -= 1
        return True


def _counters(rules: KeepRules) -> list[_Counter]:
    return [
        _Counter("last", rules.last, lambda time, number: number),
        _Counter("hourly", rules.hourly, lambda time, number: (*time.timetuple()[:4],)),
        _Counter("daily", rules.daily, lambda time, number: time.date()),
        _Counter("weekly", rules.weekly, lambda time, number: time.isocalendar()[:2]),
        _Counter("monthly", rules.monthly, lambda time, number: (time.year, time.month)),
        _Counter("yearly", rules.yearly, lambda time, number: time.year),
    ]
