# SPDX-License-Identifier: Apache-2.0
"""What a conversion reports: the fields of ``* convert``.

Contract: pure. Bytes are an integer, seconds a float; the command layer makes them readable.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.convert.execute import ConversionReport


def conversion_fields(report: ConversionReport) -> dict[str, Any]:
    """Field names and values, in the order of the documentation."""
    made = report.made
    return {
        "type": made.type,
        "id": made.id,
        "name": made.name,
        "status": made.status,
        "bytes": made.bytes,
        "kept": list(report.kept),
        "not_replayed": [f"{lost.what}: {lost.reason}" for lost in report.not_replayed],
        "seconds": round(report.seconds, 1),
    }
