# SPDX-License-Identifier: Apache-2.0
"""Every cell of the table of conversions, with known bytes; what was needed on the way is gone."""

import dataclasses
import json
import pathlib
from typing import Any

import openstack

from osc_imagetools import errors
from osc_imagetools.api import conversions
from osc_imagetools.cloud import ownership
from osc_imagetools.tests.functional import base, storage
from osc_imagetools.tests.functional.base import GIB, MIB

PROPERTIES: dict[str, Any] = {"os_distro": "guest", "hw_disk_bus": "virtio", "maker": "x"}


class ConversionCase(base.TestCase):
    """An image that boots, and conversions whose results are removed after the test."""

    image_id: str
    volume_id: str
    content: pathlib.Path

    @classmethod
    def make(cls):
        """The image, and a bootable volume of it."""
        made = cls.shared()
        cls.content = made.guest_disk()
        document = {"tags": ["a", "b"], "min_ram": 64, "min_disk": 1, **PROPERTIES}
        cls.image_id = made.image(cls.content, **document)
        cls.volume_id = made.volume(
            image_id=cls.image_id, description="of an image", metadata={"team": "backup"}
        )
        return made

    def setUp(self):
        super().setUp()
        self.sdk = self.connection()
        self.before = self.resources()

    def resources(self):
        cinder, project = self.sdk.block_storage, self.sdk.current_project_id
        found = {f"volume {v.id}" for v in cinder.volumes()}
        found |= {f"snapshot {s.id}" for s in cinder.snapshots()}
        images = self.sdk.image.get("/images", params={"owner": project, "limit": "1000"}).json()["images"]
        return found | {f"image {i['id']}" for i in images}

    def convert(self, noun, source, to, *words):
        """The report of a conversion, after which there is what it says, and nothing more of ours."""
        before = self.resources()
        report = self.openstack(*noun.split(), "convert", source, "--to", to, "-f", "json", *words).json
        self.addCleanup(self.remove, report["type"], report["id"])
        kept = [text.partition("(")[2].partition(")")[0] for text in report["kept"]]
        for volume_id in kept:
            self.addCleanup(self.remove_volume, volume_id)
        made = {f"{report['type']} {report['id']}", *(f"volume {k}" for k in kept)}
        self.assertEqual(made, self.resources() - before)
        self.assertEqual([], self.marked())
        self.assertEqual(to, report["type"])
        return report

    def remove(self, kind, identifier):
        if kind == "image":
            self.remove_image(identifier)
        elif kind == "volume":
            self.remove_volume(identifier)
        else:
            self.sdk.block_storage.delete_snapshot(identifier, ignore_missing=True)
            self.wait(lambda: self.sdk.block_storage.find_snapshot(identifier, ignore_missing=True), None)

    def marked(self):
        """What bears our mark or our name in the project."""
        cinder = self.sdk.block_storage
        documents = [r.to_dict() for r in (*cinder.volumes(), *cinder.snapshots())]
        documents += self.sdk.image.get("/images", params={"limit": "1000"}).json()["images"]
        return [
            d["id"]
            for d in documents
            if ownership.MARK in json.dumps(d) or ownership.PREFIX in str(d["name"])
        ]

    def image_document(self, image_id):
        return self.sdk.image.get(f"/images/{image_id}").json()

    def volume_document(self, volume_id):
        return self.sdk.block_storage.get(f"/volumes/{volume_id}").json()["volume"]

    def holds(self, disk, form, content=None):
        """A disk of a service, of this format, holds the content, and zeros after it."""
        self.assertEqual("", storage.differs(disk, form, content or self.content))

    def image_holds(self, report, content=None):
        """The image has the data, the properties, and what its disk needs; gives its document."""
        document = self.image_document(report["id"])
        self.assertEqual(("active", report["bytes"]), (document["status"], document["size"]))
        form = {"vhd": "vpc"}.get(document["disk_format"], document["disk_format"])
        self.holds(storage.image_disk(report["id"]), form, content)
        self.assertEqual("private", document["visibility"])
        self.assertEqual(PROPERTIES, {key: document.get(key) for key in PROPERTIES})
        self.assertEqual(64, document["min_ram"])
        return document

    def volume_holds(self, volume_id, content=None):
        """The volume has the data and the properties, and can be booted from; gives its document."""
        document = self.volume_document(volume_id)
        self.assertEqual(("available", "true"), (document["status"], document["bootable"]))
        disk = storage.volume_disk(volume_id)
        self.holds(disk, "raw", content)
        self.assertEqual(document["size"] * GIB, storage.size(disk))
        metadata = document["volume_image_metadata"]
        self.assertEqual(
            {**PROPERTIES, "min_ram": "64"}, {k: metadata.get(k) for k in (*PROPERTIES, "min_ram")}
        )
        return document


