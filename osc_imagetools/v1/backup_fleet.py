# SPDX-License-Identifier: Apache-2.0
"""Runs on many machines: the command ``server backup-worker``, and ``server backup-run --jobboard``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import backup_check, backup_policies, base, repository_options

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Sequence

    from osc_imagetools.backup_run.fleet.board import Jobboard
    from osc_imagetools.backup_run.fleet.following import FollowedRun
    from osc_imagetools.backup_run.fleet.job import RunRecord
    from osc_imagetools.backup_run.fleet.posting import PostingLogin
    from osc_imagetools.backup_run.plan import PlannedServer
    from osc_imagetools.backup_run.plan_policy import BackupPolicy
    from osc_imagetools.backup_run.result import ServerResult
    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.progress.model import Progress, TaskProgress
    from osc_imagetools.v1.backup_run import RunServerBackup

SESSION = 30.0  # seconds
# Options of a run that mean nothing for one that is on the jobboard already, as argparse names them.
LIMITS = ("parallel", "per_host", "per_project", "per_volume_type")
REST = ("jobs", "until", "html", "dry_run")


class WorkServerBackup(base.Lister):
    """Take part in runs of server backup-run on another machine.

    The worker takes exports from the jobboard, one after the other, until it is stopped. It needs a
    clouds.yaml with the clouds of the runs and the same policies as ``server backup-run``; only exports of
    clouds and policies that it knows are taken. Run it as a service on as many machines as you like.

    If a worker dies or loses its connection to ZooKeeper for longer than ``--session-timeout``, another one
    takes over: it waits until the lost worker has stopped, deletes what that left in the cloud, and exports
    the server again. A server that failed is tried again up to three times, on another worker if there is
    one.

    When the worker is stopped, its exports are interrupted, their temporary resources are deleted, and other
    workers take the servers.

    Exit codes: 0 if the jobboard was empty with ``--exit-when-idle``, 3 if a server failed, 130 if the worker
    was stopped, 1 if the jobboard could not be reached.
    """

    more = ("ID", "Project", "Host")
    examples = ("openstack server backup-worker --jobboard zookeeper://zk --policy-file p.yml",)
    failed = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from osc_imagetools.v1.backup_run import add_policy_options

        parser = super().get_parser(prog_name)
        _add_jobboard(parser, required=True)
        add_policy_options(parser)
        repository_options.add_repository_options(parser)
        parser.add_argument(
            "--parallel",
            metavar="<n>",
            type=base.positive(int, "servers"),
            default=1,
            help="Maximum number of servers at a time on this machine (default: 1)",
        )
        parser.add_argument(
            "--session-timeout",
            metavar="<seconds>",
            type=base.positive(float, "seconds"),
            default=SESSION,
            help="How long the worker goes on without ZooKeeper before it stops its exports (default: 30). "
            "Another worker takes over after the session has ended and this time has passed again.",
        )
        parser.add_argument(
            "--exit-when-idle",
            action="store_true",
            help="End when the jobboard holds no export for this worker, and list what it has done",
        )
        base.add_dry_run_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from osc_imagetools.backup_run.fleet.plan_address import parse_address
        from osc_imagetools.v1.backup_policies import read_policies

        address = parse_address(parsed_args.jobboard)
        policies = {policy.name: policy for policy in read_policies(parsed_args)}
        _check_swift(policies.values())
        from osc_imagetools.backup_run.fleet.worker import known_clouds, waiting_steps, work
        from osc_imagetools.backup_run.fleet.worker_loop import WorkerOptions

        options = WorkerOptions(
            known_clouds(),
            policies,
            parsed_args.parallel,
            parsed_args.session_timeout,
            parsed_args.exit_when_idle,
        )
        if parsed_args.dry_run:
            return base.plan_rows(waiting_steps(address, options))
        return self.report(work(address, options))

    def report(self, results: Sequence[ServerResult]) -> tuple[Any, Any]:
        """The columns and rows; the exit code is set."""
        from osc_imagetools.backup_run.report import COLUMNS, run_rows

        self.failed = any(result.result == "failed" for result in results)
        return COLUMNS, ((*r[:3], base.Size(r[3]), *r[4:]) for r in run_rows(results))

    def hidden(self, parsed_args: argparse.Namespace) -> tuple[str, ...]:
        return () if parsed_args.dry_run else super().hidden(parsed_args)

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.failed = False
        return super().run(parsed_args) or (3 if self.failed else 0)


def _check_swift(policies: Iterable[BackupPolicy]) -> None:
    """Each repository in Swift needs a login that the commands of a worker have as well.

    They log in to the clouds of the jobs, so the variables of OpenStack are taken from them; ``ST_AUTH`` is
    the login of Swift's own.

    :raises errors.UsageError: it has none.
    """
    import os

    from osc_imagetools.errors import UsageError

    without = [p for p in policies if p.target.repository.startswith("swift:") and not p.target.cloud]
    if without and not os.environ.get("ST_AUTH"):
        named = ", ".join(f"policies/{p.name}" if p.name else "--repository" for p in without)
        raise UsageError(
            f"{named}: a worker logs in to a swift: repository by a cloud in clouds.yaml, or with ST_AUTH",
            hint="Name the cloud with repository_cloud in the policy, or with --repository-cloud <cloud>.",
        )


def _add_jobboard(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--jobboard",
        metavar="<url>",
        required=required,
        help="Jobboard in ZooKeeper: zookeeper://<host>:<port>[,<host>:<port>...][/<path>]",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run whose exports are done by workers."""
    _add_jobboard(parser)
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="Print the ID of the run as soon as its exports are on the jobboard; with --follow, print how "
        "far the run is now",
    )
    parser.add_argument(
        "--follow",
        metavar="<run>",
        help="Wait for a run that is on the jobboard already, and report on it (ID from --no-wait)",
    )


