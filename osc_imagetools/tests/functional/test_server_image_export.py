# SPDX-License-Identifier: Apache-2.0
"""Exports of images of 0 bytes: the data is behind their block device mapping."""

import functools
import json
import pathlib
import signal

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.base import MIB

# Steps of an export (killed.py).
MADE_VOLUME = "answered: block-storage POST /volumes"
MADE_IMAGE = "answered: block-storage POST /volumes/ID/action os-volume_upload_image"


class TestServerImage(base.TestCase):
    """A server that boots from a volume, with a second volume: what its image leads to."""

    volumes: list[str]
    server_id: str
    boot: pathlib.Path
    data: pathlib.Path

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls.shared()
        boot, data = made.guest_disk(), made.random_file(12 * MIB)
        images = made.image(boot, os_distro="guest", hw_disk_bus="virtio"), made.image(data)
        cls.volumes = [made.volume(image_id=image) for image in images]
        cls.server_id = made.server(cls.volumes)
        made.wait(lambda: cls.guest_has_written(made), True)
        made.written_by_guest(boot)
        cls.boot, cls.data = boot, data

    def setUp(self):
        super().setUp()
        self.image_id = self.server_image(self.server_id)

    @classmethod
    def guest_has_written(cls, case):
        return "GUEST-WROTE" in case.openstack("console", "log", "show", cls.server_id).out

    def test_every_byte_comes_out(self):
        report = self.export(self.image_id)
        bundle = self.dir / "bundle"
        self.assertEqual(
            (2, "crash", "os_hash"), tuple(report[k] for k in ("disks", "consistency", "verified"))
        )
        self.same_disk(bundle / "disks" / "0-vda.qcow2", self.boot)
        self.same_disk(bundle / "disks" / "1-vdb.qcow2", self.data)
        self.sums_hold(bundle)
        self.openstack("bundle", "verify", bundle, cloud=None)
        self.assertEqual([], self.temporaries(self.image_id))
        manifest = self.manifest()
        self.assertEqual(["boot", "data"], [d["role"] for d in manifest["disks"]])
        self.assertEqual([base.GIB] * 2, [d["virtual_size"] for d in manifest["disks"]])
        metadata = manifest["disks"][0]["replayable"]["volume"]["image_metadata"]
        self.assertEqual("guest", metadata["os_distro"])
        self.assertEqual(2, len(manifest["consistency"]["snapshots"]))

    def test_raw(self):
        self.export(self.image_id, "--disk-format", "raw", "--jobs", "1")
        bundle = self.dir / "bundle"
        self.same_disk(bundle / "disks" / "0-vda.raw", self.boot)
        self.same_disk(bundle / "disks" / "1-vdb.raw", self.data)
        self.assertTrue((bundle / "disks" / "1-vdb.raw").stat().st_blocks * 512 < 64 * MIB)

    def test_a_dry_run_changes_nothing(self):
        before = self.resources()
        output = self.dir / "bundle"
        rows = self.openstack(
            "image", "export-full", self.image_id, "--dry-run", "--output", output, "-f", "json"
        ).json
        self.assertEqual({"Step", "Action", "Resource", "Temporary", "Bytes"}, set(rows[0]))
        actions = [row["Action"] for row in rows if row["Step"]]
        self.assertEqual(
            ["create volume", "create image", "fetch", "delete image", "delete volume"] * 2, actions
        )
        self.assertFalse(output.exists())
        self.assertEqual(before, self.resources())

    def resources(self):
        connection = self.connection()
        return [
            sorted(r.id for r in list_of() if r.name == self.name)
            for list_of in (connection.block_storage.volumes, connection.image.images)
        ]

    def killed(self, number, step):
        """An export that gets a signal when it has made a temporary resource: its exit code and stderr."""
        words = ("image", "export-full", self.image_id, "--output", str(self.dir / "bundle"))
        process = base.start_killed(
            self.dir / "steps", f"{number.name}={step}", *words, cloud="devcloud-demo"
        )
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertIn(step, (self.dir / "steps").read_text().splitlines())
        return process.returncode, err

    def test_interrupted_leaves_nothing(self):
        for number, step in ((signal.SIGINT, MADE_VOLUME), (signal.SIGTERM, MADE_IMAGE)):
            code, err = self.killed(number, step)
            self.assertEqual(130, code, err)
            self.assertNotIn("Traceback", err)
            self.assertEqual([], self.temporaries(self.image_id))
            self.assertFalse((self.dir / "bundle" / "manifest.json").exists())
        self.export(self.image_id)
        self.same_disk(self.dir / "bundle" / "disks" / "1-vdb.qcow2", self.data)

    def test_killed_leaves_nothing_that_is_not_marked(self):
        cinder, glance = self.connection().block_storage, self.connection().image
        code, err = self.killed(signal.SIGKILL, MADE_IMAGE)
        self.assertEqual(-signal.SIGKILL, code, err)
        self.addCleanup(lambda: self.remove_left(self.temporaries(self.image_id)))
        left = self.temporaries(self.image_id)
        self.assertEqual({"image", "volume"}, {what.split()[0] for what in left})
        (volume, *_) = (what.split()[1] for what in left if what.startswith("volume"))
        run = cinder.get_volume(volume).metadata["osc_imagetools_run"]

        def of_the_run():
            return {
                *(f"volume {v.id}" for v in cinder.volumes() if run in v.name),
                *(f"image {i.id}" for i in glance.images() if run in i.name),
            }

        # A request of the other lane may still have been on its way: what it makes is marked from the start.
        self.wait(lambda: of_the_run() ^ set(self.temporaries(self.image_id)), set())

    def remove_left(self, left):
        for what in sorted(left):  # images before volumes
            kind, identifier = what.split()
            if kind == "image":
                self.remove_image(identifier)
            else:
                cinder = self.connection().block_storage
                self.wait(functools.partial(self.status, cinder, identifier), "available")
                self.remove_volume(identifier)

    def status(self, cinder, volume_id):
        return cinder.get_volume(volume_id).status

    def test_a_failed_export_leaves_nothing(self):
        output = self.dir / "bundle"
        result = self.openstack(
            "image", "export-full", self.image_id, "--output", output, "--timeout", "0.01", code=1
        )
        self.assertIn("[timeout]", result.err)
        self.assertEqual([], self.temporaries(self.image_id))
        self.assertFalse(output.exists())

    def test_a_snapshot_that_is_gone(self):
        cinder, glance = self.connection().block_storage, self.connection().image
        mapping = json.loads(glance.get_image(self.image_id).properties["block_device_mapping"])
        gone = mapping[1]["snapshot_id"]
        self.wait(lambda: cinder.get_snapshot(gone).status, "available")
        cinder.delete_snapshot(gone)
        self.wait(lambda: cinder.find_snapshot(gone, ignore_missing=True), None)
        output = self.dir / "bundle"
        result = self.openstack("image", "export-full", self.image_id, "--output", output, code=1)
        self.assertIn(gone, result.err)
        self.assertIn("[resource-not-found]", result.err)
        self.assertFalse(output.exists())

    def test_in_the_region_without_block_storage(self):
        output = self.dir / "bundle"
        result = self.openstack(
            "image",
            "export-full",
            self.image_id,
            "--output",
            output,
            cloud="devcloud-novolume",
            code=1,
        )
        self.assertIn("[service-absent]", result.err)
        self.assertFalse(output.exists())


