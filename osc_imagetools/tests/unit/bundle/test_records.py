# SPDX-License-Identifier: Apache-2.0
"""Records beside a bundle: written once each, read with suspicion, and no reason to refuse the bundle."""

from __future__ import annotations

import json
import os

from osc_imagetools.bundle.records import (
    MAX_BYTES,
    BundleRecord,
    format_record,
    parse_record,
    read_records,
    write_record,
)
from osc_imagetools.bundle.verification import verify
from osc_imagetools.tests.unit.bundle import samples

BOOTED = BundleRecord("restore-check", "2026-02-01T03:04:05Z", "booted", {"seconds": 12})


class Record(samples.TestCase):
    def test_it_comes_back(self) -> None:
        self.assertEqual(BOOTED, parse_record(format_record(BOOTED)))
        self.assertTrue(BOOTED.proves_restore)
        self.assertFalse(BundleRecord("restore-check", BOOTED.at, "failed").proves_restore)

    def test_what_cannot_be_read_again_is_not_written(self) -> None:
        for record in (
            BundleRecord("Restore Check", BOOTED.at, "booted"),
            BundleRecord("restore-check", "yesterday", "booted"),
            BundleRecord("restore-check", "2026-02-31T03:04:05Z", "booted"),
            BundleRecord("restore-check", BOOTED.at, "../booted"),
        ):
            self.assertRaises(ValueError, format_record, record)

    def test_what_is_not_understood_is_none(self) -> None:
        whole = json.loads(format_record(BOOTED))
        changes: tuple[dict[str, object], ...] = (
            {"format": "x"},
            {"format_version": 2},
            {"at": 5},
            {"result": None},
            {"details": []},
        )
        for change in changes:
            self.assertIsNone(parse_record(json.dumps({**whole, **change}).encode()))
        for data in (b"", b"[]", b"{", format_record(BOOTED)[:-9], b" " * (MAX_BYTES + 1)):
            self.assertIsNone(parse_record(data))


class Beside(samples.TestCase):
    """In the directory of a bundle."""

    def setUp(self) -> None:
        super().setUp()
        samples.make_bundle(self.path)

    def wrong(self) -> dict[str, str]:
        return {finding.file: finding.result for finding in verify(self.path) if finding.result != "ok"}

    def test_written_and_read(self) -> None:
        first, second = write_record(self.path, BOOTED), write_record(self.path, BOOTED)
        self.assertEqual("20260201T030405Z-restore-check.json", first.name)
        self.assertNotEqual(first, second)
        self.assertEqual([BOOTED, BOOTED], read_records(self.path))
        self.assertEqual(0o600, first.stat().st_mode & 0o777)
        self.assertEqual(0o700, first.parent.stat().st_mode & 0o777)

    def test_oldest_first_and_without_what_is_none(self) -> None:
        write_record(self.path, BOOTED)
        older = BundleRecord("restore-check", "2025-02-01T03:04:05Z", "failed")
        write_record(self.path, older)
        (self.path / "records" / "half.json").write_text("{")
        self.assertEqual([older, BOOTED], read_records(self.path))

    def test_no_records(self) -> None:
        self.assertEqual([], read_records(self.path))
        self.assertEqual([], read_records(self.directory / "nothing"))

    def test_the_bundle_is_as_good_as_before(self) -> None:
        write_record(self.path, BOOTED)
        (self.path / "records" / "half.json").write_text("{")
        self.assertEqual({}, self.wrong())

    def test_nothing_else_may_be_there(self) -> None:
        write_record(self.path, BOOTED)
        records = self.path / "records"
        (records / "more.txt").write_text("x")
        (records / ".hidden.json").write_text("{}")
        (records / "more").mkdir()
        os.symlink("/etc/hostname", records / "link.json")
        wanted = {
            "records/more.txt": "unlisted",
            "records/.hidden.json": "unlisted",
            "records/more": "unlisted",
            "records/link.json": "unsafe",
        }
        self.assertEqual(wanted, self.wrong())

    def test_a_link_in_the_place_of_the_directory(self) -> None:
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "a.json").write_bytes(format_record(BOOTED))
        os.symlink(elsewhere, self.path / "records")
        self.assertEqual({"records": "unsafe"}, self.wrong())
        self.assertEqual([], read_records(self.path))
