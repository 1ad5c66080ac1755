# SPDX-License-Identifier: Apache-2.0
"""Runs on many machines as they are typed: what is refused, and what is said without the extras."""

import argparse
import json
import signal
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet import board, worker
from osc_imagetools.backup_run.fleet.board import RUNS
from osc_imagetools.backup_run.fleet.job import result_facts
from osc_imagetools.backup_run.fleet.task import job_login
from osc_imagetools.backup_run.plan import PlannedServer
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.tests.unit.backup_run import samples
from osc_imagetools.tests.unit.backup_run.fleet.boards import FleetTestCase, MemoryBoard
from osc_imagetools.tests.unit.backup_run.fleet.test_plan import job
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.v1.test_commands import CommandCase
from osc_imagetools.v1 import backup_fleet, base

BOARD = ("--jobboard", "zookeeper://127.0.0.1:1/x")


class TestOptions(CommandCase):
    def setUp(self):
        super().setUp()
        self.there = ("--max-age", "1d", "--output-directory", self.dir / "b")

    def refused(self, *words, code=2):
        given, _, err = self.run_openstack("server", *words)
        self.assertEqual(code, given, err)
        return err

    def run_refused(self, *words):
        return self.refused("backup-run", *words)

    def test_contradictions_before_the_login(self):
        self.assertIn("--no-wait needs --jobboard", self.run_refused("--all", *self.there, "--no-wait"))
        self.assertIn("--follow needs --jobboard", self.run_refused("--follow", "r"))
        said = self.run_refused("web01", "--all", "--follow", "r", *BOARD, *self.there)
        for name in ("<server>", "--all", "--max-age", "--output-directory"):
            self.assertIn(name, said)
        for words in (
            *(("--stop",), ("--allow-encrypted",), ("--password-file", "p"), ("--repository-cloud", "c")),
            *(("--parallel", "2"), ("--per-host", "2"), ("--per-project", "2"), ("--per-volume-type", "2")),
            *(
                ("--jobs", "4"),
                ("--until", "06:00"),
                ("--repository", "r"),
                ("--policy-file", "p"),
                ("--dry-run",),
            ),
        ):
            said = self.run_refused("--follow", "r", *BOARD, *words)
            self.assertIn(f"--follow cannot be combined with {words[0]}", said)
        metrics = ("--metrics", self.dir / "m.prom")
        self.assertIn("--metrics", self.run_refused("--all", *self.there, *BOARD, "--no-wait", *metrics))
        self.assertIn("form", self.run_refused("--all", *self.there, "--jobboard", "redis://x"))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLOUD"))
        for more in ((), ("--dry-run",), ("--no-wait",)):
            said = self.run_refused("--all", *self.there, *BOARD, *more)
            self.assertIn("--jobboard needs a login from clouds.yaml", said)
        secret = ("--jobboard", "zookeeper://u:secret@x")
        self.assertNotIn("secret", self.run_refused("--all", *self.there, *secret))

    def test_a_worker_needs_policies_and_clouds(self):
        self.refused("backup-worker")
        self.assertIn("--policy-file", self.refused("backup-worker", *BOARD))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(self.dir / "none.yaml")))
        with mock.patch("openstack.config.loader.CONFIG_FILES", []):
            said = self.refused("backup-worker", *BOARD, *self.there)
        self.assertIn("no cloud is in clouds.yaml", said)

    def test_a_worker_logs_in_to_swift_by_a_cloud(self):
        """Its commands do not get the variables of OpenStack."""
        for name, value in (
            *(("OS_AUTH_URL", "http://127.0.0.1:1"), ("ST_AUTH", None), ("RESTIC_PASSWORD", "p")),
            ("OS_CLIENT_CONFIG_FILE", str(self.dir / "none.yaml")),
        ):
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        swift = {"servers": {}, "max_age": "1d", "repository": "swift:b:/"}
        policies = self.dir / "policies.yaml"
        policies.write_text(json.dumps({"version": 1, "policies": {"one": swift, "two": swift}}))
        for words, named in (
            (("--policy-file", policies), "policies/one, policies/two: "),
            (("--max-age", "1d", "--repository", "swift:b:/"), "--repository: "),
        ):
            said = self.refused("backup-worker", *BOARD, *words)
            self.assertIn(f"{named}a worker logs in to a swift: repository by a cloud", said)
            self.assertIn("repository_cloud", said)
            with (
                mock.patch("openstack.config.loader.CONFIG_FILES", []),
                fixtures.EnvironmentVariable("ST_AUTH", "http://127.0.0.1:1"),
            ):
                self.assertIn("no cloud is", self.refused("backup-worker", *BOARD, *words))  # it goes on

    def test_without_the_extras(self):
        clouds = self.dir / "clouds.yaml"
        clouds.write_text(json.dumps({"clouds": {"c": {"auth": {"auth_url": "http://127.0.0.1:1"}}}}))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(clouds)))
        others = {name: module for name, module in sys.modules.items() if "backup_run.fleet" not in name}
        with mock.patch.dict(sys.modules, {**others, "kazoo.client": None}, clear=True):
            worker = self.refused("backup-worker", *BOARD, *self.there, code=1)
            follow = self.refused("backup-run", *BOARD, "--follow", "r", code=1)
            self.useFixture(fixtures.EnvironmentVariable("OS_CLOUD", "c"))
            run = self.refused("backup-run", "--all", *self.there, *BOARD, "--dry-run", code=1)
        for said in (worker, follow, run):
            self.assertIn("pip install 'osc-imagetools[fleet]'", said)
            self.assertIn("[fleet-absent]", said)


