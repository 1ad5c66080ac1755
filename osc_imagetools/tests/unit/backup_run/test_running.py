# SPDX-License-Identifier: Apache-2.0
"""What becomes of commands when the work on them ends."""

from __future__ import annotations

from osc_imagetools.backup_run.running import ended_with_us
from osc_imagetools.tests.unit.base import TestCase


class NotedCommand:
    """Notes what it is told."""

    def __init__(self, interrupted: int = 0) -> None:
        self.interrupted = interrupted
        self.told: list[str] = []

    def interrupt(self) -> None:
        self.interrupted += 1
        self.told.append("interrupt")

    def wait(self) -> None:
        self.told.append("wait")


class TestEnd(TestCase):
    def test_nobody_is_told_a_second_time(self) -> None:
        """That would end the clean-up."""
        commands = [NotedCommand(), NotedCommand(1), NotedCommand(2)]

        def fail() -> None:
            with ended_with_us(commands):
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertEqual([["interrupt", "wait"], ["wait"], ["wait"]], [c.told for c in commands])
