# SPDX-License-Identifier: Apache-2.0
"""Which job may begin now: the order of the jobs, and limits for what runs at the same time.

Contract: pure; knows neither clouds nor clocks. The first job in the order that no limit forbids is next, so
that a busy hypervisor delays its own servers and no others.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Use = tuple[str, str]  # a limit, and what is limited


@dataclass(frozen=True)
class RunLimits:
    """How many jobs at the same time: in all, and of each hypervisor, project and volume type.

    None: no limit.
    """

    parallel: int | None = 1
    per_host: int | None = None
    per_project: int | None = None
    per_volume_type: int | None = None


@dataclass(frozen=True)
class ScheduledJob(Generic[T]):
    """Something to do, and what it uses: empty texts are not limited."""

    what: T
    host: str = ""
    project: str = ""
    volume_types: frozenset[str] = frozenset()

    def uses(self) -> Iterable[Use]:
        """What it takes one of each."""
        yield "parallel", ""
        if self.host:
            yield "per_host", self.host
        if self.project:
            yield "per_project", self.project
        for name in self.volume_types:
            yield "per_volume_type", name


class JobSchedule(Generic[T]):
    """Jobs that wait, in their order, and those that run.

    A job that a limit forbids waits in the queue of that limit and is looked at again when the limit has
    room, so that a decision does not cost the more, the more jobs wait.
    """

    def __init__(self, jobs: Iterable[ScheduledJob[T]], limits: RunLimits) -> None:
        self._ready = list(enumerate(jobs))  # a heap: they are in order, and no number is there twice
        self._forbidden: dict[Use, list[tuple[int, ScheduledJob[T]]]] = {}  # heaps
        self._roomy: set[Use] = set()  # where there was room, and jobs to look at
        self._limits = limits
        self._used: Counter[Use] = Counter()

    @property
    def waiting(self) -> tuple[ScheduledJob[T], ...]:
        """What has not begun, in order."""
        left = itertools.chain(self._ready, *self._forbidden.values())
        return tuple(job for _, job in sorted(left, key=lambda entry: entry[0]))

    def take(self) -> ScheduledJob[T] | None:
        """The next job that may begin, which then runs; None where there is none at the moment."""
        if not self._free(("parallel", "")):
            return None
        while (queue := self._first_queue()) is not None:
            number, job = heapq.heappop(queue)
            full = next((use for use in job.uses() if not self._free(use)), None)
            if full is None:
                self._used.update(job.uses())
                return job
            heapq.heappush(self._forbidden.setdefault(full, []), (number, job))
        return None

    def done(self, job: ScheduledJob[T]) -> None:
        """A job that was taken has ended."""
        self._used.subtract(job.uses())
        self._roomy.update(use for use in job.uses() if self._forbidden.get(use))

    def _first_queue(self) -> list[tuple[int, ScheduledJob[T]]] | None:
        """The queue with the first of the jobs that may be able to begin."""
        self._roomy = {use for use in self._roomy if self._forbidden[use] and self._free(use)}
        queues = [self._forbidden[use] for use in self._roomy] + [self._ready]
        return min((queue for queue in queues if queue), key=lambda queue: queue[0][0], default=None)

    def _free(self, use: Use) -> bool:
        limit: int | None = getattr(self._limits, use[0])
        return limit is None or self._used[use] < limit
