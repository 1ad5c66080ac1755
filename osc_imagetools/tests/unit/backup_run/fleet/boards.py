# SPDX-License-Identifier: Apache-2.0
"""A jobboard in memory, and a program in the place of the client, for tests of what works on them.

How ZooKeeper itself behaves is for the functional tests.
"""

from __future__ import annotations

import functools
import json
import pathlib
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet import task as task_module
from osc_imagetools.backup_run.fleet import worker_loop
from osc_imagetools.backup_run.fleet.board import RUNS, WORKERS, FencedOff, Jobboard, PostedJob
from osc_imagetools.backup_run.fleet.job import (
    FleetJob,
    RunRecord,
    ServerState,
    WorkerRecord,
    format_run,
    format_state,
    job_details,
    parse_job,
    parse_state,
)
from osc_imagetools.backup_run.fleet.plan_address import parse_address
from osc_imagetools.backup_run.fleet.posting import SERVERS, SETTLED
from osc_imagetools.backup_run.fleet.session import WorkerSession
from osc_imagetools.backup_run.fleet.task import FleetTask
from osc_imagetools.backup_run.fleet.worker_loop import WorkerLoop, WorkerOptions
from osc_imagetools.backup_run.plan_policy import BackupPolicy
from osc_imagetools.backup_run.plan_target import BackupTarget
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.tests.unit.backup_run import samples
from osc_imagetools.tests.unit.base import TestCase

ADDRESS = parse_address("zookeeper://memory/x")
SESSION = 30.0  # seconds
REFUSED, UNANSWERED = "refused", "unanswered"  # nothing was done; it was done, and nobody was told
CHANGES = frozenset({"post", "claim", "consume", "abandon", "create", "write", "remove"})

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class MemoryNode:
    """``owner`` is the session that an ephemeral one is of."""

    data: bytes
    version: int = 0
    owner: str | None = None