class TestMapping(base.TestCase):
    """Mappings made by hand, for what the embedded cloud cannot attach."""

    def mapped(self, *snapshots, cloud="devcloud-demo", more=()):
        entries = [
            {
                "source_type": "snapshot",
                "destination_type": "volume",
                "snapshot_id": snapshot,
                "device_name": f"/dev/vd{'abc'[number]}",
                "boot_index": 0 if number == 0 else None,
                "volume_size": 1,
            }
            for number, snapshot in enumerate(snapshots)
        ]
        return self.image(
            b"",
            cloud=cloud,
            bdm_v2="True",
            root_device_name="/dev/vda",
            block_device_mapping=json.dumps([*entries, *more]),
        )

    def snapshot(self, volume, cloud="devcloud-demo"):
        cinder = self.connection(cloud).block_storage
        snapshot = cinder.create_snapshot(volume_id=volume, name=self.name)
        self.wait(lambda: cinder.get_snapshot(snapshot.id).status, "available")
        return snapshot.id

    def refused(self, image, *texts, cloud="devcloud-demo"):
        output = self.dir / "bundle"
        result = self.openstack("image", "export-full", image, "--output", output, cloud=cloud, code=1)
        for text in texts:
            self.assertIn(text, result.err)
        self.assertFalse(output.exists())
        self.assertEqual([], self.temporaries(image, cloud))

    def test_swap_and_ephemeral_are_told(self):
        local = {"source_type": "blank", "destination_type": "local", "boot_index": -1}
        image = self.mapped(
            self.snapshot(self.volume()),
            more=[
                {**local, "guest_format": "swap", "device_name": "/dev/vdc"},
                {**local, "device_name": "/dev/vdb"},
            ],
        )
        report = self.export(image)
        self.assertEqual(["vdb: ephemeral", "vdc: swap"], report["not_captured"])
        reasons = [(n["name"], n["reason"]) for n in self.manifest()["not_captured"]]
        self.assertEqual([("vdb", "ephemeral"), ("vdc", "swap")], reasons)

    def test_a_volume_is_exported_through_a_snapshot_of_ours(self):
        data = self.random_file(5 * MIB)
        volume = self.volume(image_id=self.image(data))
        entry = {"source_type": "volume", "destination_type": "volume", "volume_id": volume}
        image = self.mapped(more=[{**entry, "device_name": "/dev/vda", "boot_index": 0}])
        self.export(image)
        self.same_disk(self.dir / "bundle" / "disks" / "0-vda.qcow2", data)
        self.assertEqual([], self.temporaries(image))

    def test_encrypted(self):
        volume = self.volume(volume_type="luks")
        self.refused(self.mapped(self.snapshot(volume)), "encrypted", volume[:0])

    def test_a_quota_that_is_too_small(self):
        cloud = "devcloud-small"
        image = self.mapped(self.snapshot(self.volume(cloud=cloud), cloud), cloud=cloud)
        self.refused(image, "[quota-too-small]", "volumes", cloud=cloud)

    def test_of_another_project(self):
        image = self.mapped(self.snapshot(self.volume()))
        glance = self.connection().image
        other = self.connection("devcloud-other")
        glance.post(f"/images/{image}/members", json={"member": other.current_project_id})
        self.refused(image, "not shared", self.connection().current_project_id, cloud="devcloud-other")
