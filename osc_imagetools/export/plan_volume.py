# SPDX-License-Identifier: Apache-2.0
"""Plans the exports of a volume and of a volume snapshot.

Contract: pure functions over values; all problems at once, as for every export.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools.cloud.disk_data import VolumeInventory
from osc_imagetools.export.plan import DiskPlacement, ExportDraft, ExportPlan, Subject, volume_facts

VOLUME_OBSERVED = ("id", "status", "created_at", "updated_at", "snapshot_id", "source_volid", "multiattach")
SNAPSHOT_OBSERVED = ("id", "status", "created_at", "updated_at", "volume_id")


def plan_volume_export(
    found: VolumeInventory, *, disk_format: str | None, jobs: int, allow_encrypted: bool = False
) -> ExportPlan:
    """Plans ``volume export-full`` and ``volume snapshot export-full``.

    :param found: with a snapshot, that is what is exported; else the volume, through a snapshot of ours,
        whether it is in use or not: its own state is never touched.
    :raises errors.ImagetoolsError: it cannot be exported; several reasons as :class:`errors.Unready`.
    """
    draft = ExportDraft(disk_format, allow_encrypted)
    volume, snapshot = found.volume, found.snapshot
    role = "boot" if volume is not None and volume.bootable else "data"
    place = DiskPlacement("volume", None, role, None, None)
    if snapshot is not None:
        project = snapshot.document.get("os-extended-snapshot-attributes:project_id")
        draft.check_project(snapshot.label, project, found.origin)
        draft.add_snapshot(snapshot, volume, place)
    elif volume is not None:
        project = volume.document.get("os-vol-tenant-attr:tenant_id")
        draft.check_project(volume.label, project, found.origin)
        draft.add_volume(volume, place)
    return draft.finish(
        _snapshot_subject(found) if snapshot is not None else _volume_subject(found),
        consistency=_consistency(found),
        quota=found.quota,
        jobs=jobs,
    )


def _volume_subject(found: VolumeInventory) -> Subject:
    volume = found.volume
    assert volume is not None
    observed: dict[str, Any] = {key: volume.document.get(key) for key in VOLUME_OBSERVED}
    observed["attachments"] = [{"server_id": a.server_id, "device": a.device} for a in volume.attachments]
    return Subject(
        kind="volume",
        id=volume.id,
        name=volume.name,
        label=volume.label,
        origin=found.origin,
        hash_algo=None,
        replayable=volume_facts(volume),
        observed=observed,
        documents={"volume": dict(volume.document)},
    )


def _snapshot_subject(found: VolumeInventory) -> Subject:
    snapshot, volume = found.snapshot, found.volume
    assert snapshot is not None
    documents = {"snapshot": dict(snapshot.document)}
    if volume is not None:
        documents["volume"] = dict(volume.document)
    return Subject(
        kind="snapshot",
        id=snapshot.id,
        name=snapshot.name,
        label=snapshot.label,
        origin=found.origin,
        hash_algo=None,
        replayable={
            "name": snapshot.name,
            "description": snapshot.document.get("description"),
            "metadata": dict(snapshot.document.get("metadata") or {}),
            "volume": volume_facts(volume) if volume is not None else None,
        },
        observed={key: snapshot.document.get(key) for key in SNAPSHOT_OBSERVED},
        documents=documents,
    )


def _consistency(found: VolumeInventory) -> str:
    """An available volume is at rest; of one in use, and of a snapshot from before, nobody knows more."""
    if found.snapshot is not None:
        return "unknown"
    assert found.volume is not None
    if found.volume.status == "available":
        return "stopped"
    return "stopped" if found.stopped else "crash"
