# SPDX-License-Identifier: Apache-2.0
from osc_imagetools.cloud.image import Member, read_image
from osc_imagetools.cloud.project import Project
from osc_imagetools.sharing.inventory_check import ImageDataSource, ProjectView, ShareInventory
from osc_imagetools.sharing.plan_check import judge
from osc_imagetools.tests.unit.base import PROJECT, TestCase, image_document, mapping_entry

OWNER, A, B = Project(PROJECT, "demo"), Project("a" * 32, "a"), Project("b" * 32, None)
REFUSED = "this account has no role in it"


def inside(project, **changes):
    return ProjectView(project, **{"visible": True, "listed": True, "opens": True, "sources": {}, **changes})


def outside(project):
    return ProjectView(project, refused=REFUSED)


class JudgeCase(TestCase):
    def judged(self, *views, members=(), sources=None, block_storage=True, **document):
        image = read_image(image_document(**document), members)
        verdicts = judge(ShareInventory(image, "RegionOne", block_storage, sources or {}, views))
        return verdicts if len(views) > 1 else verdicts[0]

    def can(self, *args, **kwargs):
        verdict = self.judged(*args, **kwargs)
        return verdict.visible, verdict.listed, verdict.downloadable, verdict.bootable


class TestData(JudgeCase):
    """Images that hold their data themselves."""

    def test_all_is_well(self):
        verdict = self.judged(inside(A), members=(Member(A.id, "accepted"),), visibility="shared")
        self.assertEqual(
            (True, True, True, True, ""),
            (verdict.visible, verdict.listed, verdict.downloadable, verdict.bootable, verdict.reason),
        )

    def test_not_accepted_is_not_listed_and_boots_by_its_id(self):
        for status in ("pending", "rejected"):
            member = (Member(A.id, status),)
            verdict = self.judged(inside(A, listed=False), members=member, visibility="shared")
            self.assertEqual(
                (True, False, True, True),
                (verdict.visible, verdict.listed, verdict.downloadable, verdict.bootable),
            )
            self.assertIn("openstack image set --accept", verdict.action)
            self.assertIn(status, verdict.reason)

    def test_what_nobody_was_asked_about_is_unknown(self):
        members = (Member(B.id, "accepted"),)
        self.assertEqual((True, True, None, None), self.can(outside(B), members=members, visibility="shared"))
        self.assertEqual((True, False, None, None), self.can(outside(B), visibility="community"))
        self.assertEqual((True, True, None, None), self.can(outside(B), visibility="public"))
        self.assertEqual(
            (None, None, None, None), self.can(outside(B), members=None, visibility="shared", owner="another")
        )

    def test_no_member(self):
        for visibility in ("private", "shared"):
            verdict = self.judged(outside(B), visibility=visibility)
            self.assertEqual((False, False), (verdict.visible, verdict.bootable))
            self.assertIn("openstack image share", verdict.action)

    def test_a_role_that_may_not_see_it_says_nothing_about_the_project(self):
        """Glance tells it that there is no such image, as it tells those who are no members."""
        hidden = {"visible": False, "listed": False, "opens": False, "sources": None}
        member = (Member(A.id, "accepted"),)
        for view, visibility in ((inside(A, **hidden), "shared"), (inside(A, **hidden), "public"),
                                 (inside(OWNER, **hidden), "private")):  # fmt: skip
            verdict = self.judged(view, members=member, visibility=visibility)
            self.assertEqual(
                (None,) * 4, (verdict.visible, verdict.listed, verdict.downloadable, verdict.bootable)
            )
            self.assertEqual("your role in this project does not allow to see it", verdict.reason)
        verdict = self.judged(inside(A, **hidden), members=member, visibility="public", status="deactivated")
        self.assertEqual((None, False), (verdict.visible, verdict.bootable))
        verdict = self.judged(inside(B, **hidden), members=member, visibility="shared")
        self.assertEqual((False, "the project is not a member"), (verdict.visible, verdict.reason))

    def test_an_administrator_s_view_is_not_the_project_s(self):
        self.assertEqual((False,) * 4, self.can(inside(A), visibility="private"))
        members = (Member(A.id, "pending"),)
        self.assertEqual((True, False, True, True), self.can(inside(A), members=members, visibility="shared"))

    def test_hidden(self):
        verdict = self.judged(inside(OWNER, listed=False), os_hidden=True)
        self.assertEqual((True, False, True), (verdict.visible, verdict.listed, verdict.bootable))
        self.assertIn("--hidden", verdict.action)

    def test_a_role_that_may_not_download_says_nothing_about_the_project(self):
        verdict = self.judged(inside(OWNER, opens=None, said="403"))
        self.assertEqual((None, None), (verdict.downloadable, verdict.bootable))

    def test_data_that_cannot_be_read(self):
        self.assertEqual((False, False), self.can(inside(OWNER, opens=False, said="410"))[2:])

    def test_states(self):
        for status in ("queued", "deactivated", "saving"):
            verdict = self.judged(inside(OWNER, opens=None), outside(A), status=status, visibility="public")
            self.assertEqual([(False, False)] * 2, [(v.downloadable, v.bootable) for v in verdict], status)
            self.assertIn(status, verdict[0].reason)

    def test_kernels_and_keys(self):
        self.assertEqual((True, False), self.can(inside(OWNER), container_format="aki")[2:])
        key = {"cinder_encryption_key_id": "k", "visibility": "public"}
        self.assertEqual((True, None), self.can(inside(A), **key)[2:])
        self.assertEqual((True, True), self.can(inside(OWNER), **key)[2:])


