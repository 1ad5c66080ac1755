# SPDX-License-Identifier: Apache-2.0
"""What becomes of the answers of ZooKeeper's and TaskFlow's clients: errors, claims, and values.

There is no ZooKeeper here; how it behaves is for the functional tests.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import fixtures
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    LockTimeout,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.recipe.watchers import ChildrenWatch
from taskflow import exceptions as taskflow_errors

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet import board as board_module
from osc_imagetools.backup_run.fleet.board import FencedOff, Jobboard, PostedJob
from osc_imagetools.backup_run.fleet.job import job_details
from osc_imagetools.backup_run.fleet.plan_address import parse_address
from osc_imagetools.tests.unit.backup_run.fleet.test_plan import job
from osc_imagetools.tests.unit.base import TestCase

SILENT = (ConnectionLoss(), SessionExpiredError(), KazooTimeoutError("no answer"))
POSTED = PostedJob("job1", None, False)


class BoardCase(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger("osc_imagetools"))
        self.board = Jobboard(parse_address("zookeeper://127.0.0.1:1/x"), "me", 1.0)
        self.client, self.taskflow = self.board._client, self.board._board
        self.connected(True)

    def connected(self, now: bool) -> None:
        self.patch(type(self.client), "connected", now)

    def answer(self, where: Any, **answers: Any) -> dict[str, mock.Mock]:
        """What methods of a client give, or raise."""
        mocks = {}
        for name, answer in answers.items():
            raised = isinstance(answer, Exception | type)
            mocks[name] = mock.Mock(**{"side_effect" if raised else "return_value": answer})
            self.patch(where, name, mocks[name])
        return mocks

    def known(self) -> object:
        """The job of TaskFlow that it has told of."""
        handle = SimpleNamespace(path="/x/exports/job1")
        self.board._posted("posted", {"job": handle})
        return handle

    def requests(self) -> list[Callable[[], object]]:
        """What is asked of ZooKeeper itself."""
        return [
            lambda: self.board.read("a"),
            lambda: self.board.read_all("a"),
            self.board.jobs,
            lambda: self.board.create(b"", "a"),
            lambda: self.board.write(b"", 0, "a"),
            lambda: self.board.remove("a"),
            lambda: self.board.session_has("a"),
        ]


class TestErrors(BoardCase):
    def test_whatever_is_not_answered_is_one_error(self):
        for exc in SILENT:
            names = ("get", "get_children", "create", "set", "delete", "exists")
            self.answer(self.client, **dict.fromkeys(names, exc))
            for call in self.requests():
                error = self.assertRaises(errors.JobboardError, call)
                self.assertNotIsInstance(error, FencedOff)
                self.assertIn("zookeeper://127.0.0.1:1/x", error.message)
                self.assertIn(str(exc) or type(exc).__name__, error.message)
                self.assertIsNotNone(error.hint)

    def test_a_board_that_cannot_be_reached_is_closed_again(self):
        self.answer(self.taskflow, connect=taskflow_errors.JobFailure("Failed to connect"))
        stop = self.answer(self.client, stop=None)["stop"]
        error = self.assertRaises(errors.JobboardError, self.board.__enter__)
        self.assertIn("Failed to connect", error.message)
        stop.assert_called_once_with()

    def test_what_goes_wrong_while_it_is_closed_is_nobodys_business(self):
        self.answer(self.taskflow, connect=None, close=None)
        self.answer(self.client, ensure_path=None, stop=KazooTimeoutError())
        with self.board as opened:
            self.assertIs(self.board, opened)

    def test_whatever_fails_while_it_is_closed_the_rest_is_done(self):
        for failure in SILENT:
            ended = self.answer(self.client, stop=KazooTimeoutError(), close=None)
            self.answer(self.taskflow, close=failure)
            self.board.close()
            for call in ended.values():
                call.assert_called_once_with()

    def test_without_a_connection_nothing_is_asked(self):
        """ZooKeeper's client would wait until there is one."""
        self.known()
        self.connected(False)
        names = ("get", "get_children", "get_async", "create", "set", "delete", "exists")
        asked = list(self.answer(self.client, **dict.fromkeys(names)).values())
        others = ("post", "claim", "consume", "abandon", "find_owner")
        asked += self.answer(self.taskflow, **dict.fromkeys(others)).values()
        asked += self.answer(self.board._turn, acquire=True, release=None).values()
        for call in (
            *self.requests(),
            lambda: self.board.post(job("a")),
            lambda: self.board.claim(POSTED),
            lambda: self.board.is_mine(POSTED),
            lambda: self.board.consume(POSTED),
            lambda: self.board.abandon(POSTED),
            self.board.turn().__enter__,
        ):
            error = self.assertRaises(errors.JobboardError, call)
            self.assertIn("no connection", error.message)
        self.assertEqual([], [one for one in asked if one.called])

    def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(self):
        """The connection was lost when the question was on its way: it is only queued then."""
        self.patch(board_module, "ANSWER", 0.01)
        self.patch(self.client, "_state", KeeperState.CONNECTING)
        self.patch(self.client._connection, "_write_sock", mock.Mock())
        for call in (
            lambda: self.board.read("a"),
            self.board.jobs,
            lambda: self.board.write(b"", 0, "a"),
            lambda: self.board.create(b"", "a"),
            lambda: self.board.remove("a"),
            lambda: self.board.session_has("a"),
            lambda: self.board.post(job("a")),
            self.board.turn().__enter__,
        ):
            error = self.assertRaises(errors.JobboardError, call)
            self.assertIn("cannot be used", error.message)


