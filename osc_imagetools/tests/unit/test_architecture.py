# SPDX-License-Identifier: Apache-2.0
"""The walls between the layers, as doc/source/contributor/architecture.rst draws them."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import testtools

import osc_imagetools

ROOT = pathlib.Path(osc_imagetools.__file__).parent
# Besides itself and ``errors``, what may each part import? Within TYPE_CHECKING counts too.
MAY_IMPORT = {
    "errors": frozenset(),
    "plugin": frozenset(),
    "origin": frozenset(),
    "marks": frozenset(),
    "journal": frozenset({"marks"}),
    "cloud": frozenset({"origin"}),
    "inventory": frozenset({"origin", "cloud", "marks", "journal", "bundle"}),
    "plan": frozenset({"origin", "marks", "inventory"}),
    "transfer": frozenset({"cloud"}),
    "bundle": frozenset(),
    "execution": frozenset({"cloud", "marks", "journal", "inventory", "plan", "transfer", "bundle"}),
    "report": frozenset({"execution", "transfer", "plan"}),
    "api": frozenset({"cloud", "inventory", "plan", "execution", "transfer", "report"}),
    "v1": frozenset({"api", "cloud", "inventory", "plan", "execution", "bundle", "report"}),
}


def modules() -> Iterator[tuple[str, pathlib.Path, ast.Module]]:
    """(part, path, syntax tree) of each module but the tests; a part is a layer or a module."""
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if relative.parts[0] != "tests" and relative.name != "__init__.py":
            yield relative.parts[0].removesuffix(".py"), relative, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a module imports, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class TestLayers(testtools.TestCase):
    def test_every_part_has_its_place(self) -> None:
        self.assertEqual(set(MAY_IMPORT), {part for part, _, _ in modules()})

    def test_imports_go_one_way(self) -> None:
        wrong = [
            f"{path} imports {name}"
            for part, path, tree in modules()
            for name in imported(tree)
            if name.startswith("osc_imagetools.")
            and name.split(".")[1] not in MAY_IMPORT[part] | {part, "errors"}
        ]
        self.assertEqual([], wrong)

    def test_only_commands_know_argparse(self) -> None:
        wrong = [
            str(path)
            for part, path, tree in modules()
            for name in imported(tree)
            if name.split(".")[0] in ("argparse", "cliff", "osc_lib", "openstackclient")
            and part not in ("v1", "plugin")
        ]
        self.assertEqual([], wrong)


class TestSize(testtools.TestCase):
    def test_modules_are_short(self) -> None:
        lengths = {str(path): len((ROOT / path).read_text().splitlines()) for _, path, _ in modules()}
        self.assertEqual({}, {path: n for path, n in lengths.items() if n >= 400})

    def test_functions_fit_a_screen(self) -> None:
        long = [
            f"{path}: {node.name}"
            for _, path, tree in modules()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
        ]
        self.assertEqual([], long)

    def test_every_module_states_its_contract(self) -> None:
        silent = [str(path) for _, path, tree in modules() if not ast.get_docstring(tree)]
        self.assertEqual([], silent)