class MemoryStore:
    """What a jobboard keeps, for all of its sessions; ``calls`` is what was asked of it, by whom."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[str, ...], MemoryNode] = {}
        self.jobs: dict[str, FleetJob | None] = {}
        self.claims: dict[str, str] = {}
        self.calls: list[tuple[str, ...]] = []
        self.lock = threading.RLock()
        self.turn = threading.Lock()
        self.down = False  # new sessions are refused
        self._posted = 0

    def add_job(self, job: FleetJob | None) -> None:
        """Through the form that it has on the board; None is a job that nobody can understand."""
        details = None if job is None else json.loads(json.dumps(job_details(job)))
        self.jobs[f"job{self._posted:010}"] = None if job is None else parse_job(details)
        self._posted += 1

    def end_session(self, owner: str) -> None:
        """Its claims and ephemeral nodes are gone."""
        with self.lock:
            self.claims = {name: who for name, who in self.claims.items() if who != owner}
            self.nodes = {path: node for path, node in self.nodes.items() if node.owner != owner}

    def changes(self, owner: str = "") -> list[tuple[str, ...]]:
        """The calls that change something: (method, path or job ...)."""
        return [call[1:] for call in self.calls if call[1] in CHANGES and call[0].startswith(owner)]


def _asked(
    method: Callable[Concatenate[MemoryBoard, P], T],
) -> Callable[Concatenate[MemoryBoard, P], T]:
    @functools.wraps(method)
    def ask(self: MemoryBoard, /, *args: P.args, **kwargs: P.kwargs) -> T:
        name = method.__name__
        if not self.reachable:
            raise errors.JobboardError("there is no connection")
        with self.store.lock:
            words = [a.name if isinstance(a, PostedJob) else a for a in args]
            self.store.calls.append((self.owner, name, *(w for w in words if isinstance(w, str))))
            fault = self.faults[name].pop(0) if self.faults.get(name) else ""
            if fault == REFUSED:
                raise errors.JobboardError(f"{name} was refused")
            result = method(self, *args, **kwargs)
            if fault == UNANSWERED:
                raise errors.JobboardError(f"{name} was not answered")
            return result

    return ask


class MemoryBoard(Jobboard):
    """A session with a :class:`MemoryStore`; ``faults`` are what the next calls of a method meet.

    Without a connection (``reachable``) nothing is asked. As with ZooKeeper's client, one whose session was
    ended can go on: it has a new one then.
    """

    def __init__(self, store: MemoryStore, owner: str) -> None:
        self.address, self.owner, self.lost = ADDRESS, owner, threading.Event()
        self.store = store
        self.faults: dict[str, list[str]] = {}
        self.reachable = True

    def __enter__(self) -> Self:
        if self.store.down:
            raise errors.JobboardError("nobody is there")
        return self

    def close(self) -> None:
        self.store.end_session(self.owner)

    @_asked
    def post(self, job: FleetJob) -> None:
        self.store.add_job(job)

    @_asked
    def jobs(self) -> list[PostedJob]:
        return [PostedJob(name, job, name in self.store.claims) for name, job in self.store.jobs.items()]

    @_asked
    def claim(self, posted: PostedJob) -> bool:
        if posted.name not in self.store.jobs or posted.name in self.store.claims:
            return False
        self.store.claims[posted.name] = self.owner
        return True

    @_asked
    def is_mine(self, posted: PostedJob) -> bool:
        return self.store.claims.get(posted.name) == self.owner

    @_asked
    def consume(self, posted: PostedJob) -> None:
        if posted.name in self.store.jobs:
            self._give_up(posted)
            del self.store.jobs[posted.name]

    @_asked
    def abandon(self, posted: PostedJob) -> None:
        if self.store.claims.get(posted.name) == self.owner:
            self._give_up(posted)

    @contextmanager
    def turn(self, timeout: float = 5.0) -> Iterator[None]:
        if not self.reachable:
            raise errors.JobboardError("there is no connection")
        if not self.store.turn.acquire(timeout=timeout):
            raise errors.JobboardError("somebody else holds the lock of the jobboard for too long")
        try:
            yield
        finally:
            self.store.turn.release()

    def end_turn(self) -> None:
        """There is no turn whose end was not confirmed."""

    @_asked
    def read(self, *parts: str) -> tuple[bytes, int] | None:
        node = self.store.nodes.get(parts)
        return None if node is None else (node.data, node.version)

    @_asked
    def read_all(self, *parts: str, without: frozenset[str] = frozenset()) -> dict[str, bytes]:
        below = {path[-1]: node for path, node in self.store.nodes.items() if path[:-1] == parts}
        return {name: node.data for name, node in below.items() if name not in without}

    @_asked
    def read_many(self, nodes: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], bytes]:
        return {path: self.store.nodes[path].data for path in nodes if path in self.store.nodes}

    @_asked
    def create(self, data: bytes, *parts: str, ephemeral: bool = False) -> None:
        if parts in self.store.nodes and ephemeral:
            raise errors.JobboardError("it is there already")
        self.store.nodes.setdefault(parts, MemoryNode(data, owner=self.owner if ephemeral else None))

    @_asked
    def write(self, data: bytes, version: int, *parts: str) -> int:
        node = self.store.nodes.get(parts)
        if node is None or node.version != version:
            raise FencedOff(f"{'/'.join(parts)} was changed by another worker")
        node.data, node.version = data, version + 1
        return node.version

    @_asked
    def remove(self, *parts: str) -> None:
        nodes = self.store.nodes
        self.store.nodes = {path: node for path, node in nodes.items() if path[: len(parts)] != parts}

    @_asked
    def session_has(self, *parts: str) -> bool:
        node = self.store.nodes.get(parts)
        return node is not None and node.owner == self.owner

    def _give_up(self, posted: PostedJob) -> None:
        if self.store.claims.get(posted.name) != self.owner:
            raise errors.JobboardError(f"job {posted.name} is not owned by {self.owner}")
        del self.store.claims[posted.name]


# Notes how it was called, and does what the name of the server tells.
CLIENT = """
import json, os, signal, sys, time
words = [w for w in sys.argv[1:] if not w.startswith("--os-") and w != "-v"]
notes = os.environ["NOTES"]
lease = os.pread(int(os.environ["OSC_IMAGETOOLS_LEASE"]), 8, 0)
what = words[2]

def note(**more):
    with open(notes, "a") as file:
        print(json.dumps({"words": words, "run": os.environ.get("OSC_IMAGETOOLS_RUN_ID"), **more}), file=file)

heard = []
if "stubborn" in what:
    signal.signal(signal.SIGINT, lambda *_: note(heard=heard.append(1) or len(heard)))
try:
    note(lease=len(lease))
    if words[:2] == ["leftover", "delete"]:
        if os.path.exists(notes + ".stuck"):
            sys.exit("the volume is busy [cloud-error]")
        if os.path.exists(notes + ".slow"):
            time.sleep(600)
        sys.exit(0)
    print("the disk is copied", file=sys.stderr, flush=True)
    while "stubborn" in what and len(heard) < 2:
        time.sleep(0.01)
    while "slow" in what and not os.path.exists(notes + ".fast"):
        time.sleep(0.01)
except KeyboardInterrupt:
    note(interrupted=True)
    sys.exit("Interrupted [interrupted]")
if "bad" in what or "stubborn" in what:
    sys.exit("it is broken [cloud-error]")
if words[1] == "restore-check":
    sys.exit(print(json.dumps({"result": "booted", "evidence": "login prompt"})))
