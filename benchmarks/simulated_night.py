# SPDX-License-Identifier: Apache-2.0
"""How does the order of a run hold for a fleet: 5,000 servers, 20 machines, without a cloud.

The scheduler of ``server backup-run`` alone, in simulated time: each server has a hypervisor, a project,
volume types and an export of a random length, and the jobs begin as the scheduler says. Told are the length
of the night against the shortest that the limits allow, how busy the machines are, and what a decision of
the scheduler costs. ``practice.py`` prints it.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from osc_imagetools.backup_run.plan_schedule import JobSchedule, RunLimits, ScheduledJob

HOUR = 3600.0


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
    def ratio(self) -> float:
        """Of the shortest night that the limits allow."""
        return self.seconds / self.bound

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


def nights(jobs: list[ScheduledJob[SimulatedExport]], width: int) -> Iterator[tuple[str, SimulatedNight]]:
    """The same jobs under more and more limits.

    :param width: exports at a time, over all machines.
    """
    for name, limits in (
        ("no other limit", RunLimits(width)),
        ("2 per hypervisor", RunLimits(width, per_host=2)),
        ("2 per hypervisor, 30 per volume type", RunLimits(width, per_host=2, per_volume_type=30)),
    ):
        yield name, simulate(jobs, limits)


def night_line(name: str, night: SimulatedNight) -> str:
    """A night in a line."""
    return (
        f"{name:38} {night.seconds / HOUR:5.2f} h, shortest {night.bound / HOUR:5.2f} h, "
        f"ratio {night.ratio:.3f}, busy {night.busy:4.0%}, a decision {night.decision * 1000:.3f} ms"
    )
