# SPDX-License-Identifier: Apache-2.0
"""Ceph: made once, in order; begun again if that was cut short; its id stays."""

import pathlib
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator import ceph, steps  # noqa: E402
from orchestrator.processes import Process  # noqa: E402
from orchestrator.settings import Settings  # noqa: E402

START = ["launch ceph-mgr", "launch ceph-osd", "ceph_cluster.py pools"]
MAKE = [
    "monmaptool",
    "ceph-mon --mkfs",
    "launch ceph-mon",
    "ceph_cluster.py osd",
    "ceph-osd --mkfs",
]


class CephTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.settings = Settings.from_environment(
            {"DEVCLOUD_STATE": folder.name, "DEVCLOUD_STORAGE": "ceph"}
        )
        self.folder = pathlib.Path(folder.name) / "ceph"
        self.fsid = ceph.fsid(self.settings)
        self.fails: str | None = None

    def up(self) -> list[str]:
        """What is run and launched, in its order."""
        done = []

        def run(command, *_):
            words = [pathlib.Path(str(word)).name for word in command]
            if words[1].endswith(".py"):
                done.append(" ".join(words[1:3]))
            else:
                done.append(words[0] + (" --mkfs" if "--mkfs" in words else ""))
            if done[-1] == self.fails:
                raise steps.Failure("no")

        def launch(process, *_):
            done.append(f"launch {process.name}")

        with (
            unittest.mock.patch.object(steps, "run_logged", run),
            unittest.mock.patch.object(steps, "say"),
            unittest.mock.patch.object(Process, "launch", launch),
        ):
            try:
                ceph.Ceph(self.settings, {}).up()
            except steps.Failure:
                done.append("failed")
        return done

    def test_it_is_made_once(self) -> None:
        self.assertEqual(MAKE + START, self.up())
        self.assertEqual(["launch ceph-mon", *START], self.up())
        self.assertEqual(self.fsid, ceph.fsid(self.settings))

    def test_what_was_cut_short_begins_again(self) -> None:
        self.fails = "ceph-osd --mkfs"
        self.assertEqual([*MAKE, "failed"], self.up())
        leftover = self.folder / "monitor" / "store"
        leftover.touch()
        self.fails = None
        self.assertEqual(MAKE + START, self.up())
        self.assertFalse(leftover.exists())
        self.assertEqual(self.fsid, ceph.fsid(self.settings))


if __name__ == "__main__":
    unittest.main()
