# SPDX-License-Identifier: Apache-2.0
"""Bundles that go: which, and that nothing else does."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from osc_imagetools import errors
from osc_imagetools.bundle import durable
from osc_imagetools.bundle.forgetting import KeptBundle, kept_in_directory, plan_removals, remove_directory
from osc_imagetools.bundle.keep_rules import KeepRules
from osc_imagetools.bundle.reader import list_bundles
from osc_imagetools.bundle.records import BundleRecord, write_record
from osc_imagetools.tests.unit.bundle import samples

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def kept(
    name: str, day: int | None, state: str = "complete", subject: str = "s1", **more: object
) -> KeptBundle[str]:
    created = f"2026-01-{day:02}T00:00:00Z" if day else None
    return KeptBundle(name, name, state, "image", subject, "web01", created, 1, **more)  # type: ignore[arg-type]


class Plan(samples.TestCase):
    def plan(self, *bundles: KeptBundle[str], incomplete: bool = False, **rules: object) -> dict[str, str]:
        found = plan_removals(bundles, KeepRules(**rules), incomplete=incomplete, now=NOW)  # type: ignore[arg-type]
        return {r.bundle.label: ("- " if r.removed else "+ ") + r.reason for r in found}

    def test_subject_by_subject(self) -> None:
        found = self.plan(kept("a1", 1), kept("a2", 2), kept("b1", 1, subject="s2"), last=1)
        wanted = {
            "a2": "+ last, newest complete",
            "a1": "- no rule keeps it",
            "b1": "+ last, newest complete",
        }
        self.assertEqual(wanted, found)

    def test_incomplete_ones_only_if_asked(self) -> None:
        unfinished = kept("x", None, "incomplete")
        self.assertTrue(self.plan(unfinished, kept("a", 1), last=1)["x"].startswith("+ incomplete"))
        found = self.plan(unfinished, kept("a", 1), kept("b", 2), incomplete=True)
        self.assertEqual({"x": "- incomplete", "a": "+ no rule was given", "b": "+ no rule was given"}, found)

    def test_an_incomplete_one_is_no_newest(self) -> None:
        found = self.plan(kept("x", 9, "incomplete"), kept("a", 1), kept("b", 2), last=1)
        self.assertTrue(found["b"].startswith("+"))

    def test_what_cannot_be_judged_stays(self) -> None:
        found = self.plan(
            kept("x", None, "broken"), kept("y", None, "unreadable"), kept("a", 1), last=1, incomplete=True
        )
        self.assertTrue(found["x"].startswith("+ broken") and found["y"].startswith("+ unreadable"))

    def test_a_restored_one_stays(self) -> None:
        found = self.plan(kept("a", 1, restored=True), kept("b", 2), kept("c", 3), last=1)
        self.assertEqual(["+", "-", "+"], [found[name][0] for name in "abc"])

    def test_rules_that_keep_nothing(self) -> None:
        self.assertIn("--keep-last", self.fails(errors.UsageError, self.plan, kept("a", 1)))

        def tagged() -> None:
            self.plan(kept("a", 1, tags=frozenset("x")), kept("b", 1, subject="s2"), tags=(frozenset("x"),))

        self.assertIn("image web01 (s2)", self.fails(errors.UsageError, tagged))


class Directory(samples.TestCase):
    def setUp(self) -> None:
        super().setUp()
        samples.make_bundle(self.path)

    def bundle(self) -> KeptBundle[Path]:
        (bundle,) = kept_in_directory(self.directory)
        return bundle

    def test_all_of_it_goes(self) -> None:
        write_record(self.path, BundleRecord("restore-check", "2026-02-01T03:04:05Z", "booted"))
        self.assertTrue(self.bundle().restored)
        remove_directory(self.bundle())
        self.assertEqual([], os.listdir(self.directory))

    def test_a_removal_that_was_cut_short_leaves_no_record_to_an_export(self) -> None:
        """An export goes on with what is left, and must not take over the proof of the old data."""
        write_record(self.path, BundleRecord("restore-check", "2026-02-01T03:04:05Z", "booted"))
        killed = mock.patch.object(durable, "remove_file", side_effect=KeyboardInterrupt)
        with killed:
            self.assertRaises(KeyboardInterrupt, remove_directory, self.bundle())
        self.assertFalse((self.path / "records").exists())

    def test_an_incomplete_one(self) -> None:
        other = self.directory / "other.bundle"
        with samples.open_writer(other, "8a2e1b7c-0000-4000-8000-000000000002") as writer:
            samples.fill(writer)
        unfinished = next(b for b in kept_in_directory(self.directory) if b.state == "incomplete")
        remove_directory(unfinished)
        self.assertEqual([self.path.name], os.listdir(self.directory))

    def test_files_of_others_stay_and_all_else_with_them(self) -> None:
        (self.path / "disks" / "mine").write_text("x")
        before = sorted(p.name for p in self.path.rglob("*"))
        self.assertIn("disks/mine", self.fails(errors.OutputExists, remove_directory, self.bundle()))
        self.assertEqual(before, sorted(p.name for p in self.path.rglob("*")))

    def test_what_only_looks_like_one_stays(self) -> None:
        other = self.directory / "mine"
        (other / "disks").mkdir(parents=True)
        (other / "metadata").mkdir()
        (other / "disks" / "a.raw").write_text("x")
        found = next(b for b in kept_in_directory(self.directory) if b.what == other)
        self.assertIn("does not say", self.fails(errors.OutputExists, remove_directory, found))
        self.assertEqual(["a.raw", "disks", "metadata"], sorted(p.name for p in other.rglob("*")))

    def test_links_are_not_followed(self) -> None:
        outside = self.directory / "outside"
        outside.mkdir()
        (outside / "0-vda.raw").write_text("x")
        bundle = self.bundle()
        for file in (self.path / "disks").iterdir():
            file.unlink()
        (self.path / "disks").rmdir()
        os.symlink(outside, self.path / "disks")
        self.fails(errors.OutputExists, remove_directory, bundle)
        self.assertEqual("x", (outside / "0-vda.raw").read_text())

    def test_one_that_is_written_stays(self) -> None:
        other = self.directory / "other.bundle"
        with samples.open_writer(other, "8a2e1b7c-0000-4000-8000-000000000002") as writer:
            samples.fill(writer)
            found = next(b for b in kept_in_directory(self.directory) if b.what == other)
            self.fails(errors.BundleBusy, remove_directory, found)
            self.assertTrue((other / samples.FIRST).exists())

    def test_cut_off_anywhere_it_is_incomplete_and_goes_the_next_time(self) -> None:
        for number in range(1, 10):
            left = number

            def step(path: Path, real: object = durable.remove_file) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise OSError(5, "cut off")
                real(path)  # type: ignore[operator]

            bundle = self.bundle()
            with mock.patch.object(durable, "remove_file", step):
                try:
                    remove_directory(bundle)
                    break
                except errors.ImagetoolsError:
                    pass
            if (self.path / "manifest.json").exists():
                continue
            (found,) = list_bundles(self.directory)
            self.assertEqual("incomplete", found.state)
        self.assertEqual(4, number)
        self.assertEqual([], os.listdir(self.directory))

    def test_the_lock_is_respected_while_it_goes(self) -> None:
        real = durable.write_atomic

        def look(path: Path, data: bytes) -> None:
            descriptor = os.open(self.path / ".export.lock", os.O_RDWR)
            self.assertRaises(BlockingIOError, fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(descriptor)
            real(path, data)

        with mock.patch.object(durable, "write_atomic", look):
            remove_directory(self.bundle())
        self.assertFalse(self.path.exists())
