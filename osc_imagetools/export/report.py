# SPDX-License-Identifier: Apache-2.0
"""What an export reports: the fields of ``* export-full``.

Contract: pure. Bytes are integers, seconds a float; the command layer makes them readable.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.export.execute import ExportReport

# The weakest proof of all disks is the proof of the bundle.
PROOFS = ("none", "checksum", "os_hash")


def export_fields(report: ExportReport) -> dict[str, Any]:
    """Field names and values, in the order of the documentation."""
    subject = report.plan.subject
    fetched = [disk.fetched for disk in report.disks]
    return {
        "bundle": str(report.path),
        "kind": subject.kind,
        "id": subject.id,
        "name": subject.name,
        "disks": len(fetched),
        "bytes": sum(f.size for f in fetched),
        "bytes_fetched": sum(f.bytes_fetched for f in fetched),
        "bytes_reused": sum(f.bytes_reused for f in fetched),
        "retries": sum(f.retries for f in fetched),
        "hash_algorithm": report.algorithm,
        "verified": min((f.verified for f in fetched), key=PROOFS.index),
        "consistency": report.facts.consistency,
        "not_captured": [f"{n.name}: {n.reason}" for n in report.facts.not_captured],
        "seconds": round(report.seconds, 1),
    }
