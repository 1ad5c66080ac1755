# SPDX-License-Identifier: Apache-2.0
"""Which findings the user knows and does not want to hear of again.

Contract: pure. What is ignored is neither shown nor counted; everything else is as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from osc_imagetools import errors
from osc_imagetools.backup_check.plan import ServerVerdict
from osc_imagetools.backup_check.plan_case import Finding
from osc_imagetools.backup_check.reasons import REASONS


@dataclass(frozen=True)
class IgnoredFinding:
    """A reason, of the resource with an ID or (None) of all."""

    reason: str
    id: str | None

    def covers(self, verdict: ServerVerdict, finding: Finding) -> bool:
        """Whether it means this finding: of the server with the ID, or about what has the ID."""
        if finding.reason.code != self.reason:
            return False
        texts = (finding.message, finding.action)
        return self.id is None or self.id == verdict.id or any(self.id in text for text in texts)


def parse_ignored(texts: Iterable[str]) -> tuple[IgnoredFinding, ...]:
    """From ``<reason>`` and ``<reason>:<id>``.

    :raises errors.UsageError: there is no such reason, or an ID is empty; all of them at once.
    """
    wrong, ignored = [], []
    for text in texts:
        reason, colon, identifier = text.partition(":")
        if reason not in REASONS:
            wrong.append(f"--ignore {text}: there is no reason {reason!r}")
        elif colon and not identifier:
            wrong.append(f"--ignore {text}: the ID is missing")
        else:
            ignored.append(IgnoredFinding(reason, identifier or None))
    if wrong:
        raise errors.UsageError("; ".join(wrong), hint=f"Reasons: {', '.join(sorted(REASONS))}")
    return tuple(ignored)


def without_ignored(
    verdicts: Iterable[ServerVerdict], ignored: Iterable[IgnoredFinding]
) -> Iterator[ServerVerdict]:
    """The verdicts without these findings, one by one; what belongs to no server and has none goes."""
    ignored = tuple(ignored)
    for verdict in verdicts:
        left = tuple(f for f in verdict.findings if not any(i.covers(verdict, f) for i in ignored))
        if left or verdict.server is not None:
            yield verdict if len(left) == len(verdict.findings) else replace(verdict, findings=left)
