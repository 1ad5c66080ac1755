# SPDX-License-Identifier: Apache-2.0
"""What is written down on a jobboard: jobs, what is known of each server of a run, and the runs.

Contract: values, and their JSON. A job names a server, a policy and a cloud; no credential is in anything
here. What comes from a jobboard is checked before it is used: all who reach ZooKeeper can write to it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from osc_imagetools.backup_run.inventory import RunServer
from osc_imagetools.backup_run.plan_schedule import RunLimits
from osc_imagetools.backup_run.result import ServerResult

WAITING, RUNNING, DONE = "waiting", "running", "done"
RETRIES = 3  # of a server that failed
MAX_COUNT = 1 << 31
MAX_TEXT = 2000  # characters of a detail
NO_LIMITS = RunLimits(None)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_WORD = re.compile(r"(?!-)[^\x00-\x1f]{0,255}")


class BadRecord(ValueError):
    """What a jobboard has is not what it should be."""


@dataclass(frozen=True)
class FleetJob:
    """One server to back up. ``policy`` and ``cloud`` are names in the worker's own files.

    ``project`` is the ID of the project to log in to, empty for that of the cloud's own login; ``newest`` the
    newest complete bundle when the job was posted. ``posted`` counts how often it was posted again, after
    failures on the workers ``failed_on``. ``until``: seconds since 1970, after which it is not begun.
    """

    run: str
    server: RunServer
    policy: str
    cloud: str
    region: str = ""
    project: str = ""
    newest: str = ""
    limits: RunLimits = NO_LIMITS
    jobs: int = 4
    until: float | None = None
    posted: int = 0
    failed_on: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """The cloud that its limits are about."""
        return self.cloud, self.region

    @property
    def subject(self) -> tuple[str, ...]:
        """The server that it is about: an ID may exist in several clouds."""
        return *self.place, self.server.id

    def again(self, worker: str) -> FleetJob:
        """The same after a failure on a worker."""
        return replace(self, posted=self.posted + 1, failed_on=(*self.failed_on, worker))


@dataclass(frozen=True)
class ServerState:
    """What is known of a server of a run; ``index`` is its place in the result.

    ``worker`` is who works on it, since when (seconds since 1970), and ``step`` how far; ``lease`` how many
    seconds it may go on after it has lost its session. ``runs`` are the IDs of runs that may have left
    something in the cloud; ``lost`` counts workers that were lost with it, ``failures`` says what happened
    in earlier attempts. ``result`` is there when it is done.
    """

    index: int
    server: RunServer
    state: str = WAITING
    worker: str = ""
    since: float = 0.0
    lease: float = 0.0
    step: str = ""
    posted: int = 0
    lost: int = 0
    runs: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    result: Mapping[str, Any] | None = None

    @property
    def attempts(self) -> int:
        """How many attempts have ended."""
        return self.posted + self.lost


@dataclass(frozen=True)
class RunRecord:
    """A run on a jobboard: how many ``servers``, and how many of them as ``jobs``.

    ``posted`` when all are there; ``created`` in seconds since 1970.
    """

    run: str
    created: float
    servers: int = 0
    jobs: int = 0
    posted: bool = False


@dataclass(frozen=True)
class WorkerRecord:
    """A worker that takes part: the clouds and the policies that it knows."""

    name: str
    clouds: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()

    def knows(self, job: FleetJob) -> bool:
        """Whether it can do a job."""
        return job.cloud in self.clouds and job.policy in self.policies


@dataclass
class _Fields:
    """The fields of a JSON object, each of which must have its type."""

    found: Mapping[str, Any]

    def text(self, name: str, pattern: re.Pattern[str] = _WORD) -> str:
        value = self.found.get(name, "")
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise BadRecord(f"{name} is {value!r:.100}")
        return value

    def number(self, name: str) -> float:
        value = self.found.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadRecord(f"{name} is {value!r:.100}")
        return value

    def count(self, name: str) -> int:
        value = self.number(name)
        if not 0 <= value < MAX_COUNT or value != int(value):
            raise BadRecord(f"{name} is {value!r}")
        return int(value)

    def texts(self, name: str, pattern: re.Pattern[str] = _WORD) -> tuple[str, ...]:
        value = self.found.get(name, [])
        if not isinstance(value, list) or not all(
            isinstance(text, str) and pattern.fullmatch(text) for text in value
        ):
            raise BadRecord(f"{name} is {value!r:.100}")
        return tuple(value)

    def part(self, name: str) -> _Fields:
        value = self.found.get(name)
        if not isinstance(value, dict):
            raise BadRecord(f"{name} is {value!r:.100}")
        return _Fields(value)


_ANY = re.compile(r"[^\x00]*", re.DOTALL)


def job_details(job: FleetJob) -> dict[str, Any]:
    """The details of a job, as a jobboard takes them."""
    return {**asdict(job), "server": _server_facts(job.server), "failed_on": list(job.failed_on)}


def parse_job(details: Any) -> FleetJob:
    """The job that details tell.

    :raises BadRecord: they tell none.
    """
    found = _Fields(details if isinstance(details, dict) else {})
    limits, until = found.part("limits"), found.found.get("until")
    return FleetJob(
        run=found.text("run", _ID),
        server=_server(found.part("server")),
        policy=found.text("policy"),
        cloud=found.text("cloud", _NAME),
        region=found.text("region"),
        project=found.text("project"),
        newest=found.text("newest", _ANY),
        limits=RunLimits(**{f.name: _limit(limits, f.name) for f in fields(RunLimits)}),
        jobs=max(1, found.count("jobs")),
        until=None if until is None else found.number("until"),
        posted=found.count("posted"),
        failed_on=found.texts("failed_on"),
    )


_NAME = re.compile(r"(?!-)[^\x00-\x1f]{1,255}")


def _limit(found: _Fields, name: str) -> int | None:
    return None if found.found.get(name) is None else max(1, found.count(name))


def format_state(state: ServerState) -> bytes:
    """As ZooKeeper keeps it."""
    return _json({**asdict(state), "server": _server_facts(state.server)})


def parse_state(data: bytes) -> ServerState:
    """:raises BadRecord: it is none."""
    found = _Fields(_object(data))
    result = found.found.get("result")
    return ServerState(
        index=found.count("index"),
        server=_server(found.part("server")),
        state=found.text("state"),
        worker=found.text("worker"),
        since=found.number("since"),
        lease=found.number("lease"),
        step=found.text("step", _ANY),
        posted=found.count("posted"),
        lost=found.count("lost"),
        runs=found.texts("runs", _ID),
        failures=found.texts("failures", _ANY),
        result=result if isinstance(result, dict) else None,
    )


def format_run(record: RunRecord) -> bytes:
    """As ZooKeeper keeps it."""
    return _json(asdict(record))


def parse_run(data: bytes) -> RunRecord:
    """:raises BadRecord: it is none."""
    found = _Fields(_object(data))
    return RunRecord(
        run=found.text("run", _ID),
        created=found.number("created"),
        servers=found.count("servers"),
        jobs=found.count("jobs"),
        posted=found.found.get("posted") is True,
    )


def format_worker(worker: WorkerRecord) -> bytes:
    """As ZooKeeper keeps it."""
    return _json({"name": worker.name, "clouds": sorted(worker.clouds), "policies": sorted(worker.policies)})


def parse_worker(data: bytes) -> WorkerRecord:
    """:raises BadRecord: it is none."""
    found = _Fields(_object(data))
    clouds, policies = found.texts("clouds"), found.texts("policies")
    return WorkerRecord(found.text("name"), frozenset(clouds), frozenset(policies))


def result_facts(result: ServerResult) -> dict[str, Any]:
    """A result without its server, which stands beside it."""
    facts = {f.name: getattr(result, f.name) for f in fields(ServerResult) if f.name != "server"}
    cut = {name: [text[:MAX_TEXT] for text in facts[name]] for name in ("details", "left")}
    return {**facts, **cut}


def result_of(server: RunServer, facts: Mapping[str, Any]) -> ServerResult:
    """The result that facts tell.

    :raises BadRecord: they tell none.
    """
    found = _Fields(facts)
    bundle = facts.get("bundle")
    numbers = {
        name: None if facts.get(name) is None else found.number(name)
        for name in ("bytes", "seconds", "newest", "proof")
    }
    return ServerResult(
        server,
        found.text("result"),
        bundle=None if bundle is None else found.text("bundle", _ANY),
        bytes=None if numbers["bytes"] is None else int(numbers["bytes"]),
        seconds=numbers["seconds"],
        details=list(found.texts("details", _ANY)),
        left=list(found.texts("left", _ANY)),
        newest=numbers["newest"],
        proof=numbers["proof"],
    )


def _server_facts(server: RunServer) -> dict[str, Any]:
    """What the work on a server needs: its tags and properties have chosen its policy already."""
    return {
        "id": server.id,
        "name": server.name,
        "project_id": server.project_id,
        "host": server.host,
        "volumes": list(server.volumes),
        "volume_types": sorted(server.volume_types),
    }


def _server(found: _Fields) -> RunServer:
    return RunServer(
        id=found.text("id", _ID),
        name=found.text("name", _ANY),
        project_id=found.text("project_id"),
        host=found.text("host"),
        tags=frozenset(),
        properties={},
        volumes=found.texts("volumes", _ID),
        volume_types=frozenset(found.texts("volume_types")),
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise BadRecord(str(exc)) from exc
    return value if isinstance(value, dict) else {}
