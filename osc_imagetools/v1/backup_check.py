# SPDX-License-Identifier: Apache-2.0
"""The command ``server backup-check``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cliff import columns

from osc_imagetools.v1 import base, repository_options

if TYPE_CHECKING:
    from osc_imagetools.backup_check.html_report import HtmlReport
    from osc_imagetools.backup_check.inventory import Scope
    from osc_imagetools.cloud.connection import Cloud

LOG = logging.getLogger(__name__)
WIDEST = 100  # characters of a line of text that is easy to read
SEVERITIES = ("info", "warning", "critical")
# Options that select servers, as argparse names them.
FILTERS = (
    *("all", "all_projects", "project", "name", "status", "tags"),
    *("not_tags", "ip", "flavor", "image", "host"),
)


class Rank(columns.FormattableColumn[Any]):
    """A severity, shown by name and sorted by rank (``--sort-column``)."""

    def human_readable(self) -> str:
        return str(self._value.name)

    def machine_readable(self) -> str:
        return str(self._value.name)


class CheckServerBackup(base.Lister):
    """Check whether servers can be backed up and whether their backups are usable.

    For each server, this command reports what a backup made now would miss, what prevents one, and whether
    the existing images, volume snapshots, volume backups and bundles of the server can be restored. For
    example, an image of 0 bytes whose snapshots were deleted is still listed as active, but holds nothing.

    The command only reads. Anything that could not be read is reported as ``not-judged``.

    Exit codes: 0 if no finding reaches the severity of ``--fail-on``, 3 if one does, 1 if the check failed.
    """

    more = ("ID", "Project", "Action")
    examples = (
        "openstack server backup-check web01",
        "openstack server backup-check --all --summary --max-age 26h",
    )
    page: HtmlReport | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("servers", metavar="<server>", nargs="*", help="Server to check (name or ID)")
        add_filters(parser, "Check")
        parser.add_argument(
            "--max-age",
            metavar="<duration>",
            type=duration,
            help="Maximum age of the newest copy of each disk: a number with m, h, d or w, for example 36h "
            "or 7d",
        )
        parser.add_argument(
            "--max-proof-age",
            metavar="<duration>",
            type=duration,
            help="Maximum time since a bundle of the server was last seen to boot (server restore-check); "
            "servers without bundles are not concerned",
        )
        parser.add_argument(
            "--bundles",
            metavar="<directory>",
            help="Directory whose bundles count as backups; subdirectories are included",
        )
        parser.add_argument(
            "--policy-file",
            metavar="<file>",
            help="YAML file with the policies of server backup-run; replaces --max-age, --max-proof-age "
            "and --bundles",
        )
        parser.add_argument(
            "--severity",
            choices=SEVERITIES,
            default="info",
            help="Lowest severity to show (default: info)",
        )
        parser.add_argument(
            "--fail-on",
            choices=("warning", "critical", "never"),
            default="critical",
            help="Lowest severity that sets exit code 3, whether shown or not (default: critical)",
        )
        parser.add_argument(
            "--ignore",
            metavar="<reason>[:<id>]",
            action="append",
            default=[],
            help="Ignore findings with this reason, or only those about the server, image or volume "
            "with this ID (repeat option to ignore several)",
        )
        parser.add_argument(
            "--summary",
            action="store_true",
            help="Show one row for each server instead of one for each finding",
        )
        _add_reports(parser)
        repository_options.add_repository_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        check_choice(parsed_args)
        if parsed_args.explain:
            return explanation(parsed_args.explain)
        from osc_imagetools.backup_check.plan_ignore import parse_ignored, without_ignored

        ignored = parse_ignored(parsed_args.ignore)
        cloud = self.cloud()
        from osc_imagetools.backup_check import report
        from osc_imagetools.backup_check.reasons import Severity

        found = _verdicts(cloud, read_scope(cloud, parsed_args), parsed_args)
        verdicts = self.tally.watch(without_ignored(found, ignored))
        if parsed_args.html:
            self.page = new_page(cloud)
            verdicts = self.page.watch(verdicts)
        shown = Severity[parsed_args.severity]
        if not parsed_args.summary:
            rows = report.finding_rows(verdicts, shown)
            return report.FINDINGS, ((r[0], Rank(r[1]), *r[2:]) for r in rows)
        rows = report.summary_rows(verdicts, shown)
        return report.SUMMARY, (
            (*r[:3], Rank(r[3]), base.Texts(r[4]), *r[5:7], *map(base.Age, r[7:])) for r in rows
        )

    def hidden(self, parsed_args: argparse.Namespace) -> tuple[str, ...]:
        return () if parsed_args.summary or parsed_args.explain else super().hidden(parsed_args)

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        if not parsed_args.explain or parsed_args.formatter != "table" or parsed_args.columns:
            return super().produce_output(parsed_args, column_names, data)
        import shutil

        from osc_imagetools.backup_check.explanation import section
        from osc_imagetools.backup_check.reasons import REASONS

        width = min(shutil.get_terminal_size().columns, WIDEST)
        self.app.stdout.write(f"{section(REASONS[parsed_args.explain], width)}\n")
        return 0

    def close_output(self, parsed_args: argparse.Namespace) -> None:
        from osc_imagetools.backup_check.reasons import Severity

        if self.page:
            from pathlib import Path

            self.page.write(Path(parsed_args.html))
            self.summary = f"The report is in {parsed_args.html}"
        self.next_steps = self.tally.next_steps(Severity[parsed_args.severity])
        super().close_output(parsed_args)

    def run(self, parsed_args: argparse.Namespace) -> int:
        from osc_imagetools.backup_check.report import Tally

        self.tally = Tally()
        self.page = None
        code = super().run(parsed_args)
        if parsed_args.summary and self.tally.strays:
            LOG.warning(
                "%d findings belong to no server and are not in the summary; leave out --summary to see them",
                self.tally.strays,
            )
        reached = (
            parsed_args.fail_on != "never"
            and self.tally.worst.name in SEVERITIES[SEVERITIES.index(parsed_args.fail_on) :]
        )
        return code or (3 if reached else 0)


def _add_reports(parser: argparse.ArgumentParser) -> None:
    """What is printed or written in other forms."""
    from osc_imagetools.backup_check.reasons import REASONS

    parser.add_argument(
        "--explain",
        metavar="<reason>",
        choices=sorted(REASONS),
        help="Print what a reason means and what to do about it, without a login",
    )
    parser.add_argument(
        "--html",
        metavar="<file>",
        help="Also write a report of all findings to this file: one HTML page for a browser",
    )


def new_page(cloud: Cloud) -> HtmlReport:
    """An HTML report of this moment and this cloud."""
    import time

    from osc_imagetools.backup_check.html_report import HtmlReport

    origin = cloud.origin
    place = ", ".join(filter(None, (origin.cloud, origin.region)))
    return HtmlReport(now=time.time(), place=f"Cloud {place}" if place else "Cloud")


def explanation(code: str) -> tuple[Any, Any]:
    """The columns and the one row of a reason's explanation."""
    from osc_imagetools.backup_check.explanation import plain
    from osc_imagetools.backup_check.reasons import REASONS

    reason = REASONS[code]
    columns = ("Reason", "Severity", "Meaning", "What To Do")
    return columns, [(code, Rank(reason.severity), plain(reason.meaning), plain(reason.way_out))]


