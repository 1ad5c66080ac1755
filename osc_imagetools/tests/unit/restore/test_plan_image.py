# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from osc_imagetools import errors
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.restore.inventory import Destination
from osc_imagetools.restore.plan import ImportOptions
from osc_imagetools.restore.plan_image import plan_image_import
from osc_imagetools.run.identity import Run
from osc_imagetools.tests.unit.base import PROJECT, TestCase
from osc_imagetools.tests.unit.restore.plans import images, mapping, volumes

TO = Destination(
    origin=Origin("there", "RegionOne", "http://there", PROJECT, "demo"),
    stores=("file", "rbdlike"),
    block_storage=True,
    volume_types=("__DEFAULT__",),
    quota=Quota({}),
    owner=None,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def disk(index=0, role="image", **changes):
    device = f"vd{'abc'[index]}"
    return {
        "index": index,
        "name": device,
        "file": f"disks/{index}-{device}.qcow2",
        "role": role,
        "boot_index": 0 if index == 0 else None,
        "device": f"/dev/{device}",
        "disk_format": "qcow2",
        "container_format": "bare",
        "content_format": "qcow2",
        "size": 1000,
        "virtual_size": GIB + 1,
        "hash": {"algorithm": "sha512", "value": "ab"},
        "replayable": {},
        "observed": {},
        **changes,
    }


def manifest(*disks, kind="image", **replayable):
    return {
        "kind": kind,
        "source": {"auth_url": "http://here"},
        "resource": {"id": "1", "name": "web01"},
        "hash_algorithm": "sha512",
        "disks": list(disks) or [disk()],
        "not_captured": [],
        "replayable": {
            "name": "web01",
            "visibility": "private",
            "protected": False,
            "os_hidden": False,
            "min_disk": 0,
            "min_ram": 0,
            "disk_format": "qcow2",
            "container_format": "bare",
            "properties": {},
            "tags": [],
            "members": [],
            **replayable,
        },
    }


def plan(document, to=TO, **options):
    chosen = ImportOptions(**options)
    chosen.check()
    return plan_image_import(document, to, chosen)


MAPPED = {"properties": {"block_device_mapping": "[]", "bdm_v2": "True", "os_distro": "debian"}}
TWO = (disk(0, "boot"), disk(1, "data"))


class TestPlan(TestCase):
    def refused(self, error, *args, text="", **options):
        raised = self.assertRaises(error, plan, *args, **options)
        self.assertIn(text, str(raised))

    def test_an_image_as_it_was(self):
        made = plan(manifest(properties={"a": "1"}, tags=["t"], min_disk=3))
        (image,) = images(made)
        self.assertEqual(("disks/0-vda.qcow2", "ab", None), (image.file, image.digest, image.convert))
        self.assertEqual(({"a": "1"}, ("t",), 3), (image.properties, image.tags, image.document["min_disk"]))
        self.assertEqual(((), ()), (made.not_replayed, made.mapped))

    def test_options_win(self):
        made = plan(
            manifest(properties={"a": "1", "b": "2"}),
            properties={"b": "3"},
            remove_properties=frozenset({"a"}),
            name="new",
            visibility="community",
        )
        (image,) = images(made)
        self.assertEqual({"b": "3"}, image.properties)
        self.assertEqual(("new", "community"), (image.document["name"], image.document["visibility"]))

    def test_an_empty_name_is_a_name(self):
        self.assertEqual("", images(plan(manifest(), name=""))[0].document["name"])

    def test_what_is_never_sent_is_told(self):
        properties = {
            "os_glance_x": "1",
            "checksum": "1",
            "cinder_encryption_key_deletion_policy": "on_image_deletion",
            "fine": "1",
        }
        made = plan(manifest(properties=properties))
        self.assertEqual({"fine": "1"}, images(made)[0].properties)
        self.assertEqual(3, len(made.not_replayed))

    def test_the_marks_of_a_run_are_not_replayed(self):
        made = plan(manifest(properties={**Run("image convert x").marks(), "fine": "1"}))
        self.assertEqual({"fine": "1"}, images(made)[0].properties)

    def test_disks_of_a_mapping_become_images_of_their_own(self):
        made = plan(manifest(*TWO, **MAPPED))
        boot, data = images(made)
        self.assertEqual(("web01", "web01-vdb"), (boot.document["name"], data.document["name"]))
        self.assertEqual({"os_distro": "debian"}, boot.properties)
        self.assertEqual(["property block_device_mapping"], [n.what for n in made.not_replayed])
        self.assertEqual(2, len(made.listed))

    def test_as_volumes(self):
        typed = {"volume": {"name": "root", "volume_type": "gone", "size": 5, "bootable": True}}
        made = plan(manifest(disk(0, "boot", replayable=typed), TWO[1], **MAPPED), as_volumes=True)
        root, data = volumes(made)
        self.assertEqual(("root", 5 * GIB, None), (root.keep.name, root.size, root.volume_type))
        self.assertEqual(2 * GIB, data.size)  # one byte more than 1 GiB
        self.assertIn("volume type gone", made.mapped[0])
        self.assertEqual([0, None], [disk.entry["boot_index"] for disk in mapping(made).disks])
        actions = [step.action for step in made.steps() if step.number]
        self.assertEqual(
            ["create image", "create volume", "verify", "delete image", "create snapshot", "verify"] * 2
            + ["create image", "verify"]
            + ["set metadata"] * 5,
            actions,
        )

    def test_as_volumes_keeps_swap_and_tells_the_zone(self):
        swap = {"source_type": "blank", "destination_type": "local", "guest_format": "swap"}
        properties = {"properties": {"block_device_mapping": json.dumps([swap])}}
        zone = {"volume": {"availability_zone": "az1"}}
        made = plan(manifest(disk(0, "boot", replayable=zone), **properties), as_volumes=True)
        self.assertEqual((swap,), mapping(made).blank)
        self.assertEqual(["availability zone of vda"], [n.what for n in made.not_replayed])

    def test_a_mapping_beside_data_is_not_replayed(self):
        made = plan(manifest(disk(0), disk(1, "data"), **MAPPED))
        self.assertNotIn("block_device_mapping", images(made)[0].properties)
        self.assertEqual(["property block_device_mapping"], [n.what for n in made.not_replayed])

    def test_as_volumes_needs_room_for_all_at_once(self):
        small = dataclasses.replace(TO, quota=Quota({"volumes": 1}))
        self.refused(errors.QuotaTooSmall, manifest(*TWO, **MAPPED), small, as_volumes=True)

    def test_converted(self):
        (image,) = images(plan(manifest(), disk_format="raw"))
        self.assertEqual(("raw", None), (image.convert, image.digest))
        self.assertEqual("raw", image.document["disk_format"])
        (image,) = images(plan(manifest(), disk_format="qcow2"))
        self.assertIsNone(image.convert)
        ova = manifest(disk(container_format="ova"))
        self.refused(errors.UsageError, ova, text="container", disk_format="raw")

    def test_unknown_projects_are_not_members(self):
        members = [{"project_id": p, "status": "accepted"} for p in ("here", "gone", "unseen")]
        to = dataclasses.replace(TO, projects={"here": True, "gone": False, "unseen": None})
        made = plan(manifest(members=members, visibility="shared"), to)
        self.assertEqual(["here"], [m["project_id"] for m in images(made)[0].members])
        self.assertEqual(["member gone", "member unseen"], [n.what for n in made.not_replayed])

    def test_contradictions_are_listed_together(self):
        self.refused(
            errors.UsageError,
            manifest(),
            text="--as-volumes and --disk-format",
            properties={"a": "1", "size": "2"},
            remove_properties=frozenset({"a"}),
            as_volumes=True,
            disk_format="raw",
        )

    def test_what_cannot_be_is_refused(self):
        self.refused(errors.UsageError, manifest(kind="volume"), text="volume")
        self.refused(errors.ResourceNotFound, manifest(), text="file, rbdlike", store="x")
        without = dataclasses.replace(TO, block_storage=False)
        self.refused(errors.ServiceAbsent, manifest(*TWO, **MAPPED), without, as_volumes=True)

    @given(st.dictionaries(st.sampled_from(["device_type", "disk_bus", "tag", "x"]), JSON))
    def test_any_block_device_gives_a_plan(self, device):
        document = manifest(disk(0, "boot", replayable={"block_device": device}), **MAPPED)
        self.assertEqual(1, len(volumes(plan(document, as_volumes=True))))
