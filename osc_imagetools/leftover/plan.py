# SPDX-License-Identifier: Apache-2.0
"""What will be removed of what is left over, and in which order.

Contract: pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from osc_imagetools.leftover.inventory import Leftover
from osc_imagetools.operations.steps import PlanStep

ACTIONS = {"stopped-server": "start server"}
# Servers first: they hold ports and volumes. One that is left stopped runs again before all else.
ORDER = ("stopped-server", "server", "port", "image", "volume", "snapshot", "directory")


def may_remove(resource: Leftover, runs: Sequence[str]) -> bool:
    """Whether its run is certainly over: this machine knows, or the user says so by naming the run."""
    return resource.alive is False or resource.run in runs


def removal_order(resources: Sequence[Leftover]) -> list[Leftover]:
    """The resources so that what depends on another one comes before it.

    A volume made from a snapshot goes before the snapshot, a snapshot before its volume, and a volume before
    the image that it was made from: it may be a clone of it, and hold it. Else the kinds decide.
    """
    waiting: TopologicalSorter[str] = TopologicalSorter()
    by_id = {f"{r.kind} {r.id}": r for r in resources}
    children = {r.id: f"{r.kind} {r.id}" for r in resources if r.kind != "stopped-server"}
    for key, resource in by_id.items():
        waiting.add(key)
        for parent in resource.parents:
            if parent in children:
                waiting.add(children[parent], key)
    try:
        waiting.prepare()
    except CycleError:  # no cloud has such; then the kinds decide alone
        return sorted(resources, key=_rank)
    return list(_in_order(waiting, by_id))


def _rank(resource: Leftover) -> tuple[int, str]:
    return ORDER.index(resource.kind), resource.id


def _in_order(waiting: TopologicalSorter[str], by_id: Mapping[str, Leftover]) -> Iterator[Leftover]:
    """Of what nothing depends on any more, always the first kind."""
    ready: list[tuple[tuple[int, str], str]] = []
    while waiting.is_active():
        for key in waiting.get_ready():
            heapq.heappush(ready, (_rank(by_id[key]), key))
        _, key = heapq.heappop(ready)
        yield by_id[key]
        waiting.done(key)


def removal_steps(resources: Sequence[Leftover]) -> list[PlanStep]:
    """The rows of a dry run."""
    return [
        PlanStep(
            number,
            ACTIONS.get(resource.kind, f"delete {resource.kind}"),
            f"{resource.name} ({resource.id}) of run {resource.run}",
            resource.kind != "stopped-server",
            None,
        )
        for number, resource in enumerate(removal_order(resources), 1)
    ]
