# SPDX-License-Identifier: Apache-2.0
"""Sharing as it is typed: rows, notes, what to type next, and the exit code of a check."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from osc_imagetools.tests.unit.base import AUTH, IMAGE, PROJECT, mapping_entry
from osc_imagetools.tests.unit.served import ServedCase

A, B, FOREIGN = (uuid.uuid4().hex for _ in range(3))


class ShareCase(ServedCase):
    def setUp(self) -> None:
        super().setUp()
        projects = [{"id": PROJECT, "name": "demo"}, {"id": A, "name": "acme"}, {"id": B, "name": "example"}]
        self.http.get(f"{AUTH}/auth/projects", json={"projects": projects})
        self.http.get(re.compile(f"{AUTH}/projects"), status_code=403, json={"error": {"message": "no"}})
        self.served.rescope(A, B)

    def accept(self, image: dict[str, Any], project: str) -> None:
        """The image service lets a project accept."""

        def put(request: Any, context: Any) -> Any:
            self.served.members[image["id"]][project] = request.json()["status"]
            return {"member_id": project, "status": "accepted"}

        self.http.put(f"{IMAGE}/v2/images/{image['id']}/members/{project}", json=put)


class TestShare(ShareCase):
    def test_rows_notes_and_what_is_next(self) -> None:
        image = self.served.add_image(b"x", visibility="private")
        code, out, err = self.run_openstack("image", "share", "web01", "--project", "acme", "--project", B,
                                            "--long", "-f", "json")  # fmt: skip
        self.assertEqual(0, code, err)
        rows = {row["Project"]: row for row in json.loads(out)}
        self.assertEqual({A, B}, rows.keys())
        self.assertEqual(("added", "acme"), (rows[A]["Result"], rows[A]["Name"]))
        self.assertIn("a user of the project has to accept it", rows[A]["Detail"])
        self.assertEqual(f"openstack image set --accept {image['id']}", rows[A]["Action"])
        self.assertIn(f"The visibility of image web01 ({image['id']}) was private; it is shared now.", err)
        self.assertEqual({A: "pending", B: "pending"}, self.served.members[image["id"]])
        self.assertEqual("shared", image["visibility"])

    def test_accepted_in_the_own_projects(self) -> None:
        image = self.served.add_image(b"x", visibility="shared")
        self.accept(image, A)
        (row,) = self.rows("image", "share", "web01", "--project", "acme", "--accept")
        self.assertEqual(
            (A, "accepted", "added and accepted"), (row["Project"], row["Result"], row["Detail"])
        )

    def test_dry_run(self) -> None:
        self.served.add_image(b"x", visibility="private")
        steps = self.rows("image", "share", "web01", "--project", "acme", "--accept", "--dry-run")
        actions = [step["Action"] for step in steps]
        self.assertEqual(3, len(actions), str(actions))
        self.assertEqual([], [c for c in self.served.changes() if not c.startswith("POST auth")])

    def test_projects_that_are_not_found_are_told_together(self) -> None:
        self.served.add_image(b"x")
        err = self.fails("image", "share", "web01", "--project", "x1", "--project", "x2")
        for name in ("x1", "x2"):
            self.assertIn(f"this account may not look up a project named '{name}'", err)
        self.assertIn("openstack token issue -c project_id", err)
        self.assertEqual([], self.served.kinds())


class TestUnshare(ShareCase):
    def test_rows(self) -> None:
        image = self.served.add_image(b"x", visibility="shared")
        self.served.members[image["id"]] = {A: "accepted"}
        rows = self.rows("image", "unshare", "web01", "--project", "acme", "--project", "example")
        self.assertEqual({A: "removed", B: "no-member"}, {row["Project"]: row["Result"] for row in rows})
        self.assertEqual({}, self.served.members[image["id"]])

    def test_dry_run(self) -> None:
        image = self.served.add_image(b"x", visibility="shared")
        self.served.members[image["id"]] = {A: "accepted"}
        (step,) = self.rows("image", "unshare", "web01", "--project", "acme", "--dry-run")
        self.assertIn(A, step["Resource"])
        self.assertEqual([], self.served.kinds())

    def test_one_that_everybody_can_use(self) -> None:
        self.served.add_image(b"x", visibility="public")
        err = self.fails("image", "unshare", "web01", "--project", "acme")
        self.assertIn("public", err)
        self.assertEqual([], self.served.kinds())


class TestCheck(ShareCase):
    def check(self, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
        rows = self.rows("image", "share-check", "web01", "--long", *words, code=code)
        return {row["Project"]: row for row in rows}

    def facts(self, row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[key] for key in ("Visible", "Listed", "Downloadable", "Bootable"))

    def test_the_owner_and_the_members(self) -> None:
        image = self.served.add_image(b"data", visibility="shared")
        self.served.members[image["id"]] = {A: "accepted", FOREIGN: "pending"}
        rows = self.check()
        self.assertEqual({PROJECT, A, FOREIGN}, rows.keys())
        self.assertEqual((True, True, True, True), self.facts(rows[PROJECT]))
        self.assertEqual(("acme", (True, True, True, True)), (rows[A]["Name"], self.facts(rows[A])))
        self.assertIsNone(rows[FOREIGN]["Downloadable"])
        self.assertIn("no role", rows[FOREIGN]["Reason"])

    def test_not_visible_to_a_project(self) -> None:
        image = self.served.add_image(b"data", visibility="shared")
        show = self.served._one

        def get(request: Any, context: Any) -> Any:
            if request.headers["X-Auth-Token"] == f"token-{A}":
                context.status_code = 404
                return {}
            return show(self.served.images, image["id"], context)

        self.http.get(f"{IMAGE}/v2/images/{image['id']}", json=get)
        rows = self.check("--project", "acme", code=3)
        self.assertEqual((False, False, False, False), self.facts(rows[A]))

    def test_data_that_cannot_be_read(self) -> None:
        """A role that may not is not the same as data that is gone."""
        image = self.served.add_image(b"data", visibility="shared")
        self.served.members[image["id"]] = {A: "accepted"}
        url = f"{IMAGE}/v2/images/{image['id']}/file"
        self.http.get(url, status_code=403, text="readers may not download")
        row = self.check("--project", "acme")[A]
        self.assertIsNone(row["Downloadable"])
        self.assertIn("readers may not download", row["Reason"])
        self.http.get(url, status_code=410, text="it is gone")
        row = self.check("--project", "acme", code=3)[A]
        self.assertEqual((False, False), (row["Downloadable"], row["Bootable"]))
        self.assertIn("it is gone", row["Reason"])

    def test_an_image_of_no_bytes_boots_nowhere_else(self) -> None:
        volume = self.served.add_volume(b"x")
        snapshot = self.served.add_snapshot(volume)
        snapshot["os-extended-snapshot-attributes:project_id"] = PROJECT
        mapping = [mapping_entry(snapshot_id=snapshot["id"])]
        facts = {"block_device_mapping": json.dumps(mapping), "bdm_v2": "True", "visibility": "shared"}
        image = self.served.add_image(**facts)
        self.served.members[image["id"]] = {A: "accepted"}
        rows = self.check(code=3)
        self.assertIs(True, rows[PROJECT]["Bootable"])
        self.assertEqual((True, True, False, False), self.facts(rows[A]))
        self.assertIn(snapshot["id"], rows[A]["Reason"])

    def test_what_the_current_project_does_not_see_another_may(self) -> None:
        base = self.served.add_image(b"base", name="base", owner=A)
        entries = [
            mapping_entry(source_type="image", snapshot_id=None, image_id=base["id"]),
            mapping_entry(source_type="volume", snapshot_id=None, volume_id="v-gone", boot_index=1),
        ]
        mapping = json.dumps(entries)
        image = self.served.add_image(block_device_mapping=mapping, bdm_v2="True", visibility="shared")
        self.served.members[image["id"]] = {A: "accepted"}
        get = self.served._one

        def show(request: Any, context: Any) -> Any:
            if request.headers["X-Auth-Token"] == "token":
                context.status_code = 404
                return {}
            return get(self.served.images, base["id"], context)

        self.http.get(f"{IMAGE}/v2/images/{base['id']}", json=show)
        rows = self.check("--project", PROJECT, "--project", "acme", code=3)
        self.assertIn(base["id"], rows[PROJECT]["Reason"])
        self.assertIn("v-gone", rows[A]["Reason"])
        self.assertNotIn(base["id"], rows[A]["Reason"])

    def test_of_a_project_that_may_not_read_the_members(self) -> None:
        image = self.served.add_image(b"data", visibility="shared", owner=FOREIGN)
        self.http.get(f"{IMAGE}/v2/images/{image['id']}/members", status_code=403)
        self.assertEqual({PROJECT}, self.check().keys())

    def test_a_public_one_is_checked_for_the_current_project_too(self) -> None:
        self.served.add_image(b"data", visibility="public", owner=A)
        self.assertEqual({A, PROJECT}, self.check().keys())

    def test_projects_that_are_not_found(self) -> None:
        self.served.add_image(b"data")
        self.assertIn("may not look up a project named 'x1'", self.fails("image", "share-check", "web01",
                                                                        "--project", "x1"))  # fmt: skip
