# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.disk_data import ImageInventory
from osc_imagetools.cloud.image import Member, read_image
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota
from osc_imagetools.cloud.volume import GIB, read_snapshot, read_volume
from osc_imagetools.convert.inventory import (
    ConversionTarget,
    ImageContent,
    SnapshotSource,
    VolumeSource,
    VolumeType,
)
from osc_imagetools.convert.plan import (
    plan_image_conversion,
    plan_snapshot_conversion,
    plan_volume_conversion,
)
from osc_imagetools.convert.plan_drafts import FROM_VOLUME, ConversionRequest
from osc_imagetools.run.identity import Run
from osc_imagetools.tests.unit.base import (
    PROJECT,
    TestCase,
    image_document,
    mapping_entry,
    snapshot_document,
    volume_document,
)
from osc_imagetools.v1 import convert

AROUND = ConversionTarget(
    origin=Origin("here", "RegionOne", "http://here", PROJECT, "demo"),
    block_storage=True,
    types=(
        VolumeType("1", "__DEFAULT__", None, None),
        VolumeType("2", "fast", None, None),
        VolumeType("3", "luks", None, None),
    ),
    zones={"nova": True, "far": True, "down": False},
    quota=Quota({}),
    converter=True,
)
SIGNED = {"img_signature": "x", "img_signature_hash_method": "SHA-256"}


