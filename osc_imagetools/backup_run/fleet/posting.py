# SPDX-License-Identifier: Apache-2.0
"""Puts a run on a jobboard.

Contract: what is due becomes jobs, in the order of the plan; of everything else the result is written down at
once. A server for which a job is left to do is not put on the board again, unless two runs are posted at the
same moment: then it has two jobs, one after the other, and the second one ends as fresh. The run is
complete when its record says so; if whoever posts it dies before, what is posted is done all the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from osc_imagetools import errors
from osc_imagetools.backup_run.execute import RunOptions, settled
from osc_imagetools.backup_run.fleet.board import RUNS, Jobboard
from osc_imagetools.backup_run.fleet.job import (
    DONE,
    BadRecord,
    FleetJob,
    RunRecord,
    ServerState,
    format_run,
    format_state,
    parse_run,
    parse_state,
    result_facts,
)
from osc_imagetools.backup_run.plan import PlannedServer
from osc_imagetools.backup_run.result import SKIPPED, ServerResult
from osc_imagetools.run.assignment import new_run_id

LOG = logging.getLogger(__name__)
SERVERS, SETTLED, POSTER = "servers", "settled", "poster"
KEPT = 7 * 86400  # seconds that a run stays readable
CHUNK = 500 * 1024  # bytes of results in a node, of which ZooKeeper allows 1 MiB


@dataclass(frozen=True)
class PostingLogin:
    """What the workers log in to: the cloud and the region, and the project of that login."""

    cloud: str
    region: str
    project_id: str


def post_run(
    board: Jobboard,
    planned: Sequence[PlannedServer],
    login: PostingLogin,
    options: RunOptions,
    *,
    tell: Callable[[RunRecord], None] = lambda record: None,
    stop: threading.Event | None = None,
) -> RunRecord:
    """Posts a run.

    :param tell: is given the run before its first job is there, which a worker may begin at once.
    :raises errors.Cancelled: *stop* was set before all of it was posted; it names the run.
    :raises errors.JobboardError: not all of it could be posted; it names the run.
    """
    record = RunRecord(new_run_id(), time.time(), len(planned))
    try:
        return _post(board, record, planned, login, options, tell, stop or threading.Event())
    except errors.JobboardError as exc:
        raise naming_run(exc, board, record.run) from exc


def follow_command(board: Jobboard, run: str) -> str:
    """What shows how far a run is."""
    return f"openstack server backup-run --jobboard {board.address.url} --follow {run}"


def naming_run(exc: errors.JobboardError, board: Jobboard, run: str) -> errors.JobboardError:
    """The same error; it says which run is on the board, and what shows how far that is."""
    hint = "\n".join(filter(None, (exc.hint, follow_command(board, run))))
    return type(exc)(exc.message, hint=hint, left=(f"jobs of run {run} on the jobboard",))


def _post(
    board: Jobboard,
    record: RunRecord,
    planned: Sequence[PlannedServer],
    login: PostingLogin,
    options: RunOptions,
    tell: Callable[[RunRecord], None],
    stop: threading.Event,
) -> RunRecord:
    run = record.run
    board.create(format_run(record), RUNS, run)
    board.create(b"", RUNS, run, POSTER, ephemeral=True)
    board.create(b"", RUNS, run, SERVERS)
    board.create(b"", RUNS, run, SETTLED)
    _forget_old(board, record.created)
    jobs = {
        index: _job(run, plan, login, options)
        for index, plan in enumerate(planned)
        if plan.work and plan.policy
    }
    there = _earlier_runs(board, jobs.values())
    record = replace(record, jobs=sum(job.subject not in there for job in jobs.values()))
    tell(record)
    results: list[tuple[int, ServerResult]] = []
    for index, plan in enumerate(planned):
        job = jobs.get(index)
        if job is None:
            results.append((index, settled(plan)))
        elif earlier := there.get(job.subject):
            text = f"run {earlier} has put this server on the jobboard already"
            results.append((index, ServerResult(plan.server, SKIPPED, details=[text])))
        elif stop.is_set():
            raise _interrupted(run)
        else:
            board.create(format_state(ServerState(index, job.server)), *server_node(job))
            board.post(job)
    _write_settled(board, run, results)
    posted = replace(record, posted=True)
    found = board.read(RUNS, run)
    board.write(format_run(posted), found[1] if found else 0, RUNS, run)
    board.remove(RUNS, run, POSTER)
    return posted


def _interrupted(run: str) -> errors.Cancelled:
    return errors.Cancelled(
        f"interrupted: run {run} was not put on the jobboard completely",
        hint="What is there will be done. Start the run again for the rest.",
        left=(f"jobs of run {run} on the jobboard",),
    )


def server_node(job: FleetJob) -> tuple[str, ...]:
    """Where the state of the server of a job is."""
    return RUNS, job.run, SERVERS, job.server.id


def left_to_do(board: Jobboard, jobs: Iterable[FleetJob]) -> list[FleetJob]:
    """The jobs for which a worker has something to do, in the same order, one for each server of a run.

    A worker that dies after it has written that a server is done leaves the job; so does a run that is
    forgotten, one that dies after it has posted a job again leaves the older one, and one that does not know
    whether it was posted again posts it twice. The worker that claims such a job next takes it off.
    """
    jobs = list(jobs)
    states = board.read_many(map(server_node, jobs))
    left: dict[tuple[str, ...], FleetJob] = {}
    for job in jobs:
        if _unfinished(job, states.get(server_node(job))):
            left.setdefault(server_node(job), job)
    return list(left.values())


def _unfinished(job: FleetJob, data: bytes | None) -> bool:
    try:
        state = parse_state(data) if data is not None else None
    except BadRecord:
        return False  # nobody does a job whose state cannot be read
    return state is not None and state.state != DONE and state.posted <= job.posted


def _earlier_runs(board: Jobboard, due: Iterable[FleetJob]) -> dict[tuple[str, ...], str]:
    """The runs that will back up, or are backing up, what these jobs are about."""
    subjects = {job.subject for job in due}
    posted = (p.job for p in board.jobs() if p.job and p.job.subject in subjects)
    return {job.subject: job.run for job in left_to_do(board, posted)}


def _job(run: str, plan: PlannedServer, login: PostingLogin, options: RunOptions) -> FleetJob:
    theirs = plan.server.project_id
    assert plan.policy is not None
    return FleetJob(
        run=run,
        server=plan.server,
        policy=plan.policy.name,
        cloud=login.cloud,
        region=login.region,
        project="" if theirs in ("", login.project_id) else theirs,
        newest=plan.newest.path if plan.newest else "",
        limits=options.limits,
        jobs=options.jobs,
        until=options.until,
    )


def _write_settled(board: Jobboard, run: str, results: Sequence[tuple[int, ServerResult]]) -> None:
    """In nodes that ZooKeeper takes; each line is the state of a server."""
    lines: list[bytes] = []
    number = size = 0
    for index, result in results:
        line = format_state(ServerState(index, result.server, DONE, result=result_facts(result)))
        if lines and size + len(line) > CHUNK:
            board.create(b"\n".join(lines), RUNS, run, SETTLED, str(number))
            lines, size, number = [], 0, number + 1
        lines.append(line)
        size += len(line) + 1
    if lines:
        board.create(b"\n".join(lines), RUNS, run, SETTLED, str(number))


def _forget_old(board: Jobboard, now: float) -> None:
    """Runs that began long ago; a job of one that is left is then taken off by the worker that finds it."""
    for name, data in board.read_all(RUNS).items():
        try:
            created = parse_run(data).created
        except BadRecord:
            LOG.warning("%s on the jobboard is not a run", board.path(RUNS, name))
            continue
        if now - created > KEPT:
            try:
                board.remove(RUNS, name)
            except errors.JobboardError as exc:  # another run that is posted now may remove it too
                LOG.info("Run %s was not forgotten: %s", name, exc.message)
