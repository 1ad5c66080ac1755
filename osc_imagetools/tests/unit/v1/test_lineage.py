# SPDX-License-Identifier: Apache-2.0
"""The tree as it is drawn, the graph, and where the formatter of the graph is to be found."""

import importlib.metadata
import io
import pathlib
import re
import sys

import fixtures

from osc_imagetools import errors
from osc_imagetools.lineage.inventory import LineageResource
from osc_imagetools.lineage.plan import Row
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.v1 import tree
from osc_imagetools.v1.dot import DotFormatter, SvgFormatter
from osc_imagetools.v1.lineage import COLUMNS, Branch, _fields

IMAGE = LineageResource("image", "i1", 'a "quoted" \\n name', "active", 0)
SNAPSHOT = LineageResource("snapshot", "s1", found=False)
SERVER = LineageResource("server", "v1", "web", "ACTIVE")
ROWS = (
    Row(0, IMAGE, None, None, None, True, None),
    Row(1, SNAPSHOT, IMAGE, "from", "mapping", True, None, (False,)),
    Row(2, SERVER, SNAPSHOT, "to", "copy", False, None, (False, True)),
    Row(1, SERVER, IMAGE, "to", "boot", False, None, (True,), True),
)


class TestTree(TestCase):
    def drawn(self, encoding):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        self.useFixture(fixtures.MonkeyPatch("sys.stdout", stdout))
        return [Branch(row).human_readable() for row in ROWS]

    def test_drawn(self):
        expected = ["image", "├─ ← snapshot", "│  └─ → server", "└─ → server (see above)"]
        self.assertEqual(expected, self.drawn("utf-8"))

    def test_on_a_terminal_without_the_characters(self):
        expected = ["image", "|- <- snapshot", "|  `- -> server", "`- -> server (see above)"]
        self.assertEqual(expected, self.drawn("latin-1"))

    def test_programs_get_the_plain_type(self):
        self.assertEqual("snapshot", Branch(ROWS[1]).machine_readable())
        fields = dict(zip(COLUMNS, _fields(ROWS[1]), strict=True))
        self.assertEqual(
            ("s1", "i1", "not found", True), tuple(fields[k] for k in ("ID", "Parent", "Status", "Broken"))
        )


