# SPDX-License-Identifier: Apache-2.0
"""Every command that a message, a help text or the documentation names is accepted by the real parsers."""

from __future__ import annotations

import ast
import itertools
import pathlib
import re
from collections.abc import Iterator

import osc_imagetools
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.client import Client
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


CONTINUED = re.compile(r" \\\n +")  # a line that goes on in the next one


def documented() -> dict[str, str]:
    """Each line of the documentation that shows a command of the client, and the page."""
    top = ROOT.parent
    pages = (*sorted((top / "doc" / "source").rglob("*.rst")), top / "README.rst")
    return {
        line: str(page.relative_to(top))
        for page in pages
        for line in re.findall(r"^ +\$ (openstack .*)", CONTINUED.sub(" ", page.read_text()), re.MULTILINE)
    }


class TestTyped(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = Client()

    def refused(self, lines: dict[str, str]) -> dict[str, str]:
        """The lines that cannot be typed, with the place that names them, and why."""
        found = {}
        for line, place in lines.items():
            try:
                self.client.parse(line)
            except AssertionError as exc:
                found[f"{place}: {line}"] = str(exc)
        return found

    def test_what_messages_name(self):
        named = commands()
        self.assertGreater(len(named), 20)
        self.assertIn("volume snapshot convert x --to image", named)
        lines = {f"openstack {command}": module for command, module in named.items()}
        self.assertEqual({}, self.refused(lines))

    def test_examples_in_the_help(self):
        for name, entry_point in command_names("osc-imagetools").items():
            examples = entry_point.load().examples
            self.assertIn(len(examples), (1, 2), f"{name} has one or two examples")
            self.assertEqual({}, self.refused(dict.fromkeys(examples, name)))
            self.assertEqual({name}, {self.client.parse(line)[0] for line in examples})
            self.assertTrue(all(len(line) <= 76 for line in examples), f"{name}: fits 80 columns")

    def test_what_the_documentation_shows(self):
        lines = documented()
        self.assertGreater(len(lines), 40)
        self.assertEqual({}, self.refused(lines))