class TestWatch(BoardCase):
    """What TaskFlow knows of the board comes from a thread of kazoo's, which asks when it is connected."""

    def asked(self, *answers: Any) -> list[Any]:
        """What the watch has seen after these answers; nothing may have ended with a traceback."""
        ask = self.answer(self.client, get_children=None)["get_children"]
        ask.side_effect = [[], *answers]
        seen: list[Any] = []
        watch = ChildrenWatch(self.client, "/x/exports", seen.append)
        watch._session_watcher(KazooState.SUSPENDED)
        hook = mock.Mock()
        self.patch(threading, "excepthook", hook)
        self.client.handler.spawn(watch._get_children).join()
        hook.assert_not_called()
        self.assertEqual(1 + len(answers), ask.call_count)
        return seen[1:]

    def test_it_asks_again_until_there_is_an_answer(self):
        silent = KazooTimeoutError("no answer")
        self.assertEqual([["job1"]], self.asked(silent, silent, ["job1"]))

    def test_without_a_connection_it_ends_until_there_is_one(self):
        self.connected(False)
        self.assertEqual([], self.asked(KazooTimeoutError("no answer")))

    def test_one_that_is_refused_is_no_traceback(self):
        self.assertEqual([], self.asked(NoAuthError()))

    def test_whatever_else_runs_in_a_thread_is_left_alone(self):
        done: list[int] = []
        self.client.handler.spawn(done.append, 1).join()
        self.assertEqual([1], done)


