# SPDX-License-Identifier: Apache-2.0
"""Putting a run on a board: what is due becomes jobs, and nothing twice."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest import mock

from osc_imagetools import errors
from osc_imagetools.backup_check.bundles import BundleProof
from osc_imagetools.backup_run.execute import RunOptions
from osc_imagetools.backup_run.fleet import posting
from osc_imagetools.backup_run.fleet.board import RUNS, FencedOff
from osc_imagetools.backup_run.fleet.job import RunRecord, parse_run, parse_state
from osc_imagetools.backup_run.fleet.posting import (
    POSTER,
    SERVERS,
    SETTLED,
    PostingLogin,
    left_to_do,
    post_run,
)
from osc_imagetools.backup_run.plan import PlannedServer
from osc_imagetools.backup_run.plan_schedule import RunLimits
from osc_imagetools.tests.unit.backup_run import samples
from osc_imagetools.tests.unit.backup_run.fleet.boards import REFUSED, FleetTestCase, MemoryBoard, MemoryNode

LOGIN = PostingLogin("c", "", "p")
OPTIONS = RunOptions(RunLimits(2, per_host=1), until=5.5, jobs=3)


class TestPosting(FleetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.board = MemoryBoard(self.store, "poster")

    def due(self, identifier: str, **changes: Any) -> PlannedServer:
        return PlannedServer(samples.server(identifier, **changes), self.policy(), export=True)

    def fresh(self, identifier: str) -> PlannedServer:
        bundle = samples.bundle(path="/b", proofs=(BundleProof(4.0, "booted"),))
        return PlannedServer(samples.server(identifier), self.policy(), newest=bundle)

    def post(self, *planned: PlannedServer, login: PostingLogin = LOGIN) -> RunRecord:
        return post_run(self.board, planned, login, OPTIONS)

    def settled(self, record: RunRecord) -> dict[str, Any]:
        """The results that were written at once, by the IDs of the servers."""
        found = self.board.read_all(RUNS, record.run, SETTLED)
        states = [parse_state(line) for data in found.values() for line in data.split(b"\n")]
        self.assertEqual({"done"}, {state.state for state in states} | {"done"})
        return {state.server.id: (state.index, state.result) for state in states}

    def test_only_what_is_due_becomes_a_job(self):
        bundle = samples.bundle(path="/old")
        plans = [
            self.due("a"),
            PlannedServer(samples.server("b"), self.policy(), prove=True, newest=bundle),
            self.fresh("f"),
            PlannedServer(samples.server("n"), None, skipped="no policy is for this server"),
            PlannedServer(samples.server("u"), self.policy(), unread="it is locked"),
        ]
        record = self.post(*plans)
        self.assertEqual((5, 2, True), (record.servers, record.jobs, record.posted))
        jobs = list(self.store.jobs.values())
        self.assertEqual(
            [("a", 0, ""), ("b", 1, "/old")],
            [(j.server.id, self.state_of(j).index, j.newest) for j in jobs if j],
        )
        for job in jobs:
            assert job is not None
            facts = (job.run, job.policy, job.cloud, job.project, job.limits, job.jobs, job.until)
            self.assertEqual((record.run, "daily", "c", "", OPTIONS.limits, 3, 5.5), facts)
            self.assertEqual("waiting", self.state_of(job).state)
        settled = self.settled(record)
        said = {name: (index, facts["result"], facts["details"]) for name, (index, facts) in settled.items()}
        self.assertEqual(
            {
                "f": (2, "fresh", []),
                "n": (3, "skipped", ["no policy is for this server"]),
                "u": (4, "failed", ["it is locked"]),
            },
            said,
        )
        self.assertEqual(("/b", 4.0), (settled["f"][1]["bundle"], settled["f"][1]["proof"]))

    def test_a_server_of_another_project_is_done_there(self):
        self.post(self.due("a", project_id="q"), self.due("b", project_id=""))
        self.assertEqual(["q", ""], [job.project for job in self.store.jobs.values() if job])

    def test_what_is_on_the_board_is_not_posted_again(self):
        first = self.post(self.due("a"), self.due("b"))
        second = self.post(self.due("a"), self.due("d"))
        self.assertEqual(1, second.jobs)
        self.assertEqual(["a", "b", "d"], [job.server.id for job in self.store.jobs.values() if job])
        (index, facts) = self.settled(second)["a"]
        said = f"run {first.run} has put this server on the jobboard already"
        self.assertEqual((0, "skipped", [said]), (index, facts["result"], facts["details"]))

    def test_a_job_for_which_nothing_is_left_to_do_is_not_counted(self):
        """A worker has died before it took off the job of a server that it had finished."""
        self.posted("done", {"state": "done", "result": {"result": "exported"}})
        self.posted("running", {"state": "running", "worker": "w"})
        for name, data in (("forgotten", None), ("broken", b"{")):
            job = self.posted(name)
            del self.store.nodes[self.node(job)]
            if data:
                self.store.nodes[self.node(job)] = MemoryNode(data)
        record = self.post(*map(self.due, ("done", "running", "forgotten", "broken")))
        self.assertEqual((4, 3), (record.servers, record.jobs))
        self.assertEqual({"running"}, set(self.settled(record)))
        new = [job.server.id for job in self.store.jobs.values() if job and job.run == record.run]
        self.assertEqual(["done", "forgotten", "broken"], new)
        again = self.post(*map(self.due, ("done", "forgotten")))  # the new ones count
        self.assertEqual((2, 0), (again.servers, again.jobs))

    def test_a_job_that_was_posted_again_counts_once(self):
        """A worker has died before it took off the older one, or did not know whether it was posted."""
        old = self.posted("a", {"posted": 1})
        again = old.again("w")
        left = left_to_do(self.board, [old, again, again])
        self.assertEqual([1], [job.posted for job in left])

    def test_what_is_on_the_board_is_read_with_a_bounded_number_of_questions(self):
        asked = []
        for number in (1, 50):
            for index in range(number):
                self.posted(f"s{index}", {"state": "running", "worker": "w"})
            self.store.calls.clear()
            record = self.post(*(self.due(f"s{index}") for index in range(number)))
            self.assertEqual((number, 0), (record.servers, record.jobs))
            asked.append(
                [call[1] for call in self.store.calls if call[1] in ("read", "read_all", "read_many", "jobs")]
            )
        self.assertEqual(asked[0], asked[1])
        self.assertIn("read_many", asked[0])

    def test_a_server_of_the_same_id_in_another_region_is_another_one(self):
        self.post(self.due("a"))
        self.assertEqual(1, self.post(self.due("a"), login=replace(LOGIN, region="r2")).jobs)

    def test_the_record_says_when_all_is_there(self):
        self.board.faults["post"] = ["", REFUSED]
        error = self.assertRaises(errors.JobboardError, self.post, self.due("a"), self.due("b"))
        (run,) = (path[1] for path in self.store.nodes if path[:1] == (RUNS,) and len(path) == 2)
        self.assertFalse(parse_run(self.store.nodes[RUNS, run].data).posted)
        self.assertEqual(
            ("post was refused", (f"jobs of run {run} on the jobboard",)), (error.message, error.left)
        )
        self.assertEqual(posting.follow_command(self.board, run), error.hint)
        self.assertEqual("poster", self.store.nodes[RUNS, run, POSTER].owner)  # gone with its session
        self.store.calls.clear()
        record = self.post(self.due("d"))
        self.assertEqual(record, parse_run(self.store.nodes[RUNS, record.run].data))
        self.assertNotIn((RUNS, record.run, POSTER), self.store.nodes)
        order = [call[:1] + call[3:] for call in self.store.changes()]
        post, posted = order.index(("post",)), order.index(("write",))
        self.assertLess(order.index(("create", SERVERS, "d")), post)
        self.assertLess(post, posted)
        self.assertEqual(("remove", POSTER), order[-1])

    def test_the_error_is_of_the_same_class(self):
        self.patch(self.board, "write", mock.Mock(side_effect=FencedOff("it was changed", hint="Look.")))
        error = self.assertRaises(FencedOff, self.post, self.due("a"))
        self.assertIn("Look.\nopenstack server backup-run --jobboard", error.hint or "")

    def test_many_results_lie_in_several_nodes(self):
        self.patch(posting, "CHUNK", 1000)
        plans = [self.fresh(f"f{number}") for number in range(20)]
        record = self.post(*plans)
        nodes = self.board.read_all(RUNS, record.run, SETTLED)
        self.assertLess(2, len(nodes))
        self.assertGreaterEqual(1000, max(map(len, nodes.values())))
        self.assertEqual([f"f{number}" for number in range(20)], list(self.settled(record)))
        self.assertEqual(0, record.jobs)

    def test_old_runs_are_forgotten(self):
        self.run_node("old", created=time.time() - posting.KEPT - 1)
        self.run_node("young", created=time.time() - posting.KEPT + 60)
        self.store.nodes[RUNS, "junk"] = MemoryNode(b"{")
        record = self.post(self.fresh("f"))
        runs = {path[1] for path in self.store.nodes if path[0] == RUNS}
        self.assertEqual({"young", "junk", record.run}, runs)

    def test_one_that_cannot_be_forgotten_stops_nobody(self):
        self.run_node("old", created=time.time() - posting.KEPT - 1)
        self.board.faults["remove"] = [REFUSED]
        self.assertTrue(self.post(self.fresh("f")).posted)
        self.assertIn((RUNS, "old"), self.store.nodes)
        self.post(self.fresh("f"))
        self.assertNotIn((RUNS, "old"), self.store.nodes)
