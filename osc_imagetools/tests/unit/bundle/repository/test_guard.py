# SPDX-License-Identifier: Apache-2.0
"""A program below the guard: what ends it, and when."""

from __future__ import annotations

import os

from osc_imagetools.bundle.repository.guarded_process import GuardedProcess
from osc_imagetools.tests.unit.base import TestCase


class TestGuard(TestCase):
    def started(self, *command: str) -> GuardedProcess:
        process = GuardedProcess(command, os.environ)
        self.addCleanup(process.kill)
        for stream in (process.stdout, process.stderr):
            self.addCleanup(stream.close)
        return process

    def test_an_interrupt_at_once_is_not_lost(self) -> None:
        process = self.started("sh", "-c", "echo begun; exec sleep 600")
        process.interrupt()
        self.assertEqual(130, process.wait())  # by SIGINT, and not killed later

    def test_no_interrupt_before_it_has_begun(self) -> None:
        """It would leave the lock that it has made."""
        process = self.started("sh", "-c", "trap 'exit 9' INT; sleep 0.3; trap - INT; echo; exec sleep 600")
        process.interrupt()
        self.assertEqual(130, process.wait())

    def test_one_that_has_begun_and_says_nothing_more(self) -> None:
        process = self.started("sh", "-c", "echo; sleep 3; exit 7")
        self.assertEqual(b"\n", process.stdout.readline())
        process.begun = True
        process.interrupt()
        self.assertEqual(130, process.wait())  # at once

    def test_one_that_never_says_anything(self) -> None:
        process = self.started("sleep", "600")
        process.interrupt()
        self.assertEqual(130, process.wait())

    def test_one_that_ends_before_it_is_interrupted(self) -> None:
        process = self.started("sh", "-c", "trap 'exit 9' INT; sleep 0.3; exit 7")
        process.interrupt()
        self.assertEqual(7, process.wait())

    def test_the_exit_code_of_what_ends_by_itself(self) -> None:
        self.assertEqual(7, self.started("sh", "-c", "exit 7").wait())

    def test_a_program_that_is_not_there(self) -> None:
        process = self.started("no-such-program")
        self.assertEqual(127, process.wait())
        self.assertIn(b"No such file", process.stderr.read())
