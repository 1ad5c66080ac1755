# SPDX-License-Identifier: Apache-2.0
"""Options of repositories that contradict each other: refused before restic is looked for."""

from __future__ import annotations

import fixtures

from osc_imagetools.tests.unit.v1.test_commands import CommandCase


class TestUsage(CommandCase):
    def setUp(self):
        super().setUp()
        for name in ("OSC_IMAGETOOLS_REPOSITORY", "RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE"):
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(fixtures.EnvironmentVariable("RESTIC_PASSWORD_COMMAND"))

    def refused(self, *words):
        code, out, err = self.run_openstack("bundle", *words)
        self.assertEqual((2, ""), (code, out), err)
        return err

    def test_each(self):
        bundle = self.bundle()
        self.assertIn("--repository", self.refused("list"))
        self.assertIn("either", self.refused("list", self.dir, "--repository", "/r"))
        self.assertIn("--at", self.refused("show", bundle, "--at", "2026-01-01"))
        self.assertIn("--password-file", self.refused("verify", bundle, "--password-file", "x"))
        self.assertIn("--repository", self.refused("copy", bundle))
        self.assertIn("password", self.refused("copy", bundle, "--repository", "/r"))
        self.assertIn("--prune", self.refused("forget", self.dir, "--keep-last", "1", "--prune"))
        self.assertIn("--keep-tag", self.refused("forget", self.dir, "--keep-tag", "x"))
        self.assertIn("--keep-last", self.refused("forget", self.dir))
        for words in (("--keep-last", "-2"), ("--keep-within", "1w"), ("--keep-tag", ",")):
            self.refused("forget", self.dir, *words)

    def test_a_directory_that_is_named_wins_over_the_default(self):
        self.useFixture(fixtures.EnvironmentVariable("OSC_IMAGETOOLS_REPOSITORY", "/nothing"))
        code, _, err = self.run_openstack("bundle", "show", self.bundle())
        self.assertEqual(0, code, err)
        self.assertIn("password", self.refused("show", "web01"))

    def test_forget_in_a_directory(self):
        self.bundle()
        code, out, _ = self.run_openstack("bundle", "forget", self.dir, "--keep-last", "1", "-f", "csv")
        self.assertEqual(0, code)
        self.assertIn('"kept","last, newest complete"', out)
