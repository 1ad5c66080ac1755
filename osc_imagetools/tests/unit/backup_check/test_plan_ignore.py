# SPDX-License-Identifier: Apache-2.0
"""Findings that the user knows of."""

from __future__ import annotations

from osc_imagetools import errors
from osc_imagetools.backup_check.plan import ServerVerdict
from osc_imagetools.backup_check.plan_case import Finding
from osc_imagetools.backup_check.plan_ignore import parse_ignored, without_ignored
from osc_imagetools.backup_check.reasons import REASONS, Severity
from osc_imagetools.backup_check.report import Tally
from osc_imagetools.tests.unit.base import TestCase


def finding(code: str, about: str = "") -> Finding:
    return Finding(REASONS[code], REASONS[code].severity, f"it {code} {about}", "")


class TestIgnored(TestCase):
    def left(self, *texts: str) -> tuple[list[tuple[str | None, list[str]]], Severity]:
        verdicts = [
            ServerVerdict("web01", "s1", "p", (finding("backup-dead", "i1"), finding("locked"))),
            ServerVerdict("web02", "s2", "p", (finding("backup-dead", "i2"),)),
            ServerVerdict(None, None, "p", (finding("dead-image", "i3"),)),
        ]
        tally = Tally()
        shown = list(tally.watch(without_ignored(verdicts, parse_ignored(texts))))
        return [(v.server, [f.reason.code for f in v.findings]) for v in shown], tally.worst

    def test_of_every_server(self) -> None:
        left, worst = self.left("backup-dead", "dead-image")
        self.assertEqual([("web01", ["locked"]), ("web02", [])], left)
        self.assertEqual(Severity.warning, worst)

    def test_of_one_resource(self) -> None:
        for text in ("backup-dead:s1", "backup-dead:i1"):
            left, worst = self.left(text)
            self.assertEqual([["locked"], ["backup-dead"], ["dead-image"]], [codes for _, codes in left])
            self.assertEqual(Severity.critical, worst)
        left, _ = self.left("dead-image:i3", "locked:s2")
        self.assertEqual([["backup-dead", "locked"], ["backup-dead"]], [codes for _, codes in left])

    def test_what_is_no_reason(self) -> None:
        error = self.assertRaises(errors.UsageError, parse_ignored, ["nonsense", "locked:", "locked"])
        self.assertIn("nonsense", error.message)
        self.assertIn("the ID is missing", error.message)
        self.assertIn("backup-dead", str(error.hint))
