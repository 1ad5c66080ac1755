# SPDX-License-Identifier: Apache-2.0
"""What has become of a run on a jobboard, and waiting until it is over.

Contract: reads only. Whoever follows a run has no part in it: it goes on without them. While ZooKeeper does
not answer, it is asked again for ten minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet.board import RUNS, WORKERS, Jobboard
from osc_imagetools.backup_run.fleet.job import (
    DONE,
    RUNNING,
    BadRecord,
    RunRecord,
    ServerState,
    parse_run,
    parse_state,
    result_of,
)
from osc_imagetools.backup_run.fleet.posting import POSTER, SERVERS, SETTLED, follow_command, naming_run
from osc_imagetools.backup_run.result import ServerResult

LOG = logging.getLogger(__name__)
POLL = 2.0  # seconds
PATIENCE = 600.0  # seconds without an answer
LONELY = 60.0  # seconds without a worker, after which that is said


class RunUnreadable(errors.JobboardError):
    """What the jobboard has of a run is not what it should be; asking again does not help."""


@dataclass
class FollowedRun:
    """A run and what is known of its servers, by their IDs."""

    board: Jobboard
    record: RunRecord
    states: dict[str, ServerState] = field(default_factory=dict)
    settled: bool = False  # the results that were known when it was posted have been read

    def update(self) -> None:
        """Reads what may have changed.

        :raises RunUnreadable: it cannot be understood.
        :raises errors.JobboardError: ZooKeeper does not answer.
        """
        with _readable(self.record.run):
            self._update()

    def _update(self) -> None:
        run = self.record.run
        if not self.record.posted:
            posting = self.board.read(RUNS, run, POSTER) is not None
            self.record = read_run(self.board, run)
            if not self.record.posted and not posting:
                raise errors.ResourceUnusable(
                    f"run {run} was not put on the jobboard completely: its command was ended before",
                    hint="What is there will be done. Start the run again for the rest.",
                )
        if self.record.posted and not self.settled:
            for data in self.board.read_all(RUNS, run, SETTLED).values():
                for line in filter(None, data.split(b"\n")):
                    self._take(parse_state(line))
            self.settled = True
        over = frozenset(i for i, state in self.states.items() if state.state == DONE)
        for data in self.board.read_all(RUNS, run, SERVERS, without=over).values():
            self._take(parse_state(data))

    @property
    def over(self) -> bool:
        """Whether all is done."""
        return self.record.posted and all(state.state == DONE for state in self.states.values())

    def count(self, *states: str) -> int:
        """How many servers are in these states."""
        return sum(state.state in states for state in self.states.values())

    def results(self) -> list[ServerResult]:
        """The rows, in the order of the run: of what is not done, how far it is."""
        return [_result(state) for state in sorted(self.states.values(), key=lambda s: s.index)]

    def _take(self, state: ServerState) -> None:
        _result(state)  # raises where it cannot be understood
        self.states[state.server.id] = state


def read_run(board: Jobboard, run: str) -> RunRecord:
    """The record of a run.

    :raises errors.ResourceNotFound: there is no such run.
    :raises RunUnreadable: it cannot be understood.
    """
    found = board.read(RUNS, run) if run.isalnum() else None
    if found is None:
        raise errors.ResourceNotFound(
            f"no run {run} is on the jobboard {board.address.url}",
            hint="Runs are forgotten after 7 days.",
        )
    with _readable(run):
        return parse_run(found[0])


@contextmanager
def _readable(run: str) -> Iterator[None]:
    try:
        yield
    except BadRecord as exc:
        raise RunUnreadable(f"run {run} on the jobboard cannot be read: {exc}") from exc


def follow(
    board: Jobboard,
    record: RunRecord,
    stop: threading.Event,
    tell: Callable[[FollowedRun], None] = lambda followed: None,
) -> list[ServerResult]:
    """Waits until a run is over, of which *record* is known: its results.

    :raises errors.Cancelled: interrupted; the run goes on.
    :raises errors.JobboardError: ZooKeeper has not answered for too long; it names the run.
    """
    try:
        return _follow(FollowedRun(board, record), stop, tell)
    except RunUnreadable:
        raise
    except errors.JobboardError as exc:
        raise naming_run(exc, board, record.run) from exc


def _follow(
    followed: FollowedRun, stop: threading.Event, tell: Callable[[FollowedRun], None]
) -> list[ServerResult]:
    board, run = followed.board, followed.record.run
    seen = time.monotonic()
    lonely: float | None = time.monotonic()
    silent = False
    while True:
        try:
            followed.update()
            workers = bool(board.read_all(WORKERS))
        except RunUnreadable:
            raise
        except errors.JobboardError as exc:
            if time.monotonic() - seen > PATIENCE:
                raise
            if not silent:
                LOG.warning("%s; trying again", exc.message)
            silent = True
        else:
            seen, silent = time.monotonic(), False
            tell(followed)
            if followed.over:
                return followed.results()
            lonely = _lonely(lonely, workers)
        # The more servers there are, the longer: each of those that are not done is read every time.
        if stop.wait(max(POLL, len(followed.states) / 500)):
            raise errors.Cancelled(f"interrupted: run {run} goes on", hint=follow_command(board, run))


def _lonely(since: float | None, workers: bool) -> float | None:
    """Since when no worker takes part; None when that was said."""
    now = time.monotonic()
    if workers:
        return now
    if since is not None and now - since > LONELY:
        LOG.warning("No worker takes part: start some with openstack server backup-worker")
        return None
    return since


def _result(state: ServerState) -> ServerResult:
    if state.state == DONE and state.result is not None:
        return result_of(state.server, state.result)
    details = list(state.failures)
    if state.state == RUNNING:
        details.insert(0, f"on {state.worker}: {state.step}" if state.step else f"on {state.worker}")
    return ServerResult(state.server, state.state, details=details, seconds=_seconds(state))


def _seconds(state: ServerState) -> float | None:
    return max(0.0, time.time() - state.since) if state.state == RUNNING else None


def running_texts(states: Iterable[ServerState]) -> dict[str, str]:
    """How far each server is that is worked on; the key says which one it is, and where."""
    return {
        f"{state.server.name or state.server.id} on {state.worker}": state.step
        for state in states
        if state.state == RUNNING
    }
