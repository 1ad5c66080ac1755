# SPDX-License-Identifier: Apache-2.0
"""Waiting for the lock of another process, with a restic that only tells of that lock."""

from __future__ import annotations

import os
import pathlib

import fixtures

from osc_imagetools import errors
from osc_imagetools.bundle.repository.address import repository_address
from osc_imagetools.bundle.repository.locks import patiently
from osc_imagetools.bundle.repository.restic import Restic, restic_program
from osc_imagetools.tests.unit.base import TestCase

PROGRAM = """#!/bin/sh
echo "$@" >> "$0.calls"
case "$1" in
version) echo restic 0.14.0 compiled with go1.19 ;;
list) echo 0123 ;;
cat) date -u '+{"time": "%Y-%m-%dT%H:%M:%SZ", "hostname": "elsewhere", "username": "me", "pid": 1}' ;;
esac
"""


class TestPatience(TestCase):
    def setUp(self):
        super().setUp()
        self.program = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / "restic"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o700)
        self.useFixture(fixtures.EnvironmentVariable("PATH", f"{self.program.parent}:{os.environ['PATH']}"))
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.bundle.repository.locks.PAUSE", 0.01))
        restic_program.cache_clear()
        self.addCleanup(restic_program.cache_clear)
        environment = {**os.environ, "RESTIC_PASSWORD": "secret"}
        self.restic = Restic(repository_address("/r", environment=environment))
        self.left = 3

    def attempt(self) -> str:
        if self.left:
            self.left -= 1
            raise errors.RepositoryLocked("somebody removes something")
        return "done"

    def test_until_the_lock_is_gone(self):
        self.assertEqual("done", patiently(self.restic, self.attempt))
        calls = pathlib.Path(f"{self.program}.calls").read_text()
        self.assertEqual(3, calls.count("list locks"))
        self.assertNotIn("unlock", calls)  # a living process elsewhere holds it

    def test_no_longer_than_it_may(self):
        self.assertRaises(errors.RepositoryLocked, patiently, self.restic, self.attempt, -1.0)
        self.assertEqual(2, self.left)
