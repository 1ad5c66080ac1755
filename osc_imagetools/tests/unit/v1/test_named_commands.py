# SPDX-License-Identifier: Apache-2.0
"""The commands that messages tell to type can be typed: the real parsers take them."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.metadata
import io
import itertools
import pathlib
import re
import shlex
from collections.abc import Iterator
from unittest import mock

import osc_imagetools
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.test_plugin import command_names

ROOT = pathlib.Path(osc_imagetools.__file__).parent
# What stands for a value in a module's messages; any other is "x".
VALUES = {
    ("convert/plan_source.py", "noun"): ("image", "volume", "volume snapshot"),
    ("convert/plan_source.py", "wish.to"): ("image", "volume"),
    ("restore/plan_image.py", "noun"): ("image", "volume", "server"),
}
# From "openstack" to the end of the message, or of the part of its sentence.
COMMAND = re.compile(r"\bopenstack ((?:[a-z-]+ )*[a-z-]+[^;,)\n]*?)(?=[;,)\n]|\.(?: |$)|$)")


def texts(path: pathlib.Path) -> Iterator[str]:
    """The texts of a module but for its docstrings, each as often as its values have forms."""
    tree = ast.parse(path.read_text())
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            module = str(path.relative_to(ROOT))
            parts = (forms(module, part) for part in node.values)
            yield from map("".join, itertools.product(*parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def forms(module: str, part: ast.expr) -> tuple[str, ...]:
    """What can stand for a part of a text."""
    if isinstance(part, ast.Constant):
        return (str(part.value),)
    assert isinstance(part, ast.FormattedValue)
    return VALUES.get((module, ast.unparse(part.value)), ("x",))


def commands() -> dict[str, str]:
    """Each command that a plan's messages name, and the module."""
    return {
        re.sub(r"<[\w -]+>", "x", found): str(path.relative_to(ROOT))
        for path in sorted(ROOT.glob("*/plan*.py"))
        if path.parent.name != "backup_check"  # see its test_plan_commands
        for text in texts(path)
        for found in COMMAND.findall(text)
    }


def parsers() -> dict[str, importlib.metadata.EntryPoint]:
    """The commands of the client, in the newest version of each API, and ours."""
    known = {
        entry_point.name.replace("_", " "): entry_point
        for entry_point in sorted(
            importlib.metadata.distribution("python-openstackclient").entry_points, key=lambda e: e.group
        )
        if entry_point.group.startswith("openstack.")
        and entry_point.group not in ("openstack.cli.base", "openstack.cli.extension")
    }
    return {**known, **command_names("osc-imagetools")}


def wrong(command: str, known: dict[str, importlib.metadata.EntryPoint]) -> str | None:
    """Why a command cannot be typed."""
    words = shlex.split(command)
    for length in range(len(words), 0, -1):
        name = " ".join(words[:length])
        if name not in known:
            continue
        parser: argparse.ArgumentParser = known[name].load()(mock.MagicMock(), None).get_parser(name)
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                parser.parse_args(words[length:])
        except SystemExit:
            return said.getvalue().strip().splitlines()[-1]
        return None
    return "there is no such command"


class TestNamedCommands(TestCase):
    def test_every_command_can_be_typed(self):
        known, named = parsers(), commands()
        self.assertGreater(len(named), 20)
        self.assertIn("volume snapshot convert x --to image", named)
        refused = {f"{module}: {text}": why for text, module in named.items() if (why := wrong(text, known))}
        self.assertEqual({}, refused)
