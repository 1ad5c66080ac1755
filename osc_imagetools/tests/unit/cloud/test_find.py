# SPDX-License-Identifier: Apache-2.0
from osc_imagetools import errors
from osc_imagetools.cloud.volume import find_snapshot, find_volume
from osc_imagetools.tests.unit.base import VOLUME, TestCase, snapshot_document, volume_document


class TestFind(TestCase):
    def setUp(self):
        super().setUp()
        mocked = self.mocked_cloud()
        self.cloud, self.http = mocked.cloud, mocked.http

    def volumes(self, *documents, asked="data"):
        self.http.get(f"{VOLUME}/volumes/{asked}", status_code=404)
        self.http.get(f"{VOLUME}/volumes/detail?name={asked}", json={"volumes": documents})
        for document in documents:
            self.http.get(f"{VOLUME}/volumes/{document['id']}", json={"volume": document})

    def test_an_id(self):
        volume = volume_document(attachments=[{"server_id": "s1", "device": "/dev/vdb"}])
        self.http.get(f"{VOLUME}/volumes/{volume['id']}", json={"volume": volume})
        found = find_volume(self.cloud, volume["id"])
        self.assertEqual((volume["id"], "s1"), (found.id, found.attachments[0].server_id))

    def test_a_name(self):
        volume = volume_document(name="data")
        self.volumes(volume, volume_document(name="database"))
        self.assertEqual(volume["id"], find_volume(self.cloud, "data").id)

    def test_a_name_of_several(self):
        twins = [volume_document(name="data"), volume_document(name="data", size=7)]
        self.volumes(*twins)
        error = self.assertRaises(errors.ResourceAmbiguous, find_volume, self.cloud, "data")
        for text in (twins[0]["id"], twins[1]["id"], "7 GiB"):
            self.assertIn(text, str(error))

    def test_nothing(self):
        self.volumes(volume_document(name="database"))
        error = self.assertRaises(errors.ResourceNotFound, find_volume, self.cloud, "data")
        self.assertIn("openstack volume list", str(error))

    def test_a_name_that_could_leave_the_path(self):
        self.http.get(f"{VOLUME}/snapshots/..%2Fvolumes", status_code=404)
        document = snapshot_document(name="../volumes")
        self.http.get(f"{VOLUME}/snapshots/detail", json={"snapshots": [document]})
        self.http.get(f"{VOLUME}/snapshots/{document['id']}", json={"snapshot": document})
        self.assertEqual(document["id"], find_snapshot(self.cloud, "../volumes").id)
