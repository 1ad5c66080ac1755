# SPDX-License-Identifier: Apache-2.0
from osc_imagetools import errors
from osc_imagetools.cloud.image import find_image, get_image, read_image
from osc_imagetools.tests.unit.base import IMAGE, PROJECT, TestCase, image_document


class TestReadImage(TestCase):
    def test_what_is_replayed_and_what_is_observed(self):
        document = image_document(
            os_distro="debian",
            os_glance_importing_to_stores="file",
            direct_url="swift+https://user:secret@host/x",
            locations=[{"url": "rbd://secret"}],
            tags=["b", "a"],
        )
        image = read_image(document, members=())
        self.assertEqual({"os_distro": "debian"}, dict(image.properties))
        self.assertEqual(["a", "b"], image.replayable()["tags"])
        self.assertEqual("file", image.observed()["os_glance_importing_to_stores"])
        for facts in (image.replayable(), image.observed(), image.document):
            self.assertNotIn("secret", str(facts))
        both = set(image.replayable()) & set(image.observed())
        self.assertEqual(set(), both)

    def test_nothing_of_the_document_gets_lost(self):
        document = image_document(custom="x")
        image = read_image(document, members=())
        kept = {**image.replayable(), **image.replayable()["properties"], **image.observed()}
        lost = set(document) - set(kept) - {"self", "file", "schema"}
        self.assertEqual(set(), lost)


class TestFindImage(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud()
        self.http, self.cloud = self.mocked.http, self.mocked.cloud

    def found_by_name(self, visible=(), hidden=()):
        self.http.get(f"{IMAGE}/v2/images/web01", status_code=404)
        for state, documents in (("false", visible), ("true", hidden)):
            self.http.get(f"{IMAGE}/v2/images?name=web01&os_hidden={state}", json={"images": list(documents)})
        for document in (*visible, *hidden):
            self.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)

    def test_by_id(self):
        document = image_document()
        self.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)
        self.assertEqual(document["id"], find_image(self.cloud, document["id"]).id)

    def test_by_name_also_a_hidden_one(self):
        document = image_document(os_hidden=True)
        self.found_by_name(hidden=[document])
        self.assertEqual(document["id"], find_image(self.cloud, "web01").id)

    def test_several_are_listed(self):
        documents = [image_document(), image_document(os_hidden=True)]
        self.found_by_name(visible=documents[:1], hidden=documents[1:])
        error = self.assertRaises(errors.ResourceAmbiguous, find_image, self.cloud, "web01")
        for document in documents:
            self.assertIn(document["id"], str(error))

    def test_none(self):
        self.found_by_name()
        self.assertRaises(errors.ResourceNotFound, find_image, self.cloud, "web01")

    def test_a_name_is_never_a_path_or_a_query(self):
        self.http.get(f"{IMAGE}/v2/images", json={"images": []})
        for name, quoted in (("../stores", "..%2fstores"), ("a?b", "a%3fb")):
            self.http.get(f"{IMAGE}/v2/images/{quoted}", status_code=404)
            self.assertRaises(errors.ResourceNotFound, find_image, self.cloud, name)

    def test_pages(self):
        first, second = image_document(), image_document()
        self.http.get(f"{IMAGE}/v2/images/web01", status_code=404)
        self.http.get(f"{IMAGE}/v2/images?os_hidden=true", json={"images": []})
        self.http.get(f"{IMAGE}/v2/images?os_hidden=false", json={"images": [first], "next": "/v2/images?x"})
        self.http.get(f"{IMAGE}/v2/images?marker={first['id']}", json={"images": [second]})
        error = self.assertRaises(errors.ResourceAmbiguous, find_image, self.cloud, "web01")
        self.assertIn(second["id"], str(error))


class TestMembers(TestCase):
    def members(self, owner=PROJECT, **answer):
        mocked = self.mocked_cloud()
        document = image_document(visibility="shared", owner=owner)
        mocked.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)
        mocked.http.get(f"{IMAGE}/v2/images/{document['id']}/members", **answer)
        return get_image(mocked.cloud, document["id"]).members

    def test_in_a_fixed_order(self):
        members = [{"member_id": m, "status": "pending"} for m in ("b", "a")]
        self.assertEqual(["a", "b"], [m.project_id for m in self.members(json={"members": members})])

    def test_what_a_member_sees_is_not_the_whole_list(self):
        members = {"members": [{"member_id": PROJECT, "status": "accepted"}]}
        self.assertIsNone(self.members(owner="another", json=members))

    def test_not_readable_is_not_none_at_all(self):
        self.assertIsNone(self.members(status_code=403))


class TestStatus(TestCase):
    def error(self, **answer):
        mocked = self.mocked_cloud()
        mocked.http.get(f"{IMAGE}/v2/images/x", **answer)
        return self.assertRaises(errors.ImagetoolsError, get_image, mocked.cloud, "x")

    def test_of_every_kind(self):
        self.assertIsInstance(self.error(status_code=404), errors.ResourceNotFound)
        self.assertIsInstance(self.error(status_code=403), errors.Forbidden)
        for status in (400, 500, 503):
            self.assertIsInstance(self.error(status_code=status), errors.CloudError)

    def test_html_and_json_messages_are_told_in_one_line(self):
        html = "<html><head><title>503</title></head><body><h1>No  service</h1></body></html>"
        self.assertIn("No service", str(self.error(status_code=503, text=html)))
        document = {"error": {"message": "Broken\nthing", "code": 500}}
        self.assertIn("Broken thing", str(self.error(status_code=500, json=document)))

    def test_no_json(self):
        self.assertIsInstance(self.error(text="what?"), errors.CloudError)
