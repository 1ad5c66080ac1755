# SPDX-License-Identifier: Apache-2.0
import json

import testtools

from osc_imagetools.backup_check import plan_hooks
from osc_imagetools.cloud.image import read_image
from osc_imagetools.cloud.server import read_server
from osc_imagetools.tests.unit.base import image_document, mapping_entry


def server(**changes):
    """A server that boots from an image and has nothing else."""
    document = {"id": "server-1", "name": "web01", "image": {"id": "i"}, "flavor": {"ephemeral": 0}}
    return read_server(document | changes)


def image(*entries, **changes):
    mapping = {"block_device_mapping": json.dumps(entries)} if entries else {}
    return read_image(image_document(id="image-1", **changes, **mapping), None)


def told(warning: str | None) -> str:
    assert warning is not None
    return warning


VOLUMES = {"os-extended-volumes:volumes_attached": [{"id": "v1"}, {"id": "v2"}]}
OF_VOLUME = {"image": "", **VOLUMES}
SWAP = mapping_entry(snapshot_id=None, source_type="blank", destination_type="local", guest_format="swap")


class TestServerImage(testtools.TestCase):
    def test_of_a_volume(self):
        copy = image(mapping_entry(), mapping_entry(boot_index=-1), SWAP, size=0)
        text = told(plan_hooks.of_server_image(server(**OF_VOLUME), copy))
        self.assertIn("no data of its own", text)
        self.assertIn("2 volume snapshots", text)
        self.assertTrue(text.endswith("openstack image export-full image-1"), text)

    def test_of_an_image_of_0_bytes(self):
        """Nova names the image that it was made from; its disks are volumes all the same."""
        copy = image(mapping_entry(), mapping_entry(boot_index=-1), size=0)
        text = told(plan_hooks.of_server_image(server(**VOLUMES), copy))
        self.assertIn("no data of its own", text)
        self.assertNotIn("will hold", text)
        self.assertIn("will hold", told(plan_hooks.of_server_image(server(**VOLUMES), image(size=0))))

    def test_of_an_image(self):
        waiting = image(size=None, status="queued")
        self.assertIsNone(plan_hooks.of_server_image(server(), waiting))
        text = told(plan_hooks.of_server_image(server(**VOLUMES), waiting))
        self.assertIn("2 attached volumes", text)
        self.assertIn("openstack server export-full server-1", text)
        self.assertNotIn("ephemeral", text)

    def test_an_ephemeral_disk_has_no_way_out(self):
        text = told(
            plan_hooks.of_server_image(server(flavor={"ephemeral": 20, "swap": 512}), image(size=None))
        )
        self.assertIn("20 GB of ephemeral disk", text)
        self.assertNotIn("export-full", text)

    def test_what_the_answer_does_not_tell(self):
        """Before microversion 2.47 a flavor is an ID and a link."""
        self.assertIsNone(plan_hooks.of_server_image(server(flavor={"id": "1"}), image()))


class TestServerBackup(testtools.TestCase):
    def test_of_a_volume(self):
        text = told(plan_hooks.of_server_backup(server(**OF_VOLUME)))
        self.assertIn("makes no backup", text)
        self.assertIn("openstack server export-full server-1", text)

    def test_of_an_image(self):
        self.assertIsNone(plan_hooks.of_server_backup(server()))
        text = told(plan_hooks.of_server_backup(server(**VOLUMES, flavor={"ephemeral": 1})))
        self.assertIn("not its 2 attached volumes and 1 GB of ephemeral disk", text)


class TestSavedImage(testtools.TestCase):
    def test_data(self):
        self.assertIsNone(plan_hooks.of_saved_image(image(size=1)))
        self.assertIsNone(plan_hooks.of_saved_image(image(SWAP, size=1)))

    def test_no_data(self):
        self.assertIn("status is queued", told(plan_hooks.of_saved_image(image(size=None, status="queued"))))
        self.assertIn("no backup of anything", told(plan_hooks.of_saved_image(image(size=0))))

    def test_data_elsewhere(self):
        text = told(plan_hooks.of_saved_image(image(mapping_entry(), size=0)))
        self.assertIn("in 1 volume snapshot.", text)
        self.assertIn("openstack image export-full image-1", text)

    def test_more_data_elsewhere(self):
        text = told(plan_hooks.of_saved_image(image(mapping_entry(boot_index=1), size=1024)))
        self.assertIn("lacks 1 disk of image web01", text)
        self.assertIn("openstack image export-full image-1", text)