print(json.dumps({"bundle": words[words.index("--output") + 1], "bytes": 7}))
"""


def set_clock(now: float) -> Any:
    """In the place of the module ``time``: what a test sets as ``now`` is the monotonic clock."""
    clock = types.SimpleNamespace(now=now, time=time.time)
    clock.monotonic = lambda: clock.now
    return clock


class FleetTestCase(TestCase):
    """Workers on a board in memory; their commands are programs, their exports go to a directory."""

    def setUp(self) -> None:
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        package = self.dir / "openstackclient"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "shell.py").write_text(CLIENT)
        self.notes = self.dir / "notes"
        self.backup = self.dir / "backup"
        for name, value in (("PYTHONPATH", self.dir), ("NOTES", self.notes)):
            self.useFixture(fixtures.EnvironmentVariable(name, str(value)))
        self.patch(worker_loop, "LOOK", -1.0)
        self.patch(worker_loop, "TELL", -1.0)
        self.patch(worker_loop, "POLL", 0.005)
        self.patch(task_module, "BUSY_POLL", 0.0)
        self.store = MemoryStore()
        self.log = self.useFixture(fixtures.FakeLogger("osc_imagetools"))

    def policy(self, **changes: Any) -> BackupPolicy:
        return samples.policy(target=BackupTarget(str(self.backup)), **changes)

    def options(self, **changes: Any) -> WorkerOptions:
        policies = {"daily": changes.pop("policy", None) or self.policy()}
        fields: dict[str, Any] = {"timeout": SESSION, "exit_when_idle": True, **changes}
        return WorkerOptions(frozenset({"c"}), policies, **fields)

    def job(self, identifier: str, **changes: Any) -> FleetJob:
        fields: dict[str, Any] = {"run": "r", "policy": "daily", "cloud": "c"}
        return FleetJob(server=samples.server(identifier), **{**fields, **changes})

    def posted(
        self, identifier: str, state: dict[str, Any] | None = None, *, index: int = 0, **changes: Any
    ) -> FleetJob:
        """A job on the board, of a server in this state, and at this place of the result."""
        job = self.job(identifier, **changes)
        self.store.nodes[self.node(job)] = MemoryNode(
            format_state(ServerState(index, job.server, **(state or {})))
        )
        self.store.add_job(job)
        return job

    def run_node(self, run: str = "r", **changes: Any) -> RunRecord:
        """A run on the board."""
        fields: dict[str, Any] = {"created": time.time(), "posted": True, **changes}
        record = RunRecord(run, **fields)
        for path, data in (((run,), format_run(record)), ((run, SERVERS), b""), ((run, SETTLED), b"")):
            self.store.nodes[RUNS, *path] = MemoryNode(data)
        return record

    def node(self, job: FleetJob) -> tuple[str, ...]:
        return RUNS, job.run, SERVERS, job.server.id

    def state_of(self, job: FleetJob) -> ServerState:
        """What the board knows of its server."""
        return parse_state(self.store.nodes[self.node(job)].data)

    def commands(self) -> list[dict[str, Any]]:
        """What was noted by the commands."""
        return (
            [json.loads(line) for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
        )

    def begun(self) -> list[str]:
        """The second and the third word of each command that was started."""
        return [" ".join(noted["words"][1:3]) for noted in self.commands() if "lease" in noted]

    def each_pause(self, do: Callable[[], object]) -> None:
        """Whenever a worker pauses, something happens."""

        def sleep(seconds: float) -> None:
            do()
            time.sleep(seconds)

        clock = types.SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=sleep)
        self.patch(worker_loop, "time", clock)

    def once(self, when: Callable[[], object], do: Callable[[], object]) -> None:
        """At the first pause of a worker at which something is so, something happens."""
        done: list[bool] = []

        def check() -> None:
            if not done and when():
                done.append(True)
                do()

        self.each_pause(check)

    @contextmanager
    def loop(
        self, name: str = "me", *, board: MemoryBoard | None = None, **changes: Any
    ) -> Iterator[WorkerLoop]:
        """A worker in a session that is open."""
        options = self.options(**changes)
        worker = WorkerRecord(name, options.clouds, frozenset(options.policies))
        tasks: list[FleetTask] = []
        results: list[ServerResult] = []
        with (
            board or MemoryBoard(self.store, f"{name}.1") as opened,
            WorkerSession(opened, worker, options.timeout) as session,
        ):
            stop, give_up = threading.Event(), threading.Event()
            try:
                yield WorkerLoop(opened, session, worker, options, tasks, stop, give_up, results)
            finally:
                for task in tasks:
                    task.interrupt()
                    task.wait()

    def work(self, name: str = "me", **changes: Any) -> dict[str, ServerResult]:
        """A worker until it is idle: what became of its jobs, by the IDs of the servers."""
        with self.loop(name, **changes) as loop:
            self.assertTrue(loop.work())
            self.assertIn((WORKERS, f"{name}.1"), self.store.nodes)
        return {result.server.id: result for result in loop.results}

    def idle(self, loop: WorkerLoop) -> bool:
        """Whether a worker ends by itself; else it is stopped after a while."""
        timer = threading.Timer(30.0, loop.stop.set)
        timer.start()
        try:
            return loop.work() and not loop.stop.is_set()
        finally:
            timer.cancel()

    def heard(self) -> list[int]:
        """The interrupts that a command has noted."""
        return [noted["heard"] for noted in self.commands() if "heard" in noted]

    def insist(self, loop: WorkerLoop, end: threading.Event) -> None:
        """Ends a worker when its command runs, and gives up when that has heard of it."""
        if self.begun():
            end.set()
        if self.heard():
            loop.give_up.set()
