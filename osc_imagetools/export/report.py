# SPDX-License-Identifier: Apache-2.0
"""What an export reports: the fields of ``* export-full``, and a line that sums it up.

Contract: pure. Bytes are integers, seconds a float; the command layer makes them readable.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.export.execute import ExportReport
from osc_imagetools.progress import words

# The weakest proof of all disks is the proof of the bundle.
PROOFS = ("none", "checksum", "os_hash")
PROVEN = {
    "none": "the cloud has no hash to verify the data against",
    "checksum": "verified against the cloud's MD5 checksums",
    "os_hash": "verified against the cloud's {algorithm} hashes",
}


def export_fields(report: ExportReport) -> dict[str, Any]:
    """Field names and values, in the order of the documentation."""
    subject = report.plan.subject
    fetched = [disk.fetched for disk in report.disks]
    return {
        "bundle": report.bundle,
        "kind": subject.kind,
        "id": subject.id,
        "name": subject.name,
        "disks": len(fetched),
        "bytes": sum(f.size for f in fetched),
        "bytes_fetched": sum(f.bytes_fetched for f in fetched),
        "bytes_reused": sum(f.bytes_reused for f in fetched),
        "retries": sum(f.retries for f in fetched) + report.requests_repeated,
        "hash_algorithm": report.algorithm,
        "verified": _proof(report),
        "consistency": report.facts.consistency,
        "not_captured": [f"{n.name}: {n.reason}" for n in report.facts.not_captured],
        "seconds": round(report.seconds, 1),
    }


def export_summary(report: ExportReport) -> str:
    """What was exported, how much, how fast, to where, and how it was proven."""
    subject, fetched = report.plan.subject, [disk.fetched for disk in report.disks]
    moved, reused = sum(f.bytes_fetched for f in fetched), sum(f.bytes_reused for f in fetched)
    kept = f", {words.size(reused)} reused of an earlier run" if reused else ""
    return (
        f"Exported {subject.kind} {subject.name or subject.id} to {report.place}: "
        f"{words.counted(len(fetched), 'disk')}, {words.transfer(moved, report.seconds)}{kept}, "
        f"{PROVEN[_proof(report)].format(algorithm=report.algorithm)}."
    )


def _proof(report: ExportReport) -> str:
    return min((disk.fetched.verified for disk in report.disks), key=PROOFS.index)
