# SPDX-License-Identifier: Apache-2.0
"""What backup-check tells to type: it can be typed, and the cloud does not refuse it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from osc_imagetools.backup_check.bundles import BundleCopy, BundleProof
from osc_imagetools.backup_check.fleet import Fleet, FleetAttachedVolume, FleetAttachment, Traits
from osc_imagetools.backup_check.plan import judge
from osc_imagetools.backup_check.plan_copies import Backups
from osc_imagetools.backup_check.reasons import REASONS
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
    snapshot,
    volume,
)
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.client import Client


def fleets(project: str) -> Iterator[Fleet]:
    """Fleets that have every reason there is, of a project that need not be the login's."""
    every = Traits(uefi=True, secure_boot=True, vtpm=True)
    boot = image("boot", server_id=None, traits=every, owner=project)
    both = (FleetAttachment("s", "vdb", 0), FleetAttachment("t", "vdb", 0))
    of: dict[str, Any] = {"project_id": project}
    for one in (
        server(status="BUILD", **of),
        server(status="SHELVED", **of),
        server(status="SHUTOFF", locked=True, task_state="rebooting", **of),
        server(flavor=FLAVOR._replace(name="gone", ephemeral=1, swap=1), **of),
    ):
        yield fleet(one, boot, volume_quotas={}, projects=None)
    agent = image("boot", server_id=None, traits=Traits(guest_agent=True), owner=project)
    yield fleet(server(**of), agent)
    quiesce = image("boot", server_id=None, traits=Traits(must_quiesce=True), owner=project)
    yield fleet(server(**of), quiesce, image("u", status="deactivated"), image("v", status="saving"))
    yield fleet(server(**of), gone={"boot"})
    volumes = {
        "busy": volume("busy", status="detaching", **of),
        "shared": volume("shared", attachments=both, **of),
        "broken": volume("broken", status="error", encrypted=True, **of),
        "old": volume("old", **of),
        "new": volume("new", attachments=(FleetAttachment("s", "vdc", 99 * DAY),), **of),
    }
    attached = tuple(FleetAttachedVolume(name, True) for name in (*volumes, "lost", "unread"))
    quota = {project: Quota({"snapshots": 0})}
    for status in ("ACTIVE", "ERROR"):
        yield fleet(
            dataclasses.replace(server(status=status, **of), volumes=attached),
            *volumes.values(),
            snapshot("x", "old"),
            volume_quotas=quota,
            gone={"lost"},
        )
    booted = server(image_id=None, volumes=("a",), **of)
    root = volume("a", device="vda", **of)
    yield fleet(booted, root, snapshot("x", "a"), empty_image("x", owner=project))
    yield fleet(booted, root, snapshot("x", "a"), empty_image("x", "gone", owner=project), gone={"t"})
    yield fleet(server(volumes=("a",), **of), volume("a", attachments=both, **of), gone={"t"})
    yield fleet(empty_image("gone", name="old", owner=project), volume("a", "t", **of), gone={"t"})
    yield fleet(booted, block_storage=False)
    yield fleet(server(**of), block_storage=False)


# One that was never restored, one whose restore check has failed.
BUNDLES = tuple(
    BundleCopy("/backups/a b", "server", "s", True, DAY, "s", (), True, proofs)
    for proofs in ((), (BundleProof(DAY, "failed"),))
)


