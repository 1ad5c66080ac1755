# SPDX-License-Identifier: Apache-2.0
"""The run itself, with a program of the test's own in the place of the client."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_run.child import ChildCommand, ChildLogin
from osc_imagetools.backup_run.destination import BundleDirectory, backup_destination
from osc_imagetools.backup_run.execute import RunOptions, carry_out
from osc_imagetools.backup_run.plan import PlannedServer, plan_run
from osc_imagetools.backup_run.plan_policy import ProofRule
from osc_imagetools.backup_run.plan_schedule import RunLimits
from osc_imagetools.backup_run.plan_target import BackupTarget
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.bundle.keep_rules import KeepRules
from osc_imagetools.bundle.repository.restic import restic_program
from osc_imagetools.tests.unit.backup_run.samples import NOW, policy, server
from osc_imagetools.tests.unit.base import TestCase

# Notes how it was called, and does what the name of the server tells.
CLIENT = """
import json, os, sys, time
words = sys.argv[1:]
project = words.pop(1) if words[0] == "--os-project-id" else ""
words = words[1:] if project else words
print(words[1], words[2], project, os.environ.get("OS_PASSWORD"), file=open(os.environ["NOTES"], "a"))
what = words[2]
if "slow" in what:
    print("Interrupted [interrupted]", file=sys.stderr) if not time.sleep(600) else None
if "leaves" in what:
    print("WARNING These resources may still exist: volume v1 (1)", file=sys.stderr)
if "bad" in what:
    sys.exit("it is broken [cloud-error]\\nType this.")
if words[1] == "list":
    print("noise" * 500000, file=sys.stderr)
    sys.exit(print(json.dumps([{"ID": "b" * 100}] * 20000)))
if "killed" in what:
    os.kill(os.getpid(), 9)
if words[1] == "restore-check":
    result = "failed" if "unbootable" in what else "booted"
    print(json.dumps({"result": result, "evidence": "login prompt"}))
    sys.exit(0 if result == "booted" else 3)
if words[1] == "forget":
    locked = os.environ["NOTES"] + ".locked"
    if os.path.exists(locked) and not os.remove(locked):
        sys.exit("somebody writes [repository-locked]\\nWait.")
    named = [words[i + 1] for i, word in enumerate(words) if word == "--resource"]
    rows = [{"ID": s, "Result": r} for s in named for r in ("kept", "removed", "removed")]
    with open(os.environ["NOTES"] + ".forget", "a") as notes:
        print(*words, os.environ["OSC_IMAGETOOLS_REPOSITORY"], file=notes)
    sys.exit(print(json.dumps(rows)))
