#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How does the order of a run hold for a fleet: 5,000 servers, 20 machines, without a cloud.

The scheduler of ``server backup-run`` alone, in simulated time: each server has a hypervisor, a project,
volume types and an export of a random length, and the jobs begin as the scheduler says. Told are the length
of the night against the shortest that the limits allow, how busy the machines are, and what a decision of
the scheduler costs. With ``--check`` the exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass

from osc_imagetools.backup_run.plan_schedule import JobSchedule, RunLimits, ScheduledJob

HOUR = 3600.0
# Of the shortest night that the limits allow; milliseconds for a decision.
LONGEST, SLOWEST = 1.15, 5.0


@dataclass(frozen=True)
class SimulatedExport:
    """A server, and how long its export takes in seconds."""

    number: int
    seconds: float


@dataclass(frozen=True)
class SimulatedNight:
    """What came of it; seconds of simulated time, but for ``decision``."""

    seconds: float
    bound: float
    work: float
    width: int
    decision: float

    @property
    def busy(self) -> float:
        return self.work / (self.seconds * self.width)


def fleet(servers: int, hosts: int, seed: int) -> list[ScheduledJob[SimulatedExport]]:
    """Servers with exports of a median of four minutes, some of hours; few projects have many servers."""
    chance = random.Random(seed)  # noqa: S311
    jobs = []
    for number in range(servers):
        export = SimulatedExport(number, min(chance.lognormvariate(5.5, 1.0), 4 * HOUR))
        project = f"p{int(chance.paretovariate(0.9)) % 200}"
        types = frozenset({chance.choice(("ssd", "ssd", "hdd"))})
        jobs.append(ScheduledJob(export, f"h{chance.randrange(hosts)}", project, types))
    return jobs


def bound(jobs: list[ScheduledJob[SimulatedExport]], limits: RunLimits) -> float:
    """No schedule is shorter: the work of all slots, or of the busiest resource, or the longest job."""
    sums: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        for use in job.uses():
            sums[use] += job.what.seconds  # type: ignore[assignment]
    found = [job.what.seconds for job in jobs]
    for (limit, _), seconds in sums.items():
        allowed = getattr(limits, limit)
        if allowed is not None:
            found.append(seconds / allowed)
    return max(found)


def simulate(jobs: list[ScheduledJob[SimulatedExport]], limits: RunLimits) -> SimulatedNight:
    """The night of these jobs."""
    schedule = JobSchedule(jobs, limits)
    running: list[tuple[float, int, ScheduledJob[SimulatedExport]]] = []
    now, decisions, spent = 0.0, 0, 0.0
    while True:
        while True:
            began = time.perf_counter()
            job = schedule.take()
            spent += time.perf_counter() - began
            decisions += 1
            if job is None:
                break
            heapq.heappush(running, (now + job.what.seconds, job.what.number, job))
        if not running:
            break
        now, _, ended = heapq.heappop(running)
        schedule.done(ended)
    assert not schedule.waiting
    work = sum(job.what.seconds for job in jobs)
    return SimulatedNight(now, bound(jobs, limits), work, limits.parallel or 1, spent / decisions)


def main() -> int:
    """Simulates, and tells."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--each", type=int, default=4, help="exports at a time on one machine")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    width = options.workers * options.each
    jobs = fleet(options.servers, options.hosts, options.seed)
    print(f"{options.servers} servers, {options.hosts} hypervisors, {options.workers} machines, {width} jobs")
    good = True
    for name, limits in (
        ("no other limit", RunLimits(width)),
        ("2 per hypervisor", RunLimits(width, per_host=2)),
        ("2 per hypervisor, 30 per volume type", RunLimits(width, per_host=2, per_volume_type=30)),
    ):
        night = simulate(jobs, limits)
        ratio = night.seconds / night.bound
        good = good and ratio <= LONGEST and night.decision * 1000 <= SLOWEST
        print(
            f"{name:38} {night.seconds / HOUR:5.2f} h, shortest {night.bound / HOUR:5.2f} h, "
            f"ratio {ratio:.3f}, busy {night.busy:4.0%}, a decision {night.decision * 1000:.3f} ms"
        )
    print(
        f"targets: ratio at most {LONGEST}, a decision at most {SLOWEST:g} ms: {'met' if good else 'MISSED'}"
    )
    return 1 if options.check and not good else 0


if __name__ == "__main__":
    sys.exit(main())
