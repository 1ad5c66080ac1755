# SPDX-License-Identifier: Apache-2.0
"""The command ``server backup-run``."""

from __future__ import annotations

import argparse
import logging
import os
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import backup_check, backup_fleet, backup_policies, base, repository_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from osc_imagetools.backup_run.child import ChildLogin
    from osc_imagetools.backup_run.result import ServerResult
    from osc_imagetools.cloud.connection import Cloud

# Options of the client that tell what a cloud is like and hold no secret; all others go by the environment.
PLAIN = ("--os-cloud", "--os-region-name", "--os-interface")
LOG = logging.getLogger(__name__)


class RunServerBackup(base.Lister):
    """Export all chosen servers whose backup is missing or too old.

    A server is exported if it has no complete bundle younger than ``--max-age`` with all of its volumes.
    Servers with a fresh bundle are left alone, so the command can be run as often as you like, for example
    by a timer every night. It can be killed at any moment and run again: it reads the state from the bundles
    themselves, and continues exports that were interrupted.

    The bundles go into a directory or into a restic repository.

    With ``--policy-file``, named policies say which servers are exported where and how often, which bundles
    are kept, and how often a restore check is due. Servers to which no policy or several policies apply are
    skipped.

    The failure of one server never ends the run.

    With ``--jobboard``, the exports are done by workers on other machines (``server backup-worker``). The
    command waits for them and can be interrupted: the run goes on, and ``--follow`` shows how far it is.

    Exit codes: 0 if no server failed, 3 if one did or if the file of ``--metrics`` or ``--html`` could not
    be written, 1 if the run could not begin.
    """

    more = ("ID", "Project", "Host")
    examples = (
        "openstack server backup-run --all --max-age 24h --repository /backup",
        "openstack server backup-run --all --policy-file policies.yaml --parallel 4",
    )
    failed = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("servers", metavar="<server>", nargs="*", help="Server to back up (name or ID)")
        backup_check.add_filters(parser, "Back up")
        add_policy_options(parser)
        _add_limits(parser)
        backup_fleet.add_run_options(parser)
        parser.add_argument(
            "--metrics",
            metavar="<file>",
            help="Also write the results for Prometheus to this file (for the textfile collector of "
            "node_exporter)",
        )
        parser.add_argument(
            "--html",
            metavar="<file>",
            help="Also write the report of server backup-check on these servers, as it is after the run",
        )
        base.add_dry_run_option(parser)
        repository_options.add_repository_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        backup_fleet.check_run(self, parsed_args)
        if parsed_args.follow:
            return backup_fleet.follow_run(self, parsed_args)
        policies = backup_policies.read_policies(parsed_args)
        check_run_options(parsed_args)
        import time

        from osc_imagetools.backup_run import report
        from osc_imagetools.backup_run.execute import carry_out
        from osc_imagetools.backup_run.plan import plan_run
        from osc_imagetools.progress.display import shown_progress

        started = time.monotonic()
        cloud = self.cloud()
        servers = chosen_servers(cloud, parsed_args)
        copies, unread = backup_policies.readable_copies(policies)
        planned = plan_run(servers, policies, copies, now=time.time(), unread=unread)
        if parsed_args.dry_run:
            return base.plan_rows(report.run_steps(planned))
        if parsed_args.no_wait:
            return backup_fleet.post_only(self, cloud, planned, parsed_args)
        if parsed_args.jobboard:
            results = backup_fleet.post_and_follow(self, cloud, planned, parsed_args)
        else:
            with shown_progress() as progress:
                results = carry_out(
                    planned,
                    child_login(self.app),
                    cloud.project_id,
                    run_options(parsed_args),
                    lambda done, all: progress.count(f"servers of {all}", done),
                )
        seconds = time.monotonic() - started

        def write_page() -> None:
            if parsed_args.html:
                _write_page(cloud, parsed_args, policies, results)

        return self.reported(
            results, seconds, lambda: write_results(parsed_args, results, seconds), write_page
        )

    def reported(
        self, results: list[ServerResult], seconds: float, *files: Callable[[], None]
    ) -> tuple[Any, Any]:
        """As :meth:`report`; then the files are written that were asked for besides the rows."""
        from osc_imagetools.errors import ImagetoolsError

        rows = self.report(results, seconds)
        for write in files:
            try:
                write()
            except ImagetoolsError as exc:  # the rows are there all the same, and the other file is written
                LOG.error("%s", exc)
                self.failed = True
        return rows

    def report(self, results: list[ServerResult], seconds: float) -> tuple[Any, Any]:
        """The columns and rows; the summary and the exit code are set."""
        from osc_imagetools.backup_run import report

        self.failed = any(result.result == "failed" for result in results)
        self.summary = report.run_summary(results, seconds)
        rows = ((*r[:3], base.Size(r[3]), *r[4:]) for r in report.run_rows(results))
        return report.COLUMNS, rows

    def hidden(self, parsed_args: argparse.Namespace) -> tuple[str, ...]:
        plain = parsed_args.dry_run or (parsed_args.no_wait and not parsed_args.follow)
        return () if plain else super().hidden(parsed_args)

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.failed = False
        return super().run(parsed_args) or (3 if self.failed else 0)


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is backed up how."""
    parser.add_argument(
        "--policy-file",
        metavar="<file>",
        help="YAML file with policies, instead of the following options",
    )
    parser.add_argument(
        "--max-age",
        metavar="<duration>",
        type=backup_check.duration,
        help="Maximum age of the newest complete bundle of a server: a number with m, h, d or w, for example "
        "24h",
    )
    parser.add_argument(
        "--output-directory",
        metavar="<directory>",
        help="Directory of the bundles: a directory for each server, a bundle for each export (or use "
        "--repository)",
    )
    parser.add_argument(
        "--stop",
        action="store_true",
        help="Stop each server while its snapshots are taken, then start it again",
    )
    parser.add_argument(
        "--allow-encrypted",
        action="store_true",
        help="Also export encrypted volumes. The copy stays encrypted and is useless without the key.",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much is done at the same time, and until when."""
    for name, what in (
        (
            "parallel",
            "Maximum number of servers at a time (default: 1; with --jobboard: no limit over all workers)",
        ),
        ("per-host", "Maximum number of servers of one hypervisor at a time"),
        ("per-project", "Maximum number of servers of one project at a time, whose quota they share"),
        ("per-volume-type", "Maximum number of servers with volumes of one type at a time"),
    ):
        kind = base.positive(int, "servers")
        parser.add_argument(f"--{name}", metavar="<n>", type=kind, help=what)
    base.add_jobs_option(parser, "Maximum number of concurrent transfers of each server")
    parser.set_defaults(jobs=None)  # whether it was given matters for --follow
    parser.add_argument(
        "--until",
        metavar="<time>",
        type=until,
        help="Begin no export after this time of day (06:00, local time); those that run are finished",
    )


