# SPDX-License-Identifier: Apache-2.0
"""One claimed job: what an earlier worker has left is removed, then the server is backed up as in any run.

Contract: nothing is begun before an earlier worker that was lost is certainly over: its lease has ended, and
where both share the destination's file system its lock is free. The commands have IDs of runs that are known
beforehand, and the lease of this worker; this process itself holds no lock while a command runs, so that
nothing waits for a process that is stopped.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from osc_imagetools import errors
from osc_imagetools.backup_run.child import ChildCommand, ChildLogin
from osc_imagetools.backup_run.destination import backup_destination
from osc_imagetools.backup_run.execute import ServerRun, settled
from osc_imagetools.backup_run.fleet.board import PostedJob
from osc_imagetools.backup_run.fleet.destination import copies_of, reservable
from osc_imagetools.backup_run.fleet.job import FleetJob, ServerState
from osc_imagetools.backup_run.plan import PlannedServer, plan_run
from osc_imagetools.backup_run.plan_policy import BackupPolicy, ServerChoice
from osc_imagetools.backup_run.plan_schedule import ScheduledJob
from osc_imagetools.backup_run.repository_keeping import PATIENCE
from osc_imagetools.backup_run.result import EXPORTED, FAILED, FRESH, ServerResult
from osc_imagetools.run.assignment import LEASE, RUN_ID, RunLease

LOG = logging.getLogger(__name__)
BUSY_POLL = 3.0  # seconds
# Of the variables of OpenStack a worker's commands get only these: the cloud of a job is in clouds.yaml.
KEPT_VARIABLES = ("OS_CLIENT_", "OS_CACERT")


def job_login(job: FleetJob, environment: Mapping[str, str]) -> ChildLogin:
    """How the commands of a job log in: to its cloud in this machine's clouds.yaml."""
    kept = {k: v for k, v in environment.items() if not k.startswith("OS_") or k.startswith(KEPT_VARIABLES)}
    words = [f"--os-cloud={job.cloud}", "-v"]
    words += [f"--os-region-name={job.region}"] if job.region else []
    words += [f"--os-project-id={job.project}"] if job.project else []
    return ChildLogin(tuple(words), kept)


@dataclass
class LeasedServerRun(ServerRun):
    """See :class:`ServerRun`; each command is a run with the next of the ``run_ids``."""

    lease: RunLease = field(kw_only=True)
    run_ids: list[str] = field(kw_only=True)

    def _start(self, words: Sequence[str]) -> None:
        number = self.lease.descriptor
        environment = {**self.login.environment, LEASE: str(number), RUN_ID: self.run_ids.pop(0)}
        try:
            if self._lock is None:
                self._lock = self.place.reserve(self.planned.server.id)
            login = replace(self.login, environment=environment)
            self._child = ChildCommand(login, words, kept_open=(self._lock, number))
        except errors.ImagetoolsError as exc:
            self._end(FAILED, exc.message)
        except (OSError, subprocess.SubprocessError) as exc:
            self._end(FAILED, f"the command cannot be started: {exc}")
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None


