# SPDX-License-Identifier: Apache-2.0
import uuid

from osc_imagetools import errors
from osc_imagetools.lineage.inventory import read_lineage
from osc_imagetools.lineage.plan import lineage_rows
from osc_imagetools.tests.unit.base import (
    COMPUTE,
    IMAGE,
    PROJECT,
    VOLUME,
    TestCase,
    image_document,
    mapping_entry,
    server_document,
    snapshot_document,
    volume_document,
)


class LineageCase(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud(compute=True)
        self.estate()

    def estate(self, images=(), volumes=(), snapshots=(), servers=()):
        """What the lists give; each can be asked for by its ID too."""
        http = self.mocked.http
        http.get(f"{IMAGE}/v2/images", json={"images": list(images)})
        http.get(f"{IMAGE}/v2/images?os_hidden=true", json={"images": []})
        http.get(f"{VOLUME}/volumes/detail", json={"volumes": list(volumes)})
        http.get(f"{VOLUME}/snapshots/detail", json={"snapshots": list(snapshots)})
        http.get(f"{COMPUTE}/servers/detail", json={"servers": list(servers)})
        for url, key, documents in (
            (f"{VOLUME}/volumes", "volume", volumes),
            (f"{VOLUME}/snapshots", "snapshot", snapshots),
            (f"{COMPUTE}/servers", "server", servers),
        ):
            for document in documents:
                http.get(f"{url}/{document['id']}", json={key: document})
        for document in images:
            http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)

    def read(self, kind, document, **kwargs):
        return read_lineage(self.mocked.cloud, kind, document["id"], **{"all_projects": False, **kwargs})

    def asked(self):
        """The paths of the requests for something that is in no list."""
        return [
            r.path
            for r in self.mocked.http.request_history
            if r.hostname in ("image.test", "volume.test", "compute.test") and r.path.count("/") > 2
        ]


class TestLinks(LineageCase):
    def links(self, kind, document, **estate):
        plural = {"image": "images", "volume": "volumes", "snapshot": "snapshots", "server": "servers"}[kind]
        self.estate(**{plural: [document], **estate})
        found = self.read(kind, document)
        origins = found.resources[found.asked].origins
        self.seconds = [link.second for link in origins]
        return [(link.relation, *link.origin) for link in origins]

    def test_of_a_volume(self):
        image, other = (str(uuid.uuid4()) for _ in range(2))
        for url in (f"{IMAGE}/v2/images/{image}", f"{VOLUME}/volumes/{other}", f"{VOLUME}/snapshots/{other}"):
            self.mocked.http.get(url, status_code=404)
        metadata = {"volume_image_metadata": {"image_id": image}}
        self.assertEqual([("copy", "image", image)], self.links("volume", volume_document(**metadata)))
        expected = [("copy", "volume", other), ("copy", "image", image)]
        self.assertEqual(expected, self.links("volume", volume_document(source_volid=other, **metadata)))
        self.assertEqual([False, True], self.seconds)
        expected = [("copy", "snapshot", other), ("copy", "image", image)]
        self.assertEqual(expected, self.links("volume", volume_document(snapshot_id=other, **metadata)))

    def test_of_an_image(self):
        snapshot, server, base = (str(uuid.uuid4()) for _ in range(3))
        for url in (
            f"{VOLUME}/snapshots/{snapshot}",
            f"{COMPUTE}/servers/{server}",
            f"{IMAGE}/v2/images/{base}",
        ):
            self.mocked.http.get(url, status_code=404)
        mapping = [mapping_entry(snapshot_id=snapshot), mapping_entry(source_type="blank", snapshot_id=None)]
        document = image_document(block_device_mapping=mapping, base_image_ref="")
        self.assertEqual([("mapping", "snapshot", snapshot)], self.links("image", document))
        document = image_document(instance_uuid=server, base_image_ref=base)
        expected = [("capture", "server", server), ("base", "image", base)]
        self.assertEqual(expected, self.links("image", document))

    def test_of_a_server(self):
        image, volume = str(uuid.uuid4()), volume_document()
        self.mocked.http.get(f"{IMAGE}/v2/images/{image}", status_code=404)
        attached = [{"id": volume["id"], "delete_on_termination": True}]
        document = server_document(image={"id": image}, **{"os-extended-volumes:volumes_attached": attached})
        expected = [("boot", "image", image), ("attachment", "volume", volume["id"])]
        self.assertEqual(expected, self.links("server", document, volumes=[volume]))


