# SPDX-License-Identifier: Apache-2.0
"""What the copies of a server are worth."""

from __future__ import annotations

import dataclasses
from typing import Any

from osc_imagetools.backup_check.bundles import BundleCopy, BundleProof
from osc_imagetools.backup_check.fleet import MappedDisk, VolumeBackup
from osc_imagetools.backup_check.plan import judge
from osc_imagetools.backup_check.plan_case import ServerAges
from osc_imagetools.backup_check.plan_copies import Backups
from osc_imagetools.backup_check.reasons import Severity
from osc_imagetools.tests.unit.backup_check.fleet_samples import (
    DAY,
    NOW,
    empty_image,
    findings,
    fleet,
    image,
    server,
    severities,
    snapshot,
    volume,
)
from osc_imagetools.tests.unit.base import TestCase

BOOTED = server(image_id=None, volumes=("a", "b"))
VOLUMES = (volume("a", device="vda"), volume("b"))


def bundle(**changes: Any) -> BundleCopy:
    fields: dict[str, Any] = {
        "path": "/backups/web01.bundle",
        "kind": "server",
        "resource_id": "s",
        "complete": True,
        "taken": 95 * DAY,
        "server_id": "s",
        "volumes": (),
        "has_root": True,
    }
    return BundleCopy(**{**fields, **changes})


class TestImages(TestCase):
    def test_none_at_all(self):
        found = findings(fleet(server()), max_age=DAY)
        self.assertEqual(Severity.warning, found["no-backup"].severity)
        self.assertIn("there is none of the root disk", found["backup-too-old"].message)
        self.assertNotIn("newest-backup", found)

    def test_the_newest_is_told(self):
        found = findings(fleet(server(), image("old", day=50), image("new", day=98)))
        self.assertIn("image copy (new), 2 days old", found["newest-backup"].message)
        self.assertIn("1 of its 1 disks", found["newest-backup"].message)

    def test_of_another_server(self):
        self.assertIn("no-backup", findings(fleet(server(), image(server_id="t"))))

    def test_in_progress_and_unusable(self):
        found = severities(fleet(server(), image(status="saving", size=None)))
        self.assertEqual({"no-backup": "warning"}, found)
        found = severities(fleet(server(), image(status="deactivated")))
        self.assertEqual({"no-backup": "warning", "backup-unusable": "warning"}, found)

    def test_the_image_of_a_shelved_server_is_novas_own(self):
        own = image(name="web01-shelved")
        for status in ("SHELVED", "SHELVED_OFFLOADED"):
            found = severities(fleet(server(status=status), own))
            self.assertEqual({"no-backup": "warning", "shelved": "warning"}, found)
        shelving = server(task_state="shelving_image_uploading")
        found = findings(fleet(shelving, image(name="web01-shelved", status="saving", size=None)))
        self.assertNotIn("backup-in-progress", found)
        self.assertNotIn("no-backup", findings(fleet(server(status="SHELVED"), own, image("j"))))
        # Of a server that is not shelved it is what somebody has called so.
        self.assertEqual({}, severities(fleet(server(), own)))

    def test_an_image_without_the_volumes(self):
        found = findings(fleet(server(volumes=("a",)), volume("a"), image()))
        self.assertIn("name-of-a", found["backup-lacks-disks"].message)
        self.assertNotIn("volume-attached-since", found)

    def test_a_volume_that_was_attached_since(self):
        found = findings(fleet(server(volumes=("a",)), volume("a"), image(day=15)))
        self.assertIn("name-of-a", found["volume-attached-since"].message)
        self.assertNotIn("backup-lacks-disks", found)


