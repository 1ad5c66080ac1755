# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

from osc_imagetools import errors
from osc_imagetools.cloud.disk_data import ImageInventory
from osc_imagetools.cloud.image import read_image
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota
from osc_imagetools.cloud.volume import GIB, Snapshot, read_volume
from osc_imagetools.export.plan_image import plan_image_export
from osc_imagetools.operations.disk_file import disk_file
from osc_imagetools.operations.vocabulary import CreateVolume, FetchImage, Remove, UploadVolume
from osc_imagetools.tests.unit.base import PROJECT, TestCase, image_document, mapping_entry, volume_document


def snapshot(identifier, volume="v1", **changes):
    fields = {"status": "available", "size": GIB, "created_at": "2026-01-01T00:00:00"}
    return Snapshot(id=identifier, name="s", volume_id=volume, document={}, **{**fields, **changes})


def volume(identifier="v1", **changes):
    document = {
        "volume_type": "fast",
        "name": "v",
        "metadata": {},
        "bootable": "true",
        "id": identifier,
        **changes,
    }
    return read_volume(volume_document(**document))


def inventory(entries=(), *, block_storage=True, snapshots=None, volumes=None, left=None, **document):
    if entries:
        document.setdefault("size", 0)
        document["block_device_mapping"] = json.dumps(list(entries))
    if snapshots is None:
        snapshots = {e["snapshot_id"]: snapshot(e["snapshot_id"]) for e in entries}
    return ImageInventory(
        origin=Origin("devcloud", "RegionOne", None, PROJECT, "demo"),
        image=read_image(image_document(**document), members=()),
        block_storage=block_storage,
        snapshots=snapshots,
        volumes={"v1": volume()} if volumes is None else volumes,
        images={},
        quota=Quota(left or {}),
    )


def plan(found, disk_format=None, jobs=4):
    return plan_image_export(found, disk_format=disk_format, jobs=jobs)


BOOT = mapping_entry(snapshot_id="s1")
DATA = mapping_entry(snapshot_id="s2", boot_index=None, device_name="/dev/vdb")
SWAP = mapping_entry(
    snapshot_id=None,
    source_type="blank",
    destination_type="local",
    guest_format="swap",
    boot_index=-1,
    device_name="/dev/vdd",
)
EPHEMERAL = {**SWAP, "guest_format": None, "device_name": "/dev/vdc"}


