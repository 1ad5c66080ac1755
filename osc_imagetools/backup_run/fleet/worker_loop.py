# SPDX-License-Identifier: Apache-2.0
"""What a worker does within one session: claims jobs, carries them out, writes down what became of them.

Contract: what becomes of a job is written down before the job leaves the board, and nothing is written of a
job after the session is lost: another worker has it then. The state of a server is written with the version
that was read, so that of two workers only one can.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet.board import WORKERS, FencedOff, Jobboard, PostedJob
from osc_imagetools.backup_run.fleet.job import (
    DONE,
    MAX_TEXT,
    RETRIES,
    RUNNING,
    WAITING,
    BadRecord,
    FleetJob,
    ServerState,
    WorkerRecord,
    format_state,
    parse_state,
    parse_worker,
    result_facts,
)
from osc_imagetools.backup_run.fleet.plan_claims import choose
from osc_imagetools.backup_run.fleet.posting import server_node
from osc_imagetools.backup_run.fleet.session import WorkerSession
from osc_imagetools.backup_run.fleet.task import FleetTask
from osc_imagetools.backup_run.plan_policy import BackupPolicy
from osc_imagetools.backup_run.result import FAILED, SKIPPED, ServerResult
from osc_imagetools.backup_run.running import pass_on
from osc_imagetools.run.assignment import new_run_id

LOG = logging.getLogger(__name__)
POLL = 0.5  # seconds
LOOK = 2.0  # seconds between two looks at the board
TELL = 5.0  # seconds between two notes of how far a job is
COMMANDS = 2  # of a job, that make something in the cloud: the export and its restore check


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works; *parallel* servers at a time, *timeout* of its session in seconds."""

    clouds: frozenset[str]
    policies: Mapping[str, BackupPolicy]
    parallel: int = 1
    timeout: float = 30.0
    exit_when_idle: bool = False


