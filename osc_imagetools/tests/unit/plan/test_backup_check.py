# SPDX-License-Identifier: Apache-2.0
"""What backup-check says of a server, reason by reason."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import osc_imagetools
from osc_imagetools.inventory.fleet import AttachedVolume, Attachment, Traits, read_server
from osc_imagetools.inventory.quota import Quota
from osc_imagetools.plan.backup_case import CHECKS, span
from osc_imagetools.plan.backup_reasons import REASONS, Severity
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.plan.fleet_samples import (
    DAY,
    FLAVOR,
    empty_image,
    findings,
    fleet,
    image,
    server,
    severities,
    snapshot,
    volume,
)
from osc_imagetools.tests.unit.test_plugin import client_names, command_names

# "openstack", options of all commands, and the words of a command.
COMMAND = re.compile(r"openstack (?:--[\w-]+ [\w.<>-]+ )*([a-z-]+(?: [a-z][a-z-]+)*)")


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

    def test_every_command_that_is_named_exists(self):
        plan = pathlib.Path(osc_imagetools.__file__).parent / "plan"
        texts = [path.read_text() for path in sorted(plan.glob("backup_*.py"))]
        named = set(COMMAND.findall(" ".join(re.sub(r'"\s*f?"', "", text) for text in texts)))
        known = client_names() | command_names("osc-imagetools").keys()
        unknown = [words for words in named if not any(_begins(words, name) for name in known)]
        self.assertGreater(len(named), 10)
        self.assertEqual([], unknown)


def _begins(words: str, name: str) -> bool:
    return words.split()[: len(name.split())] == name.split()


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
        self.assertIn("boots-from-volume", self.said(server(volumes=("a",)), volume("a", device="vda")))
        moved = server(volumes=("a",), root_device="sda")
        self.assertNotIn("boots-from-volume", self.said(moved, volume("a", device="vda")))

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
                {"attachments": (Attachment("s", "vdb", 0), Attachment("t", "vdb", 0))},
                "volume-multi-attached",
                "warning",
            ),
        ):
            found = self.said(one, volume("a", **changes))
            self.assertEqual({code: severity, "volumes-not-in-image": "warning"}, found)
        going = dataclasses.replace(one, volumes=(AttachedVolume("a", True),))
        self.assertIn("delete-on-termination", self.said(going, volume("a")))

    def test_volume_gone(self):
        found = findings(fleet(server(volumes=("a",)), gone={"a"}))
        self.assertEqual(Severity.critical, found["volume-gone"].severity)
        self.assertNotIn("not-judged", found)

    def test_a_volume_that_has_another_server_that_is_gone(self):
        both = (Attachment("s", "vdb", 0), Attachment("t", "vdb", 0))
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
        self.assertIn("2 of the quota snapshots are needed, of which 1", self.quota(snapshots=1) or "")
        self.assertIn("12 of the quota gigabytes are needed, of which 11", self.quota(gigabytes=11) or "")
        self.assertIn("1 of the quota volumes is needed, of which 0", self.quota(volumes=0) or "")
        both = self.quota(volumes=0, snapshots=0) or ""
        self.assertIn("quota volumes", both)
        self.assertIn("quota snapshots", both)

    def test_quota_of_a_volume_type(self):
        values = (server(volumes=("a",)), volume("a", volume_type="fast"))
        left = Quota({"snapshots_fast": 0, "gigabytes_slow": 0})
        message = findings(fleet(*values, volume_quotas={"demo": left}))["quota-too-small"].message
        self.assertIn("1 of the quota snapshots_fast is needed, of which 0", message)
        self.assertNotIn("slow", message)

    def test_quota_of_images(self):
        left = {"demo": Quota({"image_count_total": 0})}
        self.assertEqual(
            {"quota-too-small": "critical"}, severities(fleet(server(), image(), image_quotas=left))
        )

    def test_without_a_volume_service(self):
        found = findings(fleet(server(), block_storage=False))
        self.assertEqual(Severity.info, found["no-volume-service"].severity)
        found = findings(fleet(server(image_id=None, volumes=("a",)), block_storage=False))
        self.assertEqual(Severity.critical, found["volumes-out-of-reach"].severity)
        self.assertNotIn("no-volume-service", found)

    def test_not_judged(self):
        one = server(volumes=("a",))
        self.assertIn("not-judged", findings(fleet(one)))
        message = findings(fleet(one, trouble={"volumes": "503"}))["not-judged"].message
        self.assertEqual("503", message)
        for key in ("images", "snapshots", "backups", "flavors", "quota demo"):
            found = findings(fleet(one, volume("a"), trouble={key: "403"}))
            self.assertEqual(Severity.critical, found["not-judged"].severity, key)
        # Without the lists of copies nothing is said to be missing.
        found = findings(fleet(one, volume("a"), trouble={"images": "403"}), max_age=DAY)
        self.assertNotIn("no-backup", found)
        self.assertNotIn("backup-too-old", found)
        # What has no volumes does not hang on the volume service.
        self.assertEqual({}, severities(fleet(server(), image(), trouble={"snapshots": "x", "volumes": "x"})))

    def test_a_list_that_broke_off(self):
        found = findings(fleet(server(), image(), trouble={"servers": "500"}))
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
