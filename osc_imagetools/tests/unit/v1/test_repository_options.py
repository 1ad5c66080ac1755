# SPDX-License-Identifier: Apache-2.0
"""Options of repositories that contradict each other: refused before restic is looked for."""

from __future__ import annotations

import json

import fixtures

from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.tests.unit.bundle import samples
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

    def test_forget_what_is_of_one_resource(self):
        other = "11111111-2222-3333-4444-555555555555"
        for number, subject in enumerate((samples.IMAGE_ID, samples.IMAGE_ID, other, other)):
            path = samples.make_bundle(self.dir / f"b{number}")
            document = samples.load(path)
            document |= {"created_at": f"2026-01-0{number + 1}T00:00:00Z"}
            document["resource"] = {"id": subject, "name": "web01"}
            samples.reseal(path, format_manifest(document))
        words = ("bundle", "forget", self.dir, "--keep-last", "1", "--resource", other, "--long")
        code, out, _ = self.run_openstack(*words, "-f", "json")
        self.assertEqual(0, code)
        rows = [(row["ID"], row["Bundle"], row["Result"]) for row in json.loads(out)]
        kept, removed = str(self.dir / "b3"), str(self.dir / "b2")
        self.assertEqual([(other, kept, "kept"), (other, removed, "removed")], rows)
        self.assertEqual(["b0", "b1", "b3"], sorted(p.name for p in self.dir.glob("b?")))
