# SPDX-License-Identifier: Apache-2.0
"""``server backup-check``."""

from __future__ import annotations

import argparse
import logging
import re
from typing import TYPE_CHECKING, Any

from cliff import columns

from osc_imagetools.v1 import base

if TYPE_CHECKING:
    from osc_imagetools.backup_check.inventory import Scope
    from osc_imagetools.cloud.connection import Cloud

LOG = logging.getLogger(__name__)
SEVERITIES = ("info", "warning", "critical")
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# Options that choose servers, by the name that argparse gives them.
FILTERS = ("all", "all_projects", "project", "name", "status", "tags")


class Rank(columns.FormattableColumn[Any]):
    """A severity: its name for everybody, its rank for ``--sort-column``."""

    def human_readable(self) -> str:
        return str(self._value.name)

    def machine_readable(self) -> str:
        return str(self._value.name)


class CheckServerBackup(base.Lister):
    """Tell what a backup of servers would miss, and what those they have are worth

    Reads only. For each server it says what a backup made now would miss, what stands in its way, and
    what the images, volume snapshots, volume backups and bundles that were made of it are worth: an
    image of 0 bytes whose snapshots are gone is listed as active and is no backup at all.

    Exit code 0 when nothing reaches --fail-on, else 3. What could not be judged is a finding too.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("servers", metavar="<server>", nargs="*", help="Server to check (name or ID)")
        _add_filters(parser)
        parser.add_argument(
            "--max-age",
            metavar="<duration>",
            type=duration,
            help="Oldest that the newest copy of each disk may be: a number and m, h, d or w (36h, 7d)",
        )
        parser.add_argument(
            "--bundles",
            metavar="<directory>",
            help="Count the bundles in and below this directory as backups",
        )
        parser.add_argument(
            "--severity",
            choices=SEVERITIES,
            default="info",
            help="Show findings from this severity on (default: info)",
        )
        parser.add_argument(
            "--fail-on",
            choices=("warning", "critical", "never"),
            default="critical",
            help="Exit with 3 for findings from this severity on, shown or not (default: critical)",
        )
        parser.add_argument(
            "--ignore",
            metavar="<reason>[:<id>]",
            action="append",
            default=[],
            help="Leave out findings with this reason, or only those about the server, image or volume with "
            "the ID: they are neither shown nor counted (repeat option for several)",
        )
        parser.add_argument("--summary", action="store_true", help="Show one row for each server")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        check_choice(parsed_args)
        from osc_imagetools.backup_check.plan_ignore import parse_ignored, without_ignored

        ignored = parse_ignored(parsed_args.ignore)
        cloud = self.cloud()
        from osc_imagetools.backup_check import report as report
        from osc_imagetools.backup_check.reasons import Severity

        found = _verdicts(cloud, read_scope(cloud, parsed_args), parsed_args)
        verdicts = self.tally.watch(without_ignored(found, ignored))
        shown = Severity[parsed_args.severity]
        if not parsed_args.summary:
            rows = report.finding_rows(verdicts, shown)
            return report.FINDINGS, ((*r[:3], Rank(r[3]), *r[4:]) for r in rows)
        rows = report.summary_rows(verdicts, shown)
        return report.SUMMARY, ((*r[:3], Rank(r[3]), base.Texts(r[4]), *r[5:]) for r in rows)

    def run(self, parsed_args: argparse.Namespace) -> int:
        from osc_imagetools.backup_check.report import Tally

        self.tally = Tally()
        code = super().run(parsed_args)
        if parsed_args.summary and self.tally.strays:
            LOG.warning(
                "Findings that belong to no server: %d; without --summary they are shown", self.tally.strays
            )
        reached = (
            parsed_args.fail_on != "never"
            and self.tally.worst.name in SEVERITIES[SEVERITIES.index(parsed_args.fail_on) :]
        )
        return code or (3 if reached else 0)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    """What chooses servers of a fleet, named as for ``server list``."""
    parser.add_argument("--all", action="store_true", help="Check all servers of the project")
    parser.add_argument("--all-projects", action="store_true", help="Check all projects (admin only)")
    parser.add_argument(
        "--project", metavar="<project>", help="Check all servers of a project (admin only) (name or ID)"
    )
    parser.add_argument("--name", metavar="<name-regex>", help="Check servers whose names match")
    parser.add_argument("--status", metavar="<status>", help="Check servers with a status")
    parser.add_argument(
        "--tags",
        metavar="<tag>",
        action="append",
        default=[],
        help="Check servers with a tag (repeat option for servers that have all of several)",
    )


def check_choice(parsed_args: argparse.Namespace) -> None:
    """Servers are named or chosen, not both and not neither."""
    from osc_imagetools.errors import UsageError

    chosen = [f"--{name.replace('_', '-')}" for name in FILTERS if getattr(parsed_args, name)]
    if parsed_args.servers and chosen:
        raise UsageError(f"servers are named, so {', '.join(chosen)} cannot choose others")
    if not parsed_args.servers and not chosen:
        raise UsageError("no server is named", hint="Name some, or give --all.")
    if parsed_args.project and parsed_args.all_projects:
        raise UsageError("--project names one, --all-projects means all")


def read_scope(cloud: Cloud, parsed_args: argparse.Namespace) -> Scope:
    """Which servers were chosen; those that are named and not found are told together."""
    from osc_imagetools.backup_check.fleet import read_server
    from osc_imagetools.backup_check.inventory import Scope
    from osc_imagetools.cloud.project import find_project
    from osc_imagetools.cloud.server import find_servers
    from osc_imagetools.errors import Unready

    servers, problems = find_servers(cloud, parsed_args.servers)
    if problems:
        raise problems[0] if len(problems) == 1 else Unready("these servers are not found", problems)
    return Scope(
        servers=tuple(read_server(server.document) for server in servers),
        all_projects=parsed_args.all_projects,
        project=find_project(cloud, parsed_args.project).id if parsed_args.project else None,
        name=parsed_args.name,
        status=parsed_args.status,
        tags=tuple(parsed_args.tags),
    )


def _verdicts(cloud: Cloud, scope: Scope, parsed_args: argparse.Namespace) -> Any:
    """Everything is read when this returns; the verdicts come one by one."""
    import time
    from pathlib import Path

    from osc_imagetools.backup_check.bundles import read_bundles
    from osc_imagetools.backup_check.inventory import read_fleet
    from osc_imagetools.backup_check.plan import judge
    from osc_imagetools.backup_check.plan_copies import Backups
    from osc_imagetools.progress.bars import terminal_counts

    bundles = list(read_bundles(Path(parsed_args.bundles))) if parsed_args.bundles else []
    with terminal_counts() as count:
        fleet = read_fleet(cloud, scope, count)
    return judge(fleet, Backups(fleet, bundles), now=time.time(), max_age=parsed_args.max_age)


def duration(text: str) -> int:
    """An argparse type: seconds of ``36h``, ``7d``."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if not found or not int(found[1]):
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2]]
