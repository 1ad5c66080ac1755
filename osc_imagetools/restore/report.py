# SPDX-License-Identifier: Apache-2.0
"""What an import reports: the fields of ``* import-full``.

Contract: pure. Bytes are integers, seconds a float; the command layer makes them readable.
"""

from __future__ import annotations

from typing import Any

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
        "seconds": round(report.seconds, 1),
    }
