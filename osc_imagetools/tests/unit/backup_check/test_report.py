# SPDX-License-Identifier: Apache-2.0
"""The rows of backup-check."""

from __future__ import annotations

from osc_imagetools.backup_check.plan import ServerVerdict
from osc_imagetools.backup_check.plan_case import Finding
from osc_imagetools.backup_check.reasons import REASONS, Severity
from osc_imagetools.backup_check.report import FINDINGS, SUMMARY, Tally, finding_rows, summary_rows
from osc_imagetools.tests.unit.base import TestCase


def finding(code: str) -> Finding:
    return Finding(REASONS[code], REASONS[code].severity, f"it {code}", f"openstack do {code}")


WEB = ServerVerdict(
    "web01",
    "s",
    "p",
    (finding("backup-dead"), finding("locked"), finding("volume-busy"), finding("volume-busy")),
    "volume",
    2,
    1767225600.0,
    1767225601.0,
)
QUIET = ServerVerdict("web02", "t", "p", (finding("consistency-crash"),), "image", 1, None)
STRAY = ServerVerdict(None, None, "p", (finding("dead-image"),))


class TestRows(TestCase):
    def test_findings(self):
        rows = list(finding_rows([WEB, QUIET, STRAY], Severity.warning))
        self.assertEqual(
            (
                "web01",
                Severity.critical,
                "backup-dead",
                "it backup-dead",
                "s",
                "p",
                "openstack do backup-dead",
            ),
            rows[0],
        )
        self.assertEqual(len(FINDINGS), len(rows[0]))
        self.assertEqual(
            ["backup-dead", "locked", "volume-busy", "volume-busy", "dead-image"], [row[2] for row in rows]
        )
        self.assertEqual(6, len(list(finding_rows([WEB, QUIET, STRAY], Severity.info))))

    def test_summary(self):
        rows = list(summary_rows([WEB, QUIET, STRAY], Severity.info))
        self.assertEqual(
            (
                "web01",
                "s",
                "p",
                Severity.critical,
                ["backup-dead", "locked", "volume-busy"],
                "volume",
                2,
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:00:01Z",
            ),
            rows[0],
        )
        self.assertEqual(len(SUMMARY), len(rows[0]))
        self.assertEqual((None, None), rows[1][7:])
        self.assertEqual(2, len(rows))
        self.assertEqual(["web01"], [row[0] for row in summary_rows([WEB, QUIET], Severity.warning)])

    def test_the_tally_sees_what_is_not_shown(self):
        tally = Tally()
        self.assertEqual([], list(finding_rows(tally.watch([QUIET, STRAY]), Severity.critical)))
        self.assertEqual((Severity.warning, 1), (tally.worst, tally.strays))

    def test_next_steps(self):
        tally = Tally()
        list(tally.watch([QUIET, WEB, STRAY]))
        steps = [f"openstack do {code}" for code in ("backup-dead", "volume-busy", "locked", "dead-image")]
        self.assertEqual(steps, tally.next_steps(Severity.info))
        self.assertEqual(["openstack do backup-dead"], tally.next_steps(Severity.critical))

    def test_next_steps_are_commands_that_can_be_typed(self):
        reason = REASONS["backup-dead"]
        several = Finding(reason, reason.severity, "it", "openstack a x; openstack b x")
        unfinished = Finding(reason, reason.severity, "it", "openstack --os-region-name <region> c")
        advice = Finding(reason, reason.severity, "it", "copy its files")
        tally = Tally()
        list(tally.watch([ServerVerdict("web01", "s", "p", (advice, several, unfinished, several))]))
        self.assertEqual(["openstack a x", "openstack b x"], tally.next_steps(Severity.info))
