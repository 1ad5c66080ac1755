# SPDX-License-Identifier: Apache-2.0
"""What is in a bundle, and which ones there are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.bundle.reader import ListedBundle, list_bundles, open_bundle
from osc_imagetools.tests.unit.bundle import samples

NOBODY = 65534


@contextlib.contextmanager
def nobody(directory: Path) -> Iterator[None]:
    """Root may read everything: as root, be the user nobody, who owns the directory."""
    if os.geteuid() != 0:
        yield
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class Open(samples.TestCase):
    """open_bundle."""

    def test_complete(self) -> None:
        bundle = open_bundle(samples.make_bundle(self.path))
        self.assertTrue(bundle.complete)
        self.assertEqual(self.path, bundle.path)
        self.assertEqual(
            {
                "format_version": 1,
                "kind": "image",
                "id": samples.IMAGE_ID,
                "name": "web01",
                "created_at": "2026-01-02T03:04:05Z",
                "cloud": "here",
                "project_id": "p1",
                "consistency": "not-applicable",
                "complete": True,
                "disks": 2,
                "bytes": 24000 + 200 * 1024,
                "not_captured": ["vdc: swap"],
            },
            bundle.summary(),
        )

    def test_incomplete(self) -> None:
        with samples.open_writer(self.path) as writer:
            writer.disk_path(samples.FIRST)
            part = self.path / "disks" / ".0-vda.raw.part"
            part.write_bytes(b"x" * 5000)
            os.truncate(part, 2**40)  # a hole of a terabyte is not yet fetched
            bundle = open_bundle(self.path)
        self.assertFalse(bundle.complete)
        summary = bundle.summary()
        self.assertLess(5000 - 1, summary.pop("bytes"))
        self.assertEqual(
            {
                "format_version": None,
                "kind": "image",
                "id": samples.IMAGE_ID,
                "name": "web01",
                "created_at": None,
                "cloud": None,
                "project_id": None,
                "consistency": None,
                "complete": False,
                "disks": None,
                "not_captured": [],
            },
            summary,
        )
        self.assertLess(bundle.bytes, 2**20)

    def test_incomplete_without_a_state(self) -> None:
        (self.path / "disks").mkdir(parents=True)
        summary = open_bundle(self.path).summary()
        self.assertEqual((False, None, None), tuple(summary[k] for k in ("complete", "kind", "id")))

    def test_broken(self) -> None:
        samples.make_bundle(self.path)
        manifest = self.path / "manifest.json"
        manifest.write_bytes(b"{")
        self.refused("not JSON")
        for replace in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd")):
            manifest.rmdir() if manifest.is_dir() else manifest.unlink()
            replace(manifest)
            self.refused("not a regular file")

    def refused(self, told: str) -> None:
        error = self.assertRaises(errors.BundleRefused, open_bundle, self.path)
        self.assertIn(told, str(error))
        self.assertEqual(1, error.exit_code)

    def test_no_bundle(self) -> None:
        (self.directory / "file").touch()
        for path in (self.path, self.directory / "file", self.directory):
            self.assertIn(str(path), self.fails(errors.NoBundle, open_bundle, path))


class List(samples.TestCase):
    """list_bundles."""

    def test_all_states(self) -> None:
        samples.make_bundle(self.directory / "a.bundle")
        (self.directory / "deep" / "er").mkdir(parents=True)
        samples.make_bundle(self.directory / "deep" / "er" / "b")
        broken = samples.make_bundle(self.directory / "c")
        (broken / "manifest.json").write_bytes(b"{")
        short = samples.make_bundle(self.directory / "d")
        os.truncate(short / samples.FIRST, 5)
        with samples.open_writer(self.directory / "e") as writer:
            samples.fill(writer)
        size, time = 24000 + 200 * 1024, "2026-01-02T03:04:05Z"
        found = {entry.path.name: entry for entry in list_bundles(self.directory)}
        source = {"id": samples.IMAGE_ID, "cloud": "here", "project_id": "p1"}
        whole = ListedBundle(self.directory / "a.bundle", "complete", "image", "web01", time, size, **source)
        self.assertEqual(whole, found["a.bundle"])
        self.assertEqual(["a.bundle", "c", "d", "b", "e"], list(found))
        self.assertEqual(
            [("complete", "image"), ("broken", None), ("broken", "image"), ("incomplete", "image")],
            [(found[n].state, found[n].kind) for n in ("b", "c", "d", "e")],
        )
        self.assertIsNone(found["e"].created_at)
        self.assertLess(0, found["e"].size or 0)

    def test_the_directory_itself(self) -> None:
        samples.make_bundle(self.path)
        self.assertEqual([self.path], [entry.path for entry in list_bundles(self.path)])

    def test_links_and_depth(self) -> None:
        elsewhere = self.directory / "elsewhere"
        samples.make_bundle(elsewhere)
        top = self.directory / "top"
        (top / "1" / "2" / "3" / "4" / "5" / "6").mkdir(parents=True)
        (top / "link").symlink_to(elsewhere)
        (top / "loop").symlink_to(top)
        samples.make_bundle(top / "1" / "2" / "3" / "4" / "5" / "deep")
        samples.make_bundle(top / "1" / "2" / "3" / "4" / "5" / "6" / "deeper")
        self.assertEqual(["deep"], [entry.path.name for entry in list_bundles(top)])

    def test_what_only_looks_like_one(self) -> None:
        web = self.directory / "web"
        web.mkdir()
        (web / "manifest.json").write_text('{"name": "a web application"}')
        (self.directory / "other" / "metadata").mkdir(parents=True)
        (self.directory / "fifos").mkdir()
        os.mkfifo(self.directory / "fifos" / "manifest.json")
        self.assertEqual([], list_bundles(self.directory))

    def test_what_this_user_may_not_read(self) -> None:
        kept = samples.make_bundle(self.directory / "a")
        (self.directory / "closed").mkdir(0o000)
        half = samples.make_bundle(self.directory / "half")
        (half / "disks").chmod(0o000)
        self.addCleanup((half / "disks").chmod, 0o700)
        manifest = samples.make_bundle(self.directory / "manifest")
        (manifest / "manifest.json").chmod(0o000)
        with nobody(self.directory):
            found = {entry.path.name: entry.state for entry in list_bundles(self.directory)}
        states = {"closed": "unreadable", "half": "unreadable", "manifest": "broken"}
        self.assertEqual({kept.name: "complete"} | states, found)

    def test_no_directory(self) -> None:
        for path in (self.path, Path("/dev/null")):
            self.assertRaises(errors.NoBundle, list_bundles, path)
