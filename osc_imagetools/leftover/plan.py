# SPDX-License-Identifier: Apache-2.0
"""What will be removed of what is left over, and in which order.

Contract: pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from osc_imagetools.leftover.inventory import Leftover
from osc_imagetools.operations.steps import Step

ACTIONS = {"stopped-server": "start server"}
# Servers first: they hold ports and volumes. One that is left stopped runs again before all else.
ORDER = ("stopped-server", "server", "port", "image", "volume", "snapshot", "directory")


def may_remove(resource: Leftover, runs: Sequence[str]) -> bool:
    """Whether its run is certainly over: this machine knows, or the user says so by naming the run."""
    return resource.alive is False or resource.run in runs


def removal_order(resources: Sequence[Leftover]) -> list[Leftover]:
    """The resources so that what depends on another one comes before it.

    A volume made from a snapshot goes before the snapshot, a snapshot before its volume.
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
        order = {key: place for place, key in enumerate(waiting.static_order())}
    except CycleError:  # no cloud has such; then the kinds decide alone
        order = dict.fromkeys(by_id, 0)
    storage = ("volume", "snapshot")
    rank = {kind: ORDER.index("volume") if kind in storage else place for place, kind in enumerate(ORDER)}
    return sorted(resources, key=lambda r: (rank[r.kind], order[f"{r.kind} {r.id}"]))


def removal_steps(resources: Sequence[Leftover]) -> list[Step]:
    """The rows of a dry run."""
    return [
        Step(
            number,
            ACTIONS.get(resource.kind, f"delete {resource.kind}"),
            f"{resource.name} ({resource.id}) of run {resource.run}",
            resource.kind != "stopped-server",
            None,
        )
        for number, resource in enumerate(removal_order(resources), 1)
    ]
