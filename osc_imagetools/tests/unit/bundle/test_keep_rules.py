# SPDX-License-Identifier: Apache-2.0
"""Which bundles are kept: restic's calendar, applied to bundles."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import testtools
from hypothesis import given, settings
from hypothesis import strategies as st

from osc_imagetools.bundle.keep_rules import ALL, Candidate, KeepRules, Span, decide

NOW = datetime(2026, 6, 1, tzinfo=UTC)
COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
PERIODS = {
    "hourly": "%Y-%m-%d %H",
    "daily": "%Y-%m-%d",
    "weekly": "%G-%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def candidates(times: list[datetime], **more: object) -> list[Candidate[datetime]]:
    return [Candidate(time, time, **more) for time in times]  # type: ignore[arg-type]


def by_rules(times: list[datetime], rules: KeepRules) -> list[datetime]:
    """What the rules keep, without protection."""
    return [d.what for d in decide(candidates(times), rules, now=NOW) if d.reasons]


def counting(**numbers: int) -> KeepRules:
    return KeepRules(**numbers)  # type: ignore[arg-type]


def every(hours: int, count: int, newest: datetime) -> list[datetime]:
    return [newest - timedelta(hours=hours * number) for number in range(count)]


class Rules(testtools.TestCase):
    """One rule at a time."""

    def test_last(self) -> None:
        times = every(1, 5, at(2026, 1, 10, 12))
        self.assertEqual(times[:3], by_rules(times, KeepRules(last=3)))

    def test_daily_keeps_the_newest_of_each_day(self) -> None:
        times = every(6, 12, at(2026, 1, 10, 22))  # 22, 16, 10, 4 on three days
        self.assertEqual([times[0], times[4]], by_rules(times, KeepRules(daily=2)))

    def test_days_without_a_bundle_do_not_count(self) -> None:
        times = [at(2026, 1, 10), at(2026, 1, 3), at(2025, 11, 1), at(2025, 10, 1)]
        self.assertEqual(times[:3], by_rules(times, KeepRules(daily=3)))

    def test_a_rule_that_has_not_counted_to_its_end_keeps_the_oldest(self) -> None:
        times = [at(2026, 1, 10, 4), at(2026, 1, 10, 3), at(2026, 1, 10, 2)]
        self.assertEqual([times[0], times[2]], by_rules(times, KeepRules(daily=2)))
        self.assertEqual([times[0]], by_rules(times, KeepRules(daily=1)))

    def test_weeks_are_those_of_iso_8601(self) -> None:
        # Monday, 2024-12-30 is of the first week of 2025, as Thursday, 2025-01-02 is.
        times = [at(2025, 1, 2), at(2024, 12, 30), at(2024, 12, 29), at(2024, 12, 20)]
        self.assertEqual([times[0], times[2]], by_rules(times, KeepRules(weekly=2)))

    def test_months_and_years(self) -> None:
        times = [at(2026, 2, 1), at(2026, 1, 31), at(2026, 1, 1), at(2025, 12, 31), at(2024, 1, 1)]
        self.assertEqual([times[0], times[1], times[3]], by_rules(times, KeepRules(monthly=3)))
        self.assertEqual([times[0], times[3]], by_rules(times, KeepRules(yearly=2)))

    def test_hours_of_different_days_are_different(self) -> None:
        times = [at(2026, 1, 2, 5, 30), at(2026, 1, 2, 5), at(2026, 1, 1, 5), at(2026, 1, 1, 4)]
        self.assertEqual([times[0], times[2]], by_rules(times, KeepRules(hourly=2)))

    def test_all(self) -> None:
        times = every(24, 9, at(2026, 1, 10))
        self.assertEqual(times, by_rules(times, KeepRules(daily=ALL)))

    def test_within_counts_from_the_newest(self) -> None:
        times = every(24, 5, at(2026, 1, 10))
        # What lies exactly on the border is out.
        self.assertEqual(times[:2], by_rules(times, KeepRules(within=Span(days=2))))

    def test_within_does_not_count_from_the_future(self) -> None:
        times = [NOW + timedelta(days=400), *every(24, 3, at(2026, 1, 10))]
        self.assertEqual(times[:3], by_rules(times, KeepRules(within=Span(days=2))))

    def test_other_time_zones_are_the_same_time(self) -> None:
        times = [datetime.fromisoformat("2026-01-02T00:30:00+02:00"), at(2026, 1, 1, 3)]
        self.assertEqual(times[:1], by_rules(times, KeepRules(daily=1)))

    def test_tags(self) -> None:
        tagged = [
            Candidate(1, at(2026, 1, 1), frozenset({"a", "b"})),
            Candidate(2, at(2026, 1, 2), frozenset({"a"})),
            Candidate(3, at(2026, 1, 3), frozenset({"c"})),
        ]
        rules = KeepRules(tags=(frozenset({"a", "b"}), frozenset({"c"})))
        kept = {d.what: d.reasons for d in decide(tagged, rules, now=NOW) if d.reasons}
        self.assertEqual({1: ("tagged a,b",), 3: ("tagged c",)}, kept)

    def test_reasons_are_named(self) -> None:
        (decision,) = decide(
            candidates([at(2026, 1, 1)]), KeepRules(last=1, daily=1, within=Span(1, 2, 3, 4)), now=NOW
        )
        self.assertEqual(("last", "daily", "within 1y2m3d4h"), decision.reasons)
        self.assertEqual(("newest complete",), decision.protection)

    def test_empty(self) -> None:
        self.assertTrue(KeepRules().empty)
        for change in ({"last": 1}, {"yearly": ALL}, {"within": Span(days=1)}, {"tags": (frozenset("a"),)}):
            self.assertFalse(KeepRules(**change).empty)


class Protection(testtools.TestCase):
    """What no rule can take away."""

    def test_the_newest_that_was_restored(self) -> None:
        times = every(24, 5, at(2026, 1, 10))
        given_ = [Candidate(t, t, restored=n in (2, 4)) for n, t in enumerate(times)]
        decisions = decide(given_, KeepRules(last=1), now=NOW)
        self.assertEqual([times[0], times[2]], [d.what for d in decisions if d.kept])
        self.assertEqual(("newest with a successful restore check",), decisions[2].protection)


class Spans(testtools.TestCase):
    """Lengths of time."""

    def test_forms(self) -> None:
        self.assertEqual(Span(1, 6, 7, 12), Span.parse("1y6m7d12h"))
        self.assertEqual(Span(days=30), Span.parse("30d"))
        self.assertEqual("1y30d", str(Span.parse("1y30d")))
        for text in ("", "0d", "1w", "d", "1d1y", "-1d", "1.5d", "1D"):
            self.assertRaises(ValueError, Span.parse, text)

    def test_by_the_calendar(self) -> None:
        self.assertEqual(at(2025, 1, 1), Span(years=1).before(at(2026, 1, 1)))
        self.assertEqual(at(2025, 11, 15, 6), Span(months=2).before(at(2026, 1, 15, 6)))
        # As Go's AddDate does: 31 February is 3 March.
        self.assertEqual(at(2026, 3, 3), Span(months=1).before(at(2026, 3, 31)))
        self.assertEqual(at(2025, 12, 31, 23), Span(hours=1).before(at(2026, 1, 1)))

    def test_before_all_time(self) -> None:
        self.assertEqual(1, Span(years=9999).before(NOW).year)
        self.assertEqual(1, Span(days=999_999).before(NOW).year)


MOMENTS = st.lists(
    st.datetimes(datetime(2023, 1, 1), datetime(2026, 5, 31), timezones=st.just(UTC)),
    min_size=1,
    max_size=40,
    unique=True,
)
NUMBERS = st.one_of(st.just(0), st.integers(1, 12), st.just(ALL))
RULES = st.builds(
    KeepRules,
    **dict.fromkeys(COUNTS, NUMBERS),
    within=st.one_of(st.none(), st.builds(Span, days=st.integers(1, 400))),
)


few = settings(max_examples=40, deadline=None)


class Properties(testtools.TestCase):
    """What is true whatever the times and the rules are."""

    @few
    @given(MOMENTS, RULES)
    def test_the_newest_is_kept_and_nothing_is_lost(self, times: list[datetime], rules: KeepRules) -> None:
        decisions = decide(candidates(times), rules, now=NOW)
        self.assertEqual(sorted(times, reverse=True), [d.what for d in decisions])
        self.assertTrue(decisions[0].kept)
        if not rules.empty:
            self.assertTrue(decisions[0].reasons)

    @few
    @given(MOMENTS, RULES)
    def test_the_order_of_the_input_does_not_matter(self, times: list[datetime], rules: KeepRules) -> None:
        self.assertEqual(by_rules(times, rules), by_rules(times[::-1], rules))

    @few
    @given(MOMENTS, RULES)
    def test_a_second_time_removes_nothing_more(self, times: list[datetime], rules: KeepRules) -> None:
        kept = by_rules(times, rules)
        self.assertEqual(kept, by_rules(kept, rules) if kept else [])

    @few
    @given(MOMENTS, RULES, st.sampled_from(COUNTS), st.integers(1, 12))
    def test_a_larger_number_keeps_no_fewer(
        self, times: list[datetime], rules: KeepRules, name: str, more: int
    ) -> None:
        number = getattr(rules, name)
        change = {name: number + more if number != ALL else ALL}
        larger = dataclasses.replace(rules, **change)  # type: ignore[arg-type]
        self.assertEqual(set(), set(by_rules(times, rules)) - set(by_rules(times, larger)))

    @few
    @given(MOMENTS, st.sampled_from(sorted(PERIODS)), st.integers(1, 12))
    def test_a_period_is_represented_by_its_newest(
        self, times: list[datetime], name: str, number: int
    ) -> None:
        newest: dict[str, datetime] = {}
        for time in sorted(times, reverse=True):
            newest.setdefault(time.strftime(PERIODS[name]), time)
        wanted = list(newest.values())[:number]
        if len(newest) < number and min(times) not in wanted:
            wanted.append(min(times))
        self.assertEqual(wanted, by_rules(times, counting(**{name: number})))

    @few
    @given(MOMENTS, RULES, RULES)
    def test_rules_add_up(self, times: list[datetime], one: KeepRules, other: KeepRules) -> None:
        both = counting(
            **{name: getattr(one, name) for name in COUNTS[:3]},
            **{name: getattr(other, name) for name in COUNTS[3:]},
        )
        parts = [counting(**{name: getattr(both, name)}) for name in COUNTS]
        wanted = {time for part in parts for time in by_rules(times, part)}
        self.assertEqual(wanted, set(by_rules(times, both)))