class TestNodes(BoardCase):
    def test_reading(self):
        self.answer(self.client, get=(b"data", SimpleNamespace(version=3)))
        self.assertEqual((b"data", 3), self.board.read("runs", "r"))
        self.answer(self.client, get=NoNodeError)
        self.assertIsNone(self.board.read("runs", "r"))

    def test_reading_what_is_below(self):
        answers = {
            "/x/a/b": SimpleNamespace(get=lambda: (b"1", None)),
            "/x/a/gone": SimpleNamespace(get=mock.Mock(side_effect=NoNodeError)),
        }
        self.answer(self.client, get_children=["b", "gone", "known"])
        self.patch(self.client, "get_async", answers.__getitem__)
        self.assertEqual({"b": b"1"}, self.board.read_all("a", without=frozenset({"known"})))
        self.answer(self.client, get_children=NoNodeError)
        self.assertEqual({}, self.board.read_all("a"))

    def test_writing(self):
        written = self.answer(self.client, set=SimpleNamespace(version=4))["set"]
        self.assertEqual(4, self.board.write(b"data", 3, "runs", "r"))
        written.assert_called_once_with("/x/runs/r", b"data", version=3)
        for exc in (BadVersionError, NoNodeError):
            self.answer(self.client, set=exc)
            error = self.assertRaises(FencedOff, self.board.write, b"", 3, "runs", "r")
            self.assertIn("/x/runs/r", error.message)

    def test_what_is_there_already(self):
        self.answer(self.client, create=NodeExistsError)
        self.board.create(b"", "a")
        self.assertRaises(errors.JobboardError, self.board.create, b"", "a", ephemeral=True)

    def test_what_is_gone_already(self):
        self.answer(self.client, delete=NoNodeError)
        self.board.remove("a")

    def test_only_an_ephemeral_node_of_this_session_proves_it(self):
        self.patch(type(self.client), "client_id", (5, b""))
        for stat, proven in (
            (SimpleNamespace(ephemeralOwner=5), True),
            (SimpleNamespace(ephemeralOwner=6), False),
            (None, False),
        ):
            self.answer(self.client, exists=stat)
            self.assertEqual(proven, self.board.session_has("workers", "me"))

    def test_a_session_that_was_lost(self):
        for state, lost in (
            (KazooState.SUSPENDED, False),
            (KazooState.LOST, True),
            (KazooState.CONNECTED, True),
        ):
            self.board._changed(state)
            self.assertEqual(lost, self.board.lost.is_set())


class TestJobs(BoardCase):
    def test_the_oldest_first_with_their_claims(self):
        details = json.dumps({"details": job_details(job("a"))}).encode()
        datas = {"/x/exports/job1": details, "/x/exports/job2": b"{", "/x/exports/job3": b"[]"}
        names = ["job3", "trash", "job1.lock", "job2", "job1", "job4"]

        read: list[str] = []

        def get_async(path: str) -> Any:
            def answer() -> tuple[bytes, None]:
                self.assertEqual([f"/x/exports/job{number}" for number in (1, 2, 3, 4)], read)
                if path not in datas:
                    raise NoNodeError
                return datas[path], None

            read.append(path)
            return SimpleNamespace(get=answer)

        self.answer(self.client, get_children=names)
        self.patch(self.client, "get_async", get_async)
        jobs = self.board.jobs()  # all are asked for before one is waited for
        known = [(p.name, p.job.server.id if p.job else None, p.claimed) for p in jobs]
        unknown = [(f"job{number}", None, False) for number in (2, 3, 4)]
        self.assertEqual([("job1", "a", True), *unknown], known)
        again = self.answer(self.client, get_async=SimpleNamespace(get=mock.Mock(side_effect=NoNodeError)))
        self.assertIs(jobs[0].job, self.board.jobs()[0].job)
        again["get_async"].assert_called_once_with("/x/exports/job4")  # what is known is not read again
        self.answer(self.client, get_children=[])
        self.assertEqual([], self.board.jobs())
        self.answer(self.client, get_children=["job1"])
        self.assertIsNone(self.board.jobs()[0].job)

    def test_posting(self):
        post = self.answer(self.taskflow, post=None)["post"]
        self.board.post(job("a"))
        self.assertEqual(job_details(job("a")), post.call_args.kwargs["details"])

    def test_a_claim(self):
        claim = self.answer(self.taskflow, claim=None)["claim"]
        self.assertFalse(self.board.claim(POSTED))  # TaskFlow does not know of it yet
        claim.assert_not_called()
        handle = self.known()
        self.assertTrue(self.board.claim(POSTED))
        claim.assert_called_once_with(handle, "me")
        for exc in (taskflow_errors.UnclaimableJob, taskflow_errors.NotFound):
            self.answer(self.taskflow, claim=exc("another one has it"))
            self.assertFalse(self.board.claim(POSTED))
        self.answer(self.taskflow, claim=taskflow_errors.JobFailure("no answer"))
        self.assertRaises(errors.JobboardError, self.board.claim, POSTED)

    def test_whose_claim_it_is(self):
        self.assertFalse(self.board.is_mine(POSTED))
        self.known()
        for owner, mine in (("me", True), ("other", False), (None, False)):
            self.answer(self.taskflow, find_owner=owner)
            self.assertEqual(mine, self.board.is_mine(POSTED))
        self.answer(self.taskflow, find_owner=taskflow_errors.JobFailure("no answer"))
        self.assertRaises(errors.JobboardError, self.board.is_mine, POSTED)

    def test_taking_off(self):
        self.known()
        consume = self.answer(self.taskflow, consume=None)["consume"]
        self.board.consume(POSTED)
        self.assertEqual("me", consume.call_args.args[1])
        self.answer(self.taskflow, consume=taskflow_errors.NotFound("no claim"))
        self.answer(self.client, exists=None)
        self.board.consume(POSTED)  # it is gone
        self.answer(self.client, exists=object())
        self.assertRaises(errors.JobboardError, self.board.consume, POSTED)
        self.answer(self.taskflow, consume=taskflow_errors.JobFailure("not owned"))
        self.assertRaises(errors.JobboardError, self.board.consume, POSTED)

    def test_giving_back(self):
        self.known()
        self.answer(self.taskflow, abandon=taskflow_errors.NotFound("no claim"))
        self.board.abandon(POSTED)
        self.answer(self.taskflow, abandon=taskflow_errors.JobFailure("not owned"))
        for owner in ("other", None):  # the answer to an earlier attempt was lost
            self.answer(self.taskflow, find_owner=owner)
            self.board.abandon(POSTED)
        for owner in ("me", taskflow_errors.JobFailure("no answer")):
            self.answer(self.taskflow, find_owner=owner)
            self.assertRaises(errors.JobboardError, self.board.abandon, POSTED)


