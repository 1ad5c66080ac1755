# SPDX-License-Identifier: Apache-2.0
"""What a conversion reports: the fields of ``* convert``, and a line that sums it up.

Contract: pure. Bytes are an integer, seconds a float; the command layer makes them readable.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.convert.execute import ConversionReport
from osc_imagetools.convert.plan_drafts import ConversionPlan
from osc_imagetools.operations.vocabulary import ReformatImage, operations_of
from osc_imagetools.progress import words


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
        "retries": report.retries,
        "seconds": round(report.seconds, 1),
    }


def conversion_summary(plan: ConversionPlan, report: ConversionReport) -> str:
    """What was converted, into what, how much, how fast, and how it was proven.

    Bytes that were sent from here are proven by a hash. What the cloud makes of volumes moves inside it, with
    a speed and a proof of its own.
    """
    made = report.made
    if any(isinstance(operation, ReformatImage) for operation in operations_of(plan.phases)):
        moved = words.transfer(made.bytes, report.seconds)
        unproven = any(lost.what == "hash" for lost in report.not_replayed)
        proof = "the cloud has no hash of it" if unproven else "the cloud's hash is that of the data sent"
    else:
        moved = f"{words.size(made.bytes)} in {words.span(report.seconds)}, inside the cloud"
        proof = (
            "format and size are as requested" if made.type == "image" else "status and size are as requested"
        )
    name = f"{made.name} ({made.id})" if made.name != made.id else made.id
    return f"Converted {plan.source.role} to {made.type} {name}: {moved}; {proof}."