def add_filters(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the options that select servers, named as in ``server list``; *verb* begins their help."""
    parser.add_argument("--all", action="store_true", help=f"{verb} all servers of the current project")
    parser.add_argument(
        "--all-projects", action="store_true", help=f"{verb} the servers of all projects (admin only)"
    )
    parser.add_argument(
        "--project", metavar="<project>", help=f"{verb} all servers of this project (name or ID; admin only)"
    )
    parser.add_argument("--name", metavar="<name-regex>", help=f"{verb} servers whose name matches")
    parser.add_argument("--status", metavar="<status>", help=f"{verb} servers with this status")
    parser.add_argument(
        "--tags",
        metavar="<tag>",
        action="append",
        default=[],
        help=f"{verb} servers with this tag (repeat option to require several tags)",
    )
    parser.add_argument(
        "--not-tags",
        metavar="<tag>",
        action="append",
        default=[],
        help=f"{verb} servers without this tag (repeat option for servers that lack one of several tags)",
    )
    parser.add_argument(
        "--ip", metavar="<ip-address-regex>", help=f"{verb} servers whose IPv4 address matches"
    )
    parser.add_argument("--flavor", metavar="<flavor>", help=f"{verb} servers of this flavor (name or ID)")
    parser.add_argument("--image", metavar="<image>", help=f"{verb} servers that boot from this image")
    parser.add_argument("--host", metavar="<hostname>", help=f"{verb} servers on this host (admin only)")


def check_choice(parsed_args: argparse.Namespace) -> None:
    """Servers must be either named or selected by options."""
    from osc_imagetools.errors import UsageError

    chosen = [f"--{name.replace('_', '-')}" for name in FILTERS if getattr(parsed_args, name)]
    if parsed_args.explain:
        if parsed_args.servers or chosen or parsed_args.html:
            raise UsageError("--explain is about a reason: it takes no servers, no filters and no --html")
        return
    if parsed_args.servers and chosen:
        raise UsageError(f"<server> cannot be combined with {', '.join(chosen)}")
    if not parsed_args.servers and not chosen:
        raise UsageError("no server specified", hint="Name one or more servers, or use --all.")
    by_policy = getattr(parsed_args, "policy_file", None)
    for option in ("max_age", "max_proof_age", "bundles"):
        if by_policy and getattr(parsed_args, option, None):
            name = option.replace("_", "-")
            raise UsageError(f"--policy-file cannot be combined with --{name}")
    if parsed_args.project and parsed_args.all_projects:
        raise UsageError("--project cannot be combined with --all-projects")
    if parsed_args.html:
        from pathlib import Path

        from osc_imagetools.backup_check.html_report import check_path

        check_path(Path(parsed_args.html))


def read_scope(cloud: Cloud, parsed_args: argparse.Namespace) -> Scope:
    """The selected servers; all names that are not found are reported together."""
    from dataclasses import replace

    from osc_imagetools.backup_check.fleet import read_server
    from osc_imagetools.cloud.server import named_servers

    servers = named_servers(cloud, parsed_args.servers)
    scope = filter_scope(cloud, parsed_args)
    return replace(scope, servers=tuple(read_server(server.document) for server in servers))


def filter_scope(cloud: Cloud, parsed_args: argparse.Namespace) -> Scope:
    """The servers that the filters select."""
    from osc_imagetools.backup_check.inventory import Scope
    from osc_imagetools.cloud.flavor import find_flavor_id
    from osc_imagetools.cloud.image import find_image
    from osc_imagetools.cloud.project import find_project

    filters = {"not-tags": ",".join(parsed_args.not_tags), "ip": parsed_args.ip, "host": parsed_args.host}
    if parsed_args.flavor:
        filters["flavor"] = find_flavor_id(cloud, parsed_args.flavor)
    if parsed_args.image:
        filters["image"] = find_image(cloud, parsed_args.image).id
    return Scope(
        all_projects=parsed_args.all_projects,
        project=find_project(cloud, parsed_args.project).id if parsed_args.project else None,
        name=parsed_args.name,
        status=parsed_args.status,
        tags=tuple(parsed_args.tags),
        filters=tuple((key, value) for key, value in filters.items() if value),
    )


def _verdicts(cloud: Cloud, scope: Scope, parsed_args: argparse.Namespace) -> Any:
    """The verdicts; what is read and judged is shown."""
    import time
    from pathlib import Path

    from osc_imagetools.backup_check.bundles import read_bundles, read_repository
    from osc_imagetools.backup_check.inventory import read_fleet
    from osc_imagetools.backup_check.plan import judge
    from osc_imagetools.backup_check.plan_copies import Backups
    from osc_imagetools.progress.display import shown_progress

    directory = parsed_args.bundles
    # A directory that is named wins over the default of the environment.
    restic = repository_options.repository(parsed_args, f"{directory}/" if directory else None)
    ages: dict[str, Any] = {}
    bundles: list[Any] = []
    verdicts = []
    with shown_progress() as progress:
        if directory or restic or parsed_args.policy_file:
            with progress.step("bundles", "read"):
                bundles += read_bundles(Path(directory)) if directory else []
                bundles += read_repository(restic) if restic else []
                if parsed_args.policy_file:
                    ages, more = _by_policies(cloud, parsed_args)
                    bundles += more
        fleet = read_fleet(cloud, scope, progress.count)
        judged = judge(
            fleet,
            Backups(fleet, list(dict.fromkeys(bundles))),
            now=time.time(),
            max_age=parsed_args.max_age,
            max_proof_age=parsed_args.max_proof_age,
            ages=ages,
        )
        for number, verdict in enumerate(judged, 1):
            verdicts.append(verdict)
            progress.count("servers judged", number)
    return verdicts


def _by_policies(cloud: Cloud, parsed_args: argparse.Namespace) -> tuple[dict[str, Any], list[Any]]:
    """What the policies demand of each server, and the bundles in their directories and repositories."""
    from osc_imagetools.backup_run.plan_policy import server_ages
    from osc_imagetools.errors import raise_problems
    from osc_imagetools.v1.backup_policies import policies_of_file, read_copies
    from osc_imagetools.v1.backup_run import chosen_servers

    policies = policies_of_file(parsed_args.policy_file)
    ages = {server.id: server_ages(server, policies) for server in chosen_servers(cloud, parsed_args)}
    copies, problems = read_copies(policies)
    raise_problems("bundles cannot be read", list(problems.values()))
    return ages, [bundle for found in copies.values() for bundle in found]


def duration(text: str) -> int:
    """An argparse type: ``36h`` or ``7d`` in seconds."""
    from osc_imagetools.progress import words

    return words.seconds_of(text)