class TestConversion(ConversionCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.make()

    def test_image_to_image(self):
        words = ("--disk-format", "vhd", "--name", "another")
        document = self.image_holds(self.convert("image", self.image_id, "image", *words))
        self.assertEqual(("another", "vhd"), self.of(document, "name", "disk_format"))
        self.assertEqual((16 * MIB, 1), self.of(document, "virtual_size", "min_disk"))
        self.assertEqual(["a", "b"], sorted(document["tags"]))

    def test_image_to_volume(self):
        words = ("--size", "2", "--type", "second", "--property", "k=v", "--name", "a volume")
        report = self.convert("image", self.image_id, "volume", *words)
        self.assertEqual((2 * GIB, []), (report["bytes"], report["kept"]))
        (lost,) = report["not_replayed"]
        self.assertIn(": a volume has none", lost)
        document = self.volume_holds(report["id"])
        self.assertEqual(
            ("a volume", 2, "second"), tuple(document[k] for k in ("name", "size", "volume_type"))
        )
        self.assertEqual({"k": "v"}, document["metadata"])

    def test_image_to_snapshot(self):
        report = self.convert("image", self.image_id, "snapshot", "--name", self.name)
        (kept,) = report["kept"]
        self.assertIn(f"volume {self.name} (", kept)
        snapshot = self.sdk.block_storage.get_snapshot(report["id"])
        self.assertEqual((self.name, "available"), (snapshot.name, snapshot.status))
        self.assertEqual(self.name, self.volume_holds(snapshot.volume_id)["name"])

    def test_volume_to_image(self):
        report = self.convert("volume", self.volume_id, "image", "--property", "maker=x", "--name", "i")
        document = self.image_holds(report)
        self.assertEqual(("i", "qcow2", 1), tuple(document[k] for k in ("name", "disk_format", "min_disk")))
        self.assertEqual(GIB, document["virtual_size"])
        self.assertEqual(["description", "metadata team"], [t.split(":")[0] for t in report["not_replayed"]])
        metadata = self.volume_holds(self.volume_id)["volume_image_metadata"]
        self.assertNotIn(ownership.MARK, str(metadata))  # it is as it was

    def test_volume_and_its_snapshots(self):
        """What has snapshots cannot be uploaded by the NFS driver; clones have what the original has."""
        copy = self.convert("volume", self.volume_id, "volume", "--size", "2", "--property", "k=v")
        document = self.volume_holds(copy["id"])
        self.assertEqual(("of an image", 2), (document["description"], document["size"]))
        self.assertEqual({"team": "backup", "k": "v"}, document["metadata"])

        snapshot = self.convert("volume", copy["id"], "snapshot", "--name", "s")
        found = self.sdk.block_storage.get_snapshot(snapshot["id"])
        self.assertEqual(("s", copy["id"], []), (found.name, found.volume_id, snapshot["kept"]))
        self.assertEqual({"team": "backup", "k": "v"}, found.metadata)
        self.holds(storage.volume_disk(copy["id"]), "raw")  # on files, what lies below the snapshot's overlay

        image = self.convert("volume", copy["id"], "image", "--disk-format", "vmdk")
        self.assertEqual(2, self.image_holds(image)["min_disk"])
        image = self.convert("volume snapshot", snapshot["id"], "image", "--name", "of a snapshot")
        self.assertEqual(("of a snapshot", 2), self.of(self.image_holds(image), "name", "min_disk"))
        volume = self.convert("volume snapshot", snapshot["id"], "volume")
        self.assertEqual({"team": "backup", "k": "v"}, self.volume_holds(volume["id"])["metadata"])

    def of(self, document, *keys):
        return tuple(document[key] for key in keys)

    def test_a_volume_that_is_not_bootable(self):
        """Cinder hands its image metadata on to nothing; what is made of it has it all the same."""
        properties = {"hw_disk_bus": "scsi", "maker": "x"}
        data = self.volume(name=f"{self.name}-data")
        body = {"os-set_image_metadata": {"metadata": properties}}
        self.sdk.block_storage.post(f"/volumes/{data}/action", json=body)
        snapshot = self.convert("volume", data, "snapshot", "--name", "s")
        (lost,) = snapshot["not_replayed"]
        self.assertIn("image properties hw_disk_bus, maker: ", lost)
        for noun, source in (("volume", data), ("volume snapshot", snapshot["id"])):
            document = self.volume_document(self.convert(noun, source, "volume", "--name", "v")["id"])
            self.assertEqual(("false", properties), self.of(document, "bootable", "volume_image_metadata"))
            document = self.image_document(self.convert(noun, source, "image", "--name", "i")["id"])
            self.assertEqual(properties, {key: document.get(key) for key in properties})

    def test_another_type(self):
        """Cinder refuses it in one step: it goes through an image, and nobody can see that."""
        report = self.convert("volume", self.volume_id, "volume", "--type", "second", "--name", "typed")
        document, original = self.volume_holds(report["id"]), self.volume_document(self.volume_id)
        self.assertEqual("second", document["volume_type"])
        for key in ("volume_image_metadata", "metadata", "size", "availability_zone"):
            self.assertEqual(original[key], document[key])

    def test_problems_come_together_and_before_any_effect(self):
        wrong = ("--size", "1", "--type", "nope", "--availability-zone", "mars")
        large = self.image(b"\0" * MIB, min_disk=3)
        before = self.resources()
        result = self.openstack("image", "convert", large, "--to", "volume", *wrong, code=1)
        for text in ("needs 3 GiB", "no such volume type", "no availability zone", "[not-possible]"):
            self.assertIn(text, result.err)
        result = self.openstack("image", "convert", large, "--to", "image", "--disk-format", "raw", code=2)
        self.assertIn("is raw already", result.err)
        result = self.openstack(
            "volume", "convert", self.volume_id, "--to", "snapshot", "--size", "3", code=2
        )
        self.assertIn("--size and --to snapshot", result.err)
        result = self.openstack("volume", "snapshot", "convert", self.name, "--to", "image", code=1)
        self.assertIn("no volume snapshot has the name", result.err)
        self.assertEqual(before, self.resources())

    def test_a_quota_that_is_too_small(self):
        volume = self.volume(cloud="devcloud-small")
        result = self.openstack(
            "volume", "convert", volume, "--to", "volume", "--size", "2", cloud="devcloud-small", code=1
        )
        for name in ("volumes", "gigabytes"):
            self.assertIn(f"the quota {name} of project ", result.err)
        self.assertEqual(1, len(list(self.connection("devcloud-small").block_storage.volumes())))

    def test_a_dry_run_changes_nothing(self):
        words = ("--to", "volume", "--type", "second", "--dry-run", "-f", "json")
        rows = self.openstack("volume", "convert", self.volume_id, *words).json
        actions = [row["Action"] for row in rows if row["Step"]]
        self.assertEqual(["create image", "create volume", "verify", "delete image", "set metadata"], actions)
        self.assertEqual(self.before, self.resources())

    def test_in_the_region_without_block_storage(self):
        cloud = "devcloud-novolume"
        result = self.openstack("image", "convert", self.image_id, "--to", "volume", cloud=cloud, code=1)
        self.assertIn("[service-absent]", result.err)
        result = self.openstack("volume", "convert", "x", "--to", "image", cloud=cloud, code=1)
        self.assertIn("[service-absent]", result.err)
        plan = ("--to", "image", "--disk-format", "qcow2", "--dry-run", "-f", "json")
        rows = self.openstack("image", "convert", self.image_id, *plan, cloud=cloud).json
        self.assertEqual("fetch", rows[0]["Action"])

    def test_from_python(self):
        """As the documentation shows it."""
        wish: dict[str, Any] = {"to": "image", "disk_format": "qcow2", "name": self.name}
        plan = conversions.plan_conversion(self.sdk, "image", self.image_id, **wish)
        actions = [step.action for step in plan.steps()]
        self.assertEqual(["fetch", "convert", "create image", "verify", "set metadata"], actions)
        report = conversions.carry_out(self.sdk, plan)
        self.addCleanup(self.remove_image, report.made.id)
        self.assertEqual(("image", self.name), (report.made.type, report.made.name))
        self.image_holds(dataclasses.asdict(report.made))
        with openstack.connect(cloud="devcloud-reader") as reader:
            plan = conversions.plan_conversion(reader, "image", self.image_id, to="volume")
            self.assertRaises(errors.Forbidden, conversions.carry_out, reader, plan)


class TestInUse(ConversionCase):
    """A server that boots from the volume, and has written to it; and the image of 0 bytes of it."""

    server_id: str

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls.make()
        cls.server_id = made.server([cls.volume_id, made.volume()])
        made.wait(lambda: "GUEST-WROTE" in made.openstack("console", "log", "show", cls.server_id).out, True)
        made.written_by_guest(cls.content)

    def test_volume_in_use(self):
        self.assertEqual("in-use", self.volume_document(self.volume_id)["status"])
        self.image_holds(self.convert("volume", self.volume_id, "image", "--name", "i"))
        copy = self.convert("volume", self.volume_id, "volume", "--name", "v")
        self.assertEqual([], copy["kept"])
        self.volume_holds(copy["id"])
        self.convert("volume", self.volume_id, "snapshot", "--name", "s")

    def test_image_of_0_bytes(self):
        image = self.server_image(self.server_id)
        cinder = self.sdk.block_storage
        for snapshot in json.loads(self.image_document(image)["block_device_mapping"]):
            self.addCleanup(self.remove, "snapshot", snapshot["snapshot_id"])
            self.wait(lambda s=snapshot: cinder.get_snapshot(s["snapshot_id"]).status, "available")
        report = self.convert("image", image, "image", "--name", "whole")
        document = self.image_holds(report)
        self.assertNotIn("block_device_mapping", document)
        self.assertEqual(("qcow2", GIB), (document["disk_format"], document["virtual_size"]))
        (lost,) = report["not_replayed"]
        self.assertIn("disk vdb: only the boot disk is converted; openstack volume snapshot convert ", lost)
        report = self.convert("image", image, "snapshot", "--name", "s")
        volume = self.volume_holds(cinder.get_snapshot(report["id"]).volume_id)
        self.assertEqual("s", volume["name"])
        self.assertNotIn("block_device_mapping", volume["volume_image_metadata"])
