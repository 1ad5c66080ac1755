# SPDX-License-Identifier: Apache-2.0
import uuid
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.project import Project, find_project, find_projects, own_projects
from osc_imagetools.tests.unit.base import AUTH, PROJECT, TestCase

OWN = Project(PROJECT, "demo")
FORBIDDEN: dict[str, Any] = {"status_code": 403, "json": {"error": {"message": "no"}}}


class ProjectCase(TestCase):
    def setUp(self):
        super().setUp()
        mocked = self.mocked_cloud()
        self.http, self.cloud = mocked.http, mocked.cloud

    def lookup(self, word, *, one=None, named=None):
        """What the identity service answers about a word as an ID, and as a name (None: forbidden)."""
        self.http.get(f"{AUTH}/projects/{word}", **(FORBIDDEN if one is None else one))
        answer = FORBIDDEN if named is None else {"json": {"projects": named}}
        self.http.get(f"{AUTH}/projects?name={word}", **answer)


class TestFindProject(ProjectCase):
    def test_a_name_of_the_account_s_own_needs_no_right(self):
        self.lookup("demo")
        self.assertEqual(OWN, find_project(self.cloud, "demo", own=[OWN]))

    def test_an_id_of_the_account_s_own_needs_no_request(self):
        self.assertEqual(OWN, find_project(self.cloud, PROJECT, own=[OWN]))

    def test_an_id_that_may_not_be_looked_up_is_taken_as_it_is(self):
        for word in (uuid.uuid4().hex, str(uuid.uuid4())):
            self.lookup(word)
            self.assertEqual(Project(word, None), find_project(self.cloud, word))

    def test_a_name_that_may_not_be_looked_up_is_refused(self):
        self.lookup("acme")
        error = self.assertRaises(errors.Forbidden, find_project, self.cloud, "acme")
        self.assertIn("ID", str(error.hint))

    def test_an_administrator_finds_by_id_and_by_name(self):
        document = {"id": uuid.uuid4().hex, "name": "acme"}
        self.lookup(document["id"], one={"json": {"project": document}})
        self.assertEqual("acme", find_project(self.cloud, document["id"]).name)
        self.lookup("acme", one={"status_code": 404}, named=[document])
        self.assertEqual(document["id"], find_project(self.cloud, "acme").id)

    def test_several_and_none(self):
        twins = [{"id": uuid.uuid4().hex, "name": "acme"} for _ in range(2)]
        self.lookup("acme", one={"status_code": 404}, named=twins)
        error = self.assertRaises(errors.ResourceAmbiguous, find_project, self.cloud, "acme")
        self.assertIn(twins[1]["id"], str(error))
        unknown = uuid.uuid4().hex
        self.lookup(unknown, one={"status_code": 404}, named=[])
        self.assertRaises(errors.ResourceNotFound, find_project, self.cloud, unknown)

    def test_a_namesake_elsewhere_makes_an_own_name_ambiguous(self):
        document = {"id": uuid.uuid4().hex, "name": "demo"}
        self.lookup("demo", one={"status_code": 404}, named=[document])
        self.assertRaises(errors.ResourceAmbiguous, find_project, self.cloud, "demo", own=[OWN])

    def test_no_word_is_another_path(self):
        for word in ("", ".", ".."):
            self.assertRaises(errors.ResourceNotFound, find_project, self.cloud, word)

    def test_each_once_and_all_problems(self):
        self.lookup("demo")
        self.lookup("acme")
        self.lookup("nadir")
        found, problems = find_projects(self.cloud, ["demo", "acme", PROJECT, "nadir"], (OWN,))
        self.assertEqual((OWN,), found)
        self.assertEqual(2, len(problems))


class TestOwnProjects(ProjectCase):
    def test_with_their_names(self):
        document = {"id": PROJECT, "name": "demo", "enabled": True}
        self.http.get(f"{AUTH}/auth/projects", json={"projects": [document]})
        self.assertEqual((OWN,), own_projects(self.cloud))

    def test_not_told(self):
        self.http.get(f"{AUTH}/auth/projects", **FORBIDDEN)
        self.assertIsNone(own_projects(self.cloud))
