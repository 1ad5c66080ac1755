# SPDX-License-Identifier: Apache-2.0
"""A volume is handed over when it is what was asked for, and not otherwise."""

from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.volume import GIB, read_volume
from osc_imagetools.convert import execute
from osc_imagetools.convert.execute_volume import settle_volume
from osc_imagetools.convert.plan_drafts import KeptImage, KeptVolume, MakeImage, MakeVolume
from osc_imagetools.operations.vocabulary import Reference
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.tests.unit.base import IMAGE, VOLUME, TestCase, image_document, volume_document

CHECKSUM = "d41d8cd98f00b204e9800998ecf8427e"


class TestSettleVolume(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud()
        self.context = RunContext.of(self.mocked.cloud, "test", None)
        self.image = image_document(checksum=CHECKSUM)
        self.mocked.http.get(f"{IMAGE}/v2/images/{self.image['id']}", json=self.image)

    def settle(self, *documents, original=None, kind="image", size=GIB, **keep):
        """Settles a volume that is found as the first document, and then as the last."""
        volume = volume_document(status="available")
        answers = [{"json": {"volume": {**volume, **d}}} for d in documents]
        self.mocked.http.get(f"{VOLUME}/volumes/{volume['id']}", answers)
        self.mocked.http.post(f"{VOLUME}/volumes/{volume['id']}/action", status_code=200)
        made = CreatedResource("volume", "v", id=volume["id"])
        plain: dict[str, Any] = {
            "name": "v",
            "description": None,
            "metadata": {},
            "properties": {},
            "bootable": None,
            "reason": None,
        }
        operation = MakeVolume(
            source=Reference(kind, self.image["id"], "source"),
            makes=Reference("volume", None, "volume v"),
            size=size,
            begin=size,
            volume_type=None,
            quota_type=None,
            zone=None,
            keep=KeptVolume(**{**plain, **keep}),
        )
        return settle_volume(self.context, made, operation, self.image["id"], original)

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
            operation = MakeImage(makes, makes, "raw", GIB, KeptImage("i", {}, (), None))
            assert operation.keep is not None
            draft = execute._image_draft(operation, operation.keep, volume)
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
