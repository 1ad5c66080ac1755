# SPDX-License-Identifier: Apache-2.0
"""What may run at the same time."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from osc_imagetools.backup_run.plan_schedule import JobSchedule, RunLimits, ScheduledJob
from osc_imagetools.tests.unit.base import TestCase


def job(what: str, host: str = "", project: str = "", *types: str) -> ScheduledJob[str]:
    return ScheduledJob(what, host, project, frozenset(types))


def taken(schedule: JobSchedule[str]) -> list[str]:
    found = []
    while (next_one := schedule.take()) is not None:
        found.append(next_one.what)
    return found


def first_that_may(
    waiting: list[ScheduledJob[str]],
    running: list[ScheduledJob[str]],
    parallel: int,
    per_host: int,
    per_type: int,
) -> ScheduledJob[str] | None:
    """What the schedule promises, said in the simplest way."""
    for one in waiting:
        same_host = sum(other.host == one.host for other in running)
        same_type = [sum(name in other.volume_types for other in running) for name in one.volume_types]
        if len(running) < parallel and same_host < per_host and max(same_type, default=0) < per_type:
            return one
    return None


class TestLimits(TestCase):
    def test_in_all(self):
        self.assertEqual(["a", "b"], taken(JobSchedule(map(job, "abc"), RunLimits(2))))
        self.assertEqual(["a", "b", "c"], taken(JobSchedule(map(job, "abc"), RunLimits(None))))

    def test_a_busy_host_delays_its_own_servers_alone(self):
        jobs = [job("a", "h1"), job("b", "h1"), job("c", "h2"), job("d")]
        schedule = JobSchedule(jobs, RunLimits(9, per_host=1))
        self.assertEqual(["a", "c", "d"], taken(schedule))
        schedule.done(jobs[0])
        self.assertEqual(["b"], taken(schedule))

    def test_projects_and_volume_types(self):
        jobs = [job("a", "", "p", "fast"), job("b", "", "q", "fast", "slow"), job("c", "", "p", "slow")]
        self.assertEqual(["a", "b"], taken(JobSchedule(jobs, RunLimits(9, per_project=1))))
        self.assertEqual(["a", "c"], taken(JobSchedule(jobs, RunLimits(9, per_volume_type=1))))

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
    def test_no_limit_is_ever_exceeded_and_nothing_waits_for_ever(self, seed, parallel, per_host, per_type):
        chance = random.Random(seed)
        jobs = [
            job(str(n), chance.choice("xyz"), "p", *chance.sample("ab", chance.randint(0, 2)))
            for n in range(30)
        ]
        schedule = JobSchedule(jobs, RunLimits(parallel, per_host, None, per_type))
        running: list[ScheduledJob[str]] = []
        waiting, done = list(jobs), []
        while schedule.waiting or running:
            while (found := schedule.take()) is not None:
                self.assertEqual(first_that_may(waiting, running, parallel, per_host, per_type), found)
                waiting.remove(found)
                running.append(found)
            self.assertIsNone(first_that_may(waiting, running, parallel, per_host, per_type))
            self.assertEqual(tuple(waiting), schedule.waiting)
            self.assertTrue(running)
            self.assertLessEqual(len(running), parallel)
            for host in "xyz":
                self.assertLessEqual(sum(j.host == host for j in running), per_host)
            for name in "ab":
                self.assertLessEqual(sum(name in j.volume_types for j in running), per_type)
            ended = running.pop(chance.randrange(len(running)))
            schedule.done(ended)
            done.append(ended.what)
        self.assertEqual(sorted(str(n) for n in range(30)), sorted(done))