class TestEmptyImages(TestCase):
    def test_whole(self):
        values = (BOOTED, *VOLUMES, snapshot("x", "a", day=80), snapshot("y", "b"), empty_image("x", "y"))
        found = findings(fleet(*values))
        self.assertEqual(Severity.info, found["backup-without-bytes"].severity)
        self.assertIn("2 snapshots are whole", found["backup-without-bytes"].message)
        self.assertIn("10 days old", found["newest-backup"].message)
        # It is as old as the oldest of what it needs.
        self.assertIn("backup-too-old", findings(fleet(*values), max_age=15 * DAY))

    def test_a_snapshot_is_gone(self):
        found = findings(fleet(BOOTED, *VOLUMES, snapshot("y", "b"), empty_image("x", "y")))
        self.assertEqual(Severity.critical, found["backup-dead"].severity)
        self.assertIn("snapshot x gone", found["backup-dead"].message)
        self.assertIn("backup-lacks-disks", found)

    def test_a_snapshot_in_error_is_as_good_as_gone(self):
        broken = (snapshot("x", "a", status="error"), snapshot("y", "b"))
        self.assertIn("backup-dead", findings(fleet(BOOTED, *VOLUMES, *broken, empty_image("x", "y"))))

    def test_a_snapshot_that_is_busy_has_its_data(self):
        for status in ("backing-up", "restoring", "updating"):
            busy = (snapshot("x", "a", status=status), snapshot("y", "b"))
            found = severities(fleet(BOOTED, *VOLUMES, *busy, empty_image("x", "y")))
            self.assertEqual({}, found, status)

    def test_a_snapshot_that_is_being_made(self):
        young = (snapshot("x", "a", status="creating"), snapshot("y", "b"))
        found = findings(fleet(BOOTED, *VOLUMES, *young, empty_image("x", "y")))
        self.assertIn("backup-in-progress", found)
        self.assertNotIn("backup-dead", found)

    def test_a_dead_one_beside_a_whole_one(self):
        values = (
            snapshot("x", "a"),
            snapshot("y", "b"),
            empty_image("x", "y"),
            empty_image("gone", "y", identifier="j"),
        )
        found = findings(fleet(BOOTED, *VOLUMES, *values))
        self.assertEqual(Severity.info, found["backup-dead"].severity)

    def test_when_all_is_gone_the_name_tells_the_server(self):
        for name, said in (
            ("web01", True),
            ("web01-2026", True),
            ("web011", False),
            ("other", False),
        ):
            found = findings(fleet(BOOTED, *VOLUMES, empty_image("x", "y", name=name)))
            self.assertEqual(said, "backup-dead" in found, name)
            self.assertEqual(not said, "dead-image" in found, name)

    def test_the_name_does_not_tell_where_it_cannot(self):
        twin = dataclasses.replace(BOOTED, id="t", volumes=())
        dead = empty_image("x", name="web01")
        self.assertNotIn("backup-dead", findings(fleet(BOOTED, twin, *VOLUMES, dead)))
        older = empty_image("x", name="web01", created=5 * DAY)
        self.assertNotIn("backup-dead", findings(fleet(BOOTED, *VOLUMES, older)))
        foreign = empty_image("x", name="web01", owner="other")
        self.assertNotIn("backup-dead", findings(fleet(BOOTED, *VOLUMES, foreign)))

    def test_the_name_tells_nothing_where_servers_are_left_out(self):
        # It is that of web01-2, of which nothing is known here.
        values = (BOOTED, *VOLUMES, empty_image("x", name="web01-2-backup"))
        self.assertEqual(
            {"no-backup": "warning", "boots-from-volume": "warning"}, severities(fleet(*values, whole=False))
        )
        self.assertIn("backup-dead", findings(fleet(*values)))

    def test_the_server_of_an_empty_image_is_not_the_one_that_its_root_was_made_from(self):
        other = server("t", name="template", created=0.0)
        values = (other, BOOTED, *VOLUMES, snapshot("x", "a"), snapshot("y", "b"))
        # The root volume of web01 was made from an image of the template.
        found = fleet(*values, empty_image("x", "y", server_id="t"))
        protection = Backups(found, ()).protection
        self.assertEqual(1, len(protection(BOOTED, ("a", "b")).copies.good))
        self.assertEqual([], protection(other, ("root",)).copies.good)
        found = fleet(*values, empty_image("gone", server_id="unknown", name="web01-backup"))
        self.assertEqual(["i"], [d.image.id for d in Backups(found, ()).protection(BOOTED, ()).copies.dead])

    def test_what_other_projects_share_is_not_judged(self):
        foreign = empty_image("x", owner="other")
        self.assertEqual({}, severities(fleet(foreign, projects=frozenset({"demo"}))))
        self.assertIn("dead-image", findings(fleet(foreign)))

    def test_without_the_list_of_snapshots_nothing_is_called_dead(self):
        values = (BOOTED, *VOLUMES, empty_image("x", "y", name="web01"))
        for changes in ({"unread": {"snapshots": "503"}}, {"block_storage": False}):
            self.assertNotIn("backup-dead", findings(fleet(*values, **changes)))

    def test_pointing_at_a_volume_is_no_copy(self):
        disks = (MappedDisk("volume", "a"),)
        pointer = empty_image(disks=disks, name="web01")
        self.assertIn("no-backup", findings(fleet(BOOTED, *VOLUMES, pointer)))
        self.assertIn("backup-dead", findings(fleet(BOOTED, *VOLUMES, pointer, gone={"a"})))

    def test_pointing_at_nothing(self):
        found = findings(fleet(server(), empty_image(disks=(), server_id="s")))
        self.assertIn("points at no data", found["backup-dead"].message)
        found = findings(fleet(server(), empty_image(disks=None, name="web01")))
        self.assertIn("points at no data", found["backup-dead"].message)
        # An empty image that nobody made of a server is nobody's backup.
        self.assertEqual({}, severities(fleet(empty_image(disks=()))))


