# SPDX-License-Identifier: Apache-2.0
"""Which job a worker may claim now.

Contract: pure. The limits of a run hold over all workers, since what is claimed by any of them counts: the
number of servers at a time for each run, the others for a cloud, whoever posted the jobs. Nobody works on a
server that another one works on. A job that failed here is left to a worker where it has not failed, if any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from osc_imagetools.backup_run.fleet.job import FleetJob, WorkerRecord
from osc_imagetools.backup_run.plan_schedule import RunLimits, ScheduledJob

Use = tuple[str, ...]


def choose(
    waiting: Iterable[FleetJob],
    claimed: Iterable[FleetJob],
    me: WorkerRecord,
    workers: Iterable[WorkerRecord],
) -> FleetJob | None:
    """The first job in the order that *me* may claim now; None where there is none at the moment."""
    used: Counter[Use] = Counter(use for job in claimed for use, _ in _uses(job))
    others = [worker for worker in workers if worker.name != me.name]
    for job in waiting:
        if not me.knows(job) or (me.name in job.failed_on and _others_can(job, others)):
            continue
        if all(limit is None or used[use] < limit for use, limit in _uses(job)):
            return job
    return None


def _others_can(job: FleetJob, others: Iterable[WorkerRecord]) -> bool:
    return any(worker.knows(job) and worker.name not in job.failed_on for worker in others)


def _uses(job: FleetJob) -> Iterator[tuple[Use, int | None]]:
    """What a job takes one of each, and how many of it may be taken."""
    server = job.server
    yield ("server", *job.subject), 1
    for name, of in ScheduledJob(job, server.host, server.project_id, server.volume_types).uses():
        scope = (job.run,) if name == "parallel" else job.place
        yield (name, *scope, of), _limit(job.limits, name)


def _limit(limits: RunLimits, name: str) -> int | None:
    limit: int | None = getattr(limits, name)
    return limit
