# SPDX-License-Identifier: Apache-2.0
"""The session of a worker: its lease lasts as long as the session is proven, and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from osc_imagetools.backup_run.fleet import session as session_module
from osc_imagetools.backup_run.fleet.board import WORKERS
from osc_imagetools.backup_run.fleet.job import WorkerRecord, parse_worker
from osc_imagetools.backup_run.fleet.session import WorkerSession
from osc_imagetools.run import assignment
from osc_imagetools.tests.unit.backup_run.fleet.boards import (
    REFUSED,
    FleetTestCase,
    MemoryBoard,
)

WORKER = WorkerRecord("me", frozenset({"c"}), frozenset({"daily"}))
TIMEOUT = 0.02  # seconds of a clock that the tests set; the session is proven ten times in it


class TestSession(FleetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 1000.0
        for module in (assignment, session_module):
            self.patch(module, "lease_clock", lambda: self.now)
        self.board = MemoryBoard(self.store, "me.1")
        self.session = WorkerSession(self.board, WORKER, TIMEOUT)

    def proofs(self) -> int:
        return self.store.calls.count(("me.1", "session_has", WORKERS, "me.1"))

    def wait_for(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.001)

    def more_proofs(self) -> None:
        """Until at least one question was asked and answered from now on, besides one on its way."""
        seen = self.proofs()
        self.wait_for(lambda: self.proofs() > seen + 2)

    def test_it_takes_part_as_long_as_it_lasts(self):
        self.assertTrue(self.session.over())
        with self.session:
            node = self.store.nodes[WORKERS, "me.1"]
            self.assertEqual((WORKER, "me.1"), (parse_worker(node.data), node.owner))
            self.assertFalse(self.session.over())
        self.assertTrue(self.session.over())
        self.assertEqual([], [t for t in threading.enumerate() if t.name == "session"])

    def test_each_proof_extends_the_lease(self):
        with self.session:
            for _ in range(3):
                self.now += TIMEOUT * 0.9
                self.more_proofs()
                self.assertFalse(self.session.over())

    def test_without_an_answer_it_ends_and_never_comes_back(self):
        with self.session:
            self.board.faults["session_has"] = [REFUSED] * 10_000
            self.more_proofs()
            self.now += TIMEOUT
            self.assertTrue(self.session.over())
            self.board.faults["session_has"] = []
            self.more_proofs()
            self.assertTrue(self.session.over())
            self.assertFalse(self.board.lost.is_set())

    def test_it_counts_from_the_question_and_not_from_the_answer(self):
        asked = [threading.Event(), threading.Event()]
        answer = [threading.Event(), threading.Event()]
        has, left = MemoryBoard.session_has, [0, 1]

        def late(board: MemoryBoard, *parts: str) -> bool:
            if left:
                number = left.pop(0)
                asked[number].set()
                answer[number].wait(10)
            return has(board, *parts)

        self.patch(MemoryBoard, "session_has", late)
        with self.session:
            asked[0].wait(10)
            self.now += TIMEOUT * 0.9
            answer[0].set()
            asked[1].wait(10)
            self.now += TIMEOUT * 0.2  # later than the first question and the timeout
            over = self.session.over()
            answer[1].set()
        self.assertTrue(over)

    def test_a_session_that_was_ended(self):
        with self.session:
            self.store.end_session("me.1")
            self.wait_for(self.board.lost.is_set)
            self.assertTrue(self.session.over())
