# SPDX-License-Identifier: Apache-2.0
"""Sizes and times as people say them, and the lines that sum up a run."""

import types
from typing import Any

import testtools

from osc_imagetools.export.report import export_summary
from osc_imagetools.progress import words
from osc_imagetools.restore.report import import_summary
from osc_imagetools.restore.result import ImportReport

GIB = 1 << 30


class TestWords(testtools.TestCase):
    def test_spans(self):
        for seconds, text in (
            (0.4, "0 s"),
            (59.6, "1 min"),
            (200, "3 min 20 s"),
            (7260, "2 h 1 min"),
            (90000, "1 d 1 h"),
        ):
            self.assertEqual(text, words.span(seconds))

    def test_rates(self):
        self.assertEqual("3.0 GiB in 50 s (61.4 MiB/s)", words.transfer(3 * GIB, 50))
        self.assertEqual("0 B in 0 s", words.transfer(0, 0.0))

    def test_counts(self):
        self.assertEqual(("1 disk", "2 disks"), (words.counted(1, "disk"), words.counted(2, "disk")))


class TestSummaries(testtools.TestCase):
    def exported(self, *verified: str, reused: int = 0) -> str:
        subject = types.SimpleNamespace(kind="server", name="web01", id="s")
        fetched = [
            types.SimpleNamespace(bytes_fetched=GIB, bytes_reused=reused, verified=kind) for kind in verified
        ]
        report: Any = types.SimpleNamespace(
            plan=types.SimpleNamespace(subject=subject),
            place="web01.bundle",
            disks=[types.SimpleNamespace(fetched=f) for f in fetched],
            algorithm="sha512",
            seconds=20.0,
        )
        return export_summary(report)

    def test_an_export(self):
        self.assertEqual(
            "Exported server web01 to web01.bundle: 2 disks, 2.0 GiB in 20 s (102.4 MiB/s), "
            "verified against the cloud's sha512 hashes.",
            self.exported("os_hash", "os_hash"),
        )

    def test_the_weakest_proof_counts(self):
        self.assertIn("MD5", self.exported("os_hash", "checksum"))
        self.assertIn("no hash", self.exported("none", "os_hash"))

    def test_what_was_there_already(self):
        self.assertIn("2.0 GiB reused", self.exported("os_hash", reused=2 * GIB))

    def test_an_import(self):
        report = ImportReport("volume", "v", "db", GIB, 1, (), (), (), 10.0, 0)
        self.assertEqual(
            "Imported volume db (v): 1 disk, 1.0 GiB in 10 s (102.4 MiB/s); "
            "read back, it is as in the bundle.",
            import_summary(report),
        )
        different = ImportReport("volume", "v", "db", GIB, 1, ("a", "b"), (), (), 10.0, 0)
        self.assertIn("it differs from the bundle in 2 points", import_summary(different))