def check_run(command: RunServerBackup, parsed_args: argparse.Namespace) -> None:
    """Contradictory options are refused before the login, and a run that could not be posted.

    :raises errors.FleetAbsent: the packages for it are not installed.
    """
    from osc_imagetools.backup_run.fleet.plan_address import parse_address
    from osc_imagetools.errors import UsageError

    if not parsed_args.jobboard:
        for option in ("no_wait", "follow"):
            if getattr(parsed_args, option):
                raise UsageError(f"--{option.replace('_', '-')} needs --jobboard <url>")
        return
    parse_address(parsed_args.jobboard)
    if parsed_args.follow:
        names = (*backup_check.FILTERS, "policy_file", *backup_policies.POLICY_OPTIONS, *LIMITS, *REST)
        given = [f"--{n.replace('_', '-')}" for n in names if getattr(parsed_args, n, None)]
        given += ["<server>"] if parsed_args.servers else []
        if given:
            raise UsageError(f"--follow cannot be combined with {', '.join(given)}")
    if parsed_args.no_wait:
        for option in ("html", "metrics"):
            if getattr(parsed_args, option):
                raise UsageError(f"--no-wait cannot be combined with --{option}: there is no result yet")
    if not parsed_args.follow:
        _cloud_name(command)
    from osc_imagetools.backup_run.fleet import board  # noqa: F401


def posting_login(command: RunServerBackup, cloud: Cloud) -> PostingLogin:
    """What the workers log in to, by the name that it has in clouds.yaml."""
    from osc_imagetools.backup_run.fleet.posting import PostingLogin

    region = str(getattr(command.app.options, "region_name", None) or "")
    return PostingLogin(_cloud_name(command), region, cloud.project_id)


def _cloud_name(command: RunServerBackup) -> str:
    """The name of the login in clouds.yaml.

    :raises errors.UsageError: it has none.
    """
    from osc_imagetools.errors import UsageError

    name = getattr(command.app.options, "cloud", None)
    if not name:
        raise UsageError(
            "--jobboard needs a login from clouds.yaml: workers find the cloud by its name",
            hint="Use --os-cloud <name> or OS_CLOUD.",
        )
    return str(name)


def post_only(
    command: RunServerBackup, cloud: Cloud, planned: list[PlannedServer], parsed_args: argparse.Namespace
) -> tuple[Any, Any]:
    """Posts a run: one row with its ID."""
    import threading

    from osc_imagetools.backup_run.fleet.board import Jobboard
    from osc_imagetools.backup_run.fleet.plan_address import parse_address
    from osc_imagetools.backup_run.fleet.posting import follow_command, post_run
    from osc_imagetools.backup_run.fleet.worker import worker_name
    from osc_imagetools.run.interrupts import interrupts_set
    from osc_imagetools.v1.backup_run import run_options

    login, stop = posting_login(command, cloud), threading.Event()
    with Jobboard(parse_address(parsed_args.jobboard), worker_name(), SESSION) as board, interrupts_set(stop):
        record = post_run(board, planned, login, run_options(parsed_args), stop=stop)
        command.next_steps = [follow_command(board, record.run)]
    return ("Run", "Servers", "Jobs"), [(record.run, record.servers, record.jobs)]


