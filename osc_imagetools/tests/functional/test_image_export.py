# SPDX-License-Identifier: Apache-2.0
"""Exports of images that hold their data themselves."""

import json
import os
import stat
from typing import Any

from osc_imagetools.tests.functional import base, storage
from osc_imagetools.tests.functional.base import MIB

PROPERTIES: dict[str, Any] = {"os_distro": "debian", "note": 'quotes " and ünïcode', "empty": ""}


class TestOrdinaryImage(base.TestCase):
    def test_bytes_and_metadata_on_both_kinds_of_store(self):
        other = self.connection("devcloud-other").current_project_id
        data = self.random_file(9 * MIB + 12345)
        for store in (storage.RANGES, storage.NO_RANGES):
            image = self.image(
                data,
                store=store,
                tags=["b", "a"],
                visibility="shared",
                members=[other],
                min_disk=1,
                **PROPERTIES,
            )
            bundle = self.dir / store
            report = self.openstack("image", "export-full", image, "--output", bundle, "-f", "json").json
            disk = bundle / "disks" / "0-image.raw"
            self.assertEqual(data.read_bytes(), disk.read_bytes())
            size = data.stat().st_size
            self.assertEqual((size, size, 0), tuple(report[k] for k in ("bytes", "bytes_fetched", "retries")))
            self.assertEqual(("os_hash", "not-applicable"), (report["verified"], report["consistency"]))
            manifest = self.manifest(bundle)
            replayable = manifest["replayable"]
            self.assertEqual(PROPERTIES, {k: replayable["properties"][k] for k in PROPERTIES})
            self.assertEqual(["a", "b"], replayable["tags"])
            self.assertEqual([{"project_id": other, "status": "pending"}], replayable["members"])
            self.assertEqual(1, replayable["min_disk"])
            self.sums_hold(bundle)
            self.openstack("bundle", "verify", bundle, cloud=None)

    def test_private_to_its_owner_whatever_the_umask(self):
        image = self.image(b"x" * 4096)
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.export(image)
        bundle = self.dir / "bundle"
        for path in (bundle, *bundle.rglob("*")):
            mode = 0o700 if path.is_dir() else 0o600
            self.assertEqual(mode, stat.S_IMODE(path.stat().st_mode), str(path))

    def test_zero_blocks_become_holes(self):
        data = self.dir / "sparse"
        data.write_bytes(bytes(8 * MIB) + b"x" * 4096 + bytes(8 * MIB))
        image = self.image(data)
        self.export(image)
        disk = self.dir / "bundle" / "disks" / "0-image.raw"
        self.assertEqual(data.read_bytes(), disk.read_bytes())
        self.assertTrue(disk.stat().st_blocks * 512 < 2 * MIB)

    def test_twice_the_same_source_gives_the_same_manifest(self):
        image = self.image(b"x" * 4096, tags=["t"])
        found = []
        for name in ("one", "two"):
            self.openstack("image", "export-full", image, "--output", self.dir / name)
            manifest = self.manifest(self.dir / name)
            manifest.pop("created_at")
            found.append(manifest)
        self.assertEqual(found[0], found[1])

    def test_default_output(self):
        self.image(b"x" * 4096, name=f"{self.name}/a")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.dir)
        self.openstack("image", "export-full", f"{self.name}/a")
        self.openstack("bundle", "verify", f"{self.name}_a.bundle", cloud=None)

    def test_an_output_that_is_taken_is_left_alone(self):
        image = self.image(b"x" * 4096)
        self.export(image)
        before = self.manifest()
        output = self.dir / "bundle"
        self.openstack("image", "export-full", image, "--output", output, code=1)
        self.assertEqual(before, self.manifest())


