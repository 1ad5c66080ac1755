# SPDX-License-Identifier: Apache-2.0
from urllib.parse import unquote_plus

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

    def have(self, *documents, operators=("eq", "in"), not_listed=()):
        """An image service with these images, and with others that a list has only if it is asked for all."""

        def answer(request, context):
            query = {key: values[0] for key, values in request.qs.items()}
            # requests-mock gives the query in lower case.
            operator, colon, name = unquote_plus(request.query).partition("name=")[2].partition(":")
            if colon and operator not in operators:
                context.status_code = 400
                return {"message": f"Unable to filter by unknown operator '{operator}'."}
            everything = query.get("visibility") == "all" and query.get("member_status") == "all"
            hidden = query.get("os_hidden", "false") == "true"
            found = [*documents, *(not_listed if everything else ())]
            if colon:
                wanted = name.partition("&")[0]
                found = [d for d in found if d["name"].lower() == wanted.lower()]
            return {"images": [d for d in found if bool(d.get("os_hidden")) == hidden]}

        self.http.get(f"{IMAGE}/v2/images", json=answer)
        for document in (*documents, *not_listed):
            self.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)

    def test_a_name_that_looks_like_an_operator(self):
        for name in (
            "ubuntu:22.04",
            "web01 2026-11-27T07:30:00",
            "in:a,b",
            "eq:x",
            "a,b",
            '"a"',
            "<b>",
            "100%",
        ):
            document = image_document(name=name)
            self.have(image_document(), document)
            self.assertEqual(document["id"], find_image(self.cloud, name).id)

    def test_a_service_that_refuses_the_filter(self):
        document = image_document(name="web:01")
        self.have(image_document(), document, operators=())
        self.assertEqual(document["id"], find_image(self.cloud, "web:01").id)

    def test_a_service_that_hides_nothing(self):
        """Before 2.7 os_hidden is a property that no image has: a list of those that have it is empty."""
        document = {k: v for k, v in image_document().items() if k != "os_hidden"}
        self.http.get(f"{IMAGE}/v2/images", json={"images": [document]})
        for state in ("true", "false"):
            self.http.get(f"{IMAGE}/v2/images?os_hidden={state}", json={"images": []})
        self.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)
        found = find_image(self.cloud, "web01")
        self.assertEqual((document["id"], False), (found.id, found.replayable()["os_hidden"]))

    def test_one_that_no_list_has(self):
        """Shared and not accepted, or a community image; it does not get in the way of the own one."""
        shared = image_document(owner="p2", visibility="community")
        self.have(not_listed=[shared])
        self.assertEqual(shared["id"], find_image(self.cloud, "web01").id)
        own = image_document()
        self.have(own, not_listed=[shared])
        self.assertEqual(own["id"], find_image(self.cloud, "web01").id)

    def test_by_id(self):
        document = image_document()
        self.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)
        self.assertEqual(document["id"], find_image(self.cloud, document["id"]).id)

    def test_by_name_also_a_hidden_one(self):
        document = image_document(os_hidden=True)
        self.have(document)
        self.assertEqual(document["id"], find_image(self.cloud, "web01").id)

    def test_several_are_listed(self):
        documents = [image_document(), image_document(os_hidden=True)]
        self.have(*documents)
        error = self.assertRaises(errors.ResourceAmbiguous, find_image, self.cloud, "web01")
        for document in documents:
            self.assertIn(document["id"], str(error))

    def test_none(self):
        self.have(image_document(name="web02"))
        self.assertRaises(errors.ResourceNotFound, find_image, self.cloud, "web01")

    def test_a_name_is_never_a_path_or_a_query(self):
        self.have()
        for name in ("../stores", "a?b", "a/file", "..", ""):
            self.assertRaises(errors.ResourceNotFound, find_image, self.cloud, name)
        self.assertEqual({"/v2/images"}, {r.path for r in self.http.request_history if "/v2/" in r.path})

    def test_pages(self):
        first, second = image_document(), image_document()
        self.http.get(f"{IMAGE}/v2/images", json={"images": [first], "next": "/v2/images?x"})
        self.http.get(f"{IMAGE}/v2/images?os_hidden=true", json={"images": []})
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
