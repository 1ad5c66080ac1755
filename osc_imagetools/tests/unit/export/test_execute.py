# SPDX-License-Identifier: Apache-2.0
"""What an export warns of when a disk has arrived."""

from typing import Any

import testtools

from osc_imagetools.cloud.image import read_image
from osc_imagetools.data.disk_format import DiskFacts
from osc_imagetools.data.download_source import Fetched, Verified
from osc_imagetools.export.execute import warnings_of
from osc_imagetools.export.plan import DiskPlan

LABEL = "image web01 (i1)"


class TestWarnings(testtools.TestCase):
    def told(
        self, verified: Verified = "os_hash", container: str = "bare", content: str = "qcow2", **facts: Any
    ) -> list[str]:
        image = read_image({"id": "i1", "name": "web01", "status": "active", "disk_format": "qcow2"}, None)
        disk = DiskPlan(0, "vda", "disks/0-vda.qcow2", "boot", "qcow2", container, None, 0, {}, {})
        fetched = Fetched(1024, {"sha512": "0" * 128}, verified, 1024, 0, 0)
        return list(warnings_of(disk, image, fetched, DiskFacts(content, 1024, **facts)))

    def test_a_sound_disk(self) -> None:
        self.assertEqual([], self.told())

    def test_the_weaker_proofs(self) -> None:
        self.assertEqual(
            [f"{LABEL} has no os_hash_value: verified against its MD5 checksum only"],
            self.told("checksum"),
        )
        self.assertIn("nothing proves its bytes", "".join(self.told("none")))

    def test_another_content_and_damage(self) -> None:
        told = self.told(content="vmdk", damage="is cut short")
        self.assertEqual(
            [
                f"{LABEL} says that it is qcow2, but its content is vmdk: exported as it is",
                f"{LABEL} is cut short: exported as it is",
            ],
            told,
        )

    def test_in_a_container_the_format_is_not_that_of_the_file(self) -> None:
        self.assertEqual([], self.told(container="ova", content="vmdk"))