class TestRefused(base.TestCase):
    def refused(self, image, *texts, cloud="devcloud-demo", code=1):
        output = self.dir / "refused"
        result = self.openstack("image", "export-full", image, "--output", output, cloud=cloud, code=code)
        for text in texts:
            self.assertIn(text, result.err)
        self.assertFalse(output.exists(), "something was left behind")
        self.assertEqual("", result.out)

    def test_what_has_no_data(self):
        self.refused(self.image(b""), "0 bytes", "[no-data]")
        self.refused(self.image(None), "queued", "[no-data]")

    def test_deactivated(self):
        image = self.image(b"x" * 4096)
        admin = self.connection("devcloud-admin").image
        admin.post(f"/images/{image}/actions/deactivate")
        self.refused(image, "deactivated", "An administrator can export it")

    def test_deleted_or_never_there(self):
        image = self.image(b"x" * 4096, cleanup=False)
        self.remove_image(image)
        self.refused(image, "[resource-not-found]")

    def test_two_with_the_same_name_are_listed(self):
        images = [self.image(b"x" * 4096) for _ in range(2)]
        self.refused(self.name, "[resource-ambiguous]", *images)

    def test_of_another_project(self):
        image = self.image(b"x" * 4096, cloud="devcloud-other")
        self.refused(image, "[resource-not-found]")

    def test_visible_without_the_right_to_download(self):
        image = self.image(b"x" * 4096, visibility="shared")
        self.refused(image, "[forbidden]", "role", cloud="devcloud-reader")

    def test_a_format_that_cannot_be_had(self):
        image = self.image(b"x" * 4096)
        output = self.dir / "refused"
        result = self.openstack(
            "image", "export-full", image, "--output", output, "--disk-format", "qcow2", code=2
        )
        self.assertIn("stored as raw", result.err)

    def test_bytes_changed_behind_glances_back(self):
        for store in storage.FOLDERS:  # nobody can change the snapshot that Glance has on RBD
            image = self.image(self.random_file(3 * MIB), store=store)
            with open(storage.image_disk(image, store), "r+b") as file:
                file.seek(2 * MIB)
                file.write(b"CHANGED")
            output = self.dir / f"changed-{store}"
            result = self.openstack("image", "export-full", image, "--output", output, code=1)
            self.assertIn("[hash-mismatch]", result.err)
            found = [p for p in output.rglob("*") if p.is_file()] if output.exists() else []
            self.assertEqual([], [p for p in found if not p.name.startswith(".")])


class TestOffline(base.TestCase):
    """``bundle list``, ``bundle show`` and ``bundle verify`` without any cloud."""

    def setUp(self):
        super().setUp()
        self.image_id = self.image(self.random_file(MIB), os_distro="debian")
        self.export(self.image_id)
        self.bundle = self.dir / "bundle"
        import fixtures

        for name in [n for n in os.environ if n.startswith("OS_")]:
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(fixtures.EnvironmentVariable("HOME", str(self.dir)))

    def verify(self, code):
        result = self.openstack("bundle", "verify", self.bundle, "-f", "json", cloud=None, code=code)
        return {row["File"]: row["Result"] for row in result.json if row["Result"] != "ok"}

    def test_show(self):
        shown = self.openstack("bundle", "show", self.bundle, "-f", "json", cloud=None).json
        self.assertEqual(
            ("image", self.image_id, self.name, True, 1, MIB, 1),
            tuple(shown[k] for k in ("kind", "id", "name", "complete", "disks", "bytes", "format_version")),
        )

    def listed(self):
        rows = self.openstack("bundle", "list", self.dir, "-f", "json", cloud=None).json
        return [(row["Bundle"], row["State"], row["Name"], row["Size"]) for row in rows]

    def test_list(self):
        bundle = str(self.bundle)
        self.assertEqual([(bundle, "complete", self.name, MIB)], self.listed())
        os.truncate(self.bundle / "disks" / "0-image.raw", MIB - 1)
        self.assertEqual([(bundle, "broken", self.name, MIB)], self.listed())
        (self.bundle / "manifest.json").unlink()
        self.assertEqual([(bundle, "incomplete")], [row[:2] for row in self.listed()])
        self.openstack("bundle", "list", self.dir / "nothing", cloud=None, code=1)

    def test_whole(self):
        self.assertEqual({}, self.verify(0))

    def test_one_byte_of_a_disk(self):
        disk = self.bundle / "disks" / "0-image.raw"
        data = bytearray(disk.read_bytes())
        data[MIB // 2] ^= 1
        disk.write_bytes(data)
        self.assertEqual({"disks/0-image.raw"}, set(self.verify(3)))

    def test_one_byte_of_the_manifest(self):
        manifest = self.bundle / "manifest.json"
        manifest.write_text(manifest.read_text().replace("debian", "debiam"))
        self.assertIn("manifest.json", self.verify(3))

    def test_cut_removed_added(self):
        disk = self.bundle / "disks" / "0-image.raw"
        os.truncate(disk, MIB - 1)
        self.assertEqual({"disks/0-image.raw"}, set(self.verify(3)))
        disk.unlink()
        self.assertEqual({"disks/0-image.raw"}, set(self.verify(3)))
        (self.bundle / "disks" / "more").write_text("x")
        self.assertIn("disks/more", self.verify(3))

    def test_a_newer_format(self):
        path = self.bundle / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2}))
        self.assertIn("manifest.json", self.verify(3))

    def test_without_a_manifest_and_without_a_bundle(self):
        (self.bundle / "manifest.json").unlink()
        self.assertIn("manifest.json", self.verify(3))
        self.openstack("bundle", "verify", self.dir / "nothing", cloud=None, code=1)
        self.openstack("bundle", "show", self.dir / "nothing", cloud=None, code=1)
