# SPDX-License-Identifier: Apache-2.0
"""The manifest and the report of an export say the same, also of what only its own work has told."""

from osc_imagetools.cloud.image import read_image
from osc_imagetools.data.disk_format import DiskFacts
from osc_imagetools.data.download_source import Fetched
from osc_imagetools.export.execute import ExportReport, FetchedDisk, exported_facts
from osc_imagetools.export.manifest import manifest
from osc_imagetools.export.report import export_fields
from osc_imagetools.tests.unit.base import TestCase, image_document
from osc_imagetools.tests.unit.export.test_plan_server import attached, inventory, plan


class TestServerWhoseImageIsGone(TestCase):
    def fetched(self, disk, **properties):
        image = read_image(image_document(**properties), ())
        fetched = Fetched(1, {"sha512": "00"}, "os_hash", bytes_fetched=1, bytes_reused=0, retries=0)
        return FetchedDisk(disk, fetched, DiskFacts("qcow2", 1), image, ("id", None))

    def told(self, made, disks):
        """(the manifest, the fields of the report) of an export."""
        facts = exported_facts(made, disks)
        report = ExportReport("b", "b", made, facts, disks, "sha512", 1.0, (), 2)
        return manifest(made, facts, disks, "sha512"), export_fields(report)

    def test_the_image_of_the_root_disk_tells(self):
        made = plan(inventory(image={"id": "gone"}, gone=True))
        properties = {"hw_firmware_type": "uefi", "hw_qemu_guest_agent": "yes"}
        disks = (self.fetched(made.disks[0], instance_uuid="s1", **properties),)
        document, fields = self.told(made, disks)
        self.assertEqual(2, fields["retries"])
        self.assertEqual(properties, document["replayable"]["image_properties"])
        self.assertEqual(["uefi-variables"], [entry["name"] for entry in document["not_captured"]])
        self.assertEqual(["uefi-variables: uefi"], fields["not_captured"])
        self.assertEqual("freeze-requested", document["consistency"]["mode"])
        self.assertEqual("freeze-requested", fields["consistency"])

    def test_the_image_of_a_volume_does_not(self):
        made = plan(inventory(attached("v1", "/dev/vdb"), image={"id": "gone"}, gone=True))
        root, data = made.disks
        disks = (self.fetched(root, a="1"), self.fetched(data, hw_firmware_type="uefi"))
        for order in (disks, disks[::-1]):
            document, fields = self.told(made, order)
            self.assertEqual({"a": "1"}, document["replayable"]["image_properties"])
            self.assertEqual([], fields["not_captured"])
