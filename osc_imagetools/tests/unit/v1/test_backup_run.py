# SPDX-License-Identifier: Apache-2.0
"""The command server backup-run as it is typed: what is refused, and how its own commands log in."""

import argparse
import json
import os
from datetime import datetime
from unittest import mock

import fixtures
from openstackclient import shell

from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.v1.test_commands import CommandCase
from osc_imagetools.v1.backup_run import child_login, until


class TestLogin(TestCase):
    def options(self, *words):
        app = shell.OpenStackShell()
        app.options, _ = app.parser.parse_known_args(words)
        return app

    def logged_in(self, *words):
        """(the login of a command, what its parser makes of it)."""
        login = child_login(self.options(*words))
        with mock.patch.dict(os.environ, login.environment, clear=True):
            return login, self.options(*login.words).options

    def setUp(self):
        super().setUp()
        for name in [name for name in os.environ if name.startswith("OS_")]:
            self.useFixture(fixtures.EnvironmentVariable(name))

    def test_it_logs_in_as_the_parent_and_no_secret_is_a_word(self):
        words = ["--os-cloud", "c", "--os-region-name", "r", "--insecure", "--os-interface", "internal"]
        for name, value in (
            ("auth-url", "http://x"),
            ("username", "me"),
            ("password", "secret"),
            ("project-name", "demo"),
            ("user-domain-name", "Default"),
            ("cacert", "/ca.pem"),
        ):
            words += [f"--os-{name}", value]
        login, seen = self.logged_in(*words)
        self.assertNotIn("secret", " ".join(login.words))
        self.assertEqual(vars(self.options(*words).options), vars(seen))

    def test_what_the_environment_says_is_handed_on(self):
        self.useFixture(fixtures.EnvironmentVariable("OS_PASSWORD", "secret"))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLOUD", "c"))
        login, seen = self.logged_in()
        self.assertNotIn("secret", " ".join(login.words))
        self.assertEqual(("c", "secret"), (seen.cloud, seen.password))

    def test_in_another_project(self):
        login, _ = self.logged_in("--os-project-name", "demo", "--os-cloud", "c")
        other = login.in_project("id")
        self.assertNotIn("OS_PROJECT_NAME", other.environment)
        self.assertEqual(("--os-project-id", "id"), other.words[-2:])


class TestOptions(CommandCase):
    def refused(self, *words):
        code, _, err = self.run_openstack("server", "backup-run", *words)
        self.assertEqual(2, code, err)
        return err

    def test_contradictions_before_the_login(self):
        self.assertIn("--max-age and --output-directory", self.refused("--all"))
        self.assertIn("--max-age and --output-directory", self.refused("--all", "--max-age", "1d"))
        both = ("--max-age", "1d", "--output-directory", self.dir / "b")
        self.assertIn("no server specified", self.refused(*both))
        self.assertIn("--all", self.refused("web01", "--all", *both))
        self.assertIn(
            "--policy-file cannot be combined with --max-age", self.refused("--policy-file", "x", *both)
        )
        self.assertIn("cannot read", self.refused("--all", "--policy-file", self.dir / "no"))
        self.assertIn(".prom", self.refused("--all", *both, "--metrics", self.dir / "x.txt"))
        self.refused("--all", *both, "--until", "25:00")
        self.refused("--all", *both, "--parallel", "0")
        self.assertFalse((self.dir / "b").exists())

    def test_where_bundles_go(self):
        age, there = ("--all", "--max-age", "1d"), ("--repository", self.dir / "r")
        said = self.refused(*age, *there, "--output-directory", self.dir / "b")
        self.assertIn("Use either --output-directory <directory> or --repository <url>", said)
        self.assertIn("no password", self.refused(*age, *there))
        self.assertIn("cannot be read", self.refused(*age, *there, "--password-file", self.dir / "no"))
        strays = ("--output-directory", self.dir / "b", "--password-file", self.dir / "no")
        self.assertIn("--password-file: only with --repository", self.refused(*age, *strays))
        policies = ("--all", "--policy-file", "x")
        self.assertIn("cannot be combined with --repository", self.refused(*policies, *there))
        self.assertIn("--password-file", self.refused(*policies, "--password-file", self.dir / "no"))

    def test_repositories_of_policies_that_cannot_be_used_are_named_together(self):
        facts = {"servers": {}, "max_age": "1d", "password_file": str(self.dir / "no")}
        named = {
            "one": {**facts, "repository": "/r"},
            "two": {**facts, "repository": "s3:r"},
            "three": {"servers": {}, "max_age": "1d", "output_directory": "/b"},
        }
        path = self.dir / "policies.yaml"
        path.write_text(json.dumps({"version": 1, "policies": named}))
        said = self.refused("--all", "--policy-file", path)
        self.assertIn("policies/one: --password-file", said)
        self.assertIn("policies/two: --password-file", said)
        self.assertNotIn("policies/three", said)

    def test_the_next_moment_of_a_time_of_day(self):
        for text in ("00:00", "23:59", f"{datetime.now():%H:%M}"):
            ahead = until(text) - datetime.now().timestamp()
            self.assertTrue(0 < ahead <= 25 * 3600, text)
            self.assertEqual(text, f"{datetime.fromtimestamp(until(text)):%H:%M}")
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument("--until", type=until)
        self.assertRaises(argparse.ArgumentError, parser.parse_args, ["--until", "noon"])
