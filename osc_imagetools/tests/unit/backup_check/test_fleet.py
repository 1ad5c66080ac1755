# SPDX-License-Identifier: Apache-2.0
"""What is kept of the documents of a fleet."""

from __future__ import annotations

import json
from typing import Any

from osc_imagetools.backup_check.fleet import (
    PLAIN,
    FleetAttachedVolume,
    FleetAttachment,
    MappedDisk,
    Traits,
    bare,
    read_backup,
    read_image,
    read_server,
    read_snapshot,
    read_traits,
    read_volume,
    when,
)
from osc_imagetools.tests.unit.base import (
    TestCase,
    image_document,
    mapping_entry,
    snapshot_document,
    volume_document,
)

# As Nova 34 gave it to an administrator, with microversion 2.69; links and addresses left out.
SERVER: dict[str, Any] = {
    "id": "001fa727-f391-4592-a3fa-a29845601779",
    "name": "web01",
    "status": "ACTIVE",
    "tenant_id": "d7c33b0867534cf98957544e669c4c53",
    "created": "2026-11-24T13:49:51Z",
    "flavor": {
        "vcpus": 1,
        "ram": 64,
        "disk": 1,
        "ephemeral": 2,
        "swap": 64,
        "original_name": "tiny-extra",
        "extra_specs": {"hw:tpm_version": "2.0", "os:secure_boot": "required"},
    },
    "image": {"id": "97dc2876-bd77-4126-8b9e-0fd5afa89a48"},
    "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
    "OS-EXT-STS:task_state": "image_snapshot",
    "OS-EXT-STS:vm_state": "active",
    "os-extended-volumes:volumes_attached": [
        {"id": "8bdbbdb9-6ab1-417c-a90a-7bce85a06ec6", "delete_on_termination": True}
    ],
    "locked": True,
}


class TestServers(TestCase):
    def test_a_server(self):
        server = read_server(SERVER)
        self.assertEqual(
            ("web01", "ACTIVE", "image_snapshot", True, "vda"),
            (server.name, server.status, server.task_state, server.locked, server.root_device),
        )
        self.assertEqual("97dc2876-bd77-4126-8b9e-0fd5afa89a48", server.image_id)
        self.assertEqual((FleetAttachedVolume("8bdbbdb9-6ab1-417c-a90a-7bce85a06ec6", True),), server.volumes)
        flavor = server.flavor
        assert flavor is not None
        self.assertEqual(("tiny-extra", 2, 64), flavor[:3])
        self.assertEqual(Traits(secure_boot=True, vtpm=True), flavor.traits)
        # A flavor of many servers is one object.
        self.assertIs(flavor, read_server({**SERVER, "id": "other"}).flavor)

    def test_without_an_image(self):
        self.assertIsNone(read_server({**SERVER, "image": ""}).image_id)

    def test_of_a_cell_that_is_down(self):
        server = read_server(
            {"id": "x", "status": "UNKNOWN", "tenant_id": "p", "created": "2026-11-24T13:49:51Z"}
        )
        self.assertEqual(("UNKNOWN", None, ()), (server.status, server.flavor, server.volumes))


class TestVolumes(TestCase):
    def test_a_volume(self):
        attached = {"server_id": "s", "device": "/dev/vdb", "attached_at": "2026-11-24T13:49:57.685064"}
        volume = read_volume(
            volume_document(
                encrypted=True,
                size=3,
                attachments=[attached],
                volume_image_metadata={"hw_firmware_type": "uefi"},
            )
        )
        self.assertEqual((True, 3, True), (volume.encrypted, volume.size, volume.bootable))
        self.assertEqual(
            (FleetAttachment("s", "vdb", when("2026-11-24T13:49:57.685064Z")),), volume.attachments
        )
        self.assertEqual(Traits(uefi=True), volume.traits)

    def test_a_snapshot(self):
        snapshot = read_snapshot(snapshot_document(volume_id="v", status="error"))
        self.assertEqual(
            ("v", "error", when("2026-01-01T00:00:00Z")),
            (snapshot.volume_id, snapshot.status, snapshot.created),
        )

    def test_a_backup_is_as_old_as_its_data(self):
        document = {
            "id": "b",
            "volume_id": "v",
            "status": "available",
            "created_at": "2026-02-01T00:00:00.000000",
            "data_timestamp": "2026-01-01T00:00:00.000000",
        }
        self.assertEqual(when("2026-01-01T00:00:00Z"), read_backup(document).created)


class TestImages(TestCase):
    def test_of_a_server(self):
        image = read_image(image_document(instance_uuid="s", size=5))
        self.assertEqual(("s", 5, ()), (image.server_id, image.size, image.disks))

    def test_a_mapping(self):
        entries = [
            mapping_entry(boot_index=None, device_name="/dev/vdb", snapshot_id="b"),
            mapping_entry(boot_index=0, snapshot_id="a"),
            mapping_entry(snapshot_id=None, source_type="blank", destination_type="local", boot_index=-1),
            mapping_entry(
                snapshot_id=None, volume_id="v", source_type="volume", device_name="/dev/vdz", boot_index=None
            ),
        ]
        image = read_image(image_document(size=0, bdm_v2="True", block_device_mapping=json.dumps(entries)))
        self.assertEqual(
            (
                MappedDisk("snapshot", "a"),
                MappedDisk("blank", None),
                MappedDisk("snapshot", "b"),
                MappedDisk("volume", "v"),
            ),
            image.disks,
        )

    def test_a_mapping_that_cannot_be_read(self):
        self.assertIsNone(read_image(image_document(block_device_mapping="[")).disks)


class TestTraits(TestCase):
    def test_spellings(self):
        for text, expected in (("yes", True), ("True", True), ("1", True), ("no", False), (None, False)):
            self.assertEqual(expected, read_traits({"hw_qemu_guest_agent": text}).guest_agent)
        self.assertEqual(Traits(secure_boot=True), read_traits({"os_secure_boot": "optional"}))
        self.assertIs(PLAIN, read_traits({"os_secure_boot": "disabled", "hw_firmware_type": "bios"}))


class TestTimes(TestCase):
    def test_zones(self):
        # Nova and Glance name the zone, Cinder does not.
        self.assertEqual(1767225600.0, when("2026-01-01T00:00:00Z"))
        self.assertEqual(1767225600.0, when("2026-01-01T00:00:00.000000"))
        self.assertEqual(1767225600.0, when("2026-01-01T01:00:00+01:00"))
        self.assertIsNone(when(None))
        self.assertIsNone(when("soon"))

    def test_devices(self):
        self.assertEqual(("vda", "vdb", ""), (bare("/dev/vda"), bare("vdb"), bare(None)))
