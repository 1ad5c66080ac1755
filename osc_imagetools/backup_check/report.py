# SPDX-License-Identifier: Apache-2.0
"""What ``server backup-check`` prints: a row for each finding, or one for each server.

Contract: pure. Rows are made one after the other, while they are printed; a :class:`Tally` sees every
finding, also those that are not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from osc_imagetools.backup_check.plan import ServerVerdict
from osc_imagetools.backup_check.reasons import Severity

COMMAND = "openstack "  # how an action begins that can be typed
FINDINGS = ("Server", "Severity", "Reason", "Message", "ID", "Project", "Action")
SUMMARY = (
    "Server",
    "ID",
    "Project",
    "Severity",
    "Findings",
    "Boot Source",
    "Disks",
    "Newest Backup",
    "Newest Proof",
)


@dataclass
class Tally:
    """The worst severity of all verdicts that went by; ``strays`` are those of no server.

    ``actions`` are the commands of the findings, each with its highest severity and how often it occurs.
    """

    worst: Severity = Severity.info
    strays: int = 0
    actions: dict[str, tuple[Severity, int]] = field(default_factory=dict)

    def watch(self, verdicts: Iterable[ServerVerdict]) -> Iterator[ServerVerdict]:
        for verdict in verdicts:
            self.worst = max(self.worst, verdict.severity)
            self.strays += verdict.server is None
            for finding in verdict.findings:
                for action in finding.action.split("; ") if finding.action else ():
                    worst, count = self.actions.get(action, (Severity.info, 0))
                    self.actions[action] = (max(worst, finding.severity), count + 1)
            yield verdict

    def next_steps(self, shown: Severity) -> list[str]:
        """The commands that help the most: against the worst findings first, and then against the most.

        Left out is what is done against findings that are not shown, or for information only, what is no
        command, and commands in which something has to be filled in.
        """
        least = max(shown, Severity.warning)
        typed = {
            action: rank
            for action, rank in self.actions.items()
            if rank[0] >= least and action.startswith(COMMAND) and "<" not in action
        }
        return sorted(typed, key=lambda action: typed[action], reverse=True)


def finding_rows(verdicts: Iterable[ServerVerdict], shown: Severity) -> Iterator[tuple[Any, ...]]:
    """The rows of :data:`FINDINGS` from this severity on; it stands in them as a :class:`Severity`."""
    for verdict in verdicts:
        for finding in verdict.findings:
            if finding.severity >= shown:
                said = (finding.severity, finding.reason.code, finding.message)
                yield (verdict.server, *said, verdict.id, verdict.project_id, finding.action)


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
            _time(verdict.proof),
        )


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
