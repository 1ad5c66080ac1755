# SPDX-License-Identifier: Apache-2.0
"""The results of the functional tests by command and cloud, of which the documentation makes a page."""

import importlib.util
import io
import json
import pathlib
import sys
from typing import Any

import subunit
import testtools
from testtools import content

import osc_imagetools
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.test_plugin import PACKAGE, command_names

ROOT = pathlib.Path(osc_imagetools.__file__).parents[1]
RESULTS = ROOT / "doc/source/user/compatibility.json"


def program(path: str) -> Any:
    """A program of the repository as a module."""
    file = ROOT / path
    sys.path.insert(0, str(file.parent))
    try:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module


class TestRecord(TestCase):
    def record(self) -> io.BytesIO:
        """What a runner writes of two tests."""
        stream = io.BytesIO()
        result: Any = testtools.ExtendedToStreamDecorator(subunit.StreamResultToBytes(stream))
        result.startTestRun()
        for commands, outcome in (
            ("image share\nvolume lineage", "addSuccess"),
            ("image share", "addFailure"),
        ):
            details = {"commands": content.text_content(commands)}
            testtools.PlaceHolder(outcome, outcome=outcome, details=details).run(result)
        result.stopTestRun()
        stream.seek(0)
        return stream

    def test_by_command(self) -> None:
        tool = program("tools/compatibility.py")
        entry = tool.cloud_entry("2023.1", "ceph", tool.read(self.record()))
        self.assertEqual((1, 1), (entry["passed"], entry["failed"]))
        expected = {
            "image share": {"passed": 1, "failed": 1},
            "volume lineage": {"passed": 1, "failed": 0},
        }
        self.assertEqual(expected, entry["commands"])

    def test_a_run_takes_the_place_of_the_last_one_on_its_cloud(self) -> None:
        tool = program("tools/compatibility.py")
        path = self.state / "results.json"
        for cloud in ("2023.1 file", "2026.2 ceph", "2026.2 file", "2023.1 file"):
            release, storage = cloud.split()
            tool.update(path, tool.cloud_entry(release, storage, []))
        found = [(entry["release"], entry["storage"]) for entry in json.loads(path.read_text())]
        self.assertEqual([("2026.2", "file"), ("2026.2", "ceph"), ("2023.1", "file")], found)


class TestPage(testtools.TestCase):
    def test_a_row_for_each_command(self) -> None:
        page = program("doc/source/_ext/compatibility_table.py")
        counts = {"image share": {"passed": 2, "failed": 1}, "image unshare": {"passed": 3, "failed": 0}}
        clouds = [
            {"release": "2026.2", "storage": "ceph", "commands": counts},
            {"release": "2023.1", "storage": "file", "commands": {}},
        ]
        expected = [
            ("Command", "2026.2, Ceph", "2023.1"),
            ("``image share``", "1 of 3 failed", "not tested"),
            ("``image unshare``", "works (3)", "not tested"),
        ]
        self.assertEqual(expected, page.command_rows(clouds))

    def others(self, clouds: Any) -> set[str]:
        """What of the results is of commands that are not ours."""
        return {name for cloud in clouds for name in cloud["commands"]} - set(command_names(PACKAGE))

    def test_the_results_are_of_our_commands(self) -> None:
        self.assertEqual({"image gone"}, self.others([{"commands": {"image share": {}, "image gone": {}}}]))
        self.assertEqual(set(), self.others(json.loads(RESULTS.read_text())))
