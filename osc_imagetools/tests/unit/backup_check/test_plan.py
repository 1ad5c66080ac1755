# SPDX-License-Identifier: Apache-2.0
"""What backup-check says of a server, reason by reason."""

from __future__ import annotations

import dataclasses
from typing import Any

from osc_imagetools.backup_check.fleet import FleetAttachedVolume, FleetAttachment, Traits, read_server
from osc_imagetools.backup_check.plan import judge
from osc_imagetools.backup_check.plan_case import CHECKS, span
from osc_imagetools.backup_check.plan_copies import Backups
from osc_imagetools.backup_check.reasons import REASONS, Severity
from osc_imagetools.cloud.quota import Quota
from osc_imagetools.tests.unit.backup_check.fleet_samples import (
    DAY,
    FLAVOR,
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


class TestTable(TestCase):
    def test_every_reason_is_found_by_something(self):
        # This one has no server to be asked of.
        self.assertEqual(set(REASONS) - {"dead-image"}, set(CHECKS))

    def test_codes_and_texts(self):
        for code, reason in REASONS.items():
            self.assertRegex(code, r"^[a-z]+(-[a-z]+)*$")
            self.assertTrue(reason.meaning.endswith(".") and reason.way_out)
            if reason.covered is not None:
                self.assertLess(reason.covered, reason.severity)


class TestOfServer(TestCase):
    def said(self, *values: Any, **changes: Any) -> dict[str, str]:
        found = severities(fleet(*values, **changes))
        found.pop("no-backup", None)
        return found

    def test_nothing_is_wrong_with_a_copied_server(self):
        self.assertEqual({}, severities(fleet(server(), image())))

    def test_boots_from_a_volume(self):
        found = findings(
            fleet(server(volumes=("a", "b"), image_id=None), volume("a", device="vda"), volume("b"))
        )
        self.assertIn("2 snapshots (4 GiB)", found["boots-from-volume"].message)
        self.assertEqual("openstack server export-full s", found["boots-from-volume"].action)
        self.assertNotIn("volumes-not-in-image", found)

    def test_boots_from_a_volume_though_nova_names_an_image(self):
        root, one = volume("a", device="vda"), server(volumes=("a",))
        self.assertIn("boots-from-volume", self.said(one, root, empty_image("x", identifier="boot")))
        bare = fleet(one, root, gone={"boot"})
        del bare.images["boot"]
        self.assertIn("boots-from-volume", severities(bare))
        self.assertIn("boots-from-volume", self.said(server(volumes=("a",), root_device="vda"), root))
        moved = server(volumes=("a",), root_device="sda")
        self.assertNotIn("boots-from-volume", self.said(moved, root))
        # Nothing is at a first device, but the image has no data that it could boot from.
        other = (volume("a", device="xvde"), empty_image("x", identifier="boot"))
        self.assertIn("boots-from-volume", self.said(one, *other))

    def test_a_volume_on_another_bus_is_not_the_root_disk(self):
        found = findings(fleet(server(volumes=("a",)), volume("a", device="sda"), snapshot("x", "a")))
        self.assertIn("volumes-not-in-image", found)
        self.assertIn("the root disk", found["backup-lacks-disks"].message)

    def test_the_size_is_told_where_all_of_it_is_known(self):
        booted = server(volumes=("a", "b"), image_id=None)
        said = findings(fleet(booted, volume("a", device="vda")))["boots-from-volume"].message
        self.assertTrue(said.endswith("point at 2 snapshots"), said)

    def test_volumes_beside_an_image(self):
        found = findings(fleet(server(volumes=("a",)), volume("a")))
        self.assertIn("name-of-a (2 GiB)", found["volumes-not-in-image"].message)
        self.assertNotIn("boots-from-volume", found)

    def test_local_disks(self):
        local = FLAVOR._replace(ephemeral=3, swap=64)
        self.assertEqual(
            {"ephemeral-disk": "warning", "swap-disk": "warning"}, self.said(server(flavor=local))
        )
        # A backup of the rest does not help an ephemeral disk.
        self.assertEqual({"ephemeral-disk": "warning"}, self.said(server(flavor=local), image()))

    def test_states(self):
        for status, code, severity in (
            ("BUILD", "state-forbids-snapshot", "warning"),
            ("RESCUE", "state-forbids-snapshot", "warning"),
            ("ERROR", "server-in-error", "critical"),
            ("SHELVED_OFFLOADED", "shelved", "warning"),
        ):
            self.assertEqual({code: severity}, self.said(server(status=status)), status)
        self.assertEqual({"task-in-progress": "warning"}, self.said(server(task_state="image_snapshot")))
        self.assertEqual({"locked": "warning"}, self.said(server(locked=True)))

    def test_a_cell_that_is_down(self):
        document = {"id": "s", "status": "UNKNOWN", "tenant_id": "demo", "created": "2026-01-01T00:00:00Z"}
        found = fleet(read_server(document))
        self.assertEqual({"not-judged": "critical"}, severities(found, max_age=DAY))
        self.assertIn("cell is down", findings(found)["not-judged"].message)

    def test_volumes(self):
        one = server(volumes=("a",))
        for changes, code, severity in (
            ({"encrypted": True}, "volume-encrypted", "warning"),
            ({"status": "error_extending"}, "volume-in-error", "critical"),
            ({"status": "detaching"}, "volume-busy", "warning"),
            (
                {"attachments": (FleetAttachment("s", "vdb", 0), FleetAttachment("t", "vdb", 0))},
                "volume-multi-attached",
                "warning",
            ),
        ):
            found = self.said(one, volume("a", **changes))
            self.assertEqual({code: severity, "volumes-not-in-image": "warning"}, found)
        going = dataclasses.replace(one, volumes=(FleetAttachedVolume("a", True),))
        self.assertIn("delete-on-termination", self.said(going, volume("a")))

    def test_volume_gone(self):
        found = findings(fleet(server(volumes=("a",)), gone={"a"}))
        self.assertEqual(Severity.critical, found["volume-gone"].severity)
        self.assertNotIn("not-judged", found)

    def test_a_volume_that_has_another_server_that_is_gone(self):
        both = (FleetAttachment("s", "vdb", 0), FleetAttachment("t", "vdb", 0))
        found = self.said(server(volumes=("a",)), volume("a", attachments=both), gone={"t"})
        self.assertIn("attached-to-gone-server", found)
        self.assertNotIn("volume-multi-attached", found)

    def consistency(self, status: str, traits: Traits | None) -> str:
        found = fleet(server(status=status), image(), gone={"boot"})
        del found.images["boot"]
        if traits is not None:
            found.boot_traits["boot"] = traits
        (code,) = (code for code in findings(found) if code.startswith("consistency-"))
        return code

    def test_consistency(self):
        agent = Traits(guest_agent=True)
        for status, traits, expected in (
            ("SHUTOFF", agent, "stopped"),
            ("ACTIVE", agent, "freeze-requested"),
            ("PAUSED", agent, "crash"),
            ("ACTIVE", Traits(), "crash"),
            ("ACTIVE", None, "crash"),
        ):
            self.assertEqual(f"consistency-{expected}", self.consistency(status, traits))

    def test_no_freeze_spans_an_image_and_volumes(self):
        agent = image("boot", server_id=None, traits=Traits(guest_agent=True))
        self.assertIn("consistency-freeze-requested", findings(fleet(server(), agent)))
        found = findings(fleet(server(volumes=("a",)), volume("a"), agent))
        self.assertNotIn("consistency-freeze-requested", found)
        self.assertIn("no freeze spans", found["consistency-crash"].message)
        root = volume("a", device="vda", traits=Traits(guest_agent=True))
        booted = server(volumes=("a", "b"), image_id=None)
        self.assertIn("consistency-freeze-requested", findings(fleet(booted, root, volume("b"))))
        # With an image to show, and a volume as its root device all the same.
        shown = server(volumes=("a", "b"), root_device="vda")
        self.assertIn(
            "consistency-freeze-requested", findings(fleet(shown, image("boot"), root, volume("b")))
        )

    def test_firmware(self):
        every = Traits(uefi=True, secure_boot=True, vtpm=True)
        boot = image("boot", server_id=None, traits=every)
        self.assertEqual(
            dict.fromkeys(("uefi-variables", "secure-boot", "vtpm"), "warning"), self.said(server(), boot)
        )
        # What a TPM has sealed stays sealed.
        self.assertEqual({"vtpm": "warning"}, self.said(server(), boot, image()))
        flavor = FLAVOR._replace(traits=Traits(vtpm=True))
        self.assertEqual({"vtpm": "warning"}, self.said(server(flavor=flavor)))

    def test_the_traits_of_a_volume_are_those_of_its_image(self):
        root = volume("a", device="vda", traits=Traits(must_quiesce=True))
        booted = server(image_id=None, volumes=("a",))
        self.assertEqual("critical", self.said(booted, root)["quiesce-impossible"])
        stopped = server(image_id=None, volumes=("a",), status="SHUTOFF")
        self.assertNotIn("quiesce-impossible", self.said(stopped, root))

    def test_gone(self):
        self.assertEqual({"boot-image-gone": "warning"}, self.said(server(), gone={"boot"}))
        self.assertEqual({"flavor-gone": "warning"}, self.said(server(), flavors=frozenset({"other"})))


class TestInTheWay(TestCase):
    def quota(self, **left: int) -> str | None:
        values = (server(volumes=("a", "b")), volume("a"), volume("b", size=5))
        found = findings(fleet(*values, volume_quotas={"demo": Quota(left)}))
        finding = found.get("quota-too-small")
        return finding.message if finding else None

    def test_quota(self):
        # A snapshot of each (7 GiB), and a volume of the largest (5 GiB).
        self.assertIsNone(self.quota(snapshots=2, gigabytes=12, volumes=1))
        self.assertIn(
            "the quota snapshots of project demo is too small: 2 needed, 1 left",
            self.quota(snapshots=1) or "",
        )
        self.assertIn(
            "the quota gigabytes of project demo is too small: 12 needed, 11 left",
            self.quota(gigabytes=11) or "",
        )
        self.assertIn(
            "the quota volumes of project demo is too small: 1 needed, 0 left", self.quota(volumes=0) or ""
        )
        both = self.quota(volumes=0, snapshots=0) or ""
        self.assertIn("quota volumes", both)
        self.assertIn("quota snapshots", both)

    def test_quota_of_a_volume_type(self):
        values = (server(volumes=("a",)), volume("a", volume_type="fast"))
        left = Quota({"snapshots_fast": 0, "gigabytes_slow": 0})
        message = findings(fleet(*values, volume_quotas={"demo": left}))["quota-too-small"].message
        self.assertIn("the quota snapshots_fast of project demo is too small: 1 needed, 0 left", message)
        self.assertNotIn("slow", message)

    def test_quota_of_images(self):
        left = {"demo": Quota({"image_count_total": 0})}
        found = severities(fleet(server(), image_quotas=left))
        self.assertEqual("critical", found["quota-too-small"])

    def test_trouble_with_the_quota_of_images_is_that_of_one_project(self):
        unread = {"image quota": "503"}
        self.assertIn("not-judged", findings(fleet(server(), unread=unread)))
        other = fleet(server(project_id="other"), unread=unread)
        self.assertNotIn("not-judged", findings(other))

    def test_without_a_volume_service(self):
        found = findings(fleet(server(), block_storage=False))
        self.assertEqual(Severity.info, found["no-volume-service"].severity)
        found = findings(fleet(server(image_id=None, volumes=("a",)), block_storage=False))
        self.assertEqual(Severity.critical, found["volumes-out-of-reach"].severity)
        self.assertNotIn("no-volume-service", found)

    def test_not_judged(self):
        deleted = findings(fleet(server("s"), unread={"s": "it was deleted"}))["not-judged"]
        self.assertEqual((Severity.critical, "it was deleted"), (deleted.severity, deleted.message))
        one = server(volumes=("a",))
        self.assertIn("not-judged", findings(fleet(one)))
        message = findings(fleet(one, unread={"volumes": "503"}))["not-judged"].message
        self.assertEqual("503", message)
        for key in ("images", "snapshots", "backups", "flavors", "quota demo"):
            found = findings(fleet(one, volume("a"), unread={key: "403"}))
            self.assertEqual(Severity.critical, found["not-judged"].severity, key)
        # Without the lists of copies nothing is said to be missing.
        found = findings(fleet(one, volume("a"), unread={"images": "403"}), max_age=DAY)
        self.assertNotIn("no-backup", found)
        self.assertNotIn("backup-too-old", found)
        # What has no volumes does not hang on the volume service.
        self.assertEqual({}, severities(fleet(server(), image(), unread={"snapshots": "x", "volumes": "x"})))

    def test_another_server_of_a_volume_that_could_not_be_asked_for(self):
        both = (FleetAttachment("s", "vdb", 0), FleetAttachment("t", "vdb", 0))
        values = (server(volumes=("a",)), volume("a", attachments=both))
        self.assertEqual("500", findings(fleet(*values, unread={"t": "500"}))["not-judged"].message)

    def test_a_cell_that_is_down_belongs_to_no_server(self):
        unread = {"cells": "the database of a cell is down"}
        for found in (fleet(server(), image(), unread=unread), fleet(unread=unread, whole=False)):
            finding = findings(found)["not-judged"]
            self.assertEqual((Severity.critical, unread["cells"]), (finding.severity, finding.message))
            (stray,) = [v for v in judge(found, Backups(found, ()), now=NOW, max_age=None) if not v.id]
            self.assertEqual((None, None), (stray.server, stray.project_id))

    def test_a_list_that_broke_off(self):
        found = findings(fleet(server(), image(), unread={"servers": "500"}))
        self.assertIn("after 1", found["not-judged"].message)


class TestStrays(TestCase):
    def test_a_dead_image_of_nobody(self):
        found = severities(fleet(empty_image("x", name="old")))
        self.assertEqual({"dead-image": "warning"}, found)
        self.assertEqual({}, severities(fleet(empty_image("x", name="old"), whole=False)))

    def test_a_volume_of_a_server_that_is_gone(self):
        self.assertEqual(
            {"attached-to-gone-server": "warning"}, severities(fleet(volume("a", "t"), gone={"t"}))
        )
        self.assertEqual({}, severities(fleet(volume("a", "t"))))

    def test_a_volume_of_a_server_that_could_not_be_asked_for(self):
        found = findings(fleet(volume("a", "t"), unread={"t": "500"}))
        self.assertIn("500", found["not-judged"].message)
        self.assertEqual({}, severities(fleet(volume("a", "t"), unread={"t": "500"}, whole=False)))


class TestSpan(TestCase):
    def test_units(self):
        for seconds, text in (
            (-5, "0 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7200, "2 hours"),
            (2 * DAY, "2 days"),
            (2 * DAY - 1, "47 hours"),
        ):
            self.assertEqual(text, span(seconds))


class TestCovered(TestCase):
    def test_a_complete_and_fresh_backup_leaves_nothing_above_info(self):
        values = (
            server(volumes=("a", "b"), image_id=None),
            volume("a", device="vda", encrypted=True),
            volume("b"),
            snapshot("x", "a"),
            snapshot("y", "b"),
            empty_image("x", "y"),
        )
        self.assertEqual({}, severities(fleet(*values)))
        self.assertEqual({}, severities(fleet(*values), max_age=11 * DAY))
        old = severities(fleet(*values), max_age=9 * DAY)
        self.assertEqual(
            {
                "backup-too-old": "critical",
                "boots-from-volume": "warning",
                "volume-encrypted": "warning",
            },
            old,
        )

    def test_what_is_in_the_way_of_another_is_nothing_then(self):
        copied = image()
        boot = image("boot", server_id=None, traits=Traits(must_quiesce=True))
        left = {"demo": Quota({"image_count_total": 0})}
        for one, values, changes, code in (
            (server(locked=True), (), {}, "locked"),
            (server(task_state="rebooting"), (), {}, "task-in-progress"),
            (server(), (boot,), {}, "quiesce-impossible"),
            (server(), (), {"image_quotas": left}, "quota-too-small"),
        ):
            found = fleet(one, copied, *values, **changes)
            self.assertEqual(Severity.info, findings(found)[code].severity, code)
            self.assertEqual({}, severities(found), code)
            self.assertIn(code, severities(fleet(one, *values, **changes)))
        # The volume is of no use to another server, whatever copies there are.
        both = (FleetAttachment("s", "vdb", 0), FleetAttachment("t", "vdb", 0))
        shared = (server(volumes=("a",)), volume("a", attachments=both), copied, snapshot("x", "a"))
        self.assertEqual({"attached-to-gone-server": "warning"}, severities(fleet(*shared, gone={"t"})))
