# SPDX-License-Identifier: Apache-2.0
"""Commands for resources left in the cloud by interrupted runs."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base

if TYPE_CHECKING:
    from osc_imagetools.leftover.inventory import Leftover, LeftoverInventory

LOG = logging.getLogger(__name__)
NOT_SEARCHED = "volumes and snapshots are not searched"


def tell_others(found: LeftoverInventory) -> None:
    """Warn about what is not listed: what could not be read, active runs, and runs elsewhere."""
    for text in found.unread:
        LOG.error("There may be more: %s", text)
    if found.living:
        LOG.warning("Resources of active runs are not listed: %s", ", ".join(found.living))
    for run in found.elsewhere:
        place = run.place
        LOG.warning(
            "Run %s (%s) may have left resources in project %s at %s, region %s: log in there to list them",
            *(run.run.id, run.run.purpose, place.project_id, place.auth_url, place.region),
        )


class LeftoverCommand(base.Lister):
    """The common part of the commands: exit code 1 if something failed or could not be read."""

    failed = False

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.failed = False
        return super().run(parsed_args) or int(self.failed)


class ListLeftover(LeftoverCommand):
    """List resources left in the cloud by interrupted runs.

    They are found in the journals of this user on this machine, and by the marks on the resources themselves,
    so the command also works on another machine. A server that an interrupted run has stopped and not started
    again is listed as ``stopped-server``.
    """

    examples = ("openstack leftover list",)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.leftover.inventory import leftover_inventory

        base.tell_without_block_storage(cloud, NOT_SEARCHED)
        with base.reading("leftovers"):
            found = leftover_inventory(cloud)
        tell_others(found)
        self.next_steps = ["openstack leftover delete"] if found.resources else []
        self.failed = bool(found.unread)
        titles = ("Type", "ID", "Name", "Status", "Run", "Created At")
        return titles, [
            (r.kind, r.id, r.name, r.status, r.run, base.Age(r.created_at)) for r in found.resources
        ]


class DeleteLeftover(LeftoverCommand):
    """Delete resources left in the cloud by interrupted runs.

    Resources are deleted in the right order. A server that an interrupted run has stopped is started again.
    Resources that were not created by this plugin, or that belong to an active run, are never touched. The
    command can be repeated.

    It cannot be known whether a run on another machine is still active. The resources of such a run are
    deleted only if the run is given with ``--run``.

    Exit codes: 0 if nothing failed, 1 if a resource could not be deleted.
    """

    examples = ("openstack leftover delete --dry-run", "openstack leftover delete --yes")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--run",
            metavar="<run>",
            dest="runs",
            action="append",
            default=[],
            help="Delete only the resources of this run, which must have ended (ID from ``leftover list``; "
            "repeat option for several runs)",
        )
        parser.add_argument("--yes", action="store_true", help="Do not ask for confirmation")
        base.add_timeout_option(parser)
        base.add_dry_run_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        import time

        from osc_imagetools.leftover.execute import removal_summary, remove_leftovers
        from osc_imagetools.leftover.inventory import leftover_inventory
        from osc_imagetools.leftover.plan import may_remove, removal_steps
        from osc_imagetools.progress.display import shown_progress

        base.tell_without_block_storage(cloud, NOT_SEARCHED)
        with base.reading("leftovers"):
            found = leftover_inventory(cloud)
        tell_others(found)
        runs = parsed_args.runs
        wanted = [r for r in found.resources if not runs or r.run in runs]
        chosen = [r for r in wanted if may_remove(r, runs)]
        if parsed_args.dry_run:
            return base.plan_rows(removal_steps(chosen))
        if chosen and not parsed_args.yes:
            confirm(self.app.stdin, self.app.stderr, chosen, runs)
        started = time.monotonic()
        with shown_progress() as progress:
            done = remove_leftovers(cloud, found, chosen, timeout=parsed_args.timeout, progress=progress)
        if done:
            self.summary = removal_summary(done, time.monotonic() - started)
        rows = [(d.resource, d.result) for d in done]
        rows += [
            (r, f"skipped: the run may still be active elsewhere; if it has ended, use --run {r.run}")
            for r in wanted
            if r not in chosen
        ]
        self.next_steps = [f"openstack leftover delete --run {r.run}" for r in wanted if r not in chosen]
        self.failed = any(d.failed for d in done) or bool(found.unread)
        return ("Type", "ID", "Name", "Result"), [(r.kind, r.id, r.name, text) for r, text in rows]


def confirm(stdin: Any, stderr: Any, chosen: list[Leftover], runs: list[str]) -> None:
    """Ask for confirmation on the terminal.

    :raises errors.UsageError: stdin is not a terminal; :raises errors.Declined: the answer is no.
    """
    from osc_imagetools.cloud.names import printable
    from osc_imagetools.errors import Declined, UsageError

    if not stdin.isatty():
        raise UsageError(
            f"{len(chosen)} resources would be deleted: stdin is not a terminal, so --yes is required",
            hint="To list them: openstack leftover list. To delete them: openstack leftover delete --yes"
            + "".join(f" --run {run}" for run in runs),
        )
    for resource in chosen:
        state = f"{resource.status}, run {resource.run}"
        stderr.write(printable(f"{resource.kind} {resource.id} {resource.name} ({state})") + "\n")
    stderr.write(f"Delete these {len(chosen)} resources? [y/N] ")
    stderr.flush()
    if stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined("nothing was deleted")
