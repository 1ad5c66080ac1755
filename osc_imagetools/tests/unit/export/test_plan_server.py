# SPDX-License-Identifier: Apache-2.0
import dataclasses

from osc_imagetools import errors
from osc_imagetools.cloud.image import read_image
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota
from osc_imagetools.cloud.server import read_server
from osc_imagetools.cloud.volume import read_volume
from osc_imagetools.export.inventory_server import ServerInventory, ServerVolume
from osc_imagetools.export.plan_server import ServerExportOptions, plan_server_export
from osc_imagetools.export.plan_server_properties import facts_with_made_image
from osc_imagetools.operations.vocabulary import (
    CreateSnapshot,
    CreateVolume,
    FetchImage,
    Remove,
    SnapshotServer,
    StartServer,
    StopServer,
)
from osc_imagetools.run.identity import Run
from osc_imagetools.tests.unit.base import PROJECT, TestCase, image_document, volume_document

FLAVOR = {"original_name": "m1", "vcpus": 1, "ram": 512, "disk": 5, "ephemeral": 0, "swap": 0}


def attached(identifier, device, **changes):
    document = volume_document(id=identifier, status="in-use", **changes)
    return ServerVolume(identifier, device, None, False, read_volume(document))


def inventory(*volumes, image=None, gone=False, left=None, **document):
    facts = {"id": "s1", "name": "web01", "status": "ACTIVE", "flavor": FLAVOR, **document}
    if image:
        facts["image"] = {"id": image["id"]}
    return ServerInventory(
        origin=Origin("devcloud", "RegionOne", None, PROJECT, "demo"),
        server=read_server(facts),
        image=read_image(image, members=()) if image and not gone else None,
        block_storage=True,
        volumes=volumes,
        flavor={"name": "m1"},
        ports=(),
        security_groups=(),
        key_pair=None,
        server_group=None,
        quota=Quota(left or {}),
        unreadable={},
        documents={},
    )


def plan(found, jobs=4, **options):
    return plan_server_export(found, ServerExportOptions(**options), jobs=jobs)


BOOT, DATA = attached("v1", "/dev/vda"), attached("v2", "/dev/vdb", size=7)


def stages(made):
    """The operations of each phase before the last."""
    return [[operation for lane in phase.lanes for operation in lane] for phase in made.phases[:-1]]


def kinds(made):
    return [[type(operation) for operation in stage] for stage in stages(made)]


