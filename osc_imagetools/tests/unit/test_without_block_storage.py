# SPDX-License-Identifier: Apache-2.0
"""The table of what each command does without block storage; the functional test runs what it says."""

import json
import pathlib

import testtools

import osc_imagetools
from osc_imagetools.tests.unit.test_plugin import PACKAGE, command_names

TABLE = pathlib.Path(osc_imagetools.__file__).parents[1] / "doc/source/user/without-block-storage.json"


class TestTable(testtools.TestCase):
    def test_every_command_of_ours_is_in_it(self):
        listed = {entry["command"] for entry in json.loads(TABLE.read_text())}
        self.assertEqual(set(command_names(PACKAGE)), listed)

    def test_every_entry_says_what_it_means(self):
        for entry in json.loads(TABLE.read_text()):
            self.assertEqual({"command", "on", "words", "outcome", "meaning"}, set(entry))
            self.assertIn(entry["outcome"], ("works", "told", "refused"))
            self.assertTrue(entry["meaning"])


class TestReadme(testtools.TestCase):
    def test_it_has_every_command(self):
        text = (TABLE.parents[3] / "README.rst").read_text()
        told = {
            "image unshare",
            "volume lineage",
            "volume snapshot lineage",
            "server lineage",
        }  # in a row of another
        self.assertEqual(set(), {c for c in command_names(PACKAGE) if f"``{c}" not in text} - told)