@dataclass
class WorkerLoop:
    """What a worker does within one session."""

    board: Jobboard
    session: WorkerSession
    worker: WorkerRecord
    options: WorkerOptions
    tasks: list[FleetTask]
    stop: threading.Event
    give_up: threading.Event
    results: list[ServerResult]
    unsettled: list[FleetTask] = field(default_factory=list)
    doubtful: list[PostedJob] = field(default_factory=list)  # a claim whose answer is not known
    beginning: dict[str, ServerState] = field(default_factory=dict)  # by job; nothing was started yet
    looked: float = 0.0
    told: float = 0.0
    idle: bool = False

    def work(self) -> bool:
        """Takes jobs; whether the worker is done. Else the session is lost."""
        while not self.session.over():
            self._advance()
            self._once(self.board.end_turn)
            self._once(self._settle)
            if self.stop.is_set():
                pass_on(self.tasks, self.give_up)
                if not self.tasks and not self.unsettled:
                    return True
            elif self._due():
                self._once(self._look)
                if self.idle and not self.tasks and not self.unsettled and self.options.exit_when_idle:
                    return True
            time.sleep(POLL)
        LOG.error("The session with the jobboard is lost: what runs is stopped")
        while self.tasks:
            pass_on(self.tasks, self.give_up)
            self.tasks[:] = [task for task in self.tasks if not task.advance()]
            time.sleep(POLL)
        return False

    def _advance(self) -> None:
        for task in [task for task in self.tasks if task.advance()]:
            self.tasks.remove(task)
            self.unsettled.append(task)

    def _once(self, what: Callable[[], None]) -> None:
        """Tries something; where ZooKeeper does not answer it is tried again next time."""
        if self.session.over():
            return
        try:
            what()
        except errors.JobboardError as exc:
            LOG.info("%s", exc.message)

    def _due(self) -> bool:
        free = len(self.tasks) < self.options.parallel
        now = time.monotonic()
        if now - self.told > TELL:
            self.told = now
            self._once(self._tell)
        if not free or now - self.looked < LOOK:
            return False
        self.looked = now
        return True

    # -- claiming ----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Claims as many jobs as this worker has room for."""
        for posted in list(self.doubtful):
            mine = self.board.is_mine(posted)
            self.doubtful.remove(posted)
            if mine:
                self._begin(posted)
        while len(self.tasks) < self.options.parallel and not self.stop.is_set():
            claimed = self._claim()
            if claimed is None:
                return
            self._begin(claimed)

    def _claim(self) -> PostedJob | None:
        """The first job that may be done now, claimed for this session."""
        if not self._waiting(self.board.jobs()):
            return None
        with self.board.turn():
            jobs = self.board.jobs()
            workers = [w for data in self.board.read_all(WORKERS).values() if (w := _worker(data))]
            claimed = [p.job for p in jobs if p.claimed and p.job]
            waiting = self._waiting(jobs)
            chosen = choose([p.job for p in waiting if p.job], claimed, self.worker, workers)
            posted = next((p for p in waiting if p.job is chosen), None) if chosen else None
            if posted is None:
                return None
            try:
                return posted if self.board.claim(posted) else None
            except errors.JobboardError:
                self.doubtful.append(posted)
                raise

    def _waiting(self, jobs: list[PostedJob]) -> list[PostedJob]:
        known = [p for p in jobs if p.job and self.worker.knows(p.job)]
        self.idle = not known
        return [p for p in known if not p.claimed]

    def _begin(self, posted: PostedJob) -> None:
        """Begins a job that is claimed."""
        try:
            self._begin_claimed(posted)
        except errors.JobboardError:
            self.doubtful.append(posted)
            raise

    def _begin_claimed(self, posted: PostedJob) -> None:
        """Writes down who does it, before anything is done."""
        job = posted.job
        assert job is not None
        node = server_node(job)
        found = self.board.read(*node)
        try:
            state = parse_state(found[0]) if found else None
        except BadRecord as exc:
            LOG.warning("%s cannot be read: %s", self.board.path(*node), exc)
            state = None
        if found is None or state is None or state.state == DONE or state.posted > job.posted:
            LOG.info("Job %s is over", posted.name)
            self.board.consume(posted)
            return
        wait = 0.0
        if state == self.beginning.get(posted.name):  # it was written, and the answer was lost
            state = replace(state, runs=state.runs[:-COMMANDS])
        elif state.state == RUNNING:
            lost = f"{state.worker} was lost"
            state = replace(state, lost=state.lost + 1, failures=(*state.failures, lost))
            wait = 0.0 if state.worker == self.worker.name else state.lease
        run_ids = [new_run_id() for _ in range(COMMANDS)]
        clear = state.runs
        state = replace(
            state,
            state=RUNNING,
            worker=self.worker.name,
            since=time.time(),
            lease=self.session.timeout,
            step="",
            posted=job.posted,
            runs=(*clear, *run_ids),
        )
        self.beginning[posted.name] = state
        version = self.board.write(format_state(state), found[1], *node)
        del self.beginning[posted.name]
        LOG.info("Server %s (%s) of run %s", job.server.name, job.server.id, job.run)
        policy = self.options.policies[job.policy]
        task = FleetTask(
            posted,
            job,
            policy,
            state,
            version,
            self.session.lease,
            clear=clear,
            run_ids=run_ids,
            wait=wait,
            verdict=_verdict(job, state),
        )
        self.tasks.append(task)

    # -- telling and settling ------------------------------------------------------------------------

    def _tell(self) -> None:
        """Writes down how far the jobs are."""
        for task in self.tasks:
            step = task.step[:MAX_TEXT]
            try:
                if step != task.state.step:
                    self._write(task, replace(task.state, step=step))
            except FencedOff as exc:  # the others are told of all the same
                LOG.info("%s", exc.message)

    def _write(self, task: FleetTask, state: ServerState) -> None:
        """Replaces the state of a server, also where an earlier one of this attempt was written unanswered.

        :raises FencedOff: it is of another attempt.
        """
        node, data = server_node(task.job), format_state(state)
        try:
            task.version = self.board.write(data, task.version, *node)
        except FencedOff:
            found = self.board.read(*node)
            if found is None or not (found[0] == data or _same_attempt(found[0], task.state)):
                raise
            task.version = found[1] if found[0] == data else self.board.write(data, found[1], *node)
        task.state = state

    def _settle(self) -> None:
        """Writes down what became of the jobs that are over, then takes them off the board."""
        for task in list(self.unsettled):
            try:
                self._settle_one(task)
            except FencedOff as exc:
                LOG.warning("%s", exc.message)
                self.doubtful.append(task.posted)  # if it is still claimed here, nobody else takes it off
            self.unsettled.remove(task)

    def _settle_one(self, task: FleetTask) -> None:
        result, state = task.result, task.state
        if task.interrupted and result.result == FAILED:
            if state.state == RUNNING:
                self._write(task, replace(state, state=WAITING, worker="", step=""))
            self.board.abandon(task.posted)
            return
        again = result.result == FAILED and not task.final and state.attempts < RETRIES
        if again and state.state == RUNNING:
            self._again(task)
        elif state.state == RUNNING:
            earlier = [f"earlier attempt: {text}" for text in state.failures]
            result = replace(result, details=[*result.details, *earlier])
            self._write(task, replace(state, state=DONE, step="", result=result_facts(result)))
            task.result = result
        LOG.info("Server %s (%s): %s", result.server.name, result.server.id, result.result)
        self.board.consume(task.posted)
        if self.options.exit_when_idle and task.state.state == DONE:
            self.results.append(result)

    def _again(self, task: FleetTask) -> None:
        """Puts a job on the board again, behind all others.

        First that: whatever happens then, the server has a job. One that is older than the state of its
        server, or comes after the end, is taken off by whoever claims it.
        """
        again, state = task.job.again(self.worker.name), task.state
        if not task.reposted:
            self.board.post(again)
            task.reposted = True
        text = f"{self.worker.name}: {task.result.detail}"[:MAX_TEXT]
        failures = (*state.failures, text)
        state = replace(state, state=WAITING, worker="", step="", posted=again.posted, failures=failures)
        self._write(task, state)


def _worker(data: bytes) -> WorkerRecord | None:
    try:
        return parse_worker(data)
    except BadRecord:
        return None


def _same_attempt(data: bytes, state: ServerState) -> bool:
    """Whether a state that was found is one of the same attempt, in which nothing but the step differs.

    Each attempt has IDs of runs of its own, also on the same worker.
    """
    try:
        return replace(parse_state(data), step=state.step) == state
    except BadRecord:
        return False


def _verdict(job: FleetJob, state: ServerState) -> ServerResult | None:
    """The result of a job that is not begun any more."""
    if state.attempts > RETRIES:
        return ServerResult(job.server, FAILED, details=[f"given up after {state.attempts} attempts"])
    if job.until is not None and time.time() >= job.until:
        result = FAILED if state.failures else SKIPPED
        return ServerResult(job.server, result, details=["the deadline (--until) has passed"])
    return None