def until(text: str) -> float:
    """An argparse type: the next moment with this time of day, in seconds since 1970."""
    from datetime import datetime, timedelta

    now = datetime.now()
    moment = datetime.strptime(text, "%H:%M").replace(year=now.year, month=now.month, day=now.day)
    return (moment if moment > now else moment + timedelta(days=1)).timestamp()


until.__name__ = "time of day"


def check_run_options(parsed_args: argparse.Namespace) -> None:
    """Contradictory options are refused before the login."""
    from pathlib import Path

    from osc_imagetools.backup_run.metrics import check_metrics_path

    parsed_args.explain = None
    backup_check.check_choice(parsed_args)
    if parsed_args.metrics:
        check_metrics_path(Path(parsed_args.metrics))


def chosen_servers(cloud: Cloud, parsed_args: argparse.Namespace) -> Any:
    """The chosen servers; all names that are not found are reported together."""
    from osc_imagetools.backup_run.inventory import run_servers
    from osc_imagetools.cloud.server import named_servers

    servers = named_servers(cloud, parsed_args.servers)
    scope = backup_check.filter_scope(cloud, parsed_args)
    return run_servers(cloud, scope, [server.document for server in servers])


def run_options(parsed_args: argparse.Namespace) -> Any:
    """The limits and the deadline as the run takes them."""
    from osc_imagetools.backup_run.execute import RunOptions
    from osc_imagetools.backup_run.plan_schedule import RunLimits

    parallel = parsed_args.parallel or (None if parsed_args.jobboard else 1)
    limits = RunLimits(parallel, parsed_args.per_host, parsed_args.per_project, parsed_args.per_volume_type)
    return RunOptions(limits, parsed_args.until, parsed_args.jobs or RunOptions.jobs)


def child_login(app: Any) -> ChildLogin:
    """How a command of its own process logs in as this one does: secrets go by its environment alone."""
    from osc_imagetools.backup_run.child import ChildLogin

    words: list[str] = []
    environment = dict(os.environ)
    for action in app.parser._actions:
        value = getattr(app.options, action.dest, None)
        options = [option for option in action.option_strings if option.startswith("--os-")]
        if not options or value is None or (value == action.default and options[0] not in PLAIN):
            continue
        if options[0] in PLAIN:
            words += [options[0], str(value)] if value else []
        elif isinstance(value, str | int) and not isinstance(value, bool):
            environment[options[0][2:].upper().replace("-", "_")] = str(value)
    if getattr(app.options, "insecure", None):
        words.append("--insecure")
    return ChildLogin(tuple(words), environment)


def write_results(parsed_args: argparse.Namespace, results: list[ServerResult], seconds: float) -> None:
    """The results for Prometheus, if they were asked for.

    :raises errors.ImagetoolsError: they cannot be written.
    """
    import time
    from pathlib import Path

    from osc_imagetools.backup_run.metrics import format_metrics, write_metrics

    if parsed_args.metrics:
        text = format_metrics(results, ended=time.time(), seconds=seconds)
        write_metrics(Path(parsed_args.metrics), text)


def _write_page(
    cloud: Cloud, parsed_args: argparse.Namespace, policies: Any, results: list[ServerResult]
) -> None:
    """The report of a check of these servers as they are now.

    :raises errors.ImagetoolsError: it cannot be made, or not be written.
    """
    import time
    from pathlib import Path

    from osc_imagetools.backup_check.inventory import read_fleet
    from osc_imagetools.backup_check.plan import judge
    from osc_imagetools.backup_check.plan_copies import Backups
    from osc_imagetools.backup_run.plan_policy import server_ages

    fleet = read_fleet(cloud, backup_check.read_scope(cloud, parsed_args), lambda what, number: None)
    found, _ = backup_policies.read_copies(policies)
    bundles = [copy for copies in found.values() for copy in copies]
    ages = {result.server.id: server_ages(result.server, policies) for result in results}
    page = backup_check.new_page(cloud)
    for verdict in judge(fleet, Backups(fleet, bundles), now=time.time(), max_age=None, ages=ages):
        page.add(verdict)
    page.write(Path(parsed_args.html))
