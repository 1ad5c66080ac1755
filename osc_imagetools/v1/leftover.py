# SPDX-License-Identifier: Apache-2.0
"""Commands on what a run that was killed has left in the cloud."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base

if TYPE_CHECKING:
    from osc_imagetools.leftover.inventory import Leftover, LeftoverInventory

LOG = logging.getLogger(__name__)
NOT_SEARCHED = "volumes and snapshots are not looked for here"


def tell_others(found: LeftoverInventory) -> None:
    """Says on stderr what is not shown: runs that live, journals of other clouds and projects."""
    if found.living:
        LOG.warning("Not shown: what belongs to runs that are under way: %s", ", ".join(found.living))
    for run in found.elsewhere:
        place = run.place
        LOG.warning(
            "Run %s (%s) may have left something in project %s at %s, region %s: log in there to see it",
            *(run.run.id, run.run.purpose, place.project_id, place.auth_url, place.region),
        )


class ListLeftover(base.Lister):
    """List what killed runs have left in the cloud

    From the journals of this user on this machine, and from the marks that every temporary resource bears, so
    also on another machine. A server of yours that is left stopped is listed too (stopped-server).
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.leftover.inventory import leftover_inventory

        base.tell_without_block_storage(cloud, NOT_SEARCHED)
        found = leftover_inventory(cloud)
        tell_others(found)
        titles = ("Type", "ID", "Name", "Status", "Run", "Created At")
        return titles, [(r.kind, r.id, r.name, r.status, r.run, r.created_at) for r in found.resources]


class DeleteLeftover(base.Lister):
    """Delete what killed runs have left in the cloud

    In the right order, each until it is gone; a server that is left stopped is started again. Nothing is
    touched that is not ours, or whose run is alive. Whether a run on another machine is alive cannot be known
    here: what it left is deleted only when the run is named with --run. Can be repeated.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--run",
            metavar="<run>",
            dest="runs",
            action="append",
            default=[],
            help="Only what this run left, which is certainly over (repeat option for several)",
        )
        parser.add_argument("--yes", action="store_true", help="Do not ask")
        base.add_timeout_option(parser)
        base.add_dry_run_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.leftover.execute import remove_leftovers
        from osc_imagetools.leftover.inventory import leftover_inventory
        from osc_imagetools.leftover.plan import may_remove, removal_steps

        base.tell_without_block_storage(cloud, NOT_SEARCHED)
        found = leftover_inventory(cloud)
        tell_others(found)
        runs = parsed_args.runs
        wanted = [r for r in found.resources if not runs or r.run in runs]
        chosen = [r for r in wanted if may_remove(r, runs)]
        if parsed_args.dry_run:
            return base.plan_rows(removal_steps(chosen))
        if chosen and not parsed_args.yes:
            confirm(self.app.stdin, self.app.stderr, chosen, runs)
        done = remove_leftovers(cloud, found, chosen, timeout=parsed_args.timeout)
        rows = [(d.resource, d.result) for d in done]
        rows += [
            (r, f"skipped: whether its run is alive cannot be told here; if it is over: --run {r.run}")
            for r in wanted
            if r not in chosen
        ]
        self.failed = any(d.failed for d in done)
        return ("Type", "ID", "Name", "Result"), [(r.kind, r.id, r.name, text) for r, text in rows]

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.failed = False
        return super().run(parsed_args) or int(self.failed)


def confirm(stdin: Any, stderr: Any, chosen: list[Leftover], runs: list[str]) -> None:
    """Asks on the terminal.

    :raises errors.UsageError: there is none; :raises errors.Declined: the answer is no.
    """
    from osc_imagetools.cloud.names import printable
    from osc_imagetools.errors import Declined, UsageError

    if not stdin.isatty():
        raise UsageError(
            f"{len(chosen)} resources would be deleted, and nobody can be asked",
            hint="See which with: openstack leftover list. Then: openstack leftover delete --yes"
            + "".join(f" --run {run}" for run in runs),
        )
    for resource in chosen:
        state = f"{resource.status}, run {resource.run}"
        stderr.write(printable(f"{resource.kind} {resource.id} {resource.name} ({state})") + "\n")
    stderr.write(f"Delete these {len(chosen)}? [y/N] ")
    stderr.flush()
    if stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined("nothing was deleted")
