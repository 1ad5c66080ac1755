# SPDX-License-Identifier: Apache-2.0
"""A volume that stays is what was asked for, or an error."""

from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.volume import GIB, read_volume
from osc_imagetools.operations.drafts import KeptImage, KeptVolume
from osc_imagetools.operations.image_metadata import image_of_volume
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import CreateVolume, UploadVolume
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.effects import volumes
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.tests.unit.base import (
    IMAGE,
    VOLUME,
    TestCase,
    image_document,
    snapshot_document,
    volume_document,
)

CHECKSUM = "d41d8cd98f00b204e9800998ecf8427e"


class TestCreateVolume(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud()
        self.context = RunContext.of(self.mocked.cloud, "test", None)
        self.image = image_document(checksum=CHECKSUM)
        self.mocked.http.get(f"{IMAGE}/v2/images/{self.image['id']}", json=self.image)

    def settle(self, *documents, original=None, kind="image", size=GIB, **keep):
        """Creates a volume that is found as the first document, and then as the last."""
        volume = volume_document(status="available")
        found = [{**volume, **d} for d in documents]
        answers = [{"json": {"volume": d}} for d in (volume, volume, *found)]
        self.mocked.http.post(f"{VOLUME}/volumes", json={"volume": volume})
        self.mocked.http.get(f"{VOLUME}/volumes/{volume['id']}", answers)
        self.mocked.http.post(f"{VOLUME}/volumes/{volume['id']}/action", status_code=200)
        snapshot = snapshot_document(id=self.image["id"], status="available")
        self.mocked.http.get(f"{VOLUME}/snapshots/{self.image['id']}", json={"snapshot": snapshot})
        plain: dict[str, Any] = {
            "name": "v",
            "description": None,
            "metadata": {},
            "properties": {},
            "bootable": None,
        }
        source = Reference(kind, self.image["id"], "source")
        operation = CreateVolume(
            source, Reference("volume", None, "volume v"), size, keep=KeptVolume(**{**plain, **keep})
        )
        before = Results({source: Outcome(original=original)} if original else {})
        return volumes.create_volume(self.context, operation, before).value

    def actions(self):
        return [body for path, body in self.mocked.sent("POST") if path.endswith("/action")]

    def metadata(self, **entries):
        return {"volume_image_metadata": {"checksum": CHECKSUM, **entries}}

    def test_as_it_should_be(self):
        self.assertTrue(self.settle(self.metadata(a="1")).bootable)
        self.assertEqual([], self.actions())

    def test_wrong_size(self):
        error = self.assertRaises(errors.CloudError, self.settle, self.metadata(), size=2 * GIB)
        self.assertIn(f"size is {GIB}, not {2 * GIB}", str(error))

    def test_other_bytes(self):
        error = self.assertRaises(errors.CloudError, self.settle, self.metadata(checksum="0" * 32))
        self.assertIn("checksum", str(error))

    def test_a_flag_that_does_not_stay(self):
        error = self.assertRaises(errors.CloudError, self.settle, self.metadata(), bootable=False)
        self.assertIn("bootable is True, not False", str(error))
        self.assertEqual([{"os-set_bootable": {"bootable": False}}], self.actions())

    def test_the_mapping_of_an_image_of_0_bytes_does_not_go_on(self):
        first = self.metadata(block_device_mapping="[]", a="1")
        self.settle(first, self.metadata(a="2"), properties={"a": "2"})
        self.assertEqual(
            [
                {"os-set_image_metadata": {"metadata": {"a": "2"}}},
                {"os-unset_image_metadata": {"key": "block_device_mapping"}},
            ],
            self.actions(),
        )

    def test_a_volume_gets_what_cinder_does_not_hand_on(self):
        bare = {"bootable": "false"}
        settled = {**bare, "volume_image_metadata": {"a": "1"}}
        self.settle(bare, settled, kind="snapshot", properties={"a": "1"})
        self.assertEqual([{"os-set_image_metadata": {"metadata": {"a": "1"}}}], self.actions())
        self.assertRaises(
            errors.CloudError, self.settle, bare, kind="snapshot", properties={"a": "1"}, bootable=False
        )

    def test_a_min_ram_that_is_no_number(self):
        """Whoever may set image metadata of a volume can set it to anything."""
        for text, number in (("64", 64), ("much", 0), ("", 0), ("-1", 0), ("²", 0)):
            volume = read_volume(volume_document(volume_image_metadata={"min_ram": text}))
            makes = Reference("image", None, "i")
            operation = UploadVolume(makes, makes, "raw", GIB, KeptImage("i", {}, (), None))
            draft = image_of_volume(operation, volume)
            self.assertEqual(number, draft.document["min_ram"])

    def test_through_an_image_it_becomes_what_the_original_is(self):
        mark = dict.fromkeys(self.context.run.marks(), "x")
        original = read_volume(volume_document(bootable="false", volume_image_metadata={"a": "1", **mark}))
        first = self.metadata(a="1", image_name="temporary", **mark)
        settled = {"volume_image_metadata": {"a": "1"}, "bootable": "false"}
        self.settle(first, settled, original=original)
        unset = {
            b["os-unset_image_metadata"]["key"] for b in self.actions() if "os-unset_image_metadata" in b
        }
        self.assertEqual({"checksum", "image_name", *mark}, unset)
        self.assertIn({"os-set_bootable": {"bootable": False}}, self.actions())
