# SPDX-License-Identifier: Apache-2.0
"""The text of a reason on a terminal."""

import re

import testtools

from osc_imagetools.backup_check import explanation
from osc_imagetools.backup_check.reasons import REASONS


class TestSection(testtools.TestCase):
    def test_commands_are_whole_in_every_width(self):
        for width in (20, 60, 80):
            for reason in REASONS.values():
                text = explanation.section(reason, width)
                commands = re.findall(r"``(openstack .*?)``", reason.way_out)
                for command in commands:
                    self.assertIn(f'"{command}"', text)
                long = [line for line in text.splitlines() if len(line) > width]
                self.assertEqual([], [line for line in long if '"' not in line and " " in line])

    def test_all_parts(self):
        text = explanation.section(REASONS["backup-dead"], 200)
        code, meaning, severity, todo = text.split("\n\n")
        self.assertEqual("backup-dead", code)
        self.assertNotIn("``", text)
        self.assertIn("0 bytes", meaning)
        self.assertTrue(severity.startswith("Severity: critical; info for"), severity)
        self.assertTrue(todo.startswith("What to do: Make a new backup"), todo)
