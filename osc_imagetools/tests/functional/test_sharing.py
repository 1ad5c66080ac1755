# SPDX-License-Identifier: Apache-2.0
"""Sharing between projects: what the other project really sees, and what it can boot.

The user of ``devcloud-demo`` is a member of the projects demo and other, that of ``devcloud-other`` of other
alone, and nobody here of small.
"""

import json

import fixtures

from osc_imagetools.tests.functional import base, storage

DEMO, OTHER = "devcloud-demo", "devcloud-other"


class SharingCase(base.TestCase):
    demo: str
    other: str
    small: str

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls.shared()
        clouds = (DEMO, OTHER, "devcloud-small")
        cls.demo, cls.other, cls.small = (str(case.connection(c).current_project_id) for c in clouds)

    def rows(self, *words, cloud=DEMO, code=0):
        """The rows of a command by project."""
        result = self.openstack("image", *words, "-f", "json", cloud=cloud, code=code)
        return {row["Project"]: row for row in result.json}

    def share(self, image, *projects, verb="share", more=(), cloud=DEMO, code=0):
        options = [word for project in projects for word in ("--project", project)]
        return self.rows(verb, image, *options, *more, cloud=cloud, code=code)

    def document(self, image, cloud=DEMO):
        return self.connection(cloud).image.get(f"/images/{image}").json()

    def members(self, image, cloud=DEMO):
        answer = self.connection(cloud).image.get(f"/images/{image}/members")
        return {m["member_id"]: m["status"] for m in answer.json()["members"]}

    def seen(self, image, cloud=OTHER):
        """(visible, listed) in another project."""
        glance = self.connection(cloud).image
        listed = glance.get("/images", params={"id": f"in:{image}"}).json()["images"]
        return glance.get(f"/images/{image}").status_code == 200, bool(listed)


class TestShare(SharingCase):
    def test_an_account_in_both_projects(self):
        image = self.image(b"x" * 4096, visibility="private")
        words = ("--project", base.project("other"), "--project", self.small, "--accept")
        steps = self.openstack("image", "share", image, *words, "--dry-run", "-f", "json").json
        actions = ["set visibility", "add member", "add member", "accept"]
        self.assertEqual(actions, [step["Action"] for step in steps])
        self.assertEqual("private", self.document(image)["visibility"])

        rows = self.share(image, base.project("other"), self.small, more=["--accept"])
        self.assertEqual(
            ("accepted", "added"), (rows[self.other]["Result"], rows[self.small]["Result"]), str(rows)
        )
        self.assertIn("private", rows[self.other]["Detail"])
        self.assertIn("no role", rows[self.small]["Detail"])
        self.assertEqual({self.other: "accepted", self.small: "pending"}, self.members(image))
        self.assertEqual((True, True), self.seen(image))
        self.assertEqual((True, False), self.seen(image, "devcloud-small"))

        updated = self.document(image)["updated_at"]
        rows = self.share(image, self.other, self.small, base.project("demo"), more=["--accept"])
        results = [rows[project]["Result"] for project in (self.other, self.small, self.demo)]
        self.assertEqual(["accepted", "pending", "exempt"], results)
        self.assertEqual(updated, self.document(image)["updated_at"])
        self.assertEqual({self.other: "accepted", self.small: "pending"}, self.members(image))

        rows = self.share(image, base.project("other"), self.demo, verb="unshare")
        self.assertEqual(["removed", "no-member"], [rows[p]["Result"] for p in (self.other, self.demo)])
        self.assertEqual((False, False), self.seen(image))

    def test_an_account_in_one_project(self):
        image = self.image(b"x" * 4096, cloud=OTHER)
        self.addCleanup(self.remove_image, image, OTHER)
        refused = self.openstack(
            "image", "share", image, "--project", base.project("demo"), cloud=OTHER, code=1
        )
        self.assertIn("[forbidden]", refused.err)
        rows = self.share(image, self.demo, more=["--accept"], cloud=OTHER)
        self.assertEqual("added", rows[self.demo]["Result"])
        self.assertEqual({self.demo: "pending"}, self.members(image, OTHER))
        foreign = self.openstack("image", "share", image, "--project", self.small, cloud=DEMO, code=1)
        self.assertIn("owner", foreign.err)

    def test_a_login_that_is_bound_to_its_project(self):
        identity = self.connection().identity
        user = self.connection().current_user_id
        path = f"/users/{user}/application_credentials"
        made = identity.post(path, json={"application_credential": {"name": self.name}}).json()
        credential = made["application_credential"]
        self.addCleanup(identity.delete, f"{path}/{credential['id']}")
        auth = {
            "auth_url": self.connection().config.get_auth_args()["auth_url"],
            "application_credential_id": credential["id"],
            "application_credential_secret": credential["secret"],
        }
        cloud = {"auth_type": "v3applicationcredential", "auth": auth, "region_name": "RegionOne"}
        config = self.dir / "clouds.json"
        config.write_text(json.dumps({"clouds": {"bound": cloud}}))
        image = self.image(b"x" * 4096)
        words = ("image", "share", image, "--project", base.project("other"), "--accept", "-f", "json")
        with fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(config)):
            (row,) = self.openstack(*words, cloud="bound").json
        self.assertEqual(("added", self.other), (row["Result"], row["Project"]))
        self.assertIn("delegated token", row["Detail"])
        self.assertEqual({self.other: "pending"}, self.members(image))

    def test_all_or_none_at_the_limit(self):
        """The cloud allows 128 members; those of an earlier sharing count, though nobody sees them."""
        glance = self.connection().image
        image = self.image(b"x" * 4096, visibility="shared")
        for number in range(127):
            glance.post(f"/images/{image}/members", json={"member": f"{number:032x}"})
        before = self.members(image)
        self.assertEqual(127, len(before))
        kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        change = [{"op": "replace", "path": "/visibility", "value": "private"}]
        glance.patch(f"/images/{image}", json=change, headers=kind)
        words = ("image", "share", image, "--project", self.other, "--project", self.small)
        refused = self.openstack(*words, code=1)
        self.assertIn("Maximum: 128", refused.err)
        self.assertNotIn("may still exist", refused.err)
        self.assertEqual("private", self.document(image)["visibility"])
        shared = self.openstack(*words[:5])
        self.assertIn(f"{5:032x}", shared.err)
        self.assertEqual({**before, self.other: "pending"}, self.members(image))

    def test_an_image_for_everybody(self):
        image = self.image(b"x" * 4096, cloud="devcloud-demo-admin", visibility="public")
        rows = self.share(image, base.project("other"), cloud="devcloud-demo-admin")
        self.assertEqual("exempt", rows[self.other]["Result"])
        refused = self.openstack(
            "image", "unshare", image, "--project", base.project("other"), cloud="devcloud-demo-admin", code=1
        )
        self.assertIn("public", refused.err)
        self.assertEqual("public", self.document(image)["visibility"])

    def test_all_problems_before_any_effect(self):
        image = self.image(b"x" * 4096, visibility="private")
        words = ("--project", base.project("other"), "--project", "acme", "--project", "nadir")
        refused = self.openstack("image", "share", image, *words, code=1)
        for text in ("acme", "nadir", "[not-possible]"):
            self.assertIn(text, refused.err)
        self.assertEqual("private", self.document(image)["visibility"])


