# SPDX-License-Identifier: Apache-2.0
"""What this package does to ``openstack`` by being installed: names, imports, help, completion."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable

import fixtures
import testtools
from openstackclient import shell
from osc_lib.command import command

from osc_imagetools import plugin

PACKAGE = "osc-imagetools"
GROUP = "openstack.imagetools.v1"
# Commands that exit with 3 when their verdict is negative.
VERDICTS = (
    "bundle verify",
    "image import-full",
    "image share-check",
    "server backup-check",
    "server backup-run",
    "server import-full",
    "server restore-check",
    "volume import-full",
)
# What cliff adds by itself.
BUILT_IN = frozenset({"complete", "help"})

# Runs in a process of its own: what does loading us import that the client has not?
# A stand-in takes the place of our plugin until the client has started.
IMPORTS = """
import importlib.metadata, json, sys, types
stand_in = types.ModuleType("osc_imagetools.plugin")
stand_in.API_NAME, stand_in.API_VERSION_OPTION = "imagetools", "os_imagetools_api_version"
stand_in.DEFAULT_API_VERSION, stand_in.API_VERSIONS = "1", ("1",)
stand_in.build_option_parser = lambda parser: parser
sys.modules["osc_imagetools"] = types.ModuleType("osc_imagetools")
sys.modules["osc_imagetools.plugin"] = stand_in
import openstackclient.shell
openstackclient.shell.OpenStackShell()
del sys.modules["osc_imagetools"], sys.modules["osc_imagetools.plugin"]
before = set(sys.modules)
entry_points = importlib.metadata.distribution("osc-imagetools").entry_points
for entry_point in entry_points:
    # The others (hooks, formatters) are loaded by the commands that use them.
    if entry_point.group in ("openstack.cli.extension", "openstack.imagetools.v1"):
        entry_point.load()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def command_names(distribution: str) -> dict[str, importlib.metadata.EntryPoint]:
    """The commands that a distribution registers, as they are typed."""
    return {
        entry_point.name.replace("_", " "): entry_point
        for entry_point in importlib.metadata.distribution(distribution).entry_points
        if entry_point.group.startswith("openstack.") and not entry_point.group.startswith("openstack.cli.")
    }


def client_names() -> frozenset[str]:
    """Every name of python-openstackclient, of all API versions, and cliff's own."""
    entry_points = importlib.metadata.distribution("python-openstackclient").entry_points
    return BUILT_IN | {
        entry_point.name.replace("_", " ")
        for entry_point in entry_points
        if entry_point.group.startswith("openstack.")
        and entry_point.group not in ("openstack.cli.base", "openstack.cli.extension")
    }


def shadows(ours: str, theirs: str) -> bool:
    """Whether one of two names can be taken for the other.

    cliff takes the longest run of words that names a command, in full or, word by word, by an
    unambiguous beginning (``CommandManager.find_command``). So a name must not be equal to another,
    not be the first words of another (the rest would be its arguments), and not be an abbreviation
    of another in as many words.
    """
    a, b = ours.split(), theirs.split()
    shorter = min(len(a), len(b))
    if a[:shorter] == b[:shorter]:
        return True
    return len(a) == len(b) and all(y.startswith(x) for x, y in zip(a, b, strict=True))


def summary(command_class: type[command.Command]) -> str:
    """The first line of a command's docstring, which is the command's line in the help."""
    return (inspect.getdoc(command_class) or "").partition("\n")[0]


class TestShadows(testtools.TestCase):
    def test_rule(self) -> None:
        for ours, theirs, expected in (
            ("image save", "image save", True),
            ("image", "image save", True),
            ("image save fast", "image save", True),
            ("image sav", "image save", True),
            ("image save-full", "image save", False),
            ("image export-full", "image save", False),
            ("bundle show", "image show", False),
        ):
            self.assertEqual(expected, shadows(ours, theirs), f"{ours} and {theirs}")


class TestNames(testtools.TestCase):
    def test_client_names_are_known(self) -> None:
        names = client_names()
        self.assertGreater(len(names), 400)
        self.assertIn("server image create", names)
        self.assertIn("command list", names)

    def test_we_have_commands(self) -> None:
        self.assertIn("image export-full", command_names(PACKAGE))

    def test_no_name_shadows_one_of_the_client(self) -> None:
        clashes = [
            f"{ours} / {theirs}"
            for ours in sorted(command_names(PACKAGE))
            for theirs in sorted(client_names())
            if shadows(ours, theirs)
        ]
        self.assertEqual([], clashes)

    def test_no_name_shadows_another_of_ours(self) -> None:
        # One may be an abbreviation of the other ("image share", "image share-check"): what is typed in full
        # is found first.
        names = [name.split() for name in sorted(command_names(PACKAGE))]
        clashes = [f"{a} / {b}" for a in names for b in names if a != b and a == b[: len(a)]]
        self.assertEqual([], clashes)

    def test_every_command_is_in_our_group(self) -> None:
        groups = {entry_point.group for entry_point in command_names(PACKAGE).values()}
        self.assertEqual({GROUP}, groups)