class TestLines(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = Client()

    def test_a_line_that_cannot_be_typed_is_seen(self):
        for line in (
            "openstack volume attachment list --every-project",
            "openstack server show",
            "openstack server resurrect x",
            "openstack volume delete --nothing x",
        ):
            self.assertRaises(AssertionError, self.client.parse, line)

    def test_all_actions(self):
        seen: set[str] = set()
        ages: dict[str, Any] = {"now": NOW, "max_age": DAY, "max_proof_age": DAY}
        for project in ("demo", "other"):
            cases: list[tuple[Any, Any]] = [(found, ()) for found in fleets(project)]
            cases += [(fleet(server(project_id=project)), (bundle,)) for bundle in BUNDLES]
            for found, bundles in cases:
                for verdict in judge(found, Backups(found, bundles), **ages):
                    for finding in verdict.findings:
                        seen.add(finding.reason.code)
                        for line in finding.action.split("; "):
                            if line.startswith("openstack"):
                                self.client.parse(line)
        self.assertEqual({"policy-unclear"}, REASONS.keys() - seen)  # it has no command

    def test_what_the_guide_names(self):
        named = [
            line
            for reason in REASONS.values()
            for line in re.findall(r"``(openstack [^`]+)``", f"{reason.meaning} {reason.way_out}")
        ]
        self.assertGreater(len(named), 15)
        for line in named:
            if re.search(r" [<-]", line):
                self.client.parse(line)
            else:  # a sentence may name a command without its arguments
                self.assertTrue(self.client.knows(line))


class TestExport(TestCase):
    def action(self, *values: Any, **changes: Any) -> str:
        return str(findings(fleet(*values, **changes))["no-backup"].action)

    def test_at_once(self):
        for status in ("ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED"):
            self.assertEqual("openstack server export-full s", self.action(server(status=status)))

    def test_encrypted(self):
        secret = volume("a", encrypted=True)
        self.assertEqual(
            "openstack server export-full --allow-encrypted s", self.action(server(volumes=("a",)), secret)
        )

    def test_of_another_project(self):
        self.assertEqual(
            "openstack --os-project-id other server export-full s", self.action(server(project_id="other"))
        )
        one = server(project_id="other", status="ERROR", image_id=None, volumes=("a",))
        self.assertEqual(
            "openstack --os-project-id other volume export-full a",
            self.action(one, volume("a", device="vda", project_id="other")),
        )

    def test_in_a_state_that_forbids_it_the_volumes_go_one_by_one(self):
        volumes = (volume("a", device="vda", encrypted=True), volume("b"), volume("c", status="error"))
        states: tuple[dict[str, Any], ...] = (
            {"status": "SHELVED_OFFLOADED"},
            {"status": "ERROR"},
            {"task_state": "rebooting"},
        )
        for changes in states:
            booted = server(image_id=None, volumes=("a", "b", "c"), **changes)
            self.assertEqual(
                "openstack volume export-full --allow-encrypted a; openstack volume export-full b",
                self.action(booted, *volumes),
            )

    def test_the_root_disk_of_an_image_needs_a_server_that_can_be_exported(self):
        states: tuple[tuple[dict[str, Any], str], ...] = (
            ({"status": "SHELVED"}, "openstack server unshelve s"),
            ({"status": "ERROR"}, "openstack server show s -c fault"),
            ({"status": "BUILD"}, "openstack server show s"),
            ({"task_state": "rebooting"}, "openstack server show s -c OS-EXT-STS:task_state"),
        )
        for changes, command in states:
            self.assertEqual(command, self.action(server(**changes)))
            self.assertEqual(
                f"openstack volume export-full a; {command}",
                self.action(server(volumes=("a",), **changes), volume("a")),
            )

    def test_a_volume_that_cannot_be_exported_is_left_out(self):
        one = server(volumes=("a", "b"))
        self.assertEqual(
            "openstack volume export-full a; openstack server image create s",
            self.action(one, volume("a"), volume("b", status="error")),
        )
        booted = server(image_id=None, volumes=("a",))
        self.assertEqual("openstack server volume list s", self.action(booted, gone={"a"}))

    def test_in_the_region_that_has_the_volumes(self):
        self.assertEqual(
            "openstack --os-region-name <region> server export-full s",
            self.action(server(image_id=None, volumes=("a",)), block_storage=False),
        )


class TestElsewhere(TestCase):
    """Lists show the own project, unless they are told another."""

    def action(self, code: str, *values: Any, **changes: Any) -> str:
        return str(findings(fleet(*values, **changes))[code].action)

    def test_attachments(self):
        for project, words in (("demo", " "), ("other", " --all-projects ")):
            one = volume("a", "t", project_id=project)
            self.assertEqual(
                f"openstack --os-volume-api-version 3.27 volume attachment list{words}--volume-id a",
                self.action("attached-to-gone-server", one, gone={"t"}),
            )
            both = (FleetAttachment("s", "vdb", 0), FleetAttachment("t", "vdb", 0))
            one = volume("a", attachments=both, project_id=project)
            said = self.action("attached-to-gone-server", server(volumes=("a",)), one, gone={"t"})
            self.assertIn(f"volume attachment list{words}--volume-id a", said)

    def test_quota(self):
        for project, line in (
            ("demo", "openstack limits show --absolute"),
            ("other", "openstack quota show --usage other"),
        ):
            values = (server(volumes=("a",), project_id=project), volume("a", project_id=project))
            left = {project: Quota({"volumes": 0})}
            self.assertEqual(line, self.action("quota-too-small", *values, volume_quotas=left))

    def test_messages(self):
        one = server(volumes=("a",))
        for project, words in (("demo", " "), ("other", " --project other ")):
            said = self.action("volume-in-error", one, volume("a", status="error", project_id=project))
            self.assertIn(f"volume message list{words}| grep a", said)

    def test_an_image(self):
        values = (
            server(image_id=None, volumes=("a",)),
            volume("a", device="vda"),
            snapshot("x", "a"),
        )
        for owner, words in (("demo", ""), ("other", "--os-project-id other ")):
            said = self.action("backup-without-bytes", *values, empty_image("x", owner=owner))
            self.assertEqual(f"openstack {words}image export-full i", said)