class TestRequests(LineageCase):
    def test_whether_storage_may_have_cloned_an_image(self):
        for cloned, changes in (
            (True, {"disk_format": "raw"}),  # most clouds do not tell where it is
            (True, {"disk_format": "raw", "direct_url": "rbd://fsid/images/i/snap"}),
            (False, {"disk_format": "raw", "direct_url": "file:///images/i"}),
            (False, {"disk_format": "qcow2", "direct_url": "rbd://fsid/images/i/snap"}),
        ):
            image = image_document(**changes)
            self.estate(images=[image])
            found = self.read("image", image)
            self.assertEqual(cloned, found.resources[found.asked].cloned, str(changes))

    def test_one_for_what_is_in_no_list_and_none_for_what_is(self):
        volume = volume_document()
        snapshots = [snapshot_document(volume_id=volume["id"]) for _ in range(20)]
        gone = str(uuid.uuid4())
        self.mocked.http.get(f"{VOLUME}/snapshots/{gone}", status_code=404)
        mapping = [mapping_entry(snapshot_id=i) for i in (snapshots[0]["id"], gone)]
        images = [image_document(block_device_mapping=mapping) for _ in range(5)]
        self.estate(images=images, volumes=[volume], snapshots=snapshots)
        found = self.read("volume", volume)
        self.assertEqual(False, found.resources["snapshot", gone].found)
        self.assertEqual(20, len(found.derived["volume", volume["id"]]))
        lists = ["/v3/volumes/detail", "/v3/snapshots/detail", "/v2.1/servers/detail"]
        self.assertEqual([f"/v3/volumes/{volume['id']}", *lists, f"/v3/snapshots/{gone}"], self.asked())

    def test_a_server_that_only_its_volume_knows(self):
        server = str(uuid.uuid4())
        self.mocked.http.get(f"{COMPUTE}/servers/{server}", status_code=404)
        volume = volume_document(attachments=[{"server_id": server, "device": "/dev/vda"}])
        self.estate(volumes=[volume])
        found = self.read("volume", volume)
        self.assertEqual(False, found.resources["server", server].found)
        self.assertEqual((("server", server),), found.derived["volume", volume["id"]])

    def test_an_image_whose_mapping_cannot_be_read_is_no_obstacle(self):
        volume = volume_document()
        self.estate(images=[image_document(block_device_mapping="{")], volumes=[volume])
        self.assertEqual(2, len(self.read("volume", volume).resources))

    def queries(self):
        return {r.query for r in self.mocked.http.request_history if r.path.endswith("/detail")}

    def test_in_which_project(self):
        volume = volume_document()
        self.estate(volumes=[volume])
        self.read("volume", volume)
        self.assertEqual({"limit=1000"}, self.queries())
        self.mocked.http.reset_mock()
        self.read("volume", volume, all_projects=True)
        self.assertEqual({"limit=1000&all_tenants=1"}, self.queries())
        self.mocked.http.reset_mock()
        self.estate(volumes=[foreign := volume_document(**{"os-vol-tenant-attr:tenant_id": "another"})])
        self.read("volume", foreign)
        self.assertEqual({"limit=1000&all_tenants=1&project_id=another"}, self.queries())
        self.mocked.http.reset_mock()
        self.read("volume", foreign, all_projects=True)
        self.assertEqual({"limit=1000&all_tenants=1"}, self.queries())
        self.mocked.http.reset_mock()
        self.estate(volumes=[own := volume_document(**{"os-vol-tenant-attr:tenant_id": PROJECT})])
        self.read("volume", own)
        self.assertEqual({"limit=1000"}, self.queries())


class TestWithoutBlockStorage(LineageCase):
    def test_absent_is_not_gone(self):
        self.mocked = self.mocked_cloud(block_storage=False, compute=True)
        document = image_document(block_device_mapping=[entry := mapping_entry()])
        self.estate(images=[document])
        found = self.read("image", document)
        self.assertIsNone(found.resources["snapshot", entry["snapshot_id"]].found)
        error = self.assertRaises(errors.ServiceAbsent, self.read, "volume", volume_document())
        self.assertIn("RegionOne", error.message)

    def test_the_volumes_of_a_server_are_known_by_their_ids(self):
        self.mocked = self.mocked_cloud(block_storage=False, compute=True)
        attached = [{"id": str(uuid.uuid4()), "delete_on_termination": True}]
        server = server_document(**{"os-extended-volumes:volumes_attached": attached})
        self.estate(servers=[server])
        found = self.read("server", server)
        self.assertIsNone(found.resources["volume", attached[0]["id"]].found)
        self.assertEqual(2, len(lineage_rows(found)))

    def test_down_is_not_absent(self):
        document = image_document()
        self.estate(images=[document])
        self.mocked.http.get(f"{VOLUME}/volumes/detail", status_code=503)
        self.assertRaises(errors.CloudError, self.read, "image", document)
