# SPDX-License-Identifier: Apache-2.0
"""What ``server backup-check`` prints: a row for each finding, or one for each server.

Contract: pure. Rows are made one after the other, while they are printed; a :class:`Tally` sees every
finding, also those that are not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from osc_imagetools.backup_check.plan import ServerVerdict
from osc_imagetools.backup_check.reasons import Severity

FINDINGS = ("Server", "ID", "Project", "Severity", "Reason", "Message", "Action")
SUMMARY = ("Server", "ID", "Project", "Severity", "Findings", "Boot Source", "Disks", "Newest Backup")


@dataclass
class Tally:
    """The worst severity of all verdicts that went by; ``strays`` are those of no server."""

    worst: Severity = Severity.info
    strays: int = 0

    def watch(self, verdicts: Iterable[ServerVerdict]) -> Iterator[ServerVerdict]:
        for verdict in verdicts:
            self.worst = max(self.worst, verdict.severity)
            self.strays += verdict.server is None
            yield verdict


def finding_rows(verdicts: Iterable[ServerVerdict], shown: Severity) -> Iterator[tuple[Any, ...]]:
    """The rows of :data:`FINDINGS` from this severity on; it stands in them as a :class:`Severity`."""
    for verdict in verdicts:
        subject = (verdict.server, verdict.id, verdict.project_id)
        for finding in verdict.findings:
            if finding.severity >= shown:
                yield (*subject, finding.severity, finding.reason.code, finding.message, finding.action)


def summary_rows(verdicts: Iterable[ServerVerdict], shown: Severity) -> Iterator[tuple[Any, ...]]:
    """The rows of :data:`SUMMARY`: the servers that have findings from this severity on, and their codes."""
    for verdict in verdicts:
        if verdict.server is None or verdict.severity < shown:
            continue
        codes = [finding.reason.code for finding in verdict.findings if finding.severity >= shown]
        yield (
            verdict.server,
            verdict.id,
            verdict.project_id,
            verdict.severity,
            list(dict.fromkeys(codes)),
            verdict.boot_source,
            verdict.disks,
            _time(verdict.newest),
        )


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