class FleetTask:
    """A job of this worker while it is worked on. ``state`` is what the board knows of it, in ``version``.

    *clear* are the runs whose resources go first, *wait* the seconds until an earlier worker is over. With a
    *verdict* that is all that is done.
    """

    def __init__(
        self,
        posted: PostedJob,
        job: FleetJob,
        policy: BackupPolicy,
        state: ServerState,
        version: int,
        lease: RunLease,
        *,
        clear: Sequence[str],
        run_ids: Sequence[str],
        wait: float,
        verdict: ServerResult | None = None,
    ) -> None:
        self.posted, self.job, self.state, self.version = posted, job, state, version
        self.result = ServerResult(job.server, FAILED)
        self.interrupted = 0
        self.reposted = False
        self._policy = policy
        self._lease = lease
        self._login = job_login(job, os.environ)
        self._clear, self._run_ids, self._verdict = list(clear), list(run_ids), verdict
        self._earlier = bool(clear)
        self._not_before = time.monotonic() + wait
        self._locked: float | None = None  # since when the repository is
        self._clearing: ChildCommand | None = None
        self._run: LeasedServerRun | None = None
        self._ended = False
        self._finished: list[str] = []

    @property
    def final(self) -> bool:
        """Whether its result stands, although it failed."""
        return self._verdict is not None

    @property
    def step(self) -> str:
        """How far it is."""
        if self._run is not None:
            return self._run.said
        if self._clearing is not None:
            return f"removing what an earlier attempt has left: {self._clearing.said()}"
        if self._locked is not None:
            return "waiting for the lock of the repository"
        return "waiting until an earlier attempt is over"

    def advance(self) -> bool:
        """Goes on as far as it can; whether all is done."""
        if self._ended:
            return True
        try:
            self._ended = self._advance()
        except errors.ImagetoolsError as exc:
            self._failed(exc.message)
        except Exception as exc:  # a job never vanishes, whatever happens in it
            LOG.exception("Backup of server %s", self.job.server.id)
            self._failed(f"{type(exc).__name__}: {exc}")
        return self._ended

    def interrupt(self) -> None:
        """Asks what runs to clean up and end; nothing more is begun."""
        self.interrupted += 1
        if self._run is not None:
            self._run.interrupt()
        elif self._clearing is not None:
            self._clearing.interrupt()

    def wait(self) -> None:
        """Until what runs has ended."""
        if self._run is not None:
            self._run.wait()
        elif self._clearing is not None:
            self._clearing.result()

    def _advance(self) -> bool:
        if self._run is not None:
            return self._finish(self._run.result) if self._run.advance() else False
        if self._clearing is not None:
            if not self._clearing.ended():
                return False
            child, self._clearing = self._clearing.result(), None
            if child.code:
                return self._failed(f"what an earlier attempt left was not removed: {child.failure}")
            self._clear = []
        if self.interrupted:
            return True
        if time.monotonic() < self._not_before:
            return False
        if self._clear and not reservable(self._policy, self.job.server.id):
            self._not_before = time.monotonic() + BUSY_POLL
            return False
        if self._clear:
            self._clearing = self._start_clearing()
            return False
        if self._verdict is not None:
            return self._finish(self._verdict)
        return self._begin()

    def _start_clearing(self) -> ChildCommand:
        words = ["leftover", "delete", "--yes", "-f", "json"]
        for run in self._clear:
            words += ["--run", run]
        number = self._lease.descriptor
        environment = {**self._login.environment, LEASE: str(number)}
        return ChildCommand(replace(self._login, environment=environment), words, kept_open=(number,))

    def _begin(self) -> bool:
        """Plans and starts the work; whether there is none."""
        try:
            planned = plan_job(self.job, self._policy)
        except errors.RepositoryLocked:
            now = time.monotonic()
            self._locked = now if self._locked is None else self._locked
            if now - self._locked > PATIENCE:
                raise
            self._not_before = now + BUSY_POLL  # the other jobs of this worker go on meanwhile
            return False
        newest = planned.newest.path if planned.newest else ""
        if not planned.export and newest != self.job.newest and self._earlier:
            self._finished = [f"{newest} was completed by an earlier attempt"]
        if not planned.work:
            return self._finish(settled(planned))
        server = self.job.server
        scheduled = ScheduledJob(planned, server.host, server.project_id, server.volume_types)
        self._run = LeasedServerRun(
            scheduled,
            self._login.with_more(self._policy.target.environment),
            self.job.jobs,
            backup_destination(self._policy.target, os.environ),
            self._policy,
            lease=self._lease,
            run_ids=self._run_ids,
        )
        return False

    def _finish(self, result: ServerResult) -> bool:
        self.result = result
        if self._finished and result.result == FRESH:
            result.result = EXPORTED
            result.details += self._finished
        return True

    def _failed(self, text: str) -> bool:
        self.result = ServerResult(self.job.server, FAILED, details=[text])
        self._ended = True
        return True


def plan_job(job: FleetJob, policy: BackupPolicy) -> PlannedServer:
    """What is due now for the server of a job.

    :raises errors.RepositoryLocked: another process removes bundles.
    :raises errors.ImagetoolsError: its bundles cannot be read.
    """
    chosen = replace(policy, servers=ServerChoice())  # the run has chosen
    copies = {policy.target: copies_of(policy, job.server.id)}
    (planned,) = plan_run([job.server], (chosen,), copies, now=time.time())
    return planned
