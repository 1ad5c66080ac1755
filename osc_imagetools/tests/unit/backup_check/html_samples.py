# SPDX-License-Identifier: Apache-2.0
"""Verdicts on a fleet that exists nowhere."""

from __future__ import annotations

import uuid

from osc_imagetools.backup_check.plan import ServerVerdict
from osc_imagetools.backup_check.plan_case import Finding
from osc_imagetools.backup_check.reasons import REASONS, Severity

NOW = 1767225600.0  # 2026-01-01T00:00:00Z
SERVER = "5a9f0c6e-3b1d-4f58-9f57-1e0a7c2d4b63"


def found(code: str, message: str = "it is", action: str = "") -> Finding:
    return Finding(REASONS[code], REASONS[code].severity, message, action)


def verdict(
    name: str | None, *findings: Finding, age: float | None = 3600.0, disks: int = 2
) -> ServerVerdict:
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, name)) if name else None
    newest = None if age is None else NOW - age
    return ServerVerdict(name, identifier, "p1", findings, "volume", disks, newest)


LOST = verdict(
    "web10",
    found(
        "backup-dead",
        "image old has 0 bytes",
        f"openstack server export-full {SERVER}; openstack image delete x",
    ),
    found("locked"),
    age=None,
)
AT_RISK = verdict("web9", found("no-backup"), age=90000.0)
SAFE = verdict("web1", found("newest-backup"), age=7200.0, disks=11)
NOT_JUDGED = verdict("web2", found("not-judged"), found("locked"))
STRAY = ServerVerdict(None, None, "p1", (found("dead-image", "image gone has 0 bytes"),))


def fleet(count: int) -> list[ServerVerdict]:
    """Servers with five findings each."""
    codes = [code for code, reason in REASONS.items() if reason.severity < Severity.critical][:4]
    message = f"volume db-data ({SERVER}) is in none of the copies that there are of the other disks"
    usual = [found(code, message, f"openstack server export-full {SERVER}") for code in codes]
    return [
        verdict(
            f"web{n:05d}", *usual, found("backup-dead" if n % 5 == 0 else "locked", message), age=60.0 * n
        )
        for n in range(count)
    ]
