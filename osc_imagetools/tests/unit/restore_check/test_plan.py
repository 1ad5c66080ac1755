# SPDX-License-Identifier: Apache-2.0
import re

from osc_imagetools import errors
from osc_imagetools.operations.vocabulary import Protect, SetMetadata, operations_of
from osc_imagetools.restore_check.plan import RestoreCheckOptions, plan_restore_check
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.restore.plans import images, ports, server, volumes
from osc_imagetools.tests.unit.restore.test_plan_server import destination, disk, manifest


def plan(document=None, to=None, **options):
    return plan_restore_check(document or manifest(), to or destination(), RestoreCheckOptions(**options))


class TestIsolation(TestCase):
    def test_nothing_of_the_original_but_what_it_boots_by(self):
        document = manifest(
            key_name="me",
            user_data="c2g=",
            server_group={"id": "sg1", "name": "group"},
            scheduler_hints={"query": "x", "group": "sg1"},
            config_drive=True,
        )
        made = server(plan(document).copy)
        self.assertEqual("restore-check-web01", made.draft.name)
        self.assertIsNone(made.draft.description)
        self.assertEqual({}, made.draft.hints)
        self.assertEqual(
            {"metadata": {}, "tags": [], "config_drive": True, "flavorRef": "f1", "networks": "none"},
            made.draft.body,
        )
        self.assertEqual(((), True), (made.ports, made.wait))
        self.assertNotIn("web01", [v.keep.name for v in volumes(plan(document).copy)])

    def test_volumes_do_not_bear_the_names_and_metadata_of_the_original_ones(self):
        for volume in volumes(plan().copy):
            self.assertTrue(volume.keep.name.startswith("restore-check-"))
            self.assertEqual({}, volume.keep.metadata)
        self.assertEqual([True, False], [v.keep.bootable for v in volumes(plan().copy)])

    def test_user_data_only_if_it_is_kept(self):
        document = manifest(user_data="c2g=")
        self.assertNotIn("user_data", server(plan(document).copy).draft.body)
        self.assertEqual("c2g=", server(plan(document, user_data=True).copy).draft.body["user_data"])

    def test_new_ports_in_the_networks_that_are_named(self):
        made = plan(networks=("dmz", "n1"), security_groups=("web",)).copy
        body = server(made).draft.body
        self.assertEqual([{"uuid": "n2"}, {"uuid": "n1"}], body["networks"])
        self.assertEqual([], ports(made))  # Nova creates them, with new addresses

    def test_unknown_networks_are_told_together(self):
        error = self.assertRaises(errors.Unready, plan, networks=("no", "dmz", "neither"))
        self.assertEqual(2, len(error.problems))
        self.assertIn("candidates: private (n1), dmz (n2)", error.message)

    def test_nothing_is_handed_over(self):
        made = list(operations_of(plan().copy.phases))
        self.assertFalse([o for o in made if isinstance(o, SetMetadata | Protect)])


class TestKinds(TestCase):
    def test_an_image_of_0_bytes(self):
        document = manifest(kind="image")
        document["replayable"] = {"properties": {"hw_disk_bus": "scsi"}, "tags": ["t"], "members": []}
        made = plan(document, flavor="m1").copy
        self.assertEqual(2, len(volumes(made)))
        self.assertEqual([0, -1], [d.entry["boot_index"] for d in server(made).disks])

    def test_an_image_with_data(self):
        one = disk(0, "/dev/vda", role="image", boot_index=None)
        one["replayable"], one["device"] = {}, None
        document = manifest(one, kind="image")
        document["replayable"] = {"properties": {"hw_disk_bus": "scsi"}, "tags": [], "members": []}
        made = plan(document, flavor="small").copy
        (image,) = images(made)
        self.assertEqual({"hw_disk_bus": "scsi"}, image.properties)
        self.assertEqual("image", server(made).disks[0].entry["source_type"])

    def test_a_bootable_volume(self):
        document = manifest(disk(0, "/dev/vda", role="boot"), kind="volume")
        document["replayable"] = {}
        made = plan(document, flavor="m1").copy
        self.assertEqual(1, len(volumes(made)))
        self.assertEqual("restore-check-web01", server(made).draft.name)

    def test_a_volume_that_is_not_bootable(self):
        document = manifest(disk(0, "/dev/vda"), kind="volume")
        error = self.assertRaises(errors.UsageError, plan, document, flavor="m1")
        self.assertIn("not bootable", error.message)

    def test_without_a_flavor_the_candidates_are_told(self):
        document = manifest(disk(0, "/dev/vda", role="boot"), kind="volume")
        document["replayable"] = {}
        error = self.assertRaises(errors.ResourceNotFound, plan, document)
        self.assertIn("the bundle names no flavor; candidates:", error.message)


class TestSteps(TestCase):
    def test_everything_is_temporary_and_removed_in_reverse(self):
        rows = plan(expect=re.compile("ready"), timeout=30, program="/bin/true").steps()
        created = [r for r in rows if r.action.startswith("create")]
        self.assertTrue(all(row.temporary for row in created))
        tail = [(r.action, r.resource) for r in rows[-5:]]
        self.assertEqual(
            [
                ("wait", "at most 30 s until the console shows 'ready'"),
                ("run", "/bin/true"),
                ("delete server", "server restore-check-web01"),
                ("delete volume", "volume restore-check-vdb of vdb"),
                ("delete volume", "volume restore-check-vda of vda"),
            ],
            tail,
        )
        numbers = [row.number for row in rows if row.number]
        self.assertEqual(list(range(1, len(numbers) + 1)), numbers)

    def test_what_is_kept_is_not_removed(self):
        rows = plan(keep=True).steps()
        self.assertEqual("wait", rows[-1].action)
        self.assertNotIn("delete server", [row.action for row in rows])