class TestVolumeCopies(TestCase):
    def test_snapshots_and_backups_of_cinder(self):
        saved = VolumeBackup("k", "b", "available", 95 * DAY)
        values = (BOOTED, *VOLUMES, snapshot("x", "a", day=97), snapshot("w", "a", day=40))
        self.assertIn("backup-lacks-disks", findings(fleet(*values)))
        found = findings(fleet(*values, saved))
        self.assertNotIn("backup-lacks-disks", found)
        self.assertIn("snapshot x, 3 days old", found["newest-backup"].message)
        failed = dataclasses.replace(saved, status="error")
        self.assertIn("backup-lacks-disks", findings(fleet(*values, failed)))


class TestBundles(TestCase):
    def test_of_a_server(self):
        found = fleet(server(volumes=("a",)), volume("a"))
        self.assertEqual({}, severities(found, (bundle(volumes=("a",)),)))
        self.assertIn("backup-lacks-disks", severities(found, (bundle(),)))
        self.assertIn("no-backup", severities(found, (bundle(server_id="t", resource_id="t"),)))

    def test_of_a_server_that_a_volume_was_taken_from(self):
        # The bundle is of t, which had the volume then.
        found = fleet(server(volumes=("a",)), volume("a"))
        said = findings(found, (bundle(server_id="t", resource_id="t", volumes=("a",)),))
        self.assertIn("in no backup of it: the root disk", said["backup-lacks-disks"].message)

    def test_incomplete(self):
        found = severities(fleet(server()), (bundle(complete=False, taken=None),))
        self.assertEqual({"no-backup": "warning", "backup-unusable": "warning"}, found)

    def test_of_volumes(self):
        parts = tuple(
            bundle(kind="volume", resource_id=name, server_id=None, volumes=(name,), has_root=False)
            for name in ("a", "b")
        )
        self.assertEqual({}, severities(fleet(BOOTED, *VOLUMES), parts))
        self.assertIn("backup-lacks-disks", severities(fleet(BOOTED, *VOLUMES), parts[:1]))

    def test_of_an_image(self):
        known = bundle(kind="image", resource_id="i", server_id=None)
        self.assertEqual({}, severities(fleet(server(), image(status="deactivated")), (known,)))
        self.assertIn("no-backup", severities(fleet(server()), (known,)))
        told = bundle(kind="image", resource_id="i")
        self.assertEqual({}, severities(fleet(server()), (told,)))


