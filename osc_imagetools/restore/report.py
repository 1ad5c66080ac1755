# SPDX-License-Identifier: Apache-2.0
"""What an import reports: the fields of ``* import-full``, and a line that sums it up.

Contract: pure. Bytes are integers, seconds a float; the command layer makes them readable.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.progress import words
from osc_imagetools.restore.result import ImportReport


def import_fields(report: ImportReport) -> dict[str, Any]:
    """Field names and values, in the order of the documentation."""
    return {
        "id": report.id,
        "name": report.name,
        "kind": report.kind,
        "bytes": report.bytes,
        "disks": report.disks,
        "differences": list(report.differences),
        "not_replayed": [f"{lost.what}: {lost.reason}" for lost in report.not_replayed],
        "mapped": list(report.mapped),
        "retries": report.retries,
        "seconds": round(report.seconds, 1),
    }


def import_summary(report: ImportReport) -> str:
    """What was imported, how much, how fast, to where, and what reading it back has shown."""
    proof = "read back, it is as in the bundle"
    if report.differences:
        proof = f"read back, it differs from the bundle in {words.counted(len(report.differences), 'point')}"
    return (
        f"Imported {report.kind} {report.name or ''} ({report.id}): {words.counted(report.disks, 'disk')}, "
        f"{words.transfer(report.bytes, report.seconds)}; {proof}."
    )
