# SPDX-License-Identifier: Apache-2.0
"""The jobboard: TaskFlow's, on ZooKeeper, with nodes of our own beside it.

Contract: the only module that knows TaskFlow and kazoo. Below the path of the address are ``exports`` (the
jobs of TaskFlow, each with a claim that is gone when the session of its owner is), ``runs``, ``workers`` and
``turn``, a lock under which it is decided who claims what. Whatever ZooKeeper refuses or does not answer is
:class:`errors.JobboardError`. TaskFlow's conductors are not used: they consume a job on most exceptions.
Source: https://docs.openstack.org/taskflow/latest/user/jobs.html, https://kazoo.readthedocs.io/
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet.job import FleetJob, job_details, parse_job
from osc_imagetools.backup_run.fleet.plan_address import JobboardAddress

try:
    from kazoo.client import KazooClient
    from kazoo.exceptions import BadVersionError, KazooException, LockTimeout, NodeExistsError, NoNodeError
    from kazoo.handlers.threading import AsyncResult, KazooTimeoutError, SequentialThreadingHandler
    from kazoo.protocol.states import KazooState
    from kazoo.recipe.watchers import ChildrenWatch
    from taskflow import exceptions as taskflow_errors
    from taskflow.jobs import backends
    from taskflow.jobs import base as taskflow_jobs
    from taskflow.jobs.backends.impl_zookeeper import ZookeeperJobBoard
except ImportError as exc:
    raise errors.FleetAbsent(
        f"runs on many machines need TaskFlow and kazoo: {exc}",
        hint="Install them with: pip install 'osc-imagetools[fleet]'",
    ) from exc

LOG = logging.getLogger(__name__)
JOBS, RUNS, WORKERS, TURN = "exports", "runs", "workers", "turn"
CONNECT = 15.0  # seconds for the first connection
ANSWER = 20.0  # seconds for an answer
CHECK = "Check that ZooKeeper runs there."
# A server that comes back is found again within two seconds, and not after a minute.
RECONNECT = {"max_tries": -1, "max_delay": 2.0}


class _Answer(AsyncResult):  # type: ignore[misc]
    """An answer that is waited for, but not for ever."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        return super().get(block, ANSWER if timeout is None else timeout)


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """Limits all waiting for answers, also that of TaskFlow and of the lock.

    kazoo only queues what it is asked while there is no connection, and would wait until there is one. Its
    watch knows of no limit: it would end its thread with a traceback, and miss what is there.
    """

    def async_result(self) -> _Answer:
        return _Answer(self)

    def spawn(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> threading.Thread:
        watch = getattr(func, "__self__", None)
        run = partial(_watched, watch._client, func) if isinstance(watch, ChildrenWatch) else func
        thread: threading.Thread = super().spawn(run, *args, **kwargs)
        return thread


def _watched(client: KazooClient, ask: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Asks until there is an answer or no connection: when there is one again, kazoo begins anew."""
    asking = True
    while asking:
        try:
            ask(*args, **kwargs)
            asking = False
        except (KazooException, KazooTimeoutError) as exc:
            LOG.debug("The jobs on the board were not read: %s", str(exc) or type(exc).__name__)
            asking = isinstance(exc, KazooTimeoutError) and client.connected


class FencedOff(errors.JobboardError):
    """Somebody else has written meanwhile: whoever tried to has lost its right to."""


@dataclass(frozen=True)
class PostedJob:
    """A job on the board; ``job`` is None where it cannot be understood."""

    name: str
    job: FleetJob | None
    claimed: bool


class Jobboard:
    """A connection; a context manager. Its session ends with it, and all of its claims with the session."""

    def __init__(self, address: JobboardAddress, owner: str, timeout: float) -> None:
        """*owner* is the name of whoever claims, *timeout* that of the session, in seconds."""
        if not LOG.isEnabledFor(logging.DEBUG):
            for name in ("kazoo", "taskflow"):  # what they have to say is an error here, or of no interest
                logging.getLogger(name).setLevel(logging.CRITICAL)
        self.address = address
        self.owner = owner
        self.lost = threading.Event()
        self._jobs: dict[str, FleetJob | None] = {}
        self._handles: dict[str, Any] = {}
        self._client = KazooClient(
            hosts=",".join(address.hosts),
            timeout=timeout,
            handler=_Handler(),
            connection_retry=dict(RECONNECT),
        )
        self._client.add_listener(self._changed)
        conf = {"board": "zookeeper", "path": self.path(JOBS), "check_compatible": False}
        self._board = backends.fetch("osc-imagetools", conf, client=self._client)
        self._turn = self._client.Lock(self.path(TURN), owner)
        self._turn_left = False
        self._board.notifier.register(taskflow_jobs.POSTED, self._posted)

    def __enter__(self) -> Self:
        try:
            with self._answered():
                self._board.connect(timeout=CONNECT)
                for name in (RUNS, WORKERS, TURN):
                    self._client.ensure_path(self.path(name))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session."""
        try:
            with ExitStack() as stack:  # whatever fails, the rest is done
                stack.callback(self._client.close)
                stack.callback(self._client.stop)
                self._board.close()
        except (KazooException, KazooTimeoutError, taskflow_errors.TaskFlowException) as exc:
            LOG.debug("The connection to ZooKeeper was not closed: %s", exc)

    def path(self, *parts: str) -> str:
        """A path below that of the address."""
        return "/".join((self.address.path, *parts))

    # -- jobs ------------------------------------------------------------------------------------

    def post(self, job: FleetJob) -> None:
        """Posts a job behind all others."""
        with self._talking():
            self._board.post(f"backup of server {job.server.id}", details=job_details(job))

    def jobs(self) -> list[PostedJob]:
        """All jobs, the oldest first."""
        with self._talking():
            names = self._client.get_children(self.path(JOBS))
        prefix, claim = ZookeeperJobBoard.JOB_PREFIX, ZookeeperJobBoard.LOCK_POSTFIX
        claimed = {name.removesuffix(claim) for name in names if name.endswith(claim)}
        posted = sorted(name for name in names if name.startswith(prefix) and not name.endswith(claim))
        for gone in self._jobs.keys() - set(posted):
            self._jobs.pop(gone, None)
            self._handles.pop(gone, None)
        found = self.read_many((JOBS, name) for name in posted if name not in self._jobs)
        self._jobs |= {name: _parsed(name, data) for (_, name), data in found.items()}
        return [PostedJob(name, self._jobs.get(name), name in claimed) for name in posted]

    def claim(self, posted: PostedJob) -> bool:
        """Claims a job for this session; whether that was possible."""
        handle = self._handles.get(posted.name)
        if handle is None:  # TaskFlow has not read it yet
            return False
        with self._talking():
            try:
                self._board.claim(handle, self.owner)
            except (taskflow_errors.UnclaimableJob, taskflow_errors.NotFound):
                return False
        return True

    def is_mine(self, posted: PostedJob) -> bool:
        """Whether this session has the claim of a job."""
        with self._talking():
            try:
                return bool(self._board.find_owner(self._handles[posted.name]) == self.owner)
            except (KeyError, taskflow_errors.NotFound):
                return False

    def consume(self, posted: PostedJob) -> None:
        """Takes a claimed job off the board; it may be gone already."""
        with self._talking():
            try:
                self._board.consume(self._handles[posted.name], self.owner)
            except (KeyError, taskflow_errors.NotFound):
                if self._client.exists(self.path(JOBS, posted.name)):
                    raise errors.JobboardError(f"job {posted.name} cannot be taken off the board") from None

    def abandon(self, posted: PostedJob) -> None:
        """Gives a claimed job back; it may be given back already, and claimed by another session."""
        with self._talking():
            try:
                self._board.abandon(self._handles[posted.name], self.owner)
            except (KeyError, taskflow_errors.NotFound):
                LOG.debug("Job %s is gone", posted.name)
            except taskflow_errors.JobFailure:
                if self._board.find_owner(self._handles[posted.name]) == self.owner:
                    raise

    @contextmanager
    def turn(self, timeout: float = ANSWER) -> Iterator[None]:
        """Within it nobody else decides.

        :raises errors.JobboardError: somebody else takes too long.
        """
        with self._talking():
            self._turn_left = True
            if self._turn.is_acquired:
                self._turn.release()
            try:
                mine = self._turn.acquire(timeout=timeout)
            except LockTimeout:
                mine = False
            if not mine:
                raise errors.JobboardError("somebody else holds the lock of the jobboard for too long")
        try:
            yield
        finally:
            try:
                with self._talking():
                    self._turn.release()
                self._turn_left = False
            except errors.JobboardError as exc:
                LOG.info("%s", exc.message)

    def end_turn(self) -> None:
        """Ends a turn whose end ZooKeeper has not confirmed: its lock lasts as long as the session."""
        if self._turn_left:
            with self.turn(timeout=1.0):
                LOG.debug("The turn has ended")

    # -- nodes -----------------------------------------------------------------------------------

    def read(self, *parts: str) -> tuple[bytes, int] | None:
        """The data of a node and its version; None where it is not there."""
        with self._talking():
            try:
                data, stat = self._client.get(self.path(*parts))
            except NoNodeError:
                return None
        return data, stat.version

    def read_all(self, *parts: str, without: frozenset[str] = frozenset()) -> dict[str, bytes]:
        """The data of the nodes below one, by their names; of those that are not in *without*."""
        with self._talking():
            try:
                names = self._client.get_children(self.path(*parts))
            except NoNodeError:
                return {}
        found = self.read_many((*parts, name) for name in names if name not in without)
        return {path[-1]: data for path, data in found.items()}

    def read_many(self, nodes: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], bytes]:
        """The data of these nodes, as far as they are there.

        They are all asked for before the first answer is waited for: it takes one round trip.
        """
        found = {}
        with self._talking():
            asked = {node: self._client.get_async(self.path(*node)) for node in nodes}
            for node, answer in asked.items():
                try:
                    found[node] = answer.get()[0]
                except NoNodeError:
                    continue
        return found

    def create(self, data: bytes, *parts: str, ephemeral: bool = False) -> None:
        """Makes a node, which may be there already; an ephemeral one is gone when this session is."""
        with self._talking():
            try:
                self._client.create(self.path(*parts), data, ephemeral=ephemeral, makepath=True)
            except NodeExistsError:
                if ephemeral:
                    raise

    def write(self, data: bytes, version: int, *parts: str) -> int:
        """Replaces the data of a node; its new version.

        :raises FencedOff: it is gone, or has another version.
        """
        with self._talking():
            try:
                return int(self._client.set(self.path(*parts), data, version=version).version)
            except (BadVersionError, NoNodeError) as exc:
                raise FencedOff(f"{self.path(*parts)} was changed by another worker") from exc

    def remove(self, *parts: str) -> None:
        """Removes a node and all below it."""
        with self._talking():
            try:
                self._client.delete(self.path(*parts), recursive=True)
            except NoNodeError:
                return

    def session_has(self, *parts: str) -> bool:
        """Whether the session lives, which an ephemeral node of it proves.

        :raises errors.JobboardError: there is no answer, so nobody knows.
        """
        with self._talking():
            stat = self._client.exists(self.path(*parts))
            mine = self._client.client_id
        return stat is not None and mine is not None and stat.ephemeralOwner == mine[0]

    # -- what others call --------------------------------------------------------------------------

    def _changed(self, state: str) -> None:
        if state == KazooState.LOST:
            self.lost.set()

    def _posted(self, event: str, details: Any) -> None:
        job = details["job"]
        self._handles[job.path.rpartition("/")[2]] = job

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Asks nothing without a connection; everything else is as :meth:`_answered`."""
        if not self._client.connected:
            raise errors.JobboardError(
                f"the jobboard {self.address.url} does not answer: no connection", hint=CHECK
            )
        with self._answered():
            yield

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (KazooException, KazooTimeoutError, taskflow_errors.TaskFlowException) as exc:
            said = " ".join(str(exc).split()) or type(exc).__name__
            raise errors.JobboardError(
                f"the jobboard {self.address.url} cannot be used: {said}", hint=CHECK
            ) from exc


def _parsed(name: str, data: bytes) -> FleetJob | None:
    try:
        told = json.loads(data)
        return parse_job(told.get("details") if isinstance(told, dict) else None)
    except (ValueError, RecursionError) as exc:
        LOG.warning("Job %s on the jobboard is not one of osc-imagetools: %s", name, exc)
        return None
