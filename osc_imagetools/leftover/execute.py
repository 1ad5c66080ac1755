# SPDX-License-Identifier: Apache-2.0
"""Removes what is left over, one after the other, each until it is gone.

Contract: removes what it is given and nothing else; a failure does not stop the rest. A journal goes when
nothing of its run is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.names import printable
from osc_imagetools.cloud.server import get_server
from osc_imagetools.leftover.inventory import Leftover, LeftoverInventory
from osc_imagetools.leftover.plan import ACTIONS, removal_order
from osc_imagetools.progress import words
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import CreatedResource, RunContext, run_context
from osc_imagetools.run.effects.removal import REMOVALS
from osc_imagetools.run.journal import forget
from osc_imagetools.run.qemu_img import DIRECTORY, remove_folder


@dataclass(frozen=True)
class Removed:
    """What became of a resource: deleted, started, without its mark, or ``failed`` with the reason."""

    resource: Leftover
    result: str
    failed: bool


def remove_leftovers(
    cloud: Cloud,
    found: LeftoverInventory,
    chosen: Sequence[Leftover],
    *,
    timeout: float | None,
    progress: Progress,
) -> list[Removed]:
    """Removes the *chosen* of what was found, in the order that they depend on each other.

    :raises errors.Cancelled: interrupted; what is left then can be removed by the same command.
    """
    done: list[Removed] = []
    with run_context(cloud, "leftover delete", timeout) as context:
        # What is removed here is all that is to be done, so the first interrupt ends it.
        context.cleanup_deadline = context.deadline
        context.progress = progress
        order = removal_order(chosen)
        for number, resource in enumerate(order, 1):
            step = f"{ACTIONS.get(resource.kind, f'delete {resource.kind}')} {printable(resource.name)}"
            try:
                with progress.step(f"{number} of {len(order)}", step):
                    _remove(context, resource)
                done.append(Removed(resource, _result(cloud, resource), False))
            except errors.Cancelled:
                raise
            except errors.ImagetoolsError as exc:
                done.append(Removed(resource, f"failed: {exc.message}", True))
    left = {r.run for r in found.resources} - {d.resource.run for d in done if not d.failed}
    left |= {d.resource.run for d in done if d.failed}
    left |= {r.run for r in found.resources if r not in chosen}
    if found.unread:  # there may be more of each run
        left |= {journal.run.id for journal in found.journals}
    named = {r.run for r in chosen}
    for journal in found.journals:
        if journal.run.id not in left and (journal.alive is False or journal.run.id in named):
            forget(journal.path)
    return done


def removal_summary(done: Sequence[Removed], seconds: float) -> str:
    """How many resources were removed, and how fast."""
    failed = sum(removed.failed for removed in done)
    how_many = (
        f"{len(done) - failed} of {len(done)} resources" if failed else words.counted(len(done), "resource")
    )
    return f"Removed {how_many} in {words.span(seconds)}."


def _remove(context: RunContext, resource: Leftover) -> None:
    if resource.kind == DIRECTORY:
        remove_folder(Path(resource.id))
    else:
        REMOVALS[resource.kind](context, CreatedResource(resource.kind, resource.name, id=resource.id))


def _result(cloud: Cloud, resource: Leftover) -> str:
    if resource.kind != "stopped-server":
        return "deleted"
    if resource.status != "SHUTOFF":
        return "the mark was removed: it ran already"
    server = get_server(cloud, resource.id)
    stopped = server is not None and server.status == "SHUTOFF"
    return "the mark was removed: its user has stopped it" if stopped else "started"