class BoardCase(FleetTestCase, CommandCase):
    """The commands, with a board in memory."""

    def setUp(self):
        super().setUp()
        for module in (board, worker):
            self.patch(module, "Jobboard", lambda address, owner, timeout: MemoryBoard(self.store, owner))

    def rows(self, *words, code=0):
        given, out, err = self.run_openstack("server", *words, "-f", "json", "--long")
        self.assertEqual(code, given, err)
        return json.loads(out) if code in (0, 3) else err


class TestPosting(BoardCase):
    def setUp(self):
        super().setUp()
        self.command: Any = SimpleNamespace(app=SimpleNamespace(options=SimpleNamespace(cloud="c")))
        self.cloud: Any = SimpleNamespace(project_id="p")
        words = dict.fromkeys(("parallel", "per_host", "per_project", "per_volume_type", "until", "jobs"))
        self.parsed_args = argparse.Namespace(jobboard=BOARD[1], **words)

    def due(self, *identifiers):
        return [PlannedServer(samples.server(i), self.policy(), export=True) for i in identifiers]

    def jobs(self):
        return [job for job in self.store.jobs.values() if job]

    def test_the_id_is_told_before_a_worker_can_begin(self):
        said: list[str] = []

        def tell(text):
            self.assertEqual(before, list(self.store.jobs))
            said.append(text)

        self.patch(base, "tell", tell)
        self.patch(backup_fleet, "_follow", lambda board, record, stop: said.append(record.run))
        self.patch(backup_fleet, "_keep", lambda *words: None)
        for servers, counts in (("a", "1 server, 1 job"), ("abc", "3 servers, 2 jobs")):  # a is there then
            before = list(self.store.jobs)
            backup_fleet.post_and_follow(self.command, self.cloud, self.due(*servers), self.parsed_args)
            told, run = said
            self.assertIn(f"Run {run}: {counts}. ", told)
            self.assertIn(
                f"openstack server backup-run --jobboard zookeeper://memory:2181/x --follow {run}", told
            )
            said.clear()

    def test_an_interrupt_while_it_is_posted_names_the_run(self):
        post = MemoryBoard.post

        def interrupted(board, job):
            post(board, job)
            if len(self.store.jobs) == 1:
                signal.raise_signal(signal.SIGINT)

        self.patch(MemoryBoard, "post", interrupted)
        for do in (backup_fleet.post_only, backup_fleet.post_and_follow):
            self.store.jobs.clear()
            error = self.assertRaises(
                errors.Cancelled, do, self.command, self.cloud, self.due("a", "b"), self.parsed_args
            )
            (job,) = self.jobs()
            self.assertIn(f"run {job.run} was not put on the jobboard completely", error.message)
            self.assertEqual((f"jobs of run {job.run} on the jobboard",), error.left)

    def test_the_transfers_of_each_server(self):
        for given, jobs in ((None, 4), (2, 2)):
            self.parsed_args.jobs = given
            self.store.jobs.clear()
            backup_fleet.post_only(self.command, self.cloud, self.due("a"), self.parsed_args)
            self.assertEqual([jobs], [job.jobs for job in self.jobs()])