def post_and_follow(
    command: RunServerBackup, cloud: Cloud, planned: list[PlannedServer], parsed_args: argparse.Namespace
) -> list[ServerResult]:
    """Posts a run and waits until it is over: its results."""
    import threading

    from osc_imagetools.backup_run.fleet.board import Jobboard
    from osc_imagetools.backup_run.fleet.plan_address import parse_address
    from osc_imagetools.backup_run.fleet.posting import follow_command, post_run
    from osc_imagetools.backup_run.fleet.worker import worker_name
    from osc_imagetools.progress.words import counted
    from osc_imagetools.run.interrupts import interrupts_set
    from osc_imagetools.v1.backup_run import run_options

    def tell(record: RunRecord) -> None:
        counts = f"{counted(record.servers, 'server')}, {counted(record.jobs, 'job')}"
        base.tell(f"Run {record.run}: {counts}. To follow it: {follow_command(board, record.run)}")

    login, stop = posting_login(command, cloud), threading.Event()
    with Jobboard(parse_address(parsed_args.jobboard), worker_name(), SESSION) as board, interrupts_set(stop):
        record = post_run(board, planned, login, run_options(parsed_args), tell=tell, stop=stop)
        results = _follow(board, record, stop)
    _keep(command, planned, results)
    return results


def _keep(command: RunServerBackup, planned: list[PlannedServer], results: list[ServerResult]) -> None:
    """Applies the rules of the policies in their repositories, where no worker writes for this run now."""
    import threading

    from osc_imagetools.backup_run.execute import keep_in_repositories
    from osc_imagetools.run.interrupts import interrupts_set
    from osc_imagetools.v1.backup_run import child_login

    policies = {plan.server.id: plan.policy for plan in planned}
    exported = [(policy, r) for r in results if (policy := policies.get(r.server.id)) is not None]
    stop, give_up = threading.Event(), threading.Event()
    with interrupts_set(stop, give_up):
        keep_in_repositories(exported, child_login(command.app), stop, give_up)


def follow_run(command: RunServerBackup, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
    """The rows of a run that is on the board: when it is over, or with ``--no-wait`` now."""
    import threading
    import time
    from pathlib import Path

    from osc_imagetools.backup_run.fleet.board import Jobboard
    from osc_imagetools.backup_run.fleet.following import FollowedRun, read_run
    from osc_imagetools.backup_run.fleet.plan_address import parse_address
    from osc_imagetools.backup_run.fleet.worker import worker_name
    from osc_imagetools.backup_run.metrics import check_metrics_path
    from osc_imagetools.run.interrupts import interrupts_set
    from osc_imagetools.v1.backup_run import write_results

    if parsed_args.metrics:
        check_metrics_path(Path(parsed_args.metrics))
    with Jobboard(parse_address(parsed_args.jobboard), worker_name(), SESSION) as board:
        record = read_run(board, parsed_args.follow)
        if parsed_args.no_wait:
            followed = FollowedRun(board, record)
            followed.update()
            results = followed.results()
        else:
            stop = threading.Event()
            with interrupts_set(stop):
                results = _follow(board, record, stop)
    seconds = max(0.0, time.time() - record.created)
    return command.reported(results, seconds, lambda: write_results(parsed_args, results, seconds))


def _follow(board: Jobboard, record: RunRecord, stop: threading.Event) -> list[ServerResult]:
    from osc_imagetools.backup_run.fleet.following import follow
    from osc_imagetools.progress.display import shown_progress

    with shown_progress() as progress:
        return follow(board, record, stop, FollowedProgress(progress))


class FollowedProgress:
    """Shows how far a run is: how many servers are done, and a line for each that is worked on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: dict[str, TaskProgress] = {}

    def __call__(self, followed: FollowedRun) -> None:
        from osc_imagetools.backup_run.fleet.following import running_texts

        self._progress.count(f"servers of {followed.record.servers}", followed.count("done"))
        running = running_texts(followed.states.values())
        for label in self._lines.keys() - running.keys():
            self._lines.pop(label).done()
        for label, step in running.items():
            if label not in self._lines:
                self._lines[label] = self._progress.task(label, None)
            self._lines[label].message(step)