class TestMapping(JudgeCase):
    """Images of 0 bytes."""

    def setUp(self):
        super().setUp()
        self.entry = mapping_entry()
        self.label = f"snapshot {self.entry['snapshot_id']}"
        self.members = (Member(A.id, "accepted"), Member(B.id, "accepted"))

    def mapped(self, *views, source="own", **changes):
        own = ImageDataSource("snapshot", self.entry["snapshot_id"], PROJECT, "available")
        sources = {self.label: own if source == "own" else source}
        facts = {
            "size": 0,
            "block_device_mapping": [self.entry],
            "visibility": "shared",
            "members": self.members,
        }
        return self.judged(*views, sources=sources, **{**facts, **changes})

    def test_boots_in_the_project_of_its_snapshots_alone(self):
        verdicts = self.mapped(inside(OWNER, opens=None), inside(A, opens=None), outside(B))
        self.assertEqual([True, False, False], [v.bootable for v in verdicts])
        self.assertEqual([True] * 3, [v.listed for v in verdicts])
        self.assertEqual([False] * 3, [v.downloadable for v in verdicts])
        self.assertIn(self.label, verdicts[2].reason)

    def test_a_snapshot_that_is_gone(self):
        seen = {self.label: None}
        verdicts = self.mapped(inside(OWNER, sources=seen), inside(A, sources=seen), outside(B), source=None)
        self.assertEqual([False, False, None], [v.bootable for v in verdicts])

    def test_a_snapshot_of_the_member_itself(self):
        theirs = {self.label: ImageDataSource("snapshot", self.entry["snapshot_id"], A.id, "available")}
        verdicts = self.mapped(
            inside(OWNER, sources={self.label: None}), inside(A, sources=theirs), source=None
        )
        self.assertEqual([False, True], [v.bootable for v in verdicts])

    def test_a_snapshot_that_failed(self):
        broken = ImageDataSource("snapshot", self.entry["snapshot_id"], PROJECT, "error")
        self.assertEqual(False, self.mapped(inside(OWNER), source=broken).bootable)

    def test_without_block_storage_nobody_knows(self):
        verdict = self.judged(
            inside(OWNER),
            size=0,
            block_device_mapping=[self.entry],
            block_storage=False,
            visibility="private",
        )
        self.assertIsNone(verdict.bootable)
        self.assertIn("RegionOne has no block storage", verdict.reason)

    def test_no_data_at_all(self):
        for mapping in (None, [mapping_entry(source_type="blank", snapshot_id=None)]):
            verdict = self.judged(inside(OWNER), size=0, block_device_mapping=mapping)
            self.assertEqual((False, False), (verdict.downloadable, verdict.bootable))
