# SPDX-License-Identifier: Apache-2.0
"""Carries out a run: several servers at a time, each by commands of their own, until all is done.

Contract: the failure of one server is its result and never the end of the run. An interrupt is passed on to
the commands that run, which clean up; nothing new is begun then. After the deadline nothing new is begun
either, and what runs is finished.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.backup_run.child import ChildCommand, ChildLogin, ChildResult
from osc_imagetools.backup_run.destination import BackupDestination, BundleDirectory, backup_destination
from osc_imagetools.backup_run.plan import PlannedServer
from osc_imagetools.backup_run.plan_commands import export_words, proof_words
from osc_imagetools.backup_run.plan_policy import BackupPolicy
from osc_imagetools.backup_run.plan_schedule import JobSchedule, RunLimits, ScheduledJob
from osc_imagetools.backup_run.plan_target import BackupTarget
from osc_imagetools.backup_run.repository_keeping import repository_keepings
from osc_imagetools.backup_run.result import EXPORTED, FAILED, FRESH, SKIPPED, ServerResult
from osc_imagetools.backup_run.running import ended_with_us, last_words, pass_on
from osc_imagetools.bundle.layout import MANIFEST
from osc_imagetools.run.interrupts import interrupts_set

LOG = logging.getLogger(__name__)
POLL = 0.2  # seconds
NOT_PROVEN = 3  # exit code of a restore check that is no proof


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; ``until`` in seconds since 1970, after which nothing is begun."""

    limits: RunLimits
    until: float | None = None
    jobs: int = 4


def carry_out(
    planned: Sequence[PlannedServer],
    login: ChildLogin,
    project_id: str,
    options: RunOptions,
    tell: Callable[[int, int], None] = lambda done, all: None,
) -> list[ServerResult]:
    """The results of all servers, in the order of the plan.

    :param project_id: of the login; a server of another one is exported there.
    :param tell: is given how many of the servers with work are done, and how many there are.
    :raises errors.Cancelled: interrupted; the commands have cleaned up, and it names what they left.
    """
    work = [p for p in planned if p.work]
    schedule = JobSchedule(map(_job, work), options.limits)
    results = {p.server.id: settled(p) for p in planned if not p.work}
    places = _destinations(work, login)
    running: list[ServerRun] = []
    ended: list[ServerRun] = []
    stop, give_up = threading.Event(), threading.Event()

    def said() -> str:
        return last_words(run.planned.server for run in running)

    with ended_with_us(running), interrupts_set(stop, give_up, last_words=said):
        while True:
            for run in [run for run in running if run.advance()]:
                running.remove(run)
                ended.append(run)
                schedule.done(run.job)
                results[run.planned.server.id] = run.result
                tell(sum(p.server.id in results for p in work), len(work))
            late = options.until is not None and time.time() >= options.until
            while not (stop.is_set() or late) and (job := schedule.take()) is not None:
                login_there = _login(job.what, login, project_id)
                running.append(_begun(job, login_there, options.jobs, places))
            if not running and (stop.is_set() or late or not schedule.waiting):
                break
            if stop.is_set():
                pass_on(running, give_up)
            time.sleep(POLL)
        keep_in_repositories(((run.policy, run.result) for run in ended), login, stop, give_up)
    if stop.is_set():
        done = sum(p.server.id in results and results[p.server.id].result != FAILED for p in work)
        raise errors.Cancelled(
            f"interrupted: {done} of {len(work)} servers were done",
            hint="Run the same command again: it goes on where it stopped.",
            left=tuple(text for result in results.values() for text in result.left),
        )
    for job in schedule.waiting:
        server = job.what.server
        results[server.id] = ServerResult(server, SKIPPED, details=["the deadline (--until) has passed"])
    return [results[p.server.id] for p in planned]


def settled(planned: PlannedServer) -> ServerResult:
    """The result of a server for which nothing has to be done."""
    if planned.policy is None:
        return ServerResult(planned.server, SKIPPED, details=[planned.skipped])
    if planned.unread:
        return ServerResult(planned.server, FAILED, details=[planned.unread])
    newest = planned.newest
    result = ServerResult(planned.server, FRESH)
    if newest is not None:
        result.bundle, result.newest = newest.path, newest.taken
        result.proof = max((p.at for p in newest.proofs if p.booted), default=None)
    return result


def _job(planned: PlannedServer) -> ScheduledJob[PlannedServer]:
    server = planned.server
    return ScheduledJob(planned, server.host, server.project_id, server.volume_types)


def _login(planned: PlannedServer, login: ChildLogin, project_id: str) -> ChildLogin:
    theirs = planned.server.project_id
    return login if theirs in ("", project_id) else login.in_project(theirs)


def _destinations(work: Sequence[PlannedServer], login: ChildLogin) -> dict[BackupTarget, BackupDestination]:
    """The destinations of the servers with work; raises as :func:`backup_destination`."""
    targets = {p.policy.target for p in work if p.policy is not None}
    return {target: backup_destination(target, login.environment) for target in targets}


def _begun(
    job: ScheduledJob[PlannedServer],
    login: ChildLogin,
    jobs: int,
    places: Mapping[BackupTarget, BackupDestination],
) -> ServerRun:
    policy = job.what.policy
    assert policy is not None  # there is work
    return ServerRun(job, login.with_more(policy.target.environment), jobs, places[policy.target], policy)


