# SPDX-License-Identifier: Apache-2.0
"""A worker over several sessions: what it does when the board is gone, and when it is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet import worker as worker_module
from osc_imagetools.backup_run.fleet.board import WORKERS
from osc_imagetools.backup_run.fleet.worker import known_clouds, waiting_steps, work
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.backup_run.running import last_words
from osc_imagetools.tests.unit.backup_run.fleet.boards import (
    ADDRESS,
    REFUSED,
    FleetTestCase,
    MemoryBoard,
)
from osc_imagetools.tests.unit.base import TestCase


class WorkerCase(FleetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(worker_module, "AGAIN", 0.005)
        self.boards: list[MemoryBoard] = []
        self.patch(worker_module, "Jobboard", self.opened)
        # Tests that a script runs in the background inherit that it is ignored.
        self.addCleanup(
            signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)
        )

    def opened(self, address: Any, owner: str, timeout: float) -> MemoryBoard:
        self.assertEqual((ADDRESS, 30.0), (address, timeout))
        self.boards.append(MemoryBoard(self.store, owner))
        return self.boards[-1]

    def run_worker(self, **changes: Any) -> dict[str, ServerResult]:
        return {result.server.id: result for result in work(ADDRESS, self.options(**changes))}

    def lose(self, do: Callable[[], object] = lambda: None) -> Callable[[], None]:
        """Ends the session of the worker, and does more."""

        def end() -> None:
            self.store.end_session(self.boards[-1].owner)
            self.boards[-1].lost.set()
            do()

        return end


class TestSessions(WorkerCase):
    def test_until_the_board_is_empty(self):
        self.posted("a")
        self.posted("bad")
        found = self.run_worker(parallel=2)
        self.assertEqual({"a": "exported", "bad": "failed"}, {i: r.result for i, r in found.items()})
        self.assertEqual([], [path for path in self.store.nodes if path[0] == WORKERS])

    def test_after_a_lost_session_it_comes_back_and_takes_over_from_itself(self):
        job = self.posted("a-slow")
        self.once(self.begun, self.lose((self.dir / "notes.fast").touch))
        found = self.run_worker()["a-slow"]
        first, second = (board.owner.rpartition(".") for board in self.boards)
        self.assertEqual((first[0], "1", "2"), (second[0], first[2], second[2]))
        # It waits for nobody: the commands of the first session have ended.
        self.assertEqual(["export-full a-slow", "delete --yes", "export-full a-slow"], self.begun())
        self.assertEqual(
            ("exported", [f"earlier attempt: {first[0]} was lost"]), (found.result, found.details)
        )
        self.assertEqual(1, self.state_of(job).lost)

    def test_a_board_that_is_gone_for_a_while_is_tried_again(self):
        self.posted("a-slow")

        def gone() -> None:
            (self.dir / "notes.fast").touch()
            self.store.down = True

        self.once(self.begun, self.lose(gone))
        again: list[str] = []

        def opened(address: Any, owner: str, timeout: float) -> MemoryBoard:
            again.append(owner)
            self.store.down = len(again) in (2, 3)
            return self.opened(address, owner, timeout)

        self.patch(worker_module, "Jobboard", opened)
        self.assertEqual("exported", self.run_worker()["a-slow"].result)
        self.assertEqual(4, len(again))
        self.assertEqual(2, self.log.output.count("nobody is there; trying again"))

    def test_a_board_that_was_never_there(self):
        self.store.down = True
        error = self.assertRaises(errors.JobboardError, self.run_worker)
        self.assertEqual(("nobody is there", 1), (error.message, len(self.boards)))

    def test_a_session_that_cannot_take_part(self):
        def opened(address: Any, owner: str, timeout: float) -> MemoryBoard:
            board = self.opened(address, owner, timeout)
            board.faults["create"] = [REFUSED]
            return board

        self.patch(worker_module, "Jobboard", opened)
        self.assertRaises(errors.JobboardError, self.run_worker)


class TestInterrupts(WorkerCase):
    def test_its_jobs_are_given_back(self):
        job = self.posted("a-slow")
        self.once(self.begun, lambda: os.kill(os.getpid(), signal.SIGINT))
        error = self.assertRaises(errors.Cancelled, self.run_worker, exit_when_idle=False)
        self.assertIn("given back", error.message)
        self.assertTrue(self.commands()[-1]["interrupted"])
        state = self.state_of(job)
        self.assertEqual(("waiting", 0), (state.state, state.attempts))
        self.assertEqual((1, {}), (len(self.store.jobs), self.store.claims))

    def test_while_the_board_is_gone(self):
        self.posted("a-slow")

        def gone() -> None:
            self.store.down = True
            os.kill(os.getpid(), signal.SIGINT)

        self.once(self.begun, self.lose(gone))
        self.assertRaises(errors.Cancelled, self.run_worker)
        self.assertEqual(1, len(self.boards))
        self.assertTrue(self.commands()[-1]["interrupted"])

    def test_whatever_ends_it_its_commands_end_first(self):
        self.posted("a-slow")

        def fail() -> None:
            raise MemoryError

        self.once(self.begun, fail)
        self.assertRaises(MemoryError, self.run_worker)
        self.assertTrue(self.commands()[-1]["interrupted"])

    def test_what_a_process_that_is_ended_at_once_says(self):
        self.assertEqual("", last_words([]))
        self.posted("a-slow")
        said: list[str] = []

        def ask() -> None:
            said.append(last_words(task.job.server for task in loop.tasks))
            loop.stop.set()

        self.once(self.begun, ask)
        with self.loop() as loop:
            loop.work()
        self.assertIn("web-a-slow (a-slow)", said[0])
        self.assertIn("leftover", said[0])


class TestDryRun(WorkerCase):
    def test_what_it_could_take_in_this_order(self):
        jobs = [self.posted(name) for name in ("a", "b", "d")]
        self.posted("x", cloud="other")
        self.posted("over", {"state": "done"})  # it is only taken off
        self.store.claims["job0000000001"] = "other.1"
        steps = waiting_steps(ADDRESS, self.options())
        self.assertEqual(
            [f"server web-{i} ({i}) in cloud c for run r" for i in ("a", "d")], [s.resource for s in steps]
        )
        self.assertEqual([], self.store.changes())
        self.assertEqual({"waiting"}, {self.state_of(job).state for job in jobs})


class TestClouds(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clouds = self.state / "clouds.yaml"
        for name, value in (("OS_CLIENT_CONFIG_FILE", str(self.clouds)), ("OS_CLOUD", None)):
            self.useFixture(fixtures.EnvironmentVariable(name, value))

    def test_those_that_have_a_name(self):
        login = "{auth: {auth_url: http://127.0.0.1:1}}"
        self.clouds.write_text(f"clouds:\n  c: {login}\n  d: {login}\n")
        self.useFixture(fixtures.EnvironmentVariable("OS_AUTH_URL", "http://127.0.0.1:1"))
        self.assertEqual({"c", "d"}, known_clouds())

    def test_a_file_that_cannot_be_read(self):
        self.clouds.write_text("- c\n")
        error = self.assertRaises(errors.UsageError, known_clouds)
        self.assertIn("clouds.yaml cannot be read", error.message)
