# SPDX-License-Identifier: Apache-2.0
"""What the manifest of an export says, put together from the plan and from what arrived.

Contract: pure, but for the time. The same source gives the same manifest, apart from times: ids of
temporary resources are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from osc_imagetools.cloud.ownership import now
from osc_imagetools.export.plan import ExportPlan, Subject
from osc_imagetools.export.plan_server_properties import ExportedFacts

if TYPE_CHECKING:
    from osc_imagetools.export.execute import FetchedDisk

# Those with a sum program in coreutils; any other os_hash_algo is computed beside sha512.
SUM_ALGORITHMS = frozenset({"sha224", "sha256", "sha384", "sha512"})


def bundle_algorithm(subject: Subject) -> str:
    """The hash algorithm of the bundle: the cloud's own, where coreutils can check it."""
    return subject.hash_algo if subject.hash_algo in SUM_ALGORITHMS and subject.hash_algo else "sha512"


def manifest(
    plan: ExportPlan, facts: ExportedFacts, disks: Sequence[FetchedDisk], algorithm: str
) -> dict[str, Any]:
    """The manifest of a bundle, but for the list of files, which the writer knows."""
    subject = plan.subject
    return {
        "format": "osc-imagetools-bundle",
        "format_version": 1,
        "kind": subject.kind,
        "generator": {"name": "osc-imagetools", "version": version("osc-imagetools")},
        "created_at": now(),
        "source": asdict(subject.origin),
        "resource": {"id": subject.id, "name": subject.name},
        "consistency": {
            "mode": facts.consistency,
            "snapshots": [
                {
                    "disk": disk.plan.name,
                    "snapshot_id": disk.snapshot_time[0],
                    "created_at": disk.snapshot_time[1],
                }
                for disk in disks
                if disk.snapshot_time is not None
            ],
        },
        "hash_algorithm": algorithm,
        "disks": [_disk(disk, algorithm) for disk in disks],
        "not_captured": [asdict(entry) for entry in facts.not_captured],
        "replayable": dict(facts.replayable),
        "observed": dict(subject.observed),
    }


def _disk(disk: FetchedDisk, algorithm: str) -> dict[str, Any]:
    plan, fetched = disk.plan, disk.fetched
    observed = dict(plan.observed)
    if plan.image is not None:
        observed.update(
            checksum=plan.image.checksum,
            os_hash_algo=plan.image.hash_algo,
            os_hash_value=plan.image.hash_value,
        )
    return {
        "index": plan.index,
        "name": plan.name,
        "file": plan.file,
        "role": plan.role,
        "boot_index": plan.boot_index,
        "device": plan.device,
        "disk_format": plan.disk_format,
        "container_format": plan.container_format,
        "content_format": disk.facts.content_format,
        "size": fetched.size,
        "virtual_size": disk.facts.virtual_size,
        "hash": {"algorithm": algorithm, "value": fetched.digests[algorithm]},
        "verified_by": fetched.verified,
        "replayable": dict(plan.replayable),
        "observed": observed,
    }