def keep_in_repositories(
    ended: Iterable[tuple[BackupPolicy, ServerResult]],
    login: ChildLogin,
    stop: threading.Event,
    give_up: threading.Event,
) -> None:
    """Applies the rules of the policies in their repositories."""
    for keeping in repository_keepings(ended, login):
        if stop.is_set():
            return
        with ended_with_us([keeping]):
            while not keeping.advance():
                if stop.is_set():
                    pass_on([keeping], give_up)
                time.sleep(POLL)


@dataclass
class ServerRun:
    """One server while something is done: its export, then its proof, then its rules of keeping.

    The rules come last, so that a new proof counts for them; those in a repository when all servers are done.
    """

    job: ScheduledJob[PlannedServer]
    login: ChildLogin
    jobs: int
    place: BackupDestination
    policy: BackupPolicy
    interrupted: int = 0
    _child: ChildCommand | None = None
    _steps: list[str] = field(default_factory=list)
    _lock: int | None = None

    def __post_init__(self) -> None:
        self.planned = self.job.what
        self.result = settled(self.planned)
        keeps = self.planned.export and self.policy.keep is not None and bool(self.policy.target.directory)
        self._steps = ["export"] * self.planned.export + ["prove"] * self.planned.prove + ["forget"] * keeps
        try:
            self._lock = self.place.reserve(self.planned.server.id)
        except errors.BundleBusy as exc:
            self._end(SKIPPED, exc.message)
        except errors.ImagetoolsError as exc:
            self._end(FAILED, exc.message)
        else:
            self._next()

    def advance(self) -> bool:
        """Goes on as far as it can; whether all is done."""
        if self._child is not None and self._child.ended():
            child, self._child = self._child, None
            step = self._steps.pop(0)
            told = self._exported if step == "export" else self._proven
            result = child.result()
            self.result.left += result.left
            told(result)
            self._next()
        if self._child is None and self._lock is not None:
            os.close(self._lock)
            self._lock = None
        return self._child is None

    def wait(self) -> None:
        """Until what runs has ended."""
        if self._child is not None:
            self._child.result()

    def interrupt(self) -> None:
        """Asks what runs to clean up and end."""
        self.interrupted += 1
        self._steps = self._steps[:1]
        if self._child is not None:
            self._child.interrupt()

    def _next(self) -> None:
        if not self._steps:
            return
        server = self.planned.server
        if self._steps[0] == "forget":
            self._steps.pop(0)
            self._forget()
            return
        if self._steps[0] == "export":
            path = self._path()
            LOG.info(
                "Exporting server %s (%s) to %s", server.name, server.id, path or self.policy.target.label
            )
            words = export_words(server.id, path, self.policy, self.jobs)
        else:
            LOG.info("Checking that server %s (%s) boots from %s", server.name, server.id, self.result.bundle)
            words = proof_words(str(self.result.bundle), self.policy, self.jobs)
        self._start(words)

    def _start(self, words: Sequence[str]) -> None:
        """Starts a command."""
        assert self._lock is not None
        try:
            self._child = ChildCommand(self.login, words, kept_open=(self._lock,))
        except (OSError, subprocess.SubprocessError) as exc:
            self._end(FAILED, f"the command cannot be started: {exc}")

    @property
    def said(self) -> str:
        """The last line of what the command that runs has said."""
        return self._child.said() if self._child is not None else ""

    def _path(self) -> str | None:
        """A bundle that an earlier run has begun, unless another has finished it meanwhile; or a new one."""
        path = self.planned.unfinished
        if path and not os.path.lexists(Path(path) / MANIFEST):
            return path
        new = self.place.new_bundle(self.planned.server.id)
        return None if new is None else str(new)

    def _exported(self, child: ChildResult) -> None:
        if child.code:
            self._end(FAILED, child.failure)
            return
        report = child.report
        self.result.result = EXPORTED
        self.result.bundle = report.get("bundle")
        self.result.bytes, self.result.seconds = report.get("bytes"), child.seconds
        self.result.newest = time.time() - child.seconds

    def _forget(self) -> None:
        assert self.policy.keep is not None and isinstance(self.place, BundleDirectory)
        try:
            removals = self.place.forget(self.planned.server.id, self.policy.keep)
        except errors.ImagetoolsError as exc:
            self._end(FAILED, f"exported, but old bundles were not removed: {exc.message}")
            return
        removed = sum(removal.removed for removal in removals)
        if removed:
            self.result.details.append(f"old bundles removed: {removed}")
        kept = [f"{r.bundle.label} was not removed: {r.reason}" for r in removals if not r.removed]
        if kept:
            self._end(FAILED, "; ".join(kept))

    def _proven(self, child: ChildResult) -> None:
        report = child.report
        if child.code in (0, NOT_PROVEN) and report:
            said = f"restore check: {report.get('result')}"
            if child.code:
                self._end(FAILED, f"{said}: {report.get('evidence')}")
            else:
                self.result.details.append(said)
                self.result.proof = time.time()
        else:
            self._end(FAILED, f"restore check: {child.failure}")

    def _end(self, result: str, detail: str) -> None:
        self.result.result = result
        self.result.details.append(detail)
        self._steps = []