class TestShareCheck(SharingCase):
    def check(self, image, *words, cloud=DEMO, code=0):
        rows = self.rows("share-check", image, *words, cloud=cloud, code=code)
        keys = ("Visible", "Listed", "Downloadable", "Bootable")
        return {project: tuple(row[key] for key in keys) for project, row in rows.items()}

    def test_an_image_with_data_in_a_store_that_refuses_ranges(self):
        image = self.image(
            b"x" * 4096, store=storage.NO_RANGES, members=[self.other, self.small], visibility="shared"
        )
        expected = {
            self.demo: (True, True, True, True),
            self.other: (True, False, True, True),
            self.small: (True, False, None, None),
        }
        self.assertEqual(expected, self.check(image))
        self.assertEqual({self.other: (True, False, True, True)}, self.check(image, cloud=OTHER))
        self.share(image, base.project("other"), self.small, verb="unshare")
        gone = self.check(image, "--project", base.project("other"), "--project", self.small, code=3)
        self.assertEqual({self.other: (False,) * 4, self.small: (False,) * 4}, gone)

    def test_the_image_of_a_server_cannot_boot_elsewhere(self):
        volume = self.volume()
        cinder = self.connection().block_storage
        snapshot = cinder.create_snapshot(volume_id=volume, name=self.name)
        self.wait(lambda: cinder.get_snapshot(snapshot.id).status, "available")
        entry = {
            "source_type": "snapshot",
            "destination_type": "volume",
            "snapshot_id": snapshot.id,
            "device_name": "/dev/vda",
            "boot_index": 0,
            "volume_size": 1,
        }
        image = self.image(
            b"", bdm_v2="True", root_device_name="/dev/vda", block_device_mapping=json.dumps([entry])
        )
        shared = self.openstack("image", "share", image, "--project", base.project("other"), "--accept")
        self.assertIn("0 bytes", shared.err)
        expected = {self.demo: (True, True, False, True), self.other: (True, True, False, False)}
        self.assertEqual(expected, self.check(image, code=3))
        self.assertEqual({self.other: (True, True, False, False)}, self.check(image, cloud=OTHER, code=3))
        self.assertEqual((True, True), self.seen(image))
        # What was said comes true.
        nova = self.connection(OTHER).compute
        flavor = nova.find_flavor("tiny", ignore_missing=False).id
        server = {"name": self.name, "imageRef": image, "flavorRef": flavor, "networks": "none"}
        answer = nova.post("/servers", json={"server": server}, microversion="2.37")
        self.assertEqual(400, answer.status_code, answer.text)
        self.assertIn(snapshot.id, answer.text)
        cinder.delete_snapshot(snapshot.id)
        self.wait(lambda: cinder.find_snapshot(snapshot.id, ignore_missing=True), None)
        self.assertEqual((True, True, False, False), self.check(image, code=3)[self.demo])
