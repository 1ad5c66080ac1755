# SPDX-License-Identifier: Apache-2.0
import io
import uuid

from osc_imagetools import errors
from osc_imagetools.cloud.image import Member, get_image
from osc_imagetools.cloud.project import Project
from osc_imagetools.sharing.execute import share, unshare
from osc_imagetools.sharing.inventory import SharingInventory, sharing
from osc_imagetools.sharing.inventory_check import share_inventory
from osc_imagetools.sharing.plan import plan_share, plan_unshare
from osc_imagetools.sharing.report import notes, share_rows, unshare_rows
from osc_imagetools.tests.unit.base import AUTH, IMAGE, PROJECT, TestCase, image_document

A, B = Project(uuid.uuid4().hex, "a"), Project(uuid.uuid4().hex, "b")
FULL = {"status_code": 413, "text": "Attempted: 129, Maximum: 128"}


class SharingCase(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud()
        self.http, self.cloud = self.mocked.http, self.mocked.cloud

    def image(self, members=(), **changes):
        document = image_document(**changes)
        self.path = f"/v2/images/{document['id']}"
        self.url = f"{IMAGE}{self.path}"
        self.http.get(self.url, json=document)
        self.http.patch(self.url, json=document)
        entries = [{"member_id": m.project_id, "status": m.status} for m in members]
        self.http.get(f"{self.url}/members", json={"members": entries})
        self.http.post(f"{self.url}/members", json={})
        return document

    def found(self, *projects, members=(), **changes):
        document = self.image(members, **changes)
        return SharingInventory(get_image(self.cloud, document["id"]), projects)

    def changes(self):
        """(method, path below the image, body) of what has changed something, in order."""
        return [
            (r.method, r.path.removeprefix(self.path), r.json() if r.text else None)
            for r in self.http.request_history
            if r.hostname == "image.test" and r.method != "GET"
        ]


class TestShare(SharingCase):
    def test_none_is_added_when_one_is_refused(self):
        found = self.found(A, B)
        self.http.post(f"{self.url}/members", [{"json": {}}, FULL])
        self.http.delete(f"{self.url}/members/{A.id}", status_code=204)
        error = self.assertRaises(errors.CloudError, share, self.cloud, plan_share(found, accept=False))
        self.assertIn("Maximum: 128", error.message)
        self.assertEqual((), error.left)
        methods = [(method, path) for method, path, _ in self.changes()]
        members = "/members"
        expected = [
            *(("PATCH", ""), ("POST", members), ("POST", members)),
            *(("DELETE", f"{members}/{A.id}"), ("PATCH", "")),
        ]
        self.assertEqual(expected, methods)
        self.assertEqual("private", self.changes()[-1][2][0]["value"])

    def test_a_refusal_that_comes_first_needs_no_undoing(self):
        found = self.found(A)
        self.http.patch(self.url, status_code=403)
        error = self.assertRaises(errors.Forbidden, share, self.cloud, plan_share(found, accept=False))
        self.assertEqual((), error.left)
        self.assertEqual(1, len(self.changes()))

    def test_what_cannot_be_undone_is_left(self):
        found = self.found(A, B, visibility="shared")
        self.http.post(f"{self.url}/members", [{"json": {}}, FULL])
        self.http.delete(f"{self.url}/members/{A.id}", status_code=503)
        error = self.assertRaises(errors.CloudError, share, self.cloud, plan_share(found, accept=False))
        self.assertIn(A.id, error.left[0])

    def test_accepts_as_the_project_itself(self):
        self.mocked.rescope(A.id)
        found = self.found(A, visibility="shared")
        self.http.put(f"{self.url}/members/{A.id}", json={})
        report = share(self.cloud, plan_share(found, accept=True))
        (request,) = [r for r in self.http.request_history if r.method == "PUT"]
        self.assertEqual(f"token-{A.id}", request.headers["X-Auth-Token"])
        self.assertEqual({"status": "accepted"}, request.json())
        self.assertEqual([(A.id, "accepted", "added and accepted", "a", "")], list(share_rows(report)))

    def test_a_refused_acceptance_is_told_and_the_member_stays(self):
        self.mocked.rescope(A.id)
        found = self.found(A, visibility="shared")
        self.http.put(f"{self.url}/members/{A.id}", status_code=403, text="readers may not")
        ((_, result, detail, _, action),) = share_rows(share(self.cloud, plan_share(found, accept=True)))
        self.assertEqual("added", result)
        self.assertIn("readers may not", detail)
        self.assertEqual(f"openstack image set --accept {found.image.id}", action)
        self.assertEqual(["POST", "PUT"], [method for method, _, _ in self.changes()])

    def test_members_of_an_earlier_sharing(self):
        members = [Member(A.id, "accepted"), Member(B.id, "accepted")]
        document = self.image(members)
        plan = plan_share(SharingInventory(get_image(self.cloud, document["id"]), (A,)), accept=False)
        self.http.get(self.url, json={**document, "visibility": "shared"})
        report = share(self.cloud, plan)
        self.assertEqual(["PATCH"], [method for method, _, _ in self.changes()])
        self.assertEqual((B.id,), report.former_members)
        self.assertIn(B.id, list(notes(report))[1])
        ((_, result, *_),) = share_rows(report)
        self.assertEqual("accepted", result)

    def test_somebody_else_was_quicker(self):
        found = self.found(A, visibility="shared")
        self.http.post(f"{self.url}/members", status_code=409)
        ((_, result, *_),) = share_rows(share(self.cloud, plan_share(found, accept=False)))
        self.assertEqual("pending", result)


class TestUnshare(SharingCase):
    members = (Member(A.id, "accepted"), Member(B.id, "pending"))

    def test_members_go(self):
        found = self.found(A, B, members=self.members, visibility="shared")
        self.http.delete(f"{self.url}/members/{A.id}", status_code=204)
        self.http.delete(f"{self.url}/members/{B.id}", status_code=404)
        rows = list(unshare_rows(unshare(self.cloud, plan_unshare(found))))
        self.assertEqual([(A.id, "removed"), (B.id, "removed")], [row[:2] for row in rows])

    def test_a_failure_says_what_is_done(self):
        found = self.found(A, B, members=self.members, visibility="shared")
        self.http.delete(f"{self.url}/members/{A.id}", status_code=204)
        self.http.delete(f"{self.url}/members/{B.id}", status_code=503)
        error = self.assertRaises(errors.CloudError, unshare, self.cloud, plan_unshare(found))
        self.assertIn(A.id, error.message)


class TestReach(SharingCase):
    """In which projects this login can act."""

    def reach(self, *own):
        document = self.image()
        projects = [{"id": p.id, "name": p.name} for p in own]
        self.http.get(f"{AUTH}/auth/projects", json={"projects": projects})
        for project in (A, B):
            self.http.get(f"{AUTH}/projects/{project.id}", status_code=403)
            self.http.get(f"{AUTH}/projects?name={project.id}", status_code=403)
        return sharing(self.cloud, document["id"], [A.id, B.id], reach=True).refused

    def test_where_it_has_a_role(self):
        self.mocked.rescope(A.id)
        self.assertEqual({B.id: "this account has no role in it"}, self.reach(A))

    def test_a_login_that_is_bound_to_its_project(self):
        self.mocked.rescope()
        refused = self.reach(A)
        self.assertEqual({A.id, B.id}, set(refused))
        message = {"error": {"message": "Using a delegated token to create another token is not allowed."}}
        kind = {"Content-Type": "application/json"}
        self.http.post(f"{AUTH}/auth/tokens", status_code=403, json=message, headers=kind)
        self.assertIn("delegated", self.reach(A)[A.id])

    def test_the_identity_service_is_down(self):
        self.mocked.rescope()
        self.cloud.origin  # noqa: B018 - logs in
        self.http.post(f"{AUTH}/auth/tokens", status_code=503)
        self.assertRaises(errors.CloudError, self.cloud.in_project, A.id)


class Unreadable(io.RawIOBase):
    """A body that must not be read."""

    def readinto(self, buffer):
        raise AssertionError("the data was read")

    def readable(self):
        return True


class TestShareCheck(SharingCase):
    def test_asks_as_the_project_and_reads_no_data(self):
        self.mocked.rescope(A.id)
        document = self.image([Member(A.id, "accepted")], visibility="shared")
        self.http.get(f"{AUTH}/auth/projects", json={"projects": [{"id": A.id, "name": "a"}]})
        self.http.get(f"{IMAGE}/v2/images?id=in:{document['id']}", json={"images": []})
        body = Unreadable()
        self.http.get(f"{self.url}/file", body=body)
        owner, view = share_inventory(self.cloud, document["id"], []).views
        self.assertEqual((A, True, False, True), (view.project, view.visible, view.listed, view.opens))
        self.assertEqual(PROJECT, owner.project.id)
        tokens = {r.headers["X-Auth-Token"] for r in self.http.request_history if r.path.endswith("/file")}
        self.assertEqual({"token", f"token-{A.id}"}, tokens)
        self.assertTrue(body.closed)

    def chosen(self, members=(), **changes):
        self.mocked.rescope()
        document = self.image(members, **changes)
        self.http.get(f"{AUTH}/auth/projects", json={"projects": []})
        self.http.get(f"{IMAGE}/v2/images?id=in:{document['id']}", json={"images": []})
        self.http.get(f"{self.url}/file", body=Unreadable())
        views = share_inventory(self.cloud, document["id"], []).views
        return [view.project.id for view in views]

    def test_whom_it_asks_if_nobody_is_named(self):
        self.assertEqual([PROJECT], self.chosen())
        members = [Member(A.id, "accepted")]
        self.assertEqual([PROJECT, A.id], self.chosen(members, visibility="shared"))
        self.assertEqual(["another", PROJECT], self.chosen(visibility="public", owner="another"))
        itself = [Member(PROJECT, "accepted")]
        self.assertEqual([PROJECT], self.chosen(itself, visibility="shared", owner="another"))

    def test_unknown_projects_are_listed_together(self):
        document = self.image()
        self.http.get(f"{AUTH}/auth/projects", json={"projects": []})
        for word in ("x", "y"):
            self.http.get(f"{AUTH}/projects/{word}", status_code=404)
        self.http.get(f"{AUTH}/projects", json={"projects": []})
        error = self.assertRaises(errors.Unready, share_inventory, self.cloud, document["id"], ["x", "y"])
        self.assertEqual(2, len(error.problems))
