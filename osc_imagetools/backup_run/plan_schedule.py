# SPDX-License-Identifier: Apache-2.0
"""Which job may begin now: the order of the jobs, and limits for what runs at the same time.

Contract: pure; knows neither clouds nor clocks. The first job in the order that no limit forbids is next, so
that a busy hypervisor delays its own servers and no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


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

    def uses(self) -> Iterable[tuple[str, str]]:
        """(limit, what is limited)."""
        yield "parallel", ""
        if self.host:
            yield "per_host", self.host
        if self.project:
            yield "per_project", self.project
        for name in self.volume_types:
            yield "per_volume_type", name


class JobSchedule(Generic[T]):
    """Jobs that wait, in their order, and those that run."""

    def __init__(self, jobs: Iterable[ScheduledJob[T]], limits: RunLimits) -> None:
        self._waiting = list(jobs)
        self._limits = limits
        self._used: Counter[tuple[str, str]] = Counter()

    @property
    def waiting(self) -> tuple[ScheduledJob[T], ...]:
        """What has not begun."""
        return tuple(self._waiting)

    def take(self) -> ScheduledJob[T] | None:
        """The next job that may begin, which then runs; None where there is none at the moment."""
        if not self._free(("parallel", "")):
            return None
        for place, job in enumerate(self._waiting):
            if all(map(self._free, job.uses())):
                del self._waiting[place]
                self._used.update(job.uses())
                return job
        return None

    def done(self, job: ScheduledJob[T]) -> None:
        """A job that was taken has ended."""
        self._used.subtract(job.uses())

    def _free(self, use: tuple[str, str]) -> bool:
        limit: int | None = getattr(self._limits, use[0])
        return limit is None or self._used[use] < limit