class TestDot(TestCase):
    def graph(self, columns=COLUMNS):
        out = io.StringIO()
        rows = [[f for c, f in zip(COLUMNS, _fields(row), strict=True) if c in columns] for row in ROWS]
        DotFormatter().emit_list(columns, rows, out, None)  # type: ignore[arg-type]
        return out.getvalue().splitlines()

    def test_arrows_go_from_origins_to_what_came_from_them(self):
        edges = [line.strip() for line in self.graph() if "->" in line]
        expected = [
            '"s1" -> "i1" [label="mapping"];',
            '"s1" -> "v1" [label="copy"];',
            '"i1" -> "v1" [label="boot"];',
        ]
        self.assertEqual(expected, edges)

    def test_each_resource_once_and_what_is_broken_marked(self):
        nodes = [line for line in self.graph() if "shape=" in line]
        self.assertEqual(3, len(nodes))
        self.assertEqual([True, True, False], ["red" in n for n in sorted(nodes)])

    def test_names_cannot_break_out(self):
        (node,) = [line for line in self.graph() if line.startswith('  "i1" [')]
        self.assertIn(r'label="image a \"quoted\" \\n name\ni1\nactive 0 B"', node)

    def test_columns_that_are_left_out(self):
        error = self.assertRaises(errors.UsageError, self.graph, ("ID", "Name"))
        self.assertRegex(str(error), "-f dot .*Parent")
        error = self.assertRaises(errors.UsageError, self.picture, ("ID", "Name"))
        self.assertIn("-f svg ", str(error))

    def test_as_a_picture(self):
        self.program('printf "<svg>\\303\\251 "; head -n 1; cat >/dev/null; echo "</svg>"; test "$1" = -Tsvg')
        self.assertEqual("<svg>&#233; digraph lineage {\n</svg>\n", self.picture())

    def program(self, commands):
        """A program of Graphviz's that does this."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / "dot").write_text(f"#!/bin/sh\n{commands}\n")
        (folder / "dot").chmod(0o755)
        self.useFixture(fixtures.EnvironmentVariable("PATH", f"{folder}:/usr/bin:/bin"))

    def picture(self, columns=COLUMNS):
        out = io.StringIO()
        rows = [_fields(row) for row in ROWS]
        SvgFormatter().emit_list(columns, rows, out, None)  # type: ignore[arg-type]
        return out.getvalue()

    def test_as_a_picture_without_graphviz(self):
        self.useFixture(fixtures.EnvironmentVariable("PATH", "/nowhere"))
        error = self.assertRaises(errors.ImagetoolsError, self.picture)
        self.assertIn("-f dot", str(error))

    def test_as_a_picture_when_the_program_fails(self):
        self.program("cat >/dev/null; echo no fonts >&2; exit 1")
        error = self.assertRaises(errors.ImagetoolsError, self.picture)
        self.assertIn("no fonts", str(error))


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


class TestTerminal(TestCase):
    """The tree as a terminal gets it."""

    def drawn(self, *, long=False, columns="40", **environment):
        for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR", "TERM", "COLUMNS"):
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(fixtures.EnvironmentVariable("COLUMNS", columns))
        for name, value in environment.items():
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        terminal = Terminal()
        self.useFixture(fixtures.MonkeyPatch("sys.stdout", terminal))
        tree.draw(ROWS, terminal, long=long)
        return terminal.getvalue()

    def test_states_in_words(self):
        for plain in ({"TERM": "dumb"}, {"TERM": "xterm-256color", "NO_COLOR": "1"}):
            text = re.sub(r"\x1b\[[0-9;]*m", "", self.drawn(**plain))
            expected = [
                'image a "quoted" \\n name: active, 0 B, BROKEN',
                "│ i1",
                "├─ ← snapshot: not found, BROKEN",
                "│  │ s1",
                "│  └─ → server web: ACTIVE",
                "│       v1",
                "└─ → server web: ACTIVE (see above)",
                "     v1",
            ]
            self.assertEqual(expected, text.splitlines())

    def test_colours_where_they_are_wanted(self):
        red = re.compile(r"\x1b\[[0-9;]*31m")
        self.assertRegex(self.drawn(TERM="xterm-256color"), red)
        self.assertNotRegex(self.drawn(TERM="xterm-256color", NO_COLOR="1"), red)
        self.assertNotIn("\x1b", self.drawn(TERM="dumb"))

    def test_no_line_is_wrapped_and_no_name_has_effects(self):
        name = "n" * 60 + "\x1b[2J"
        row = Row(0, LineageResource("image", "i1", name, "active", 0), None, None, None, False, None)
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.ROWS", (row,)))
        text = self.drawn(TERM="dumb")
        self.assertEqual(2, len(text.splitlines()))
        self.assertNotIn("\x1b", text)

    def test_with_long_what_hangs_on_what(self):
        self.assertIn("points at it", self.drawn(long=True, TERM="dumb"))


class TestNamespace(TestCase):
    def formatters(self, group):
        return {e.name: e.value for e in importlib.metadata.entry_points(group=group)}

    def test_graphs_are_added_to_those_of_cliff_here_and_nowhere_else(self):
        own, common = (
            self.formatters(group) for group in ("osc_imagetools.formatter.lineage", "cliff.formatter.list")
        )
        graphs = {name: f"osc_imagetools.v1.dot:{name.capitalize()}Formatter" for name in ("dot", "svg")}
        self.assertEqual({**common, **graphs}, own)
        self.assertNotIn("dot", common)
        self.assertIn("osc_imagetools.v1.dot", sys.modules)
