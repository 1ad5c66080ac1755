# SPDX-License-Identifier: Apache-2.0
import dataclasses

from osc_imagetools import errors
from osc_imagetools.cloud.image import Member, read_image
from osc_imagetools.cloud.project import Project
from osc_imagetools.sharing.inventory import SharingInventory
from osc_imagetools.sharing.plan import plan_share, plan_unshare
from osc_imagetools.tests.unit.base import PROJECT, TestCase, image_document, mapping_entry

A, B, C = Project("a" * 32, "a"), Project("b" * 32, None), Project("c" * 32, "c")


def found(*projects, members=(), refused=None, problems=(), **document):
    image = read_image(image_document(**document), members)
    return SharingInventory(image, projects, refused or {}, problems)


def actions(plan):
    return [(step.action, step.resource.partition(" (")[0]) for step in plan.steps()]


class TestShare(TestCase):
    def test_a_private_image_becomes_shared_first(self):
        plan = plan_share(found(A, B, refused={B.id: "no role"}), accept=True)
        self.assertEqual("private", plan.visibility)
        expected = ["set visibility", "add member", "add member", "accept"]
        self.assertEqual(expected, [action for action, _ in actions(plan)])
        self.assertEqual([1, 2, 3, 4], [step.number for step in plan.steps()])
        self.assertEqual([None, "no role"], [share.obstacle for share in plan.shares])

    def test_nothing_is_accepted_unless_asked_for(self):
        plan = plan_share(found(A, visibility="shared"), accept=False)
        self.assertEqual([("add member", "project a")], actions(plan))

    def test_a_second_run_does_nothing(self):
        members = (Member(A.id, "accepted"), Member(B.id, "pending"))
        plan = plan_share(found(A, B, members=members, visibility="shared"), accept=False)
        self.assertEqual((), plan.steps())

    def test_what_is_pending_or_rejected_is_accepted(self):
        members = (Member(A.id, "rejected"), Member(B.id, "pending"), Member(C.id, "accepted"))
        plan = plan_share(found(A, B, C, members=members, visibility="shared"), accept=True)
        self.assertEqual([True, True, False], [share.accept for share in plan.shares])
        self.assertFalse(any(share.add for share in plan.shares))

    def test_an_image_for_all_is_not_taken_from_the_others(self):
        for visibility in ("public", "community"):
            plan = plan_share(found(A, visibility=visibility), accept=True)
            self.assertEqual(((), None), (plan.steps(), plan.visibility))
            self.assertIn(visibility, str(plan.shares[0].exempt))

    def test_the_owner_needs_no_membership(self):
        plan = plan_share(found(Project(PROJECT, "demo")), accept=True)
        self.assertEqual(((), None), (plan.steps(), plan.visibility))

    def test_all_problems_at_once(self):
        problems = (errors.Forbidden("x"), errors.ResourceNotFound("y"))
        foreign = found(A, members=None, problems=problems, visibility="shared", owner="another")
        error = self.assertRaises(errors.Unready, plan_share, foreign, accept=False)
        self.assertEqual(3, len(error.problems))
        gone = found(A, status="killed")
        self.assertRaises(errors.ResourceUnusable, plan_share, gone, accept=False)

    def test_what_is_behind_0_bytes_is_told(self):
        mapping = [mapping_entry()]
        self.assertEqual(
            1, len(plan_share(found(A, size=0, block_device_mapping=mapping), accept=False).warnings())
        )
        self.assertEqual((), plan_share(found(A), accept=False).warnings())
        public = found(A, size=0, block_device_mapping=mapping, visibility="public")
        self.assertEqual((), plan_share(public, accept=False).warnings())


class TestUnshare(TestCase):
    def test_members_are_removed_and_others_told(self):
        plan = plan_unshare(found(A, B, members=(Member(B.id, "accepted"),), visibility="shared"))
        self.assertEqual([("remove member", f"project {B.id}")], actions(plan))
        self.assertEqual([A], [project for project, _ in plan.not_members])

    def test_a_private_image_has_none(self):
        plan = plan_unshare(found(A))
        self.assertEqual(((), "the image is private"), (plan.steps(), plan.not_members[0][1]))

    def test_an_image_for_all_cannot_be_taken_from_one(self):
        for visibility in ("public", "community"):
            error = self.assertRaises(errors.ResourceUnusable, plan_unshare, found(A, visibility=visibility))
            self.assertIn(visibility, error.message)

    def test_not_ours(self):
        foreign = dataclasses.replace(found(A, members=None, visibility="shared", owner="another"))
        self.assertRaises(errors.Forbidden, plan_unshare, foreign)
