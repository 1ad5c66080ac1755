# SPDX-License-Identifier: Apache-2.0
"""What a restore check reports: the fields of ``server restore-check``, and a line that sums it up.

Contract: pure.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.restore_check.execute import RestoreCheckReport


def restore_check_fields(report: RestoreCheckReport, bundle: str) -> dict[str, Any]:
    """Field names and values, in the order of the documentation; seconds as numbers."""
    return {
        "bundle": bundle,
        "server": report.server,
        "result": report.result,
        "evidence": report.evidence,
        "boot_seconds": round(report.boot_seconds, 1),
        "check": report.check,
        "copy": report.copy,
        "record": report.record,
        "seconds": round(report.seconds, 1),
    }


def restore_check_summary(report: RestoreCheckReport) -> str:
    """What became of the copy, and what to type next where it is kept."""
    if report.copy is None:
        return f"Checked {report.server}: {report.result}. The copy was removed."
    return (
        f"Checked {report.server}: {report.result}. The copy is kept:\n"
        f"openstack console log show {report.copy}\n"
        "openstack leftover delete"
    )