class TestTurn(BoardCase):
    def lock(self, **answers: Any) -> dict[str, mock.Mock]:
        self.patch(self.board, "_turn", SimpleNamespace(is_acquired=False))
        return self.answer(self.board._turn, **{"acquire": True, "release": None, **answers})

    def test_it_is_held_for_as_long_as_it_lasts(self):
        lock = self.lock()
        with self.board.turn(timeout=7):
            lock["acquire"].assert_called_once_with(timeout=7)
            lock["release"].assert_not_called()
        lock["release"].assert_called_once_with()
        self.board.end_turn()
        lock["acquire"].assert_called_once()

    def test_somebody_else_has_it(self):
        for answer in (False, LockTimeout("Failed to acquire lock")):
            lock = self.lock(acquire=answer)
            error = self.assertRaises(errors.JobboardError, self.board.turn().__enter__)
            self.assertIn("somebody else holds the lock", error.message)
            self.assertIsNone(error.hint)  # ZooKeeper runs
            lock["release"].assert_not_called()

    def test_one_whose_end_was_not_confirmed_ends_later(self):
        lock = self.lock(release=ConnectionLoss())
        with self.board.turn():
            pass  # what was decided is decided
        lock["release"].side_effect = None
        self.board._turn.is_acquired = True
        self.board.end_turn()
        self.assertEqual(3, lock["release"].call_count)  # the one that is held, and that of the turn
        self.board.end_turn()
        self.assertEqual(3, lock["release"].call_count)

    def test_the_connection_is_lost_in_it(self):
        """Its lock is not released then, which would wait for the connection."""
        lock = self.lock()
        with self.board.turn():
            self.connected(False)
        lock["release"].assert_not_called()
        self.assertRaises(errors.JobboardError, self.board.end_turn)
        self.connected(True)
        self.board.end_turn()
        lock["release"].assert_called_once_with()

    def test_what_is_raised_in_it_comes_out(self):
        lock = self.lock()

        def fail() -> None:
            with self.board.turn():
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        lock["release"].assert_called_once_with()
