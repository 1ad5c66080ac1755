# SPDX-License-Identifier: Apache-2.0
"""Names of bundles, and which paths may stand in one."""

from __future__ import annotations

from pathlib import Path

import testtools
from hypothesis import given, strategies

from osc_imagetools.bundle import layout


class DefaultOutput(testtools.TestCase):
    """The rule of --output."""

    def test_rule(self) -> None:
        for name, expected in (
            ("web01", "web01.bundle"),
            ("a/b\tc\x00\x9f", "a_b_c__.bundle"),
            ("Büro 7", "Büro 7.bundle"),
            ("..", "ID.bundle"),
            (".hidden", "ID.bundle"),
            ("", "ID.bundle"),
            (None, "ID.bundle"),
            ("x" * 200, "x" * 200 + ".bundle"),
            ("x" * 201, "ID.bundle"),
            ("ü" * 101, "ID.bundle"),
            ("\ud800", "_.bundle"),
        ):
            self.assertEqual(Path(expected), layout.default_output(name, "ID"), repr(name))

    @given(strategies.text())
    def test_is_always_one_name_here(self, name: str) -> None:
        output = layout.default_output(name, "ID")
        self.assertEqual(1, len(output.parts))
        self.assertNotIn(output.name[0], "./")
        self.assertLess(len(str(output).encode()), 255)


class Paths(testtools.TestCase):
    """layout.path_problem."""

    def test_accepted(self) -> None:
        for path in ("disks/0-vda.qcow2", "metadata/image.json", "disks/a b", "disks/ü"):
            self.assertIsNone(layout.path_problem(path), path)

    def test_refused(self) -> None:
        for path in (
            "",
            "/etc/passwd",
            "../x",
            "disks/../../x",
            "disks/..",
            "disks/.",
            "disks/.0.part",
            "disks/",
            "disks//x",
            "disks/a/b",
            "disks",
            "manifest.json",
            "other/x",
            "disks\\x",
            "disks/a\\b",
            "disks/a\nb",
            "disks/a\0",
            "disks/\u202egnp",
            "disks/\ud800",
            "disks/" + "x" * 256,
        ):
            self.assertIsNotNone(layout.path_problem(path), repr(path))

    @given(strategies.text(alphabet="disk./\\\n\0a", max_size=20))
    def test_what_is_accepted_stays_inside(self, path: str) -> None:
        if layout.path_problem(path) is None:
            self.assertEqual(("disks",), Path(path).parts[:1])
            self.assertEqual(2, len(Path(path).parts))
            self.assertNotIn("..", path.split("/"))

    def test_same_file(self) -> None:
        for one, other in (("disks/A", "disks/a"), ("disks/é", "disks/e\u0301")):
            self.assertEqual(layout.same_file_key(one), layout.same_file_key(other))
        self.assertNotEqual(layout.same_file_key("disks/a"), layout.same_file_key("disks/b"))
