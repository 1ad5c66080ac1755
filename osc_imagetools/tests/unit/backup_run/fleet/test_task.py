# SPDX-License-Identifier: Apache-2.0
"""One job: what an earlier attempt has left goes first, and nothing begins before that attempt is over."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace
from typing import Any
from unittest import mock

from osc_imagetools import errors
from osc_imagetools.backup_run import destination
from osc_imagetools.backup_run.destination import BundleDirectory, BundleRepository
from osc_imagetools.backup_run.fleet import destination as fleet_destination
from osc_imagetools.backup_run.fleet import task as task_module
from osc_imagetools.backup_run.fleet.board import PostedJob
from osc_imagetools.backup_run.fleet.job import ServerState
from osc_imagetools.backup_run.fleet.task import FleetTask, plan_job
from osc_imagetools.backup_run.plan_policy import ProofRule, ServerChoice
from osc_imagetools.backup_run.plan_target import BackupTarget
from osc_imagetools.backup_run.repository_keeping import PATIENCE
from osc_imagetools.backup_run.result import FAILED, ServerResult
from osc_imagetools.bundle.repository import locks
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.run.assignment import lease_clock, new_lease
from osc_imagetools.tests.unit.backup_run import samples
from osc_imagetools.tests.unit.backup_run.fleet.boards import FleetTestCase, set_clock

OLD = ("a" * 12,)


class TaskCase(FleetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lease, file = new_lease()
        self.addCleanup(file.close)
        self.lease.extend(lease_clock() + 60)

    def task(self, identifier: str = "a", **changes: Any) -> FleetTask:
        job, policy = self.job(identifier, **changes.pop("job", {})), changes.pop("policy", self.policy())
        fields: dict[str, Any] = {"clear": (), "run_ids": ["c" * 12, "d" * 12], "wait": 0.0, **changes}
        state = ServerState(0, job.server)
        task = FleetTask(PostedJob("job0", job, True), job, policy, state, 0, self.lease, **fields)
        self.addCleanup(self.ended, task)
        self.addCleanup(task.interrupt)
        return task

    def ended(self, task: FleetTask) -> ServerResult:
        while not task.advance():
            time.sleep(0.005)
        return task.result

    def until_begun(self, *expected: str) -> None:
        while self.begun() != list(expected):
            time.sleep(0.005)


class TestOrder(TaskCase):
    def test_nothing_begins_before_an_earlier_attempt_is_over(self):
        clock = set_clock(100.0)
        self.patch(task_module, "time", clock)
        task = self.task(clear=OLD, wait=30.0)
        for now in (100.0, 129.9):
            clock.now = now
            self.assertFalse(task.advance())
            self.assertEqual("waiting until an earlier attempt is over", task.step)
        self.assertEqual([], self.begun())
        clock.now = 130.0
        self.assertEqual("exported", self.ended(task).result)
        self.assertEqual(["delete --yes", "export-full a"], self.begun())

    def test_nor_as_long_as_its_command_lives_on_this_file_system(self):
        lock = BundleDirectory(self.backup).reserve("a")
        task = self.task(clear=OLD)
        for _ in range(5):
            self.assertFalse(task.advance())
        self.assertEqual([], self.begun())
        os.close(lock)
        self.assertEqual("exported", self.ended(task).result)

    def test_each_command_that_makes_something_has_an_id_of_its_own(self):
        task = self.task(clear=OLD, policy=self.policy(prove=ProofRule(every=1.0)))
        self.assertEqual("exported", self.ended(task).result)
        self.assertEqual([None, "c" * 12, "d" * 12], [noted["run"] for noted in self.commands()])
        self.assertTrue(task.advance())  # and no more

    def test_how_far_it_is(self):
        task = self.task("a-slow")
        task.advance()
        while task.step != "the disk is copied":
            task.advance()
        (self.dir / "notes.slow").touch()
        task = self.task("b", clear=OLD)
        task.advance()
        self.assertIn("removing what an earlier attempt has left", task.step)

    def test_a_verdict_is_all_that_is_done(self):
        verdict = ServerResult(samples.server("a"), FAILED, details=["given up"])
        task = self.task(clear=OLD, verdict=verdict)
        self.assertIs(verdict, self.ended(task))
        self.assertEqual((True, ["delete --yes"]), (task.final, self.begun()))


class TestDue(TaskCase):
    """What is due is looked at when the job begins, and not when it was posted."""

    def copies(self, *copies: Any) -> None:
        self.patch(task_module, "copies_of", lambda policy, server_id: list(copies))

    def test_a_fresh_server_is_left_alone(self):
        self.copies(samples.bundle(path="/b", server_id="a", taken=time.time()))
        result = self.ended(self.task(job={"newest": "/b"}, clear=OLD))
        self.assertEqual(("fresh", "/b", []), (result.result, result.bundle, result.details))
        self.assertEqual(["delete --yes"], self.begun())

    def test_what_an_earlier_attempt_has_completed_counts_as_exported(self):
        self.copies(samples.bundle(path="/b", server_id="a", taken=time.time()))
        result = self.ended(self.task(job={"newest": "/older"}, clear=OLD))
        self.assertEqual(("exported", "/b"), (result.result, result.bundle))
        self.assertEqual(["/b was completed by an earlier attempt"], result.details)

    def test_what_somebody_else_has_completed_does_not(self):
        self.copies(samples.bundle(path="/b", server_id="a", taken=time.time()))
        self.assertEqual("fresh", self.ended(self.task(job={"newest": "/older"})).result)

    def test_only_the_proof_is_left_to_do(self):
        self.copies(samples.bundle(path="/b", server_id="a", taken=time.time()))
        result = self.ended(self.task(clear=OLD, policy=self.policy(prove=ProofRule(every=1.0))))
        self.assertEqual(["delete --yes", "restore-check /b"], self.begun())
        self.assertEqual("exported", result.result)
        self.assertIn("/b was completed by an earlier attempt", result.details)

    def test_the_run_has_chosen_the_policy(self):
        nobody = self.policy(servers=ServerChoice(projects=frozenset({"other"})))
        self.assertTrue(plan_job(self.job("a"), nobody).export)

    def test_of_a_directory_only_what_is_of_the_server(self):
        broken = self.backup / "other" / "20260101T000000Z.bundle"
        broken.mkdir(parents=True)
        (broken / "manifest.json").write_text("{")
        self.assertIsNone(plan_job(self.job("a"), self.policy()).newest)


class TestFailures(TaskCase):
    def test_bundles_that_cannot_be_read(self):
        fail = mock.Mock(side_effect=errors.RepositoryError("the disk is gone"))
        self.patch(task_module, "copies_of", fail)
        result = self.ended(self.task())
        self.assertEqual(("failed", ["the disk is gone"]), (result.result, result.details))

    def test_a_repository_that_is_locked_is_looked_at_again(self):
        """This process waits for nothing meanwhile: its other jobs go on."""
        clock = set_clock(100.0)
        self.patch(task_module, "time", clock)
        self.patch(task_module, "BUSY_POLL", 3.0)
        read = mock.Mock(side_effect=errors.RepositoryLocked("it is locked"))
        self.patch(task_module, "copies_of", read)
        task = self.task()
        for now, reads in ((100.0, 1), (102.9, 1), (103.0, 2), (106.0, 3)):
            clock.now = now
            self.assertFalse(task.advance())
            self.assertEqual(("waiting for the lock of the repository", reads), (task.step, read.call_count))
        read.side_effect = [[]]
        clock.now = 109.0
        self.assertEqual("exported", self.ended(task).result)

    def test_reading_a_locked_repository_waits_for_nobody(self):
        repository = BundleRepository(mock.Mock(spec=Restic))
        self.patch(fleet_destination, "backup_destination", lambda target, environment: repository)
        read = mock.Mock(side_effect=errors.RepositoryLocked("locked"))
        self.patch(destination, "read_repository", read)
        self.patch(locks, "remove_own_locks", lambda restic: False)
        self.patch(locks, "time", mock.Mock(monotonic=itertools.count(step=10).__next__))
        self.patch(locks, "PAUSE", 0.0)
        policy = replace(self.policy(), target=BackupTarget(repository="/r"))
        self.assertRaises(errors.RepositoryLocked, fleet_destination.copies_of, policy, "a")
        read.assert_called_once()
        self.assertRaises(errors.RepositoryLocked, repository.copies)
        self.assertLess(2, read.call_count)

    def test_one_that_stays_locked(self):
        clock = set_clock(100.0)
        self.patch(task_module, "time", clock)
        self.patch(task_module, "copies_of", mock.Mock(side_effect=errors.RepositoryLocked("it is locked")))
        task = self.task()
        for now in (100.0, 100.0 + PATIENCE):
            clock.now = now
            self.assertFalse(task.advance())
        clock.now += 1.0
        self.assertTrue(task.advance())
        self.assertEqual(("failed", ["it is locked"]), (task.result.result, task.result.details))

    def test_one_that_is_interrupted_while_it_is_locked(self):
        self.patch(task_module, "copies_of", mock.Mock(side_effect=errors.RepositoryLocked("it is locked")))
        task = self.task()
        self.assertFalse(task.advance())
        task.interrupt()
        self.assertEqual("failed", self.ended(task).result)
        self.assertEqual([], self.begun())

    def test_what_nobody_has_thought_of(self):
        self.patch(task_module, "copies_of", mock.Mock(side_effect=ZeroDivisionError("by 0")))
        result = self.ended(self.task())
        self.assertEqual(("failed", ["ZeroDivisionError: by 0"]), (result.result, result.details))

    def test_a_destination_that_cannot_be_written_to(self):
        self.backup.write_text("in the way")
        for clear in (OLD, ()):
            result = self.ended(self.task(clear=clear))
            self.assertEqual("failed", result.result)
            self.assertIn(str(self.backup), result.detail)
        self.assertEqual([], self.begun())

    def test_a_server_that_a_run_here_exports(self):
        lock = BundleDirectory(self.backup).reserve("a")
        self.assertEqual("skipped", self.ended(self.task()).result)
        os.close(lock)

    def test_a_command_that_cannot_be_started(self):
        self.patch(task_module, "ChildCommand", mock.Mock(side_effect=OSError("no memory")))
        result = self.ended(self.task())
        self.assertEqual("failed", result.result)
        self.assertEqual(["the command cannot be started: no memory"], result.details)
        os.close(BundleDirectory(self.backup).reserve("a"))  # it is not kept

    def test_this_process_keeps_no_server_while_a_command_runs(self):
        """The command does: whoever is next waits for it alone."""
        task = self.task("a-slow")
        task.advance()
        self.until_begun("export-full a-slow")
        self.assertRaises(errors.BundleBusy, BundleDirectory(self.backup).reserve, "a-slow")
        task.interrupt()
        while True:  # nobody looks after the task meanwhile
            try:
                os.close(BundleDirectory(self.backup).reserve("a-slow"))
                break
            except errors.BundleBusy:
                time.sleep(0.005)


class TestInterrupts(TaskCase):
    def test_an_export(self):
        task = self.task("a-slow", policy=self.policy(prove=ProofRule(every=1.0)))
        task.advance()
        self.until_begun("export-full a-slow")
        task.interrupt()
        result = self.ended(task)
        self.assertEqual(("failed", 1), (result.result, task.interrupted))
        self.assertEqual("Interrupted [interrupted]", result.detail)
        self.assertEqual(["export-full a-slow"], self.begun())

    def test_a_clearing(self):
        (self.dir / "notes.slow").touch()
        task = self.task(clear=OLD)
        task.advance()
        self.until_begun("delete --yes")
        task.interrupt()
        self.assertEqual("failed", self.ended(task).result)
        self.assertTrue(self.commands()[-1]["interrupted"])

    def test_before_it_has_begun(self):
        task = self.task(wait=60.0)
        task.interrupt()
        self.assertEqual("failed", self.ended(task).result)
        self.assertEqual([], self.begun())
