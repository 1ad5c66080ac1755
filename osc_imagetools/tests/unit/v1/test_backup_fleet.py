# SPDX-License-Identifier: Apache-2.0
"""Runs on many machines as they are typed: what is refused, and what is said without the extras."""

import json
import sys
from unittest import mock

import fixtures

from osc_imagetools.backup_run.fleet.task import job_login
from osc_imagetools.tests.unit.backup_run.fleet.test_plan import job
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.v1.test_commands import CommandCase

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
        metrics = ("--metrics", self.dir / "m.prom")
        self.assertIn("--metrics", self.run_refused("--all", *self.there, *BOARD, "--no-wait", *metrics))
        self.assertIn("form", self.run_refused("--all", *self.there, "--jobboard", "redis://x"))
        secret = ("--jobboard", "zookeeper://u:secret@x")
        self.assertNotIn("secret", self.run_refused("--all", *self.there, *secret))

    def test_a_worker_needs_policies_and_clouds(self):
        self.refused("backup-worker")
        self.assertIn("--policy-file", self.refused("backup-worker", *BOARD))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(self.dir / "none.yaml")))
        with mock.patch("openstack.config.loader.CONFIG_FILES", []):
            said = self.refused("backup-worker", *BOARD, *self.there)
        self.assertIn("no cloud is in clouds.yaml", said)

    def test_without_the_extras(self):
        clouds = self.dir / "clouds.yaml"
        clouds.write_text(json.dumps({"clouds": {"c": {"auth": {"auth_url": "http://127.0.0.1:1"}}}}))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(clouds)))
        others = {name: module for name, module in sys.modules.items() if "backup_run.fleet" not in name}
        with mock.patch.dict(sys.modules, {**others, "kazoo.client": None}, clear=True):
            worker = self.refused("backup-worker", *BOARD, *self.there, code=1)
            follow = self.refused("backup-run", *BOARD, "--follow", "r", code=1)
        for said in (worker, follow):
            self.assertIn("pip install 'osc-imagetools[fleet]'", said)
            self.assertIn("[fleet-absent]", said)


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