def image(members=(), **changes):
    value = read_image(image_document(size=3 * GIB // 2, virtual_size=5 * GIB // 2, **changes), members)
    return ImageInventory(AROUND.origin, value, True, {}, {}, {}, None)


def mapped(*entries, snapshots=(), volumes=()):
    mapping = {"block_device_mapping": json.dumps(entries), "bdm_v2": "True", "maker": "x"}
    value = read_image(image_document(size=0, virtual_size=None, tags=["t"], min_ram=64, **mapping), ())
    return ImageInventory(
        AROUND.origin,
        value,
        True,
        {s.id: s for s in snapshots},
        {v.id: v for v in volumes},
        {},
        None,
    )


def volume(*snapshots, **changes):
    return VolumeSource(
        read_volume(volume_document(**{"status": "available", "size": 2, **changes})), snapshots
    )


def snapshot(parent=None, **changes):
    parent = parent or read_volume(volume_document(size=2))
    return SnapshotSource(read_snapshot(snapshot_document(size=2, volume_id=parent.id, **changes)), parent)


def operations(plan) -> Any:
    """The operations, of whatever kind they are."""
    return plan.phases[0].lanes[0]


def actions(plan):
    """What it does, without what is done to everything that stays; a * for what is temporary."""
    rows = [row for row in plan.steps() if row.number and row.action not in ("verify", "set metadata")]
    return [row.action + ("*" if row.temporary else "") for row in rows]


class TestWays(TestCase):
    """Which steps lead from one kind to another."""

    def ways(self, plan, found, to, around=AROUND, **wish):
        return actions(plan(found, around, ConversionRequest(to, **wish)))

    def test_of_an_image(self):
        def ways(*args, **kwargs):
            return self.ways(plan_image_conversion, image(), *args, **kwargs)

        self.assertEqual(["fetch*", "convert*", "create image"], ways("image", disk_format="qcow2"))
        self.assertEqual(
            ["create volume"], ways("volume", volume_type="fast", availability_zone="far", size=9)
        )
        self.assertEqual(["create volume", "create snapshot"], ways("snapshot"))

    def test_of_a_volume(self):
        def ways(found, *args, **kwargs):
            return self.ways(plan_volume_conversion, found, *args, **kwargs)

        free, used, rich = volume(), volume(status="in-use"), volume("a snapshot")
        copied = ["create snapshot*", "create volume*", "create image"]
        removed = ["delete volume*", "delete snapshot*"]
        self.assertEqual(["create image"], ways(free, "image"))
        self.assertEqual(copied + removed, ways(used, "image"))
        self.assertEqual(copied + removed, ways(rich, "image"))
        for found in (free, used, rich):
            self.assertEqual(["create snapshot"], ways(found, "snapshot"))
            self.assertEqual(["create snapshot*", "create volume", "delete snapshot*"], ways(found, "volume"))
        self.assertEqual(
            ["create snapshot*", "create volume", "extend volume", "delete snapshot*"],
            ways(free, "volume", size=3),
        )
        through = ["create volume", "delete image*"]
        self.assertEqual(["create image*", *through], ways(free, "volume", volume_type="fast"))
        self.assertEqual(["create image*", *through], ways(free, "volume", availability_zone="far"))
        self.assertEqual(
            [*copied[:2], "create image*", *removed, *through], ways(used, "volume", volume_type="2")
        )

    def test_of_a_snapshot(self):
        def ways(*args, **kwargs):
            return self.ways(plan_snapshot_conversion, snapshot(), *args, **kwargs)

        self.assertEqual(["create volume*", "create image", "delete volume*"], ways("image"))
        self.assertEqual(["create volume"], ways("volume"))
        self.assertEqual(
            ["create volume"], ways("volume", volume_type="__DEFAULT__", availability_zone="nova")
        )
        self.assertEqual(["create volume", "extend volume"], ways("volume", size=5))
        self.assertEqual(
            ["create volume*", "create image*", "delete volume*", "create volume", "delete image*"],
            ways("volume", volume_type="fast"),
        )

    def test_a_type_that_is_known_to_be_compatible(self):
        """Only an administrator sees it; what one back end can do needs no image."""

        def ways(**fast):
            default = VolumeType("1", "__DEFAULT__", "ceph", False)
            known = VolumeType("2", "fast", **{"backend": "ceph", "encrypted": False, **fast})
            around = dataclasses.replace(AROUND, types=(default, known))
            return self.ways(plan_snapshot_conversion, snapshot(), "volume", around, volume_type="fast")

        self.assertEqual(["create volume"], ways())
        self.assertIn("create image*", ways(backend="nfs"))
        self.assertIn("create image*", ways(encrypted=True))

    def test_of_an_image_of_0_bytes(self):
        found = snapshot()
        boot = mapping_entry(snapshot_id=found.snapshot.id)
        data = mapping_entry(boot_index=None, device_name="/dev/vdb")
        swap = mapping_entry(source_type="blank", boot_index=-1, device_name="/dev/vdc")
        behind = mapped(data, boot, swap, snapshots=[found.snapshot], volumes=[found.volume])
        plan = plan_image_conversion(behind, AROUND, ConversionRequest("image"))
        self.assertEqual(["create volume*", "create image", "delete volume*"], actions(plan))
        self.assertEqual(["disk vdb", "disk vdc", "name web01"], [lost.what for lost in plan.not_replayed])
        self.assertIn(data["snapshot_id"], plan.not_replayed[0].reason)
        keep = operations(plan)[1].keep
        self.assertEqual(({"maker": "x"}, ("t",), 64), (keep.properties, keep.tags, keep.min_ram))
        plan = plan_image_conversion(behind, AROUND, ConversionRequest("snapshot"))
        self.assertEqual(["create volume", "create snapshot"], actions(plan))
        self.assertEqual({"maker": "x"}, operations(plan)[0].keep.properties)

    def test_of_an_image_of_0_bytes_over_a_volume(self):
        found = volume(status="in-use")
        entry = mapping_entry(source_type="volume", snapshot_id=None, volume_id=found.volume.id)
        behind = mapped(entry, volumes=[found.volume])
        plan = plan_image_conversion(behind, AROUND, ConversionRequest("snapshot", size=3))
        copied = ["create snapshot*", "create volume", "extend volume", "create snapshot", "delete snapshot*"]
        self.assertEqual(copied, actions(plan))
        plan = plan_image_conversion(behind, AROUND, ConversionRequest("image"))
        self.assertEqual(["create snapshot*", "create volume*", "create image"], actions(plan)[:3])


class TestResults(TestCase):
    """What the new resource will be."""

    def test_size_and_name(self):
        plan = plan_image_conversion(image(), AROUND, ConversionRequest("volume", properties={"k": "v"}))
        (made,) = operations(plan)
        self.assertEqual((3 * GIB, "web01", {"k": "v"}), (made.size, made.keep.name, made.keep.metadata))
        (made,) = operations(
            plan_image_conversion(image(min_disk=8), AROUND, ConversionRequest("volume", name="n"))
        )
        self.assertEqual((8 * GIB, "n"), (made.size, made.keep.name))
        nameless = volume(name=None)
        (made,) = operations(plan_volume_conversion(nameless, AROUND, ConversionRequest("image")))
        self.assertEqual(nameless.volume.id, made.keep.name)

    def test_the_volume_that_a_snapshot_needs_has_its_name(self):
        plan = plan_image_conversion(
            image(), AROUND, ConversionRequest("snapshot", name="n", properties={"k": "v"})
        )
        kept, made = (operation.keep for operation in operations(plan))
        self.assertEqual(("n", "the snapshot needs it", {}), (kept.name, kept.reason, kept.metadata))
        self.assertEqual(("n", {"k": "v"}), (made.name, made.metadata))

    def test_what_goes_from_volume_to_volume(self):
        found = volume(metadata={"a": "1", "readonly": "False"}, description="d", bootable="false")
        plan = plan_volume_conversion(found, AROUND, ConversionRequest("volume", properties={"b": "2"}))
        keep = operations(plan)[1].keep
        self.assertEqual(({"a": "1", "b": "2"}, "d", False), (keep.metadata, keep.description, keep.bootable))
        self.assertEqual(["name web01-root"], [entry.what for entry in plan.not_replayed])
        lost = plan_volume_conversion(found, AROUND, ConversionRequest("image")).not_replayed
        self.assertEqual(["description", "metadata a"], [entry.what for entry in lost])

    def test_image_metadata_of_a_volume_that_is_not_bootable(self):
        """Cinder gives it neither to a snapshot nor to what is made from that."""
        metadata = {"hw_disk_bus": "scsi", "min_ram": "64", "checksum": "c"}
        found = volume(status="in-use", bootable="false", volume_image_metadata=metadata)
        ours = Run("volume import-full x").marks()
        marked = volume(bootable="false", volume_image_metadata={**metadata, **ours})
        for source in (found, marked):
            keep = operations(plan_volume_conversion(source, AROUND, ConversionRequest("volume")))[1].keep
            self.assertEqual((metadata, False), (keep.properties, keep.bootable))
        made = operations(
            plan_volume_conversion(found, AROUND, ConversionRequest("volume", volume_type="fast"))
        )
        (keep,) = (operation.keep for operation in made if getattr(operation, "keep", None))
        self.assertEqual(metadata, keep.properties)
        wish = ConversionRequest("image", properties={"k": "v"})
        (_, _, image, *_) = operations(plan_volume_conversion(found, AROUND, wish))
        self.assertEqual(({"hw_disk_bus": "scsi", "k": "v"}, 64), (image.keep.properties, image.keep.min_ram))
        (lost,) = plan_volume_conversion(found, AROUND, ConversionRequest("snapshot")).not_replayed
        self.assertEqual("image properties hw_disk_bus", lost.what)
        (made,) = operations(
            plan_snapshot_conversion(snapshot(found.volume), AROUND, ConversionRequest("volume"))
        )
        self.assertEqual(metadata, made.keep.properties)

    def test_image_metadata_of_a_bootable_volume(self):
        found = volume(volume_image_metadata={"a": "1"})
        keep = operations(plan_volume_conversion(found, AROUND, ConversionRequest("volume")))[1].keep
        self.assertEqual({"a": "1"}, keep.properties)
        self.assertEqual(
            (), plan_volume_conversion(found, AROUND, ConversionRequest("snapshot")).not_replayed
        )
        # What a snapshot has is of its own time, and Cinder hands it on.
        (made,) = operations(
            plan_snapshot_conversion(snapshot(found.volume), AROUND, ConversionRequest("volume"))
        )
        self.assertEqual({}, made.keep.properties)

    def test_a_volume_of_an_image_has_its_properties(self):
        found = image(a="1", image_id="x", cinder_encryption_key_id="k")
        (made,) = operations(
            plan_image_conversion(found, AROUND, ConversionRequest("volume", volume_type="luks"))
        )
        self.assertEqual({"a": "1"}, made.keep.properties)

    def test_the_marks_of_a_run_do_not_go_on(self):
        """leftover delete would remove what was made of something that a run has left behind."""
        run = Run("server import-full x")
        marked = {**run.marks(), "a": "1"}
        copy = plan_volume_conversion(volume(metadata=marked), AROUND, ConversionRequest("volume"))
        self.assertEqual({"a": "1"}, operations(copy)[1].keep.metadata)
        found = snapshot(metadata=marked, name=f"snapshot for {run.name('image')}")
        (made,) = operations(plan_snapshot_conversion(found, AROUND, ConversionRequest("volume")))
        self.assertEqual({"a": "1"}, made.keep.metadata)
        self.assertEqual(found.snapshot.id, made.keep.name)  # and not a name that says that it is ours
        other = plan_image_conversion(
            image(**marked), AROUND, ConversionRequest("image", disk_format="qcow2")
        )
        self.assertEqual({"a": "1"}, operations(other)[0].draft.properties)

    def test_an_image_of_another_format(self):
        key = {"cinder_encryption_key_deletion_policy": "on_image_deletion"}
        found = image(
            members=(Member("p", "accepted"),), tags=["t"], protected=True, min_ram=5, a="1", **SIGNED, **key
        )
        plan = plan_image_conversion(
            found, AROUND, ConversionRequest("image", disk_format="vhd", properties={"a": "2"})
        )
        draft = operations(plan)[0].draft
        self.assertEqual(({"a": "2"}, ("t",), "vhd"), (draft.properties, draft.tags, draft.convert))
        self.assertEqual(("private", 5), (draft.document["visibility"], draft.document["min_ram"]))
        self.assertEqual(
            [
                "property img_signature",
                "property img_signature_hash_method",
                "members p",
                "protection",
                "name web01",
            ],
            [lost.what for lost in plan.not_replayed],
        )

    def test_a_copy_of_the_same_kind_has_a_name_of_its_own(self):
        """Two of one name could only be told apart by their IDs."""
        wish = ConversionRequest("image", disk_format="qcow2")
        for name, new in (("web01", "web01-qcow2"), ("a" * 255, "a" * 249 + "-qcow2")):
            plan = plan_image_conversion(image(name=name), AROUND, wish)
            self.assertEqual(new, operations(plan)[0].draft.document["name"])
            self.assertIn(new, plan.not_replayed[-1].reason)
        named = dataclasses.replace(wish, name="web01")
        plan = plan_image_conversion(image(), AROUND, named)
        self.assertEqual("web01", operations(plan)[0].draft.document["name"])
        self.assertEqual((), plan.not_replayed)
        copy = plan_volume_conversion(volume(name="data"), AROUND, ConversionRequest("volume"))
        self.assertEqual("data-copy", operations(copy)[1].keep.name)
        nameless = plan_volume_conversion(volume(name=None), AROUND, ConversionRequest("volume"))
        self.assertEqual((), nameless.not_replayed)
        other = plan_volume_conversion(volume(name="data"), AROUND, ConversionRequest("image"))
        self.assertEqual("data", operations(other)[0].keep.name)

    def test_quota(self):
        """What is needed at the worst moment, and of what the types have quotas of their own."""
        quota = Quota(
            {"volumes": 5, "gigabytes": 50, "snapshots": 5, "gigabytes_fast": 9, "volumes_other": 0}
        )
        around = dataclasses.replace(AROUND, quota=quota)
        plan = plan_volume_conversion(
            volume(status="in-use"), around, ConversionRequest("volume", volume_type="2", size=3)
        )
        needs = {need.name: need.amount for need in plan.needs}
        self.assertEqual({"volumes": 1, "gigabytes": 4, "snapshots": 1, "gigabytes_fast": 3}, needs)


class TestProblems(TestCase):
    """What cannot work is found before any effect."""

    def refused(self, error, plan, found, to, *texts, around=AROUND, **wish):
        raised = self.assertRaises(error, plan, found, around, ConversionRequest(to, **wish))
        for text in texts:
            self.assertIn(text, str(raised))
        return raised

    def test_all_at_once(self):
        around = dataclasses.replace(AROUND, quota=Quota({"volumes": 0, "gigabytes": 0}))
        raised = self.refused(
            errors.Unready,
            plan_image_conversion,
            image(),
            "volume",
            around=around,
            size=1,
            volume_type="none",
            availability_zone="down",
        )
        kinds = [problem.reference for problem in raised.problems]
        self.assertEqual(
            ["resource-not-found", "resource-not-found", "resource-unusable", *["quota-too-small"] * 2], kinds
        )

    def test_states(self):
        for status in ("creating", "error", "uploading", "deleting"):
            found = volume(status=status)
            self.refused(errors.ResourceUnusable, plan_volume_conversion, found, "image", status)
        self.refused(errors.ResourceUnusable, plan_snapshot_conversion, snapshot(status="error"), "image")
        self.refused(errors.NoData, plan_image_conversion, image(status="queued"), "volume", "queued")
        self.refused(errors.ResourceUnusable, plan_image_conversion, image(status="deactivated"), "volume")

    def test_of_another_project(self):
        """An administrator sees it, and what is made of it would be in the administrator's project."""
        key = {"os-vol-tenant-attr:tenant_id": "other"}
        for to in ("image", "volume", "snapshot"):
            self.refused(
                errors.ResourceUnusable, plan_volume_conversion, volume(**key), to, "--os-project-id other"
            )
        self.refused(
            errors.Unready, plan_volume_conversion, volume(status="error", **key), "volume", "error", "other"
        )
        found = snapshot(**{"os-extended-snapshot-attributes:project_id": "other"})
        self.refused(errors.ResourceUnusable, plan_snapshot_conversion, found, "volume", "project other")
        behind = mapped(mapping_entry(snapshot_id=found.snapshot.id), snapshots=[found.snapshot])
        self.refused(errors.ResourceUnusable, plan_image_conversion, behind, "volume", "project other")
        entry = mapping_entry(source_type="volume", snapshot_id=None, volume_id="v")
        behind = mapped(entry, volumes=[volume(id="v", **key).volume])
        self.refused(errors.ResourceUnusable, plan_image_conversion, behind, "volume", "project other")

    def test_the_commands_for_the_other_disks(self):
        found = snapshot()
        sources = {
            "volume snapshot convert s": mapping_entry(snapshot_id="s", device_name="/dev/vdb"),
            "volume convert v": mapping_entry(
                source_type="volume", volume_id="v", snapshot_id=None, device_name="/dev/vdc"
            ),
            "image convert i": mapping_entry(
                source_type="image", image_id="i", snapshot_id=None, device_name="/dev/vdd"
            ),
        }
        boot = mapping_entry(snapshot_id=found.snapshot.id)
        others = [{**entry, "boot_index": None} for entry in sources.values()]
        behind = mapped(boot, *others, snapshots=[found.snapshot], volumes=[found.volume])
        for to, none in (("volume", ""), ("image", "image convert"), ("snapshot", "snapshot convert")):
            lost = plan_image_conversion(behind, AROUND, ConversionRequest(to)).not_replayed
            reasons = [entry.reason for entry in lost if entry.what.startswith("disk ")]
            for reason, command in zip(reasons, sources, strict=True):
                if none and none in command:
                    self.assertIn("this one is in ", reason)
                else:
                    self.assertTrue(reason.endswith(f"openstack {command} --to {to}"), reason)
        over = mapped(mapping_entry(source_type="image", image_id="i", snapshot_id=None))
        error = self.refused(errors.ResourceUnusable, plan_image_conversion, over, "volume")
        self.assertIn("openstack image convert i --to volume", str(error.hint))
        error = self.refused(errors.ResourceUnusable, plan_image_conversion, over, "image")
        self.assertIn("openstack image show i", str(error.hint))

    def test_images_without_data(self):
        for entries in ((), (mapping_entry(source_type="blank"),)):
            self.refused(errors.NoData, plan_image_conversion, mapped(*entries), "volume", "0 bytes")
        self.refused(
            errors.ResourceNotFound, plan_image_conversion, mapped(mapping_entry()), "volume", "gone"
        )

    def test_formats(self):
        def refused(error, text, found=None, **wish):
            self.refused(error, plan_image_conversion, found or image(), "image", text, **wish)

        refused(errors.UsageError, "--disk-format is required")
        refused(errors.UsageError, "is raw already", disk_format="raw")
        refused(errors.ResourceUnusable, "ploop", image(disk_format="ploop"), disk_format="raw")
        refused(errors.ResourceUnusable, "ova", image(container_format="ova"), disk_format="qcow2")
        without = dataclasses.replace(AROUND, converter=False)
        refused(errors.ResourceUnusable, "qemu-img", around=without, disk_format="qcow2")
        found = snapshot()
        behind = mapped(mapping_entry(snapshot_id=found.snapshot.id), snapshots=[found.snapshot])
        refused(errors.UsageError, "vhd", behind, disk_format="vhd")
        refused(errors.ResourceUnusable, "415", image(disk_format="iso"), disk_format="raw")
        plan_image_conversion(
            image(disk_format="iso"), AROUND, ConversionRequest("image", disk_format="qcow2")
        )
        for form in ("vhd", "vpc"):
            vhd = image(disk_format=form)
            self.refused(errors.ResourceUnusable, plan_image_conversion, vhd, "volume", "--disk-format qcow2")
        docker = image(container_format="docker")
        self.refused(errors.ResourceUnusable, plan_image_conversion, docker, "volume", "docker")

    def test_what_the_beginning_of_the_data_tells(self):
        """It is refused before anything is moved, by the name of the image."""
        raw, qcow2 = image(disk_format="raw"), image(disk_format="qcow2")
        for found, content, to, text in (
            (raw, ImageContent("qcow2"), "volume", "says that it is raw, but its content is qcow2"),
            (raw, ImageContent("qcow2"), "image", "says that it is raw, but its content is qcow2"),
            (qcow2, ImageContent("vmdk"), "image", "says that it is qcow2, but its content is vmdk"),
            (qcow2, ImageContent("qcow2", encrypted=True), "image", "is encrypted (qcow2)"),
            (qcow2, ImageContent("qcow2", encrypted=True), "volume", "is encrypted (qcow2)"),
            (qcow2, ImageContent("qcow2", damage="is marked corrupt"), "image", "is marked corrupt"),
            (raw, ImageContent("luks", encrypted=True), "image", "its content is luks"),
        ):
            around = dataclasses.replace(AROUND, content=content)
            wish = {"disk_format": "vmdk" if found is qcow2 else "qcow2"} if to == "image" else {}
            kind = errors.DamagedDisk if content.damage else errors.ResourceUnusable
            message = self.refused(
                kind, plan_image_conversion, found, to, text, around=around, **wish
            ).message
            self.assertIn(found.image.label, message)
        good: tuple[tuple[Any, ImageContent | None], ...] = (
            (raw, ImageContent("raw")),
            (raw, ImageContent("luks", encrypted=True)),
            (qcow2, ImageContent("qcow2")),
            (qcow2, None),
        )
        for found, told in good:
            around = dataclasses.replace(AROUND, content=told)
            plan_image_conversion(found, around, ConversionRequest("volume"))

    def test_a_deactivated_image(self):
        """An administrator reads it here; Cinder does not."""
        found = dataclasses.replace(image(status="deactivated"), readable=True)
        wish = ConversionRequest("image", disk_format="qcow2")
        plan_image_conversion(found, AROUND, wish)
        self.refused(errors.ResourceUnusable, plan_image_conversion, found, "volume", "deactivated")
        hidden = dataclasses.replace(found, readable=False)
        self.assertRaises(errors.ResourceUnusable, plan_image_conversion, hidden, AROUND, wish)

    def test_encryption(self):
        found = volume(encrypted=True)
        for to, wish in (("image", {}), ("volume", {"volume_type": "fast"})):
            self.refused(errors.ResourceUnusable, plan_volume_conversion, found, to, "ciphertext", **wish)
        for to in ("volume", "snapshot"):
            plan_volume_conversion(found, AROUND, ConversionRequest(to))
        found = image(cinder_encryption_key_id="k")
        self.refused(errors.ResourceUnusable, plan_image_conversion, found, "volume", "--type")
        plan_image_conversion(found, AROUND, ConversionRequest("volume", volume_type="luks"))
        self.refused(errors.ResourceUnusable, plan_image_conversion, found, "image", disk_format="qcow2")

    def test_without_block_storage(self):
        around = dataclasses.replace(AROUND, block_storage=False, types=(), zones={}, quota=None)
        self.refused(
            errors.ServiceAbsent, plan_image_conversion, image(), "volume", around=around, volume_type="x"
        )
        plan_image_conversion(image(), around, ConversionRequest("image", disk_format="qcow2"))

    def test_options(self):
        def refused(kind, to, *texts, **wish):
            raised = self.assertRaises(errors.UsageError, ConversionRequest(to, **wish).check, kind)
            for text in texts:
                self.assertIn(text, str(raised))

        refused("volume", "snapshot", "--size", "--type", "--availability-zone", "--disk-format",
                size=1, volume_type="x", availability_zone="x", disk_format="raw")  # fmt: skip
        refused("image", "image", "--size", size=1)
        refused("volume", "image", "--disk-format vhd", disk_format="vhd")
        refused("snapshot", "snapshot", "already")
        refused("image", "server", "--to server")
        refused("image", "image", "no custom property", properties={"size": "1"})
        refused("volume", "volume", "at most 255", properties={"a": "x" * 256})
        refused("volume", "volume", "--name", name="")
        refused("volume", "volume", "--size 0", size=0)
        ConversionRequest("snapshot", size=1, volume_type="x", availability_zone="x").check("image")

    def test_the_commands_offer_all_formats(self):
        self.assertEqual(FROM_VOLUME, convert.FORMATS)
