# SPDX-License-Identifier: Apache-2.0
"""What workers make of the jobs on a board: who claims what, and what is written down in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from osc_imagetools.backup_run.fleet import board as board_module
from osc_imagetools.backup_run.fleet.board import RUNS, WORKERS, FencedOff
from osc_imagetools.backup_run.fleet.job import RETRIES, FleetJob, format_state
from osc_imagetools.backup_run.fleet.task import FleetTask
from osc_imagetools.backup_run.plan_policy import ProofRule
from osc_imagetools.backup_run.plan_schedule import RunLimits
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.tests.unit.backup_run.fleet.boards import (
    REFUSED,
    UNANSWERED,
    FleetTestCase,
    MemoryBoard,
    MemoryNode,
)

OLD = ("a" * 12, "b" * 12)


class TestDouble(FleetTestCase):
    def test_nothing_of_it_reaches_for_zookeeper(self):
        methods = {name for name, value in vars(board_module.Jobboard).items() if callable(value)}
        public = {name for name in methods if not name.startswith("_")} - {"path"}
        self.assertLessEqual({"post", "turn"}, public)
        self.assertLessEqual(public | {"__init__", "__enter__"}, set(vars(MemoryBoard)))


class TestWork(FleetTestCase):
    def test_what_it_knows_is_done_and_the_rest_is_left(self):
        jobs = [self.posted(name) for name in ("a", "b")]
        other, foreign = self.posted("x", policy="weekly"), self.posted("y", cloud="d")
        self.store.add_job(None)
        found = self.work()
        self.assertEqual({"a": "exported", "b": "exported"}, {i: r.result for i, r in found.items()})
        self.assertEqual(["export-full a", "export-full b"], self.begun())
        for job in jobs:
            state = self.state_of(job)
            self.assertEqual(("done", "me"), (state.state, state.worker))
            assert state.result is not None
            self.assertEqual(("exported", 7), (state.result["result"], state.result["bytes"]))
        self.assertEqual([other, foreign, None], [self.plain(job) for job in self.store.jobs.values()])
        self.assertEqual({}, self.store.claims)

    def plain(self, job: FleetJob | None) -> FleetJob | None:
        return job and replace(job, server=replace(job.server, tags=frozenset(), properties={}))

    def test_the_commands_have_known_ids_and_the_lease(self):
        job = self.posted("a")
        self.work(policy=self.policy(prove=ProofRule(every=1.0)))
        export, proof = self.commands()
        self.assertEqual(["export-full", "restore-check"], [n["words"][1] for n in (export, proof)])
        self.assertEqual(self.state_of(job).runs, (export["run"], proof["run"]))
        self.assertEqual([8, 8], [export["lease"], proof["lease"]])

    def test_who_does_it_is_written_before_it_begins_and_the_result_before_the_job_leaves(self):
        self.posted("a")
        self.work()
        node, name = (RUNS, "r", "servers", "a"), "job0000000000"
        changes = [c for c in self.store.changes("me") if c[0] != "create"]
        self.assertEqual(("claim", name), changes[0])
        self.assertEqual(("consume", name), changes[-1])
        self.assertEqual({("write", *node)}, set(changes[1:-1]))
        self.assertLessEqual(3, len(changes))

    def test_as_many_at_a_time_as_it_may(self):
        for name in ("a-slow", "b-slow", "c-slow"):
            self.posted(name)
        most: list[int] = []

        def watch() -> None:
            most.append(len(self.store.claims))
            if len(self.begun()) >= 2:
                loop.stop.set()

        self.each_pause(watch)
        with self.loop(parallel=2) as loop:
            self.assertTrue(loop.work())
        self.assertEqual(2, max(most))
        self.assertEqual(3, len(self.store.jobs))  # given back, or never taken

    def test_limits_count_what_others_have_claimed(self):
        limits = RunLimits(None, per_host=1)
        self.posted("a", limits=limits)
        second = self.posted("b", limits=limits)
        self.store.claims["job0000000000"] = "other.1"
        self.once(lambda: self.store.calls.count(("me.1", "jobs")) > 4, lambda: loop.stop.set())
        with self.loop() as loop:
            self.assertTrue(loop.work())
        self.assertEqual([], self.begun())
        self.assertEqual("waiting", self.state_of(second).state)
        self.assertEqual({"job0000000000": "other.1"}, self.store.claims)

    def test_a_record_of_a_worker_that_nobody_can_read(self):
        self.store.nodes[WORKERS, "junk"] = MemoryNode(b"{")
        self.posted("a")
        self.assertEqual("exported", self.work()["a"].result)

    def test_how_far_it_is(self):
        job = self.posted("a-slow")
        self.once(lambda: self.state_of(job).step == "the disk is copied", lambda: loop.stop.set())
        with self.loop() as loop:
            self.assertTrue(loop.work())
        self.assertEqual("", self.state_of(job).step)


class TestOver(FleetTestCase):
    """Jobs that are on the board although there is nothing to do."""

    def test_they_are_taken_off_and_nothing_is_begun(self):
        self.posted("done", {"state": "done"})
        self.posted("again", {"posted": 2}, posted=1)
        for name, data in (("gone", None), ("broken", b"{")):
            job = self.posted(name)
            del self.store.nodes[self.node(job)]
            if data:
                self.store.nodes[self.node(job)] = MemoryNode(data)
        self.assertEqual({}, self.work())
        self.assertEqual(({}, []), (self.store.jobs, self.begun()))
        self.assertEqual([], [c for c in self.store.changes() if c[0] in ("write", "post")])

    def test_after_the_deadline(self):
        past = time.time() - 1
        self.posted("a", until=past)
        self.posted("b", {"posted": 1, "failures": ("x: it is broken",)}, until=past, posted=1)
        found = self.work()
        self.assertEqual({"a": "skipped", "b": "failed"}, {i: r.result for i, r in found.items()})
        deadline = "the deadline (--until) has passed"
        self.assertEqual([deadline], found["a"].details)
        self.assertEqual([deadline, "earlier attempt: x: it is broken"], found["b"].details)
        self.assertEqual([], self.begun())


class TestTakeover(FleetTestCase):
    def lost(self, **changes: Any) -> dict[str, Any]:
        """The state of a server whose worker was lost."""
        return {"state": "running", "worker": "dead", "runs": OLD, "lease": 0.02, **changes}

    def test_what_the_lost_one_left_goes_first(self):
        job = self.posted("a", self.lost())
        found = self.work()["a"]
        clear, export = self.commands()
        words = ["leftover", "delete", "--yes", "-f", "json", "--run", OLD[0], "--run", OLD[1]]
        self.assertEqual((words, None, 8), (clear["words"], clear["run"], clear["lease"]))
        state = self.state_of(job)
        self.assertEqual(("exported", 1), (found.result, state.lost))
        self.assertEqual(OLD, state.runs[:2])
        self.assertEqual(export["run"], state.runs[2])
        self.assertEqual(["earlier attempt: dead was lost"], found.details)

    def test_it_waits_until_the_commands_of_the_lost_one_have_stopped(self):
        job = self.posted("a", self.lost(lease=600.0))
        steps: list[str] = []

        def look() -> None:
            steps.extend(task.step for task in loop.tasks)
            if len(steps) > 5:
                loop.stop.set()

        self.each_pause(look)
        with self.loop() as loop:
            self.assertTrue(loop.work())
        self.assertEqual({"waiting until an earlier attempt is over"}, set(steps))
        self.assertEqual(("waiting", []), (self.state_of(job).state, self.begun()))

    def test_what_cannot_be_removed_is_a_failure(self):
        (self.dir / "notes.stuck").touch()
        job = self.posted("a", self.lost(), until=None)
        self.once(lambda: self.store.jobs.keys() - {"job0000000000"}, (self.dir / "notes.stuck").unlink)
        found = self.work()["a"]
        self.assertEqual("exported", found.result)
        self.assertEqual(["delete --yes", "delete --yes", "export-full a"], self.begun())
        said = "me: what an earlier attempt left was not removed: the volume is busy [cloud-error]"
        self.assertIn(f"earlier attempt: {said}", found.details)
        self.assertEqual((1, 1), (self.state_of(job).lost, self.state_of(job).posted))

    def test_the_last_attempt_clears_and_gives_up(self):
        self.posted("a", self.lost(posted=2, lost=1), posted=2)
        found = self.work()["a"]
        self.assertEqual("failed", found.result)
        self.assertEqual("given up after 4 attempts", found.details[0])
        self.assertEqual(["delete --yes"], self.begun())
        self.assertEqual({}, self.store.jobs)


class TestRetries(FleetTestCase):
    def test_on_other_workers_and_then_failed(self):
        job = self.posted("bad")
        results: list[ServerResult] = []

        def work(name: str) -> None:
            with self.loop(name) as loop:
                ready.wait(timeout=10)
                loop.work()
                results.extend(loop.results)

        ready = threading.Barrier(2)
        workers = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        (result,) = results
        # Each one removes what the one before it may have left.
        self.assertEqual(["export-full bad", *["delete --yes", "export-full bad"] * RETRIES], self.begun())
        said = [f"earlier attempt: {name}: it is broken [cloud-error]" for name in ("one", "two")]
        earlier = [text for text in result.details if text.startswith("earlier attempt")]
        self.assertEqual(("failed", RETRIES), (result.result, len(earlier)))
        self.assertEqual(set(said), set(earlier[:2]))  # the second attempt is on the other one
        self.assertEqual(("done", RETRIES), (self.state_of(job).state, self.state_of(job).posted))
        self.assertEqual({}, self.store.jobs)

    def test_alone_it_tries_them_itself(self):
        self.posted("bad")
        self.posted("a")
        found = self.work()
        # Behind all others: the second server comes before the second attempt.
        exports = [said.split()[1] for said in self.begun() if said.startswith("export-full")]
        self.assertEqual(["bad", "a", "bad", "bad", "bad"], exports)
        self.assertEqual(("failed", "exported"), (found["bad"].result, found["a"].result))

    def test_posting_it_again_was_refused(self):
        self.retried(REFUSED)

    def test_nobody_knows_whether_it_was_posted_again(self):
        self.retried(UNANSWERED)

    def retried(self, fault: str) -> None:
        board = MemoryBoard(self.store, "me.1")
        board.faults["post"] = [fault]
        job = self.posted("bad")
        found = self.work(board=board)["bad"]
        self.assertEqual(1 + RETRIES, self.begun().count("export-full bad"))
        self.assertEqual(RETRIES, sum("earlier attempt" in text for text in found.details))
        self.assertEqual((RETRIES, {}), (self.state_of(job).posted, self.store.jobs))

    def test_it_is_posted_again_once_whatever_comes_then(self):
        job = self.posted("bad")
        board = MemoryBoard(self.store, "me.1")
        with self.loop(board=board) as loop:
            self.patch(type(loop), "_tell", lambda loop: None)
            board.faults["write"] = ["", REFUSED]
            self.assertTrue(self.idle(loop))
        posts = [call for call in self.store.changes() if call[0] == "post"]
        self.assertEqual((RETRIES, RETRIES), (len(posts), self.state_of(job).posted))


class TestFaults(FleetTestCase):
    """Calls of ZooKeeper that are refused, or done without an answer."""

    def board(self, **faults: list[str]) -> MemoryBoard:
        board = MemoryBoard(self.store, "me.1")
        board.faults.update(faults)
        return board

    def test_a_claim_in_doubt(self):
        for fault in (REFUSED, UNANSWERED):
            self.notes.unlink(missing_ok=True)
            self.posted("a")
            self.store.calls.clear()
            found = self.work(board=self.board(claim=[fault]))
            self.assertEqual(("exported", ["export-full a"]), (found["a"].result, self.begun()))
            claims = sum(call[0] == "claim" for call in self.store.changes())
            self.assertEqual(2 if fault == REFUSED else 1, claims)
            self.assertEqual({}, self.store.jobs)

    def test_a_claim_that_another_one_has_got_meanwhile(self):
        job = self.posted("a")
        board = self.board(claim=[REFUSED])

        def other_claims() -> None:
            self.store.claims["job0000000000"] = "other.1"

        def other_is_done() -> None:
            self.store.jobs.clear()

        steps = [other_claims, lambda: None, other_is_done]
        self.each_pause(lambda: steps.pop(0)() if steps else None)
        self.assertEqual({}, self.work(board=board))
        self.assertEqual((0, []), (self.store.nodes[self.node(job)].version, self.begun()))

    def test_a_job_whose_beginning_could_not_be_written(self):
        job = self.posted("a")
        found = self.work(board=self.board(write=[REFUSED], read=[REFUSED]))
        self.assertEqual(("exported", ["export-full a"]), (found["a"].result, self.begun()))
        self.assertEqual((0, 2), (self.state_of(job).lost, len(self.state_of(job).runs)))

    def test_a_beginning_whose_writing_was_not_answered(self):
        """Nothing was started then: it does not count as an attempt, and nothing can be left."""
        job = self.posted("a")
        found = self.work(board=self.board(write=[UNANSWERED] * 2))
        self.assertEqual(("exported", []), (found["a"].result, found["a"].details))
        self.assertEqual(["export-full a"], self.begun())
        self.assertEqual((0, 2), (self.state_of(job).attempts, len(self.state_of(job).runs)))

    def test_a_result_whose_writing_was_not_answered(self):
        job = self.posted("a", {"posted": 1, "failures": ("x: it is broken",)}, posted=1)
        board = self.board()
        with self.loop(board=board) as loop:
            self.once(self.begun, lambda: board.faults.update(write=[UNANSWERED] * 2))
            self.patch(type(loop), "_tell", lambda loop: None)
            self.assertTrue(self.idle(loop))
        (found,) = loop.results
        self.assertEqual(["earlier attempt: x: it is broken"], found.details)
        state = self.state_of(job)
        assert state.result is not None
        self.assertEqual(("done", found.details), (state.state, state.result["details"]))
        self.assertEqual({}, self.store.jobs)

    def test_a_job_that_could_not_be_taken_off(self):
        for fault in (REFUSED, UNANSWERED):
            job = self.posted("a")
            found = self.work(board=self.board(consume=[fault]))
            self.assertEqual(["a"], list(found))
            self.assertEqual(("done", {}), (self.state_of(job).state, self.store.jobs))
        self.assertEqual(2, len(self.begun()))

    def test_while_there_is_no_connection_nothing_is_asked(self):
        job = self.posted("a-slow")
        board = self.board()
        pauses: list[int] = []

        def pause() -> None:
            if self.begun() and not pauses:
                board.reachable = False
                self.store.calls.clear()
                (self.dir / "notes.fast").touch()
            if not board.reachable:
                pauses.append(len(self.store.calls))
                board.reachable = len(pauses) > 5 and not loop.tasks

        self.each_pause(pause)
        with self.loop(board=board) as loop:
            self.assertTrue(loop.work())
        self.assertEqual((True, {0}), (board.reachable, set(pauses)))
        self.assertEqual("done", self.state_of(job).state)

    def test_what_another_one_has_finished_is_not_overwritten(self):
        job = self.posted("a-slow")
        done = replace(self.state_of(job), state="done", worker="other", result={"result": "exported"})

        def other_writes() -> None:
            self.store.nodes[self.node(job)] = MemoryNode(format_state(done), 9)
            (self.dir / "notes.fast").touch()

        self.once(self.begun, other_writes)
        with self.loop() as loop:
            self.assertTrue(self.idle(loop))
        self.assertEqual((9, "other"), (self.store.nodes[self.node(job)].version, self.state_of(job).worker))
        self.assertEqual([], loop.results)

    def test_notes_whose_writing_was_not_answered(self):
        """The answers of all that is written while the export runs are lost."""
        job = self.posted("a-slow")
        steps = [f"step {number}" for number in range(4)]
        board = self.board()

        def step() -> None:
            if self.begun():
                board.faults.setdefault("write", [UNANSWERED] * len(steps))
            if board.faults and steps and steps[0] == self.state_of(job).step:
                steps.pop(0)
                if not steps:
                    (self.dir / "notes.fast").touch()

        self.patch(FleetTask, "step", property(lambda task: steps[0] if steps else ""))
        self.each_pause(step)
        with self.loop(board=board) as loop:
            self.assertTrue(self.idle(loop))
        self.assertEqual(([], []), (steps, board.faults["write"]))
        (found,) = loop.results
        self.assertEqual(("exported", []), (found.result, found.details))
        self.assertEqual(("done", 0), (self.state_of(job).state, self.state_of(job).attempts))
        self.assertEqual(["export-full a-slow"], self.begun())

    def test_a_later_attempt_is_not_overwritten(self):
        """Of another worker, or of the same one with the runs of another attempt."""
        attempts: list[dict[str, Any]] = [
            *({"worker": "other"}, {"since": 5.0}, {"runs": OLD}, {"state": "done"}, {"state": "waiting"}),
        ]
        for changes in attempts:
            job = self.posted("a-slow")
            with self.loop() as loop:
                loop._look()
                (task,) = loop.tasks
                later = replace(task.state, step="x", **changes)
                self.store.nodes[self.node(job)] = MemoryNode(format_state(later), 9)
                loop._tell()
                self.assertRaises(FencedOff, loop._write, task, replace(task.state, state="done"))
            self.assertEqual((later, 9), (self.state_of(job), self.store.nodes[self.node(job)].version))
            self.store.jobs.clear()

    def test_one_that_is_not_overwritten_does_not_keep_the_others_from_telling(self):
        first, second = self.posted("a-slow"), self.posted("b-slow")
        with self.loop(parallel=2) as loop:
            loop._look()
            other = replace(self.state_of(first), worker="other", step="theirs")
            self.store.nodes[self.node(first)] = MemoryNode(format_state(other), 9)
            self.patch(FleetTask, "step", "copying")
            loop._tell()
        self.assertEqual(("theirs", "copying"), (self.state_of(first).step, self.state_of(second).step))

    def test_a_run_that_was_forgotten_meanwhile(self):
        job = self.posted("a-slow")

        def forget() -> None:
            del self.store.nodes[self.node(job)]
            (self.dir / "notes.fast").touch()

        self.once(self.begun, forget)
        with self.loop() as loop:
            self.assertTrue(self.idle(loop))  # its job is not on the board any more
        self.assertEqual(({}, {}), (self.store.jobs, self.store.claims))
        self.assertNotIn(self.node(job), self.store.nodes)


class TestLostSession(FleetTestCase):
    def test_what_runs_is_stopped_and_nothing_is_written(self):
        job = self.posted("a-slow")
        before: list[int] = []

        def lose() -> None:
            self.store.end_session("me.1")
            loop.board.lost.set()
            before.append(len(self.store.changes()))

        self.once(self.begun, lose)
        with self.loop() as loop:
            self.assertFalse(loop.work())
            self.assertEqual(before, [len(self.store.changes())])
        self.assertEqual(([], []), (loop.tasks, loop.results))
        self.assertTrue(self.commands()[-1]["interrupted"])
        self.assertEqual(("running", "me"), (self.state_of(job).state, self.state_of(job).worker))
        self.assertEqual((["job0000000000"], {}), (list(self.store.jobs), self.store.claims))

        (self.dir / "notes.fast").touch()  # now another one
        self.store.calls.clear()
        lease = replace(self.state_of(job), lease=0.02)
        self.store.nodes[self.node(job)].data = format_state(lease)
        found = self.work("other")["a-slow"]
        self.assertEqual("exported", found.result)
        self.assertEqual(["earlier attempt: me was lost"], found.details)
        self.assertEqual(["export-full a-slow", "delete --yes", "export-full a-slow"], self.begun())

    def test_a_lease_that_is_over_is_the_same(self):
        self.posted("a-slow")
        self.once(self.begun, lambda: loop.session.lease.extend(0.0))
        with self.loop() as loop:
            self.assertFalse(loop.work())
        self.assertTrue(self.commands()[-1]["interrupted"])
        self.assertEqual(1, len(self.store.jobs))

    def test_a_command_that_does_not_heed_it_is_told_twice(self):
        self.posted("a-stubborn")

        self.each_pause(lambda: self.insist(loop, loop.board.lost))
        with self.loop() as loop:
            self.assertFalse(loop.work())
        self.assertEqual([1, 2], self.heard())


class TestStop(FleetTestCase):
    def test_what_runs_is_interrupted_and_given_back(self):
        job = self.posted("a-slow")
        self.posted("b")
        self.once(self.begun, lambda: loop.stop.set())
        with self.loop() as loop:
            self.assertTrue(loop.work())
        state = self.state_of(job)
        self.assertEqual(("waiting", "", 0), (state.state, state.worker, state.attempts))
        self.assertEqual(2, len(state.runs))  # whoever is next removes what they may have left
        self.assertEqual((2, {}), (len(self.store.jobs), self.store.claims))
        self.assertEqual(["export-full a-slow"], self.begun())

    def test_what_another_one_has_claimed_meanwhile_is_given_back(self):
        """The answer was lost, and the next worker was faster than the second attempt."""
        job = self.posted("a-slow")
        board = MemoryBoard(self.store, "me.1")
        board.faults["abandon"] = [UNANSWERED]
        steps: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (self.begun, lambda: loop.stop.set()),
            (lambda: not board.faults["abandon"], lambda: self.store.claims.update(job0000000000="other.1")),
        ]

        def step() -> None:
            if steps and steps[0][0]():
                steps.pop(0)[1]()

        self.each_pause(step)
        with self.loop(board=board) as loop:
            timer = threading.Timer(30.0, board.lost.set)
            timer.start()
            self.assertTrue(loop.work())
            timer.cancel()
        self.assertEqual([], steps)
        self.assertEqual({"job0000000000": "other.1"}, self.store.claims)
        self.assertEqual("waiting", self.state_of(job).state)

    def test_whoever_is_next_removes_what_may_be_left(self):
        job = self.posted("a", {"runs": OLD})
        found = self.work()["a"]
        self.assertEqual(["delete --yes", "export-full a"], self.begun())
        self.assertEqual(("exported", [], 0), (found.result, found.details, self.state_of(job).attempts))

    def test_a_command_that_is_told_twice(self):
        self.posted("a-stubborn")

        self.each_pause(lambda: self.insist(loop, loop.stop))
        with self.loop() as loop:
            self.assertTrue(loop.work())
        self.assertEqual([1, 2], self.heard())
        self.assertEqual((1, {}), (len(self.store.jobs), self.store.claims))