class TestEntryPoints(testtools.TestCase):
    def test_commands_load_and_say_what_they_do(self) -> None:
        for name, entry_point in command_names(PACKAGE).items():
            command_class = entry_point.load()
            self.assertTrue(issubclass(command_class, command.Command), name)
            # The class's own: an inherited one would describe another command.
            self.assertTrue(command_class.__dict__.get("__doc__"), f"{name} has no docstring")
            first = summary(command_class)
            self.assertLess(len(first), 80, name)
            self.assertTrue(first.endswith("."), f"{name}: the summary is a sentence")

    def test_plugin_contract(self) -> None:
        (entry_point,) = importlib.metadata.distribution(PACKAGE).entry_points.select(
            group="openstack.cli.extension"
        )
        self.assertIs(plugin, entry_point.load())
        self.assertEqual(GROUP, f"openstack.{plugin.API_NAME}.v{plugin.DEFAULT_API_VERSION}")
        self.assertIn(plugin.DEFAULT_API_VERSION, plugin.API_VERSIONS)
        self.assertTrue(plugin.API_VERSION_OPTION.startswith("os_"))


class TestImports(testtools.TestCase):
    """Every ``openstack`` command loads every command module there is."""

    def test_nothing_is_imported_that_the_client_has_not(self) -> None:
        answer = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
        self.assertEqual((0, ""), (answer.returncode, answer.stderr))
        loaded = json.loads(answer.stdout)
        self.assertIn("osc_imagetools.plugin", loaded)
        self.assertIn("osc_imagetools.v1.image", loaded)
        self.assertNotIn("osc_imagetools.v1.hooks", loaded)
        self.assertEqual([], [name for name in loaded if not is_allowed(name)])


def is_allowed(module: str) -> bool:
    return module in ("osc_imagetools", "osc_imagetools.plugin", "osc_imagetools.v1") or (
        module.startswith("osc_imagetools.v1.")
    )


class TestShell(testtools.TestCase):
    """``openstack`` in this process, without a cloud."""

    def setUp(self) -> None:
        super().setUp()
        for name in [name for name in os.environ if name.startswith("OS_")]:
            self.useFixture(fixtures.EnvironmentVariable(name))
        home = self.useFixture(fixtures.TempDir()).path
        for name in ("HOME", "XDG_CONFIG_HOME"):
            self.useFixture(fixtures.EnvironmentVariable(name, home))
        self.useFixture(fixtures.FakeLogger())

    def run_shell(self, arguments: Iterable[str]) -> str:
        stdout = io.StringIO()
        self.useFixture(fixtures.MonkeyPatch("sys.stdout", stdout))
        # argparse leaves by itself after a help text
        with contextlib.suppress(SystemExit):
            self.assertEqual(0, shell.OpenStackShell().run(list(arguments)))
        return stdout.getvalue()

    def test_commands_are_in_the_help(self) -> None:
        lines = [line.strip() for line in self.run_shell(["--help"]).splitlines()]
        for name, entry_point in command_names(PACKAGE).items():
            first_word = summary(entry_point.load()).split()[0]
            self.assertTrue(any(re.match(f"{name} +{first_word}", line) for line in lines), name)

    def test_commands_are_completed(self) -> None:
        text = self.run_shell(["complete"])
        completions = dict(re.findall(r"^ *(cmds\w*)='(.*)'$", text, re.MULTILINE))
        for name in command_names(PACKAGE):
            *parents, last = name.split()
            self.assertIn(last, completions["_".join(["cmds", *parents])].split())
            self.assertIn("--help", completions[re.sub("[ -]", "_", f"cmds {name}")].split())

    def test_each_command_has_help(self) -> None:
        for name in command_names(PACKAGE):
            self.assertIn(f"{name} [-h]", self.run_shell([*name.split(), "--help"]))

    def test_help_keeps_paragraphs_and_examples(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable("COLUMNS", "80"))
        for name, entry_point in command_names(PACKAGE).items():
            text = self.run_shell([*name.split(), "--help"])
            command_class = entry_point.load()
            self.assertIn(f"\n\n{summary(command_class)}\n\n", text)
            for example in command_class.examples:
                self.assertIn(f"\n    {example}\n", text)
            self.assertNotIn("``", text)
            self.assertNotIn("::", text)
            paragraphs = [p for p in inspect.cleandoc(command_class.__doc__).split("\n\n") if p]
            for paragraph in paragraphs:
                self.assertIn(f"\n\n{paragraph.split()[0].strip('`')}", text.replace('"', ""))

    def test_verdicts_have_their_exit_codes_in_the_help(self) -> None:
        for name in VERDICTS:
            self.assertIn("Exit codes: 0 if", self.run_shell([*name.split(), "--help"]), name)
