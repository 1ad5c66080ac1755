# SPDX-License-Identifier: Apache-2.0
"""Following a run: its rows, and when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from osc_imagetools import errors
from osc_imagetools.backup_run.execute import RunOptions
from osc_imagetools.backup_run.fleet import following
from osc_imagetools.backup_run.fleet.board import RUNS, WORKERS
from osc_imagetools.backup_run.fleet.following import FollowedRun, follow, read_run, running_texts
from osc_imagetools.backup_run.fleet.job import ServerState, format_state, parse_state, result_facts
from osc_imagetools.backup_run.fleet.posting import POSTER, SERVERS, SETTLED, PostingLogin, post_run
from osc_imagetools.backup_run.plan import PlannedServer
from osc_imagetools.backup_run.plan_schedule import RunLimits
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.tests.unit.backup_run import samples
from osc_imagetools.tests.unit.backup_run.fleet.boards import (
    REFUSED,
    FleetTestCase,
    MemoryBoard,
    MemoryNode,
    set_clock,
)


class FollowingCase(FleetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(following, "POLL", 0.0)
        self.board = MemoryBoard(self.store, "follower")
        due = [PlannedServer(samples.server(i), self.policy(), export=True) for i in ("a", "b")]
        fresh = PlannedServer(samples.server("f"), self.policy(), newest=samples.bundle())
        login = PostingLogin("c", "", "p")
        self.record = post_run(self.board, [due[0], fresh, due[1]], login, RunOptions(RunLimits(None)))
        self.run_id = self.record.run

    def write(self, identifier: str, state: str, result: str = "", **changes: Any) -> None:
        """What a worker does."""
        node = self.store.nodes[RUNS, self.run_id, SERVERS, identifier]
        known = parse_state(node.data)
        facts = result_facts(ServerResult(known.server, result)) if result else None
        node.data = format_state(replace(known, state=state, result=facts, **changes))

    def at_turns(self, *steps: Callable[[], object], stop: bool = True) -> threading.Event:
        """What happens between two looks; in the end it is interrupted."""
        left = list(steps)
        event = threading.Event()

        def wait(seconds: float) -> bool:
            if left:
                left.pop(0)()
            elif stop:
                event.set()
            return event.is_set()

        event.wait = wait  # type: ignore[assignment, method-assign]
        return event


class TestRows(FollowingCase):
    def test_in_the_order_of_the_run_with_how_far_each_is(self):
        self.write("a", "running", worker="w1", step="copying", since=time.time() - 5, failures=("x: bad",))
        followed = FollowedRun(self.board, self.record)
        followed.update()
        rows = followed.results()
        self.assertEqual(["a", "f", "b"], [row.server.id for row in rows])
        self.assertEqual(["running", "fresh", "waiting"], [row.result for row in rows])
        self.assertEqual(["on w1: copying", "x: bad"], rows[0].details)
        self.assertAlmostEqual(5, rows[0].seconds or 0, delta=3)
        self.assertEqual(
            (False, 1, 2), (followed.over, followed.count("done"), followed.count("done", "running"))
        )
        self.assertEqual({"web-a on w1": "copying"}, running_texts(followed.states.values()))
        self.write("a", "running", step="")
        followed.update()
        self.assertEqual("on w1", followed.results()[0].details[0])

    def test_what_is_done_is_not_read_again(self):
        self.write("a", "done", "exported")
        followed = FollowedRun(self.board, self.record)
        followed.update()
        self.write("a", "waiting")
        self.write("b", "done", "failed")
        followed.update()
        self.assertEqual(["exported", "fresh", "failed"], [row.result for row in followed.results()])
        self.assertTrue(followed.over)

    def test_no_such_run(self):
        for run in ("nothing", "../x", ""):
            error = self.assertRaises(errors.ResourceNotFound, read_run, self.board, run)
            self.assertIn("7 days", error.hint or "")


class TestWaiting(FollowingCase):
    def follow(self, *steps: Callable[[], object], **changes: Any) -> list[ServerResult]:
        return follow(self.board, read_run(self.board, self.run_id), self.at_turns(*steps), **changes)

    def test_until_all_is_done(self):
        told: list[int] = []
        rows = self.follow(
            lambda: self.write("a", "running", worker="w"),
            lambda: self.write("a", "done", "exported"),
            lambda: self.write("b", "done", "failed"),
            tell=lambda followed: told.append(followed.count("done")),
        )
        self.assertEqual(["exported", "fresh", "failed"], [row.result for row in rows])
        self.assertEqual([1, 1, 2, 3], told)

    def test_interrupted_the_run_goes_on(self):
        before = len(self.store.changes())
        error = self.assertRaises(errors.Cancelled, self.follow)
        command = f"openstack server backup-run --jobboard zookeeper://memory:2181/x --follow {self.run_id}"
        self.assertEqual((130, command), (error.exit_code, error.hint))
        self.assertEqual(before, len(self.store.changes()))

    def test_a_run_that_is_not_posted_completely_yet(self):
        posted = self.store.nodes[RUNS, self.run_id].data
        self.run_node(self.run_id, posted=False)
        self.store.nodes[RUNS, self.run_id, POSTER] = MemoryNode(b"", owner="poster")
        for name in ("a", "b"):
            self.write(name, "done", "exported")

        def complete() -> None:
            self.store.nodes[RUNS, self.run_id] = MemoryNode(posted)
            del self.store.nodes[RUNS, self.run_id, POSTER]

        rows = self.follow(lambda: None, complete)  # before that it is not over
        self.assertEqual(["exported", "fresh", "exported"], [row.result for row in rows])

    def test_a_run_whose_command_died_while_it_posted(self):
        self.run_node(self.run_id, posted=False)
        self.store.nodes[RUNS, self.run_id, POSTER] = MemoryNode(b"", owner="poster")
        error = self.assertRaises(
            errors.ResourceUnusable, self.follow, lambda: self.store.end_session("poster")
        )
        self.assertIn("was not put on the jobboard completely", error.message)

    def test_a_board_that_is_silent_for_a_while(self):
        self.board.faults["read_all"] = ["", "", "", REFUSED, REFUSED]
        for name in ("a", "b"):
            self.write(name, "done", "exported")
        self.write("b", "running")
        rows = self.follow(lambda: None, lambda: None, lambda: self.write("b", "done", "exported"))
        self.assertEqual(3, len(rows))
        self.assertEqual(1, self.log.output.count("read_all was refused; trying again"))

    def test_a_board_that_is_silent_from_the_beginning(self):
        """The run has just been posted, or is not complete yet."""
        for name in ("a", "b"):
            self.write(name, "done", "exported")
        for record in (self.record, replace(self.record, posted=False)):
            self.board.faults = {name: [REFUSED] * 2 for name in ("read", "read_all")}
            steps = [lambda: None] * 5
            self.assertEqual(3, len(follow(self.board, record, self.at_turns(*steps))))

    def test_a_run_that_is_gone_is_not_waited_for(self):
        self.board.remove(RUNS, self.run_id)
        record = replace(self.record, posted=False)
        self.assertRaises(errors.ResourceNotFound, follow, self.board, record, self.at_turns())

    def test_a_board_that_stays_silent(self):
        clock = set_clock(0.0)
        self.patch(following, "time", clock)
        self.board.faults["read_all"] = [REFUSED] * 9

        def later() -> None:
            clock.now += following.PATIENCE / 2

        error = self.assertRaises(errors.JobboardError, self.follow, later, later, later)
        self.assertEqual((1, "read_all was refused"), (error.exit_code, error.message))
        self.assertEqual((f"jobs of run {self.run_id} on the jobboard",), error.left)
        self.assertIn(f"--jobboard zookeeper://memory:2181/x --follow {self.run_id}", error.hint or "")
        self.assertEqual(1.5 * following.PATIENCE, clock.now)

    def test_that_nobody_works_is_said_once(self):
        clock = set_clock(0.0)
        self.patch(following, "time", clock)
        said: list[int] = []

        def later() -> None:
            said.append(self.log.output.count("No worker takes part"))
            clock.now += following.LONELY * 0.6

        self.assertRaises(errors.Cancelled, self.follow, *[later] * 5)
        self.assertEqual([0, 0, 1, 1, 1], said)
        self.store.nodes[WORKERS, "w"] = MemoryNode(b"{}")
        said.clear()
        self.assertRaises(errors.Cancelled, self.follow, *[later] * 5)
        self.assertEqual([1] * 5, said)

    def test_what_cannot_be_read(self):
        """Neither waited for nor a traceback, whatever it is."""
        for name in ("a", "b"):
            self.write(name, "done", "exported")
        bad = format_state(ServerState(0, samples.server("a"), "done", result={"result": 5}))
        for path, data in (((SERVERS, "a"), b"{"), ((SERVERS, "a"), bad), ((SETTLED, "0"), b"{"), ((), b"{")):
            node = self.store.nodes[RUNS, self.run_id, *path]
            good, node.data = node.data, data
            followed = FollowedRun(self.board, self.record)
            self.assertRaises(errors.JobboardError, followed.update if path else self.follow)
            error = self.assertRaises(errors.JobboardError, self.follow)
            self.assertIn(f"run {self.run_id} on the jobboard cannot be read", error.message)
            node.data = good
        self.assertEqual(3, len(self.follow()))