class TestVolumeBooted(TestCase):
    def test_nova_takes_all_snapshots_and_its_image_goes_at_once(self):
        made = plan(inventory(BOOT, DATA))
        self.assertEqual([[SnapshotServer], [Remove]], kinds(made))
        image, remove = stages(made)[0][0], stages(made)[1][0]
        self.assertEqual(["v1", "v2"], [volume for volume, _ in image.snapshots])
        self.assertEqual(image.makes, remove.what)
        for lane, (_, snapshot) in zip(made.phases[-1].lanes, image.snapshots, strict=True):
            self.assertIsInstance(lane[0], CreateVolume)
            self.assertEqual(snapshot, lane[0].source)
            self.assertEqual(Remove(snapshot), lane[-1])
        self.assertEqual(["disks/0-vda.qcow2", "disks/1-vdb.qcow2"], [d.file for d in made.disks])
        self.assertEqual([("boot", 0), ("data", None)], [(d.role, d.boot_index) for d in made.disks])

    def test_the_root_is_where_the_root_device_is(self):
        found = inventory(BOOT, DATA, **{"OS-EXT-SRV-ATTR:root_device_name": "/dev/vdb"})
        self.assertEqual(["data", "boot"], [d.role for d in plan(found).disks])

    def test_made_of_an_image_of_0_bytes(self):
        """Which Nova shows as the server's image; it has no data, but a mapping."""
        mapping = (
            '[{"source_type": "snapshot", "destination_type": "volume", "snapshot_id": "s", "boot_index": 0}]'
        )
        image = image_document(
            size=0, block_device_mapping=mapping, bdm_v2="True", os_distro="x", root_device_name="/dev/vda"
        )
        volume = attached("v1", "/dev/vda", volume_image_metadata={"os_distro": "y", "bdm_v2": "True"})
        made = plan(inventory(volume, DATA, image=image))
        self.assertEqual(["v1", "v2"], [v for v, _ in stages(made)[0][0].snapshots])
        facts = made.subject.replayable
        self.assertEqual(("volume", None), (facts["boot_from"], facts["image"]))
        self.assertEqual({"os_distro": "y"}, facts["image_properties"])

    def test_made_of_an_image_and_a_volume_as_its_root(self):
        device = {"OS-EXT-SRV-ATTR:root_device_name": "/dev/vda"}
        made = plan(inventory(BOOT, DATA, image=image_document(), **device))
        self.assertEqual(
            ("volume", ["boot", "data"]), (made.subject.replayable["boot_from"], [d.role for d in made.disks])
        )

    def test_stopped_only_for_the_snapshots(self):
        made = plan(inventory(BOOT, DATA), stop=True)
        self.assertEqual([[StopServer], [SnapshotServer], [StartServer], [Remove]], kinds(made))
        self.assertEqual("stopped", made.consistency)
        stopped = plan(inventory(BOOT, status="SHUTOFF"), stop=True)
        self.assertEqual([[SnapshotServer], [Remove]], kinds(stopped))
        self.assertEqual("stopped", stopped.consistency)

    def test_a_disk_that_is_not_wanted(self):
        made = plan(inventory(BOOT, DATA), disks=("vda",))
        self.assertEqual(["vda"], [d.name for d in made.disks])
        self.assertEqual([("vdb", "not-selected")], [(n.name, n.reason) for n in made.not_captured])
        (image,), (_, unwanted) = stages(made)
        self.assertEqual(unwanted.what, image.snapshots[1][1])

    def test_all_snapshots_are_there_at_once_whatever_runs(self):
        needs = {n.name: n.amount for n in plan(inventory(BOOT, DATA), jobs=1).needs}
        self.assertEqual(
            {"volumes": 1, "snapshots": 2, "gigabytes": 8 + 7},
            {name: needs[name] for name in ("volumes", "snapshots", "gigabytes")},
        )
        refused = self.assertRaises(errors.QuotaTooSmall, plan, inventory(BOOT, DATA, left={"snapshots": 1}))
        self.assertIn("snapshots", str(refused))

    def test_everything_in_the_way_is_listed(self):
        gone = ServerVolume("v3", "/dev/vdc", None, None, None)
        found = inventory(
            attached("v1", "/dev/vda", encrypted=True),
            gone,
            **{"OS-EXT-STS:task_state": "image_snapshot", "status": "RESCUE"},
        )
        error = self.assertRaises(errors.Unready, plan, found, disks=("vdz",), stop=True)
        for text in ("image_snapshot", "RESCUE", "vdz", "cannot be stopped"):
            self.assertIn(text, str(error))
        error = self.assertRaises(errors.Unready, plan, found)
        for text in ("encrypted", "v3", "gone"):
            self.assertIn(text, str(error))

    def test_of_another_project(self):
        found = inventory(BOOT, tenant_id="other")
        error = self.assertRaises(errors.ResourceUnusable, plan, found)
        self.assertIn("--os-project-id other", str(error))

    def test_a_locked_server_is_not_stopped(self):
        error = self.assertRaises(errors.ResourceUnusable, plan, inventory(BOOT, locked=True), stop=True)
        self.assertIn("unlock", str(error))
        plan(inventory(BOOT, locked=True))

    def test_consistency(self):
        agent = {"image": "", "image_properties": {"hw_qemu_guest_agent": "yes"}}
        for document, expected in (({}, "crash"), (agent, "freeze-requested")):
            self.assertEqual(expected, plan(inventory(BOOT, **document)).consistency)
        self.assertEqual("crash", plan(inventory(BOOT, **agent, status="PAUSED")).consistency)

    def test_encrypted_leaves_as_it_is_and_is_said(self):
        found = inventory(attached("v1", "/dev/vda", encrypted=True, encryption_key_id="k1"))
        made = plan(found, allow_encrypted=True)
        self.assertEqual("raw", made.disks[0].disk_format)
        self.assertIn("k1", made.warnings[0])
        self.assertTrue(made.disks[0].replayable["volume"]["encrypted"])
        error = self.assertRaises(errors.UsageError, plan, found, allow_encrypted=True, disk_format="qcow2")
        self.assertIn("--disk-format", str(error))


