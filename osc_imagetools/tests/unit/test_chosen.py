# SPDX-License-Identifier: Apache-2.0
"""The list of functional tests for other clients and clouds: a name that no test has would run nothing."""

from __future__ import annotations

import ast
import pathlib
import re

import testtools

ROOT = pathlib.Path(__file__).parents[3]
LIST = ROOT / "tools" / "functional-chosen.txt"


def tests() -> list[str]:
    """The IDs of all functional tests; their modules are not imported, for they need a cloud."""
    found = []
    for path in sorted((ROOT / "osc_imagetools/tests/functional").glob("test_*.py")):
        for item in ast.parse(path.read_text()).body:
            if isinstance(item, ast.ClassDef):
                names = (d.name for d in item.body if isinstance(d, ast.FunctionDef))
                found += [f"functional.{path.stem}.{item.name}.{n}" for n in names if n.startswith("test")]
    return found


class TestChosen(testtools.TestCase):
    def test_each_name_is_of_a_test(self) -> None:
        known = tests()
        lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
        self.assertGreater(len(lines), 10)
        for line in lines:
            group = re.search(r"\(([^)]*)\)", line)
            for choice in group[1].split("|") if group else [""]:
                expression = line.replace(group[0], choice) if group else line
                self.assertTrue(any(re.search(expression, name) for name in known), expression)
