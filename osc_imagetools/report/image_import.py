# SPDX-License-Identifier: Apache-2.0
"""What an import of an image reports: the fields of ``image import-full``.

Contract: pure. Bytes are integers, seconds a float; the command layer makes them readable.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.execution.image_import import ImportReport


def import_fields(report: ImportReport) -> dict[str, Any]:
    """Field names and values, in the order of the documentation."""
    return {
        "id": report.image.id,
        "name": report.image.name,
        "kind": "image",
        "bytes": report.bytes,
        "disks": report.disks,
        "differences": list(report.differences),
        "not_replayed": [f"{lost.what}: {lost.reason}" for lost in report.not_replayed],
        "mapped": list(report.mapped),
        "seconds": round(report.seconds, 1),
    }
