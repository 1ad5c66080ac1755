# SPDX-License-Identifier: Apache-2.0
"""What bundles are copies of."""

from __future__ import annotations

import pathlib
from typing import Any

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_check.bundles import BundleCopy, read_bundles
from osc_imagetools.backup_check.fleet import when
from osc_imagetools.bundle.records import BundleRecord, write_record
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.bundle import samples


class TestBundles(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def read(self, *volumes: str | None, **changes: Any) -> BundleCopy:
        """The only bundle, of disks that are of these volumes."""
        (self.dir / "below").mkdir()
        path = samples.make_bundle(self.dir / "below" / "web01.bundle")
        document = samples.load(path)
        for disk, volume in zip(document["disks"], volumes, strict=True):
            disk["observed"] = {"volume_id": volume}
        samples.reseal(path, {**document, **changes})
        (copy,) = read_bundles(self.dir)
        self.assertEqual(str(path), copy.path)
        return copy

    def test_of_an_image(self):
        copy = self.read(
            None, None, replayable={"properties": {"instance_uuid": "s"}, "tags": [], "members": []}
        )
        self.assertEqual(("image", samples.IMAGE_ID, "s"), (copy.kind, copy.resource_id, copy.server_id))
        self.assertEqual((True, (), True), (copy.complete, copy.volumes, copy.has_root))
        # It is as old as the image, not as the export.
        self.assertEqual(when("2026-01-01T00:00:00Z"), copy.taken)

    def test_its_restore_checks(self):
        path = samples.make_bundle(self.dir / "web01.bundle")
        for at, result in (("2026-01-03T00:00:00Z", "booted"), ("2026-01-02T00:00:00Z", "failed")):
            write_record(path, BundleRecord("restore-check", at, result))
        write_record(path, BundleRecord("something-else", "2026-01-04T00:00:00Z", "booted"))
        (copy,) = read_bundles(self.dir)
        self.assertEqual(["failed", "booted"], [proof.result for proof in copy.proofs])
        self.assertEqual(when("2026-01-03T00:00:00Z"), copy.proofs[-1].at)

    def test_of_an_image_of_snapshots(self):
        snapshots = [
            {"disk": "vda", "snapshot_id": "x", "created_at": "2025-12-02T00:00:00.000000"},
            {"disk": "vdb", "snapshot_id": "y", "created_at": "2025-12-01T00:00:00.000000"},
        ]
        copy = self.read("b", "a", consistency={"mode": "crash", "snapshots": snapshots})
        self.assertEqual((("a", "b"), False, None), (copy.volumes, copy.has_root, copy.server_id))
        self.assertEqual(when("2025-12-01T00:00:00Z"), copy.taken)

    def test_of_a_server(self):
        facts = {"name": "web01", "boot_from": "image", "flavor": {}, "metadata": {}}
        facts.update(tags=[], ports=[], security_groups=[])
        resource = {"id": "s", "name": "web01"}
        copy = self.read(None, "a", kind="server", resource=resource, replayable=facts)
        self.assertEqual(("s", ("a",), True), (copy.server_id, copy.volumes, copy.has_root))
        self.assertEqual(when("2026-01-02T03:04:05Z"), copy.taken)

    def test_of_a_volume(self):
        copy = self.read(None, None, kind="volume", resource={"id": "v", "name": None}, replayable={})
        self.assertEqual((("v",), False, None), (copy.volumes, copy.has_root, copy.server_id))

    def test_an_export_that_did_not_end(self):
        with samples.open_writer(self.dir / "web01.bundle", kind="server", identifier="s"):
            (copy,) = read_bundles(self.dir)
        self.assertEqual((False, "s", None), (copy.complete, copy.server_id, copy.taken))

    def test_a_disk_that_is_missing(self):
        path = samples.make_bundle(self.dir / "web01.bundle")
        (path / samples.FIRST).unlink()
        (copy,) = read_bundles(self.dir)
        self.assertFalse(copy.complete)

    def test_a_broken_one_says_nothing(self):
        path = samples.make_bundle(self.dir / "web01.bundle")
        (path / "manifest.json").write_text("{}")
        self.assertEqual([], list(read_bundles(self.dir)))

    def test_no_directory(self):
        self.assertRaises(errors.NoBundle, lambda: list(read_bundles(self.dir / "nothing")))
