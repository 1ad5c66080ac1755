# SPDX-License-Identifier: Apache-2.0
"""The walls between the rooms, as doc/source/contributor/architecture.rst draws them."""

from __future__ import annotations

import ast
import collections
import importlib
import pathlib
import re
from collections.abc import Iterator

import testtools

import osc_imagetools

ROOT = pathlib.Path(osc_imagetools.__file__).parent
# The kernel, from the bottom up: each room may import those before it.
KERNEL = ("errors", "progress", "cloud", "operations", "data", "bundle", "run")
# The subjects stand side by side on the kernel and do not import each other, with these exceptions; the
# architecture page says why.
SUBJECTS = (
    "export",
    "restore",
    "convert",
    "sharing",
    "lineage",
    "leftover",
    "backup_check",
    "restore_check",
    "backup_run",
)
BETWEEN_SUBJECTS = {
    # A conversion resolves and checks its source as an export does.
    ("convert", "export"),
    # What a backup would hold is what an export would hold.
    ("backup_check", "export"),
    # A restore check is an import whose resources are temporary.
    ("restore_check", "restore"),
    # What a run has to do is what the backups that are there leave to be done.
    ("backup_run", "backup_check"),
}
TOP = ("api", "v1")
# What a plan must not know: threads and files of a run, bytes, requests.
NOT_FOR_PLANS = ("osc_imagetools.run", "osc_imagetools.data", "osc_imagetools.cloud.connection")


def modules() -> Iterator[tuple[str, pathlib.Path, ast.Module]]:
    """(room, path, syntax tree) of each module but the tests."""
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in ("tests", "__init__.py"):
            yield relative.parts[0].removesuffix(".py"), relative, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a module imports, wherever it does so; within TYPE_CHECKING counts too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_import(room: str) -> set[str]:
    """The rooms that a room may import besides itself."""
    if room == "plugin":
        return set()
    if room in KERNEL:
        return set(KERNEL[: KERNEL.index(room)])
    if room in SUBJECTS:
        return {*KERNEL, *(other for one, other in BETWEEN_SUBJECTS if one == room)}
    return {*KERNEL, *SUBJECTS, *TOP[: TOP.index(room)]}


class TestRooms(testtools.TestCase):
    def test_every_room_has_its_place(self) -> None:
        self.assertEqual({*KERNEL, *SUBJECTS, *TOP, "plugin"}, {room for room, _, _ in modules()})

    def test_imports_go_downwards(self) -> None:
        wrong = [
            f"{path} imports {name}"
            for room, path, tree in modules()
            for name in imported(tree)
            if name.startswith("osc_imagetools.") and name.split(".")[1] not in may_import(room) | {room}
        ]
        self.assertEqual([], wrong)

    def test_exceptions_between_subjects_are_used(self) -> None:
        used = {
            (room, name.split(".")[1])
            for room, _, tree in modules()
            for name in imported(tree)
            if room in SUBJECTS and name.startswith("osc_imagetools.")
        }
        self.assertEqual(set(), BETWEEN_SUBJECTS - used)

    def test_plans_are_pure(self) -> None:
        wrong = [
            f"{path} imports {name}"
            for _, path, tree in modules()
            if path.name.startswith("plan") and path.parent != pathlib.Path()
            for name in imported(tree)
            if any(name == part or name.startswith(f"{part}.") for part in NOT_FOR_PLANS)
        ]
        self.assertEqual([], wrong)

    def test_only_commands_know_argparse(self) -> None:
        wrong = [
            str(path)
            for room, path, tree in modules()
            for name in imported(tree)
            if name.split(".")[0] in ("argparse", "cliff", "osc_lib", "openstackclient")
            and room not in ("v1", "plugin")
        ]
        self.assertEqual([], wrong)


class TestNames(testtools.TestCase):
    def test_a_class_name_has_one_meaning(self) -> None:
        places = collections.defaultdict(list)
        for _, path, tree in modules():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path))
        self.assertEqual({}, {name: paths for name, paths in places.items() if len(paths) > 1})


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


class TestPage(testtools.TestCase):
    def test_what_the_page_names_is_there(self) -> None:
        page = ROOT.parent / "doc" / "source" / "contributor" / "architecture.rst"
        if not page.exists():
            self.skipTest("not in a checkout")
        # Such as "run/lanes.run_lanes"; a subject is also meant by its folder alone.
        rooms = "|".join((*KERNEL, *SUBJECTS, *TOP))
        names = set(re.findall(rf"``((?:{rooms})/[a-z_/0-9]+(?:\.\w+)*)``", page.read_text()))
        self.assertLess(20, len(names))
        absent = []
        for name in sorted(names):
            path, *attributes = name.split(".")
            try:
                found = importlib.import_module(f"osc_imagetools.{path.replace('/', '.')}")
                for attribute in attributes:
                    found = getattr(found, attribute)
            except (ImportError, AttributeError):
                absent.append(name)
        self.assertEqual([], absent)
