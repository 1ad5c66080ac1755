# SPDX-License-Identifier: Apache-2.0
"""Beside the other plugins of the client (tools/plugins.txt), in an environment that has all of them.

Contract: there is nothing to skip; where one of them is not installed, these tests fail. What others register
twice among themselves is theirs: only pairs of which one is ours are judged.
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import testtools

from osc_imagetools.tests.unit.test_plugin import GROUP, PACKAGE, command_names, shadows

PLUGINS = pathlib.Path(__file__).parents[3] / "tools" / "plugins.txt"
HOOK = re.compile(r"openstack\.cli\.(?!base$|extension$)")


def others() -> list[str]:
    """The plugins of the list, as they are called there."""
    lines = (line.partition("#")[0].strip() for line in PLUGINS.read_text().splitlines())
    return [line for line in lines if line]


class TestOwners(testtools.TestCase):
    def test_each_of_the_list_is_here_and_has_commands(self) -> None:
        self.assertGreater(len(others()), 10)
        for name in others():
            self.assertNotEqual({}, command_names(name), name)

    def test_no_command_is_an_others_or_hides_one(self) -> None:
        clashes = [
            f"{ours} / {theirs} of {name}"
            for name in others()
            for theirs in command_names(name)
            for ours in command_names(PACKAGE)
            if shadows(ours, theirs)
        ]
        self.assertEqual([], clashes)

    def test_no_group_extension_or_hook_is_an_others(self) -> None:
        """Two hooks of one command would both run, two extensions of one name would be one."""
        ours: set[tuple[str, str]] = set()
        theirs: dict[tuple[str, str], str] = {}
        for distribution in importlib.metadata.distributions():
            for entry in distribution.entry_points:
                if not entry.group.startswith("openstack."):
                    continue
                # A hook is of a command, a group of commands of one plugin, by whatever names.
                key = (entry.group, entry.name if entry.group == "openstack.cli.extension" else "")
                if distribution.name == PACKAGE:
                    ours.add(key)
                else:
                    theirs[key] = distribution.name
        self.assertIn(("openstack.cli.extension", "imagetools"), ours)
        self.assertTrue(any(HOOK.match(group) for group, _ in ours))
        self.assertEqual({}, {key: theirs[key] for key in ours & theirs.keys()})


class TestTogether(testtools.TestCase):
    def openstack(self, *words: str) -> str:
        program = pathlib.Path(sys.executable).with_name("openstack")
        done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def test_the_client_starts_with_all_and_has_our_commands(self) -> None:
        (row,) = json.loads(self.openstack("command", "list", "--group", GROUP, "-f", "json"))
        listed = row["Commands"]
        commands = listed if isinstance(listed, list) else listed.splitlines()
        self.assertEqual(set(command_names(PACKAGE)), {command.strip() for command in commands})

    def test_help_of_ours_is_ours(self) -> None:
        for name in ("image export-full", "server backup-check", "leftover list"):
            self.assertIn(f"openstack {name}", self.openstack(*name.split(), "--help"))