class TestImageBooted(TestCase):
    def found(self, *volumes, **document):
        return inventory(*volumes, image=image_document(disk_format="qcow2"), **document)

    def test_the_volumes_first_and_all_at_once(self):
        volumes = attached("v1", "/dev/vdb"), attached("v2", "/dev/vdc")
        made = plan(self.found(*volumes))
        self.assertEqual([[CreateSnapshot, CreateSnapshot], [SnapshotServer]], kinds(made))
        self.assertEqual((), stages(made)[1][0].snapshots)
        root, *_ = made.phases[-1].lanes
        self.assertEqual([FetchImage, Remove], [type(o) for o in root])
        self.assertEqual(["vda", "vdb", "vdc"], [d.name for d in made.disks])
        self.assertEqual("boot", made.disks[0].role)

    def test_without_volumes(self):
        made = plan(self.found())
        self.assertEqual([[SnapshotServer]], kinds(made))
        self.assertEqual((), made.needs)

    def test_only_a_volume(self):
        made = plan(self.found(attached("v1", "/dev/vdb")), disks=("vdb",))
        self.assertEqual([[CreateSnapshot]], kinds(made))
        self.assertEqual([("vda", "not-selected")], [(n.name, n.reason) for n in made.not_captured])

    def test_a_freeze_is_claimed_only_where_nova_takes_all(self):
        agent = image_document(hw_qemu_guest_agent="yes")
        self.assertEqual("freeze-requested", plan(inventory(image=agent)).consistency)
        self.assertEqual("crash", plan(inventory(attached("v1", "/dev/vdb"), image=agent)).consistency)

    def test_what_no_copy_holds(self):
        flavor = {**FLAVOR, "ephemeral": 3, "swap": 64, "extra_specs": {"hw:tpm_version": "2.0"}}
        image = image_document(hw_firmware_type="uefi")
        made = plan(inventory(image=image, flavor=flavor))
        self.assertEqual(["ephemeral", "swap", "uefi", "vtpm"], [n.reason for n in made.not_captured])

    def test_properties_of_an_image_that_is_gone(self):
        """Those of a data volume are not the server's: the image that Nova makes has the right ones."""
        data = attached("v1", "/dev/vdb", volume_image_metadata={"hw_firmware_type": "uefi"})
        made = plan(inventory(data, image={"id": "gone"}, gone=True))
        self.assertIsNone(made.subject.replayable["image_properties"])
        self.assertEqual((), made.not_captured)
        ours = {**Run("server export-full x").marks(), "base_image_ref": "gone", "owner_user_name": "u"}
        told = {"hw_qemu_guest_agent": "yes", "hw_firmware_type": "uefi", "hw_tpm_version": "2.0", "a": "1"}
        nova = read_image(image_document(**ours, **told), ())
        after = facts_with_made_image(made, nova)
        self.assertEqual(told, after.replayable["image_properties"])
        self.assertEqual(["uefi", "vtpm"], [n.reason for n in after.not_captured])
        self.assertEqual("crash", after.consistency)  # a snapshot of a volume was taken without a freeze
        alone = plan(inventory(image={"id": "gone"}, gone=True))
        self.assertEqual("freeze-requested", facts_with_made_image(alone, nova).consistency)
        paused = plan(inventory(image={"id": "gone"}, gone=True, status="PAUSED"))
        self.assertEqual("crash", facts_with_made_image(paused, nova).consistency)
        known = plan(inventory(image=image_document(a="2")))
        self.assertEqual(known.subject.replayable, facts_with_made_image(known, nova).replayable)

    def test_properties_that_no_one_tells(self):
        data = attached("v1", "/dev/vdb", volume_image_metadata={"hw_firmware_type": "uefi"})
        made = plan(inventory(data, image={"id": "gone"}, gone=True), disks=("vdb",))
        self.assertEqual({}, made.subject.replayable["image_properties"])
        self.assertIn("image properties", made.subject.replayable["unreadable"])
        self.assertEqual(["not-selected"], [n.reason for n in made.not_captured])
        self.assertIn("image properties (the image is gone", made.warnings[0])

    def test_what_could_not_be_read_is_told_at_once(self):
        found = dataclasses.replace(inventory(BOOT), unreadable={"ports": "refused", "image": "gone"})
        (warning,) = plan(found).warnings
        self.assertIn("could not be read: ports (refused)", warning)
        self.assertNotIn("gone", warning)
        self.assertEqual((), plan(inventory(BOOT)).warnings)

    def test_the_name_of_the_root_disk(self):
        for device, expected in (("/dev/sdb", "sda"), ("/dev/vda", "root")):
            made = plan(self.found(attached("v1", device)))
            self.assertEqual(expected, made.disks[0].name)
        told = {"OS-EXT-SRV-ATTR:root_device_name": "/dev/xvda"}
        self.assertEqual("xvda", plan(self.found(**told)).disks[0].name)


class TestUserData(TestCase):
    """It may hold secrets: it is kept once, and not at all if nobody wants it."""

    def subject(self, **options):
        document = {"OS-EXT-SRV-ATTR:user_data": "c2VjcmV0"}
        found = inventory(BOOT, **document)
        found = dataclasses.replace(found, documents={"server": {"id": "s1", **document}, "ports": []})
        return plan(found, **options).subject

    def test_once(self):
        subject = self.subject()
        self.assertEqual("c2VjcmV0", subject.replayable["user_data"])
        self.assertEqual({"server": {"id": "s1"}, "ports": []}, subject.documents)

    def test_not_at_all(self):
        subject = self.subject(user_data=False)
        self.assertNotIn("c2VjcmV0", str(subject))
        self.assertIn("--no-user-data", subject.replayable["unreadable"]["user data"])


class TestStates(TestCase):
    def test_what_helps(self):
        """Volumes of a shelved server are reserved: they never become available while it is shelved."""
        for status, advice in (
            ("SHELVED_OFFLOADED", "openstack server unshelve s1"),
            ("SHELVED", "openstack server unshelve s1"),
            ("RESCUE", "openstack server unrescue s1"),
            ("VERIFY_RESIZE", "openstack server resize confirm s1"),
            ("SOFT_DELETED", "openstack server restore s1"),
            ("BUILD", "Wait until it is ACTIVE"),
            ("ERROR", "-c fault"),
            ("UNKNOWN", "openstack server show s1"),
        ):
            error = self.assertRaises(errors.ImagetoolsError, plan, inventory(BOOT, status=status))
            self.assertIn(advice, str(error.hint))
            if "SHELVED" in status:
                self.assertNotIn("volume export-full", str(error.hint))
