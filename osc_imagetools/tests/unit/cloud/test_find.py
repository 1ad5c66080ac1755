# SPDX-License-Identifier: Apache-2.0
import uuid

from osc_imagetools import errors
from osc_imagetools.cloud.server import find_server
from osc_imagetools.cloud.volume import find_snapshot, find_volume
from osc_imagetools.tests.unit.base import COMPUTE, VOLUME, TestCase, snapshot_document, volume_document


class TestFind(TestCase):
    def setUp(self):
        super().setUp()
        mocked = self.mocked_cloud(compute=True)
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

    def test_a_name_that_is_a_path(self):
        """Of a list, or of nothing that has an ID."""
        for name in ("detail", "summary", "..", "a/b"):
            volume = volume_document(name=name)
            self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": [volume]})
            self.http.get(f"{VOLUME}/volumes/{volume['id']}", json={"volume": volume})
            self.assertEqual(volume["id"], find_volume(self.cloud, name).id)
        self.http.get(f"{COMPUTE}/servers/detail", json={"servers": []})
        self.assertRaises(errors.ResourceNotFound, find_server, self.cloud, "detail")

    def test_a_name_that_an_older_cinder_takes_for_a_literal(self):
        self.http.get(f"{VOLUME}/volumes/detail?name", json={"volumes": []})
        for name in ("'quoted'", "5", "[1]", "True"):
            volume = volume_document(name=name)
            self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": [volume, volume_document()]})
            self.http.get(f"{VOLUME}/volumes/{volume['id']}", json={"volume": volume})
            self.assertEqual(volume["id"], find_volume(self.cloud, name).id)
            (asked,) = [r.qs for r in self.http.request_history if r.path.endswith("/detail")][-1:]
            self.assertNotIn("name", asked)

    def test_a_filter_that_is_refused(self):
        server = {"id": str(uuid.uuid4()), "name": "(web"}

        def answer(request, context):
            context.status_code = 400 if "name" in request.qs else 200
            return {"servers": [server, {"id": "s2", "name": "web"}]}

        self.http.get(f"{COMPUTE}/servers/detail", json=answer)
        self.http.get(f"{COMPUTE}/servers/{server['id']}", json={"server": server})
        self.assertEqual(server["id"], find_server(self.cloud, "(web").id)

    def test_an_empty_name_means_nothing(self):
        self.http.get(f"{VOLUME}/volumes/detail", json={"volumes": [volume_document(name="")]})
        self.assertRaises(errors.ResourceNotFound, find_volume, self.cloud, "")

    def test_a_name_that_could_leave_the_path(self):
        document = snapshot_document(name="../volumes")
        self.http.get(f"{VOLUME}/snapshots/detail", json={"snapshots": [document]})
        self.http.get(f"{VOLUME}/snapshots/{document['id']}", json={"snapshot": document})
        self.assertEqual(document["id"], find_snapshot(self.cloud, "../volumes").id)
