# SPDX-License-Identifier: Apache-2.0
"""What restic says, as our errors: its words are those of 0.14 and of 0.18."""

from __future__ import annotations

import testtools

from osc_imagetools import errors
from osc_imagetools.bundle.repository.address import RepositoryAddress
from osc_imagetools.bundle.repository.failures import LONGEST, Stderr, restic_failure
from osc_imagetools.bundle.repository.restic import parse_version

ADDRESS = RepositoryAddress("/r", {"RESTIC_PASSWORD": "secret"})
LOCK = """unable to create lock in backend: repository is already locked by PID 4141 on vm by root (UID 0)
lock was created at 2026-11-27 13:44:12 (1.454796858s ago)
storage ID f4903277
the `unlock` command can be used to remove stale locks"""
NEWER = '{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}'
FULL = "Save(<data/1>) returned error, retrying after 1s: EOF\nFatal: write /r: no space left on device"


class Failures(testtools.TestCase):
    def failure(self, said: str, code: int = 1) -> errors.RepositoryError:
        return restic_failure(ADDRESS, code, said, doing="to test", left="volume x")

    def test_kinds(self) -> None:
        for said, code, kind in (
            ("Fatal: wrong password or no key found", 1, errors.RepositoryPassword),
            (NEWER, 12, errors.RepositoryPassword),
            (LOCK, 1, errors.RepositoryLocked),
            (
                "Fatal: unable to open config file: stat /r: no\nIs there a repository at",
                1,
                errors.RepositoryAbsent,
            ),
            ("Fatal: repository does not exist", 10, errors.RepositoryAbsent),
            ("", 11, errors.RepositoryLocked),
            (FULL, 1, errors.RepositoryFull),
            ("Fatal: something else", 1, errors.RepositoryError),
            ("", 130, errors.RepositoryError),
        ):
            error = self.failure(said, code)
            self.assertIs(kind, type(error), said)
            self.assertIn("/r", str(error))
            self.assertTrue(error.hint)

    def test_who_holds_the_lock(self) -> None:
        self.assertIn("locked by PID 4141 on vm:", self.failure(LOCK).message)

    def test_what_is_left(self) -> None:
        self.assertIn(
            "These resources may still exist: volume x", str(self.failure("Fatal: connection lost"))
        )

    def test_no_secret_and_no_endless_text(self) -> None:
        text = str(self.failure("Fatal: secret \x1b[31m " + "x" * 5000))
        self.assertNotIn("secret", text)
        self.assertNotIn("\x1b", text)
        self.assertLess(len(text), LONGEST + 400)

    def test_retries_are_not_the_reason(self) -> None:
        said = "Save(<data/1>) returned error, retrying after 1s: EOF\nFatal: connection lost"
        self.assertNotIn("EOF", self.failure(said).message)
        self.assertIn("EOF", self.failure(said.splitlines()[0]).message)


class Words(testtools.TestCase):
    def test_retries_are_told(self) -> None:
        told: list[str] = []
        said = Stderr(told.append)
        for line in ("one\n", "Load(<x>) returned error, retrying after 1s: EOF\n", *map(str, range(60))):
            said.line(line)
        self.assertEqual(["Load(<x>) returned error, retrying after 1s: EOF"], told)
        self.assertEqual(50, len(said.text.splitlines()))

    def test_versions(self) -> None:
        self.assertEqual((0, 14, 0), parse_version("restic 0.14.0 compiled with go1.19.8 on linux/amd64"))
        self.assertEqual((0, 18, 1), parse_version("restic 0.18.1-dev (compiled manually)"))
        self.assertIsNone(parse_version("another program"))