class TestPlan(TestCase):
    def refused(self, found, error, *texts, **kwargs):
        raised = self.assertRaises(error, plan, found, **kwargs)
        for text in texts:
            self.assertIn(text, str(raised))
        return raised

    def test_an_ordinary_image_is_one_fetch_of_its_own_bytes(self):
        found = inventory(disk_format="qcow2")
        made = plan(found)
        ((fetch,),) = made.phases[-1].lanes
        self.assertIsInstance(fetch, FetchImage)
        self.assertEqual((found.image.id, 1024), (fetch.image.id, fetch.size))
        self.assertEqual("disks/0-image.qcow2", fetch.file)
        self.assertEqual(("not-applicable", ()), (made.consistency, made.needs))

    def test_a_0_byte_image_is_followed_in_boot_order(self):
        made = plan(inventory([DATA, SWAP, BOOT, EPHEMERAL]))
        self.assertEqual(["disks/0-vda.qcow2", "disks/1-vdb.qcow2"], [disk.file for disk in made.disks])
        self.assertEqual(["boot", "data"], [disk.role for disk in made.disks])
        self.assertEqual(
            [("vdc", "ephemeral"), ("vdd", "swap")], [(n.name, n.reason) for n in made.not_captured]
        )
        for lane, source in zip(made.phases[-1].lanes, ("s1", "s2"), strict=True):
            volume_made, image_made, fetch, *removals = lane
            self.assertIsInstance(volume_made, CreateVolume)
            self.assertEqual(source, volume_made.source.id)
            self.assertIsInstance(image_made, UploadVolume)
            self.assertEqual(image_made.makes, fetch.image)
            self.assertEqual([Remove(image_made.makes), Remove(volume_made.makes)], removals)

    def test_a_volume_in_the_mapping_goes_through_a_snapshot_of_ours(self):
        entry = {**BOOT, "source_type": "volume", "snapshot_id": None, "volume_id": "v1"}
        made = plan(inventory([entry], snapshots={}))
        kinds = [type(operation).__name__ for operation in made.phases[-1].lanes[0]]
        self.assertEqual(
            ["CreateSnapshot", "CreateVolume", "UploadVolume", "FetchImage"] + ["Remove"] * 3,
            kinds,
        )
        self.assertEqual(
            ["image", "volume", "snapshot"], [o.what.kind for o in made.phases[-1].lanes[0][-3:]]
        )

    def test_formats(self):
        for asked, got in ((None, "qcow2"), ("qcow2", "qcow2"), ("raw", "raw"), ("source", "raw")):
            made = plan(inventory([BOOT]), disk_format=asked)
            self.assertEqual(got, made.phases[-1].lanes[0][1].disk_format)
            self.assertEqual(f"disks/0-vda.{got}", made.disks[0].file)

    def test_the_steps_tell_every_temporary_resource(self):
        steps = plan(inventory([BOOT, DATA], left={"volumes": 5})).steps()
        self.assertEqual(
            ["create volume", "create image", "fetch", "delete image", "delete volume"] * 2,
            [step.action for step in steps if step.number],
        )
        self.assertEqual([False, True], sorted({step.temporary for step in steps}))
        quota = [step.resource for step in steps if step.action == "need quota"]
        self.assertIn("volumes: 2 (5 left)", quota)
        self.assertIn("gigabytes: 2 (no limit)", quota)

    def test_what_has_no_data(self):
        self.refused(inventory(size=0), errors.NoData, "0 bytes", "no block device mapping")
        self.refused(inventory([SWAP]), errors.NoData, "vdd (swap)")

    def test_states(self):
        for status, error, text in (
            ("queued", errors.NoData, "queued"),
            ("saving", errors.ResourceUnusable, "still saving"),
            ("deleted", errors.ResourceUnusable, "deleted"),
            ("killed", errors.ResourceUnusable, "killed"),
        ):
            self.refused(inventory(status=status), error, text)

    def test_deactivated(self):
        """An administrator gets its data from the image service, and nobody is told to activate it."""
        found = inventory(status="deactivated")
        (warning,) = plan(found).warnings
        self.assertIn("deactivated", warning)
        hidden = dataclasses.replace(found, readable=False)
        error = self.assertRaises(errors.ResourceUnusable, plan, hidden)
        self.assertIn("only an administrator can read its data", str(error))
        self.assertNotIn("--activate", str(error))

    def test_everything_that_is_gone_is_named_at_once(self):
        found = inventory([BOOT, DATA], snapshots={"s1": None, "s2": None})
        self.refused(found, errors.Unready, "snapshot s1", "snapshot s2")

    def test_a_foreign_image_says_whose_snapshots_they_are(self):
        found = inventory([BOOT], snapshots={"s1": None}, owner="someone")
        self.refused(found, errors.ResourceNotFound, "project someone", "not shared")

    def test_without_block_storage(self):
        found = inventory([BOOT], snapshots={}, volumes={}, block_storage=False)
        self.refused(found, errors.ServiceAbsent, "no block storage", "RegionOne")
        self.assertEqual(1, len(plan(inventory(block_storage=False)).disks))

    def test_an_entry_that_names_no_source_is_a_problem_and_no_lesser_copy(self):
        found = inventory([BOOT, {**DATA, "snapshot_id": "bad/id"}])
        self.refused(found, errors.NoData, "vdb", "names no source")

    def test_states_of_a_snapshot(self):
        found = inventory([BOOT], snapshots={"s1": snapshot("s1", status="error")})
        self.refused(found, errors.ResourceUnusable, "is error")
        found = inventory([BOOT], snapshots={"s1": snapshot("s1", status="creating")})
        self.assertEqual(1, len(plan(found).disks))

    def test_encrypted(self):
        found = inventory([BOOT], volumes={"v1": volume(encrypted=True)})
        self.refused(found, errors.ResourceUnusable, "encrypted")
        found = inventory([{**BOOT, "encrypted": True}], volumes={"v1": None})
        self.refused(found, errors.ResourceUnusable, "encrypted")

    def test_a_quota_that_is_too_small(self):
        found = inventory([BOOT], left={"volumes": 0, "gigabytes_fast": 0})
        self.refused(found, errors.Unready, "quota volumes", "quota gigabytes_fast")

    def test_a_small_quota_makes_lanes_wait_for_each_other(self):
        self.assertEqual(2, plan(inventory([BOOT, DATA])).phases[-1].width)
        self.assertEqual(1, plan(inventory([BOOT, DATA], left={"gigabytes": 1})).phases[-1].width)
        self.assertEqual(1, plan(inventory([BOOT, DATA]), jobs=1).phases[-1].width)

    def test_the_format_of_an_images_own_data_cannot_be_chosen(self):
        self.refused(inventory(), errors.UsageError, "stored as raw", disk_format="qcow2")
        self.assertEqual(1, len(plan(inventory(), disk_format="source").disks))

    def test_consistency(self):
        self.assertEqual("crash", plan(inventory([BOOT])).consistency)
        found = inventory([BOOT], hw_qemu_guest_agent="yes")
        self.assertEqual("freeze-requested", plan(found).consistency)

    def test_file_names_are_plain(self):
        self.assertEqual("disks/0-_._x.raw", disk_file(0, "/./x", "raw"))
        self.assertEqual("disks/3-a_b.img", disk_file(3, "a\nb", "/"))