class TestProofs(TestCase):
    """Whether a bundle of a server was seen to boot."""

    def found(self, *bundles: BundleCopy, max_proof_age: float | None = None) -> dict[str, Any]:
        return findings(fleet(server()), bundles, None, max_proof_age)

    def test_never_restored_is_for_information(self):
        found = self.found(bundle(), bundle(path="/backups/web 2", taken=96 * DAY))
        self.assertEqual(Severity.info, found["never-restored"].severity)
        self.assertIn("none of its 2 bundles", found["never-restored"].message)
        self.assertTrue(found["never-restored"].action.endswith("server restore-check '/backups/web 2'"))
        self.assertNotIn("restore-failed", found)
        self.assertNotIn("restore-check-old", found)

    def test_without_a_bundle_there_is_nothing_to_restore(self):
        for bundles in (
            (),
            (bundle(complete=False),),
            (bundle(kind="volume", server_id=None, volumes=("v",)),),
        ):
            found = self.found(*bundles, max_proof_age=DAY)
            self.assertFalse({"never-restored", "restore-failed", "restore-check-old"} & found.keys())

    def test_the_newest_check_decides(self):
        failed, booted = BundleProof(97 * DAY, "failed"), BundleProof(98 * DAY, "booted")
        self.assertNotIn("restore-failed", self.found(bundle(proofs=(failed, booted))))
        again = BundleProof(99 * DAY, "failed")
        found = self.found(bundle(proofs=(failed, booted)), bundle(path="/b", proofs=(again,)))
        self.assertEqual(Severity.critical, found["restore-failed"].severity)
        self.assertIn("24 hours ago", found["restore-failed"].message)
        self.assertNotIn("never-restored", found)

    def test_what_proves_nothing_changes_nothing(self):
        nothing = BundleProof(99 * DAY, "not-proven")
        self.assertIn("never-restored", self.found(bundle(proofs=(nothing,))))
        failed = BundleProof(98 * DAY, "failed")
        self.assertIn("restore-failed", self.found(bundle(proofs=(failed, nothing))))

    def test_how_old_a_proof_may_be(self):
        proof = BundleProof(97 * DAY, "booted")
        old = self.found(bundle(proofs=(proof,)), max_proof_age=2 * DAY)["restore-check-old"]
        self.assertEqual(Severity.critical, old.severity)
        self.assertIn("3 days ago; it may be 2 days", old.message)
        self.assertNotIn("restore-check-old", self.found(bundle(proofs=(proof,)), max_proof_age=4 * DAY))
        self.assertIn("restore-check-old", self.found(bundle(), max_proof_age=4 * DAY))

    def test_in_a_repository(self):
        one = bundle(path="0123", repository="s3:host/bucket")
        action = self.found(one)["never-restored"].action
        self.assertTrue(action.endswith("server restore-check 0123 --repository s3:host/bucket"))

    def test_each_server_by_its_own_policy(self):
        found = fleet(server())
        backups = Backups(found, (bundle(taken=98 * DAY),))
        codes = {}
        for name, ages in (
            ("strict", ServerAges(DAY)),
            ("lax", ServerAges(3 * DAY)),
            ("proof", ServerAges(3 * DAY, DAY)),
            ("none", ServerAges(problem="no policy is for this server")),
        ):
            verdicts = judge(found, backups, now=NOW, max_age=None, ages={"s": ages})
            codes[name] = {finding.reason.code for verdict in verdicts for finding in verdict.findings}
        self.assertIn("backup-too-old", codes["strict"])
        self.assertNotIn("backup-too-old", codes["lax"])
        self.assertNotIn("restore-check-old", codes["lax"])
        self.assertIn("restore-check-old", codes["proof"])
        self.assertEqual({"policy-unclear"}, codes["none"] - codes["lax"])