class TestFollowing(BoardCase):
    def setUp(self):
        super().setUp()
        self.run_node(servers=2, jobs=2)

    def done(self, identifier, result, index):
        server = samples.server(identifier)
        facts = result_facts(ServerResult(server, result, f"/b/{identifier}", 7, details=["a detail"]))
        self.posted(identifier, {"state": "done", "result": facts}, index=index)

    def follow(self, *words, code=0):
        return self.rows("backup-run", *BOARD, "--follow", "r", *words, code=code)

    def test_rows_and_exit_codes(self):
        self.done("b", "exported", 1)
        self.done("a", "fresh", 0)
        first, second = self.follow()
        self.assertEqual(("web-a", "fresh", "/b/a"), (first["Server"], first["Result"], first["Bundle"]))
        self.assertEqual(("b", "exported", "a detail"), (second["ID"], second["Result"], second["Detail"]))
        self.done("b", "failed", 1)
        self.assertEqual(["fresh", "failed"], [row["Result"] for row in self.follow(code=3)])

    def test_how_far_it_is_now(self):
        self.done("a", "exported", 0)
        self.posted("b", {"state": "running", "worker": "w", "step": "copying"}, index=1)
        _, running = self.follow("--no-wait")
        self.assertEqual(("running", "on w: copying"), (running["Result"], running["Detail"]))

    def test_what_is_not_there_and_what_is_broken(self):
        said = self.rows("backup-run", *BOARD, "--follow", "x", code=1)
        self.assertIn("no run x is on the jobboard", said)
        self.posted("a")
        for path in ((RUNS, "r", "servers", "a"), (RUNS, "r")):
            self.store.nodes[path].data = b"{"
            for words in ((), ("--no-wait",)):
                self.assertIn("[jobboard-failed]", self.follow(*words, code=1))

    def test_metrics(self):
        self.done("a", "failed", 0)
        metrics = self.dir / "backup.prom"
        self.follow("--metrics", metrics, code=3)
        self.assertIn('result="failed"} 1', metrics.read_text())

    def test_metrics_that_cannot_be_written_fail_the_run_and_not_its_rows(self):
        self.done("a", "exported", 0)
        metrics = self.dir / "backup.prom"
        metrics.mkdir()
        given, out, err = self.run_openstack(
            "server", "backup-run", *BOARD, "--follow", "r", "--metrics", metrics, "-f", "json"
        )
        self.assertEqual(3, given, err)
        self.assertEqual(["exported"], [row["Result"] for row in json.loads(out)])
        self.assertIn(f"Cannot write {metrics}", err)


class TestWorker(BoardCase):
    def setUp(self):
        super().setUp()
        clouds = self.dir / "clouds.yaml"
        clouds.write_text(json.dumps({"clouds": {"c": {"auth": {"auth_url": "http://127.0.0.1:1"}}}}))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(clouds)))
        options = ("--max-age", "1d", "--output-directory", self.backup, "--exit-when-idle")
        self.words = ("backup-worker", *BOARD, *options)

    def test_rows_and_exit_codes(self):
        self.posted("a", policy="")
        (row,) = self.rows(*self.words)
        self.assertEqual(("a", "exported", 7), (row["ID"], row["Result"], row["Bytes"]))
        self.assertEqual([], self.rows(*self.words))
        self.posted("bad", policy="")
        (row,) = self.rows(*self.words, code=3)
        self.assertEqual(3, row["Detail"].count("earlier attempt"))

    def test_what_it_would_take(self):
        self.posted("a", policy="")
        self.posted("b", policy="weekly")
        given, out, err = self.run_openstack("server", *self.words, "--dry-run", "-f", "json")
        self.assertEqual(0, given, err)
        self.assertEqual(["server web-a (a) in cloud c for run r"], [r["Resource"] for r in json.loads(out)])
        self.assertEqual([], self.begun())

    def test_a_board_that_is_not_there(self):
        self.store.down = True
        self.assertIn("[jobboard-failed]", self.rows(*self.words, code=1))


class TestLogins(TestCase):
    def test_a_job_logs_in_by_the_name_of_its_cloud_alone(self):
        environment = {
            "PATH": "/bin",
            "OS_CLIENT_CONFIG_FILE": "/c.yaml",
            "OS_CLOUD": "other",
            "OS_PASSWORD": "secret",
            "OS_PROJECT_NAME": "p",
        }
        login = job_login(job(cloud="c", region="r", project="id"), environment)
        self.assertEqual({"PATH": "/bin", "OS_CLIENT_CONFIG_FILE": "/c.yaml"}, login.environment)
        words = ("--os-cloud=c", "-v", "--os-region-name=r", "--os-project-id=id")
        self.assertEqual(words, login.words)
        self.assertEqual(("--os-cloud=c", "-v"), job_login(job(), {}).words)