stored = os.environ.get("OSC_IMAGETOOLS_REPOSITORY")
print(json.dumps({"bundle": stored or words[words.index("--output") + 1], "bytes": 7}))
"""


class RunCase(TestCase):
    def setUp(self):
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        package = self.dir / "openstackclient"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "shell.py").write_text(CLIENT)
        self.notes = self.dir / "notes"
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.dir),
            "NOTES": str(self.notes),
            "OS_PASSWORD": "x",
        }
        self.login = ChildLogin((), environment)

    def plan(self, *names: str, **changes: Any) -> list[PlannedServer]:
        changes.setdefault("target", BackupTarget(str(self.dir / "backup")))
        chosen = policy(**changes)
        return plan_run([server(name) for name in names], (chosen,), {}, now=NOW)

    def run_all(self, *names: str, parallel: int = 4, **changes: Any) -> dict[str, ServerResult]:
        options = RunOptions(RunLimits(parallel))
        results = carry_out(self.plan(*names, **changes), self.login, "p", options)
        return {result.server.id: result for result in results}


class TestResults(RunCase):
    def test_one_that_fails_is_a_row(self):
        found = self.run_all("a", "bad", "killed", "b")
        self.assertEqual(
            {"a": "exported", "bad": "failed", "killed": "failed", "b": "exported"},
            {name: result.result for name, result in found.items()},
        )
        self.assertEqual("it is broken [cloud-error]", found["bad"].detail)
        self.assertIn("signal 9", found["killed"].detail)
        self.assertEqual(7, found["a"].bytes)
        self.assertTrue(str(found["a"].bundle).startswith(f"{self.dir}/backup/a/"))

    def test_secrets_are_in_the_environment_alone(self):
        self.run_all("a")
        self.assertEqual("export-full a  x\n", self.notes.read_text())

    def test_a_server_of_another_project_is_exported_there(self):
        (planned,) = plan_run(
            [server("a", project_id="q")],
            (policy(target=BackupTarget(str(self.dir / "backup"))),),
            {},
            now=NOW,
        )
        carry_out([planned], self.login, "p", RunOptions(RunLimits()))
        self.assertEqual("export-full a q x\n", self.notes.read_text())

    def test_a_proof_follows_the_export(self):
        found = self.run_all("a", "unbootable", prove=ProofRule(every=1.0))
        self.assertEqual(("exported", "restore check: booted"), (found["a"].result, found["a"].detail))
        self.assertIsNotNone(found["a"].proof)
        self.assertEqual("failed", found["unbootable"].result)
        self.assertIn("restore check: failed: login prompt", found["unbootable"].detail)

    def test_after_the_deadline_nothing_is_begun(self):
        options = RunOptions(RunLimits(4), until=time.time() - 1)
        (result,) = carry_out(self.plan("a"), self.login, "p", options)
        self.assertEqual("skipped", result.result)
        self.assertFalse(self.notes.exists())

    def test_a_server_that_another_run_exports(self):
        lock = BundleDirectory(self.dir / "backup").reserve("a")
        self.assertEqual("skipped", self.run_all("a")["a"].result)
        os.close(lock)
        self.assertEqual("exported", self.run_all("a")["a"].result)

    def test_a_command_that_outlives_its_run_keeps_the_server(self):
        place = BundleDirectory(self.dir / "backup")
        lock = place.reserve("slow")
        child = ChildCommand(self.login, ["server", "export-full", "slow"], kept_open=(lock,))
        os.close(lock)  # as the death of the run does
        self.assertRaises(errors.BundleBusy, place.reserve, "slow")
        child.interrupt()
        child.result()
        os.close(place.reserve("slow"))

    def test_a_long_result_is_read_whole_and_of_a_long_log_the_end(self):
        result = ChildCommand(self.login, ["bundle", "list", "--long"]).result()
        self.assertEqual(20000, len(result.rows))
        self.assertEqual(1024 * 1024, len(result.err))

    def test_what_a_command_leaves_is_told(self):
        found = self.run_all("leaves", "leaves-bad")
        self.assertEqual(("exported", ["volume v1 (1)"]), (found["leaves"].result, found["leaves"].left))
        self.assertEqual(
            "it is broken [cloud-error]; these resources may still exist: volume v1 (1)",
            found["leaves-bad"].detail,
        )

    def test_a_command_that_cannot_be_started(self):
        self.useFixture(fixtures.MonkeyPatch("sys.executable", str(self.dir / "nothing")))
        found = self.run_all("a", "b")
        self.assertEqual({"failed"}, {result.result for result in found.values()})
        self.assertIn("cannot be started", found["a"].detail)

    def test_a_bundle_that_another_run_has_finished_meanwhile_is_left_alone(self):
        done = self.dir / "backup" / "a" / "20260101T000000Z.bundle"
        done.mkdir(parents=True)
        (done / "manifest.json").write_text("{}")
        (planned,) = self.plan("a")
        planned = dataclasses.replace(planned, unfinished=str(done))
        (result,) = carry_out([planned], self.login, "p", RunOptions(RunLimits(1)))
        self.assertEqual("exported", result.result)
        self.assertNotEqual(str(done), result.bundle)

    def test_a_directory_that_cannot_be_made(self):
        (self.dir / "backup").write_text("")
        self.assertEqual("failed", self.run_all("a")["a"].result)


class TestRepository(RunCase):
    """With a restic that only says its version: what is stored is for the commands."""

    def setUp(self):
        super().setUp()
        program = self.dir / "bin" / "restic"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho restic 0.14.0 compiled with go1.19\n")
        program.chmod(0o700)
        self.useFixture(fixtures.EnvironmentVariable("PATH", f"{program.parent}:{os.environ['PATH']}"))
        restic_program.cache_clear()
        self.addCleanup(restic_program.cache_clear)
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.backup_run.repository_keeping.PAUSE", 0.01))
        self.login = self.login.with_more({"RESTIC_PASSWORD": "secret"})
        self.target = BackupTarget(repository=f"{self.dir}/repository")

    def forgotten(self) -> list[str]:
        notes = pathlib.Path(f"{self.notes}.forget")
        return notes.read_text().splitlines() if notes.exists() else []

    def test_exported_and_proven_there(self):
        found = self.run_all("a", target=self.target, prove=ProofRule(every=1.0))["a"]
        self.assertEqual(("exported", self.target.repository), (found.result, found.bundle))
        self.assertEqual("restore check: booted", found.detail)
        self.assertEqual([], self.forgotten())

    def test_rules_are_applied_once_when_all_is_done(self):
        """Removing needs the repository for itself; what failed is left alone."""
        pathlib.Path(f"{self.notes}.locked").touch()
        found = self.run_all("a", "b", "bad", target=self.target, keep=KeepRules(last=3))
        words = (
            f"bundle forget --long -f json --keep-last 3 --resource a --resource b {self.target.repository}"
        )
        self.assertEqual([words], self.forgotten())
        done = [line.split()[0] for line in self.notes.read_text().splitlines()]
        self.assertEqual(["export-full"] * 3 + ["forget"] * 2, done)
        for name in "a", "b":
            self.assertEqual(("exported", "old bundles removed: 2"), (found[name].result, found[name].detail))
        self.assertEqual("failed", found["bad"].result)

    def test_a_repository_that_stays_locked(self):
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.backup_run.repository_keeping.PATIENCE", -1.0))
        pathlib.Path(f"{self.notes}.locked").touch()
        found = self.run_all("a", target=self.target, keep=KeepRules(last=3))["a"]
        self.assertEqual("failed", found.result)
        self.assertEqual(
            "exported, but old bundles were not removed: somebody writes [repository-locked]", found.detail
        )

    def test_a_server_that_another_run_exports(self):
        place = backup_destination(self.target, self.login.environment)
        lock = place.reserve("a")
        self.assertEqual("skipped", self.run_all("a", target=self.target)["a"].result)
        other = BackupTarget(repository=f"{self.dir}/other")
        self.assertEqual("exported", self.run_all("a", target=other)["a"].result)
        os.close(lock)
        self.assertEqual("exported", self.run_all("a", target=self.target)["a"].result)

    def test_a_command_that_outlives_its_run_keeps_the_server(self):
        place = backup_destination(self.target, self.login.environment)
        lock = place.reserve("slow")
        child = ChildCommand(self.login, ["server", "export-full", "slow"], kept_open=(lock,))
        os.close(lock)
        self.assertRaises(errors.BundleBusy, place.reserve, "slow")
        child.interrupt()
        child.result()
        os.close(place.reserve("slow"))


class TestInterrupts(RunCase):
    def setUp(self):
        super().setUp()
        # Tests that a script runs in the background inherit that it is ignored.
        self.addCleanup(
            signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)
        )

    def test_what_runs_is_interrupted_and_nothing_is_begun(self):
        def interrupt() -> None:
            while not self.notes.exists() or "slow" not in self.notes.read_text():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        error = self.assertRaises(errors.Cancelled, self.run_all, "slow", "z", parallel=1)
        self.assertIn("0 of 2 servers", error.message)
        self.assertNotIn("export-full z", self.notes.read_text())

    def test_when_the_run_is_killed_its_commands_end(self):
        """By SIGHUP, so that they clean up."""
        script = self.dir / "run.py"
        script.write_text(
            textwrap.dedent(
                """
                import json, os, sys
                from osc_imagetools.backup_run.child import ChildCommand, ChildLogin
                child = ChildCommand(ChildLogin((), os.environ), ["server", "export-full", "slow"])
                print(child._process.pid, flush=True)
                child.result()
                """
            )
        )
        root = pathlib.Path(__file__).parents[4]
        environment = {**self.login.environment, "PYTHONPATH": f"{self.dir}:{root}"}
        process = subprocess.Popen(
            [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        child = int(process.stdout.readline())
        while not self.notes.exists():
            time.sleep(0.01)
        process.kill()
        process.wait()
        process.stdout.close()
        end = time.monotonic() + 30
        while self.lives(child) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertFalse(self.lives(child))

    def lives(self, pid: int) -> bool:
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False
