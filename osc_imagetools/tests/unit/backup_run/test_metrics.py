# SPDX-License-Identifier: Apache-2.0
"""The text for Prometheus, and the file that it is in."""

from __future__ import annotations

import pathlib
import stat
from unittest import mock

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_run.metrics import check_metrics_path, format_metrics, write_metrics
from osc_imagetools.backup_run.report import COLUMNS, run_rows, run_summary
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.tests.unit.backup_run.samples import server
from osc_imagetools.tests.unit.base import TestCase

RESULTS = [
    ServerResult(server("a"), "exported", "/b", 5, 1.25, ["x", "y"], newest=100.0, proof=50.0),
    ServerResult(server("b", name='a"b\\c\nd'), "failed", details=["no"]),
]


class TestText(TestCase):
    def test_each_family_once(self):
        lines = format_metrics(RESULTS, ended=200.0, seconds=3.14159).splitlines()
        kinds = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        self.assertEqual(len(kinds), len(set(kinds)))
        self.assertIn('osc_imagetools_backup_run_servers{result="failed"} 1', lines)
        self.assertIn("osc_imagetools_backup_run_duration_seconds 3.142", lines)
        labels = '{id="a",name="web-a",project="p"}'
        self.assertIn(f"osc_imagetools_backup_newest_timestamp_seconds{labels} 100.0", lines)
        self.assertIn(f"osc_imagetools_backup_proof_timestamp_seconds{labels} 50.0", lines)
        self.assertIn(f"osc_imagetools_backup_failed{labels} 0", lines)

    def test_names_cannot_break_a_line(self):
        text = format_metrics(RESULTS, ended=0.0, seconds=0.0)
        self.assertIn('failed{id="b",name="a\\"b\\\\c\\nd",project="p"} 1\n', text)
        self.assertFalse(
            [line for line in text.splitlines() if not line.startswith(("#", "osc_imagetools_"))]
        )

    def test_rows_and_summary(self):
        rows = list(run_rows(RESULTS))
        self.assertEqual(len(COLUMNS), len(rows[0]))
        self.assertEqual(("web-a", "exported", "/b", 5, 1.2, "x; y", "a", "p", "h1"), rows[0])
        self.assertEqual("2 servers in 9 s: 1 exported, 1 failed.", run_summary(RESULTS, 9.0))


class TestFile(TestCase):
    def setUp(self):
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = self.dir / "backup.prom"

    def test_it_is_whole_and_everybody_can_read_it(self):
        self.path.write_text("old")
        write_metrics(self.path, "new\n")
        self.assertEqual("new\n", self.path.read_text())
        self.assertEqual(0o644, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual([self.path], list(self.dir.iterdir()))

    def test_when_it_fails_the_old_one_stays(self):
        self.path.write_text("old")
        with mock.patch("os.replace", side_effect=OSError(28, "No space left on device")):
            error = self.assertRaises(errors.ImagetoolsError, write_metrics, self.path, "new")
        self.assertIn("No space left", error.message)
        self.assertEqual("old", self.path.read_text())
        self.assertEqual([self.path], list(self.dir.iterdir()))

    def test_what_nobody_would_read_is_refused(self):
        for path in (self.dir / "backup.txt", self.dir / "no" / "backup.prom"):
            self.assertRaises(errors.UsageError, check_metrics_path, path)
        check_metrics_path(self.path)
