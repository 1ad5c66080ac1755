# SPDX-License-Identifier: Apache-2.0
"""Snapshots become bundles; what is of another form becomes none."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import testtools

from osc_imagetools.bundle.repository import locks
from osc_imagetools.bundle.repository.locks import RepositoryLock, removable
from osc_imagetools.bundle.repository.snapshots import (
    bundle_tags,
    group_bundles,
    parse_snapshots,
    parse_time,
    subject_value,
)

ID = "8a2e1b7c-0000-4000-8000-000000000001"
TAGS = ("osc-imagetools", f"bundle={ID}", "kind=image", "subject=s1")


def entry(number: int, path: str, *tags: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": hashlib.sha256(str(number).encode()).hexdigest(),
        "time": f"2026-01-01T00:00:{number:02}.123456789Z",
        "tags": [*(tags or TAGS)],
        "paths": [path],
        **changes,
    }


class Grouping(testtools.TestCase):
    def bundles(self, *entries: Any) -> list[Any]:
        return group_bundles(parse_snapshots(list(entries)))

    def test_a_bundle(self) -> None:
        (bundle,) = self.bundles(
            entry(3, "/tmp/x", *TAGS, "complete", "monthly"),
            entry(1, "/disks/0-vda.raw"),
            entry(2, "/disks/1-vdb.raw"),
            entry(4, "/records/r.json", *TAGS, "record=restore-check", "result=booted"),
        )
        self.assertEqual((ID, "image", "s1"), (bundle.id, bundle.kind, bundle.subject))
        self.assertEqual(["disks/0-vda.raw", "disks/1-vdb.raw"], list(bundle.disks))
        self.assertEqual(3, bundle.time.second)
        self.assertEqual({"monthly"}, bundle.user_tags)
        self.assertEqual(1, len(bundle.records))
        self.assertEqual(3, len(bundle.snapshot_ids()))

    def test_incomplete(self) -> None:
        (bundle,) = self.bundles(entry(1, "/disks/0-vda.raw"))
        self.assertIsNone(bundle.last)
        self.assertEqual(set(), bundle.user_tags)

    def test_the_newer_supersedes(self) -> None:
        (bundle,) = self.bundles(entry(2, "/disks/0-vda.raw"), entry(1, "/disks/0-vda.raw"))
        self.assertEqual(2, bundle.disks["disks/0-vda.raw"].time.second)
        self.assertEqual(2, len(bundle.snapshot_ids()))

    def test_of_another_form(self) -> None:
        disk = "/disks/0-vda.raw"
        forms: tuple[Any, ...] = (
            None,
            [],
            entry(1, disk, "osc-imagetools"),
            entry(1, disk, *TAGS[1:]),
            entry(1, disk, *TAGS, "kind=volume"),
            entry(1, disk, TAGS[0], "bundle=../x", *TAGS[2:]),
            entry(1, disk, *TAGS[:2], "kind=directory", TAGS[3]),
            entry(1, disk, id="zz"),
            entry(1, disk, id=5),
            entry(1, disk, time="yesterday"),
            entry(1, disk, time="2026-02-31T00:00:00Z"),
            entry(1, disk, tags="osc-imagetools"),
            entry(1, disk, paths=[1]),
        )
        for strange in forms:
            self.assertEqual([], self.bundles(strange), str(strange))
        self.assertEqual([], group_bundles(parse_snapshots({"a": 1})))

    def test_a_subject_in_a_tag(self) -> None:
        self.assertEqual("a%2Cb%20%0Ac", subject_value("a,b \nc"))
        self.assertEqual(
            ["--tag", "osc-imagetools,bundle=b,kind=image,subject=a%2Cb,complete"],
            bundle_tags("b", "image", "a,b", "complete"),
        )

    def test_times(self) -> None:
        self.assertEqual(
            datetime(2026, 1, 2, 1, 4, 5, 120000, tzinfo=UTC), parse_time("2026-01-02T03:04:05.12+02:00")
        )
        self.assertEqual(datetime(2026, 1, 2, tzinfo=UTC), parse_time("2026-01-02T00:00:00Z"))


class Locks(testtools.TestCase):
    """Only those of our own dead processes go."""

    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    def lock(self, host: str = "here", user: str = "me", pid: int = 1, minutes: int = 1) -> RepositoryLock:
        return RepositoryLock(self.NOW - timedelta(minutes=minutes), host, user, pid)

    def removable(self, *found: RepositoryLock, alive: tuple[int, ...] = ()) -> bool:
        return removable(found, host="here", user="me", now=self.NOW, alive=lambda pid: pid in alive)

    def test_of_a_dead_process(self) -> None:
        self.assertTrue(self.removable(self.lock()))
        self.assertTrue(self.removable(self.lock(), self.lock(pid=2), self.lock(host="there"), alive=(2,)))

    def test_of_a_living_process(self) -> None:
        self.assertFalse(self.removable(self.lock(), alive=(1,)))

    def test_of_another(self) -> None:
        self.assertFalse(self.removable())
        self.assertFalse(self.removable(self.lock(host="there")))
        self.assertFalse(self.removable(self.lock(user="you")))
        # restic would remove both: the old one of another host is not ours to judge.
        self.assertFalse(self.removable(self.lock(), self.lock(host="there", minutes=31)))
        self.assertFalse(self.removable(self.lock(), self.lock(user="you", pid=2)))
        self.assertFalse(self.removable(self.lock(), self.lock(pid=2, minutes=31), alive=(2,)))

    def test_as_restic_shows_it(self) -> None:
        text = b'{"time": "2026-01-01T00:00:00.5Z", "hostname": "h", "username": "u", "pid": 7}'
        self.assertEqual((7, "h"), (locks._parse(text).pid, locks._parse(text).host))  # type: ignore[union-attr]
        for broken in (b"", b"[]", b"{}", text.replace(b"7", b'"7"'), text.replace(b"2026", b"x")):
            self.assertIsNone(locks._parse(broken))
