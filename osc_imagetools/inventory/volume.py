# SPDX-License-Identifier: Apache-2.0
"""Volumes and volume snapshots as the Block Storage API v3 tells them, as frozen values.

Contract: read-only. A snapshot or volume that is not there (or not visible: Cinder answers 404 to both)
is None, so that a plan can name everything that is missing at once.
Source: https://docs.openstack.org/api-ref/block-storage/v3/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud import Cloud

GIB = 1 << 30


@dataclass(frozen=True)
class Snapshot:
    """A volume snapshot; ``size`` in bytes (Cinder counts whole GiB)."""

    id: str
    name: str | None
    status: str
    size: int
    volume_id: str
    created_at: str | None
    document: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"snapshot {self.name or ''} ({self.id})".replace("  ", " ")


@dataclass(frozen=True)
class Volume:
    """A volume; ``size`` in bytes, ``image_metadata`` the properties of the image it was made from."""

    id: str
    name: str | None
    status: str
    size: int
    volume_type: str | None
    encrypted: bool
    bootable: bool
    image_metadata: Mapping[str, Any]
    document: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"volume {self.name or ''} ({self.id})".replace("  ", " ")


def get_snapshot(cloud: Cloud, snapshot_id: str) -> Snapshot | None:
    """The snapshot, or None where it is gone or not visible to this login."""
    try:
        answer = cloud.get("block-storage", f"/snapshots/{snapshot_id}", what=f"snapshot {snapshot_id}")
    except errors.ResourceNotFound:
        return None
    document = answer["snapshot"]
    return Snapshot(
        id=document["id"],
        name=document.get("name"),
        status=document["status"],
        size=int(document["size"]) * GIB,
        volume_id=document["volume_id"],
        created_at=document.get("created_at"),
        document=document,
    )


def get_volume(cloud: Cloud, volume_id: str) -> Volume | None:
    """The volume, or None where it is gone or not visible to this login."""
    try:
        answer = cloud.get("block-storage", f"/volumes/{volume_id}", what=f"volume {volume_id}")
    except errors.ResourceNotFound:
        return None
    document = answer["volume"]
    return Volume(
        id=document["id"],
        name=document.get("name"),
        status=document["status"],
        size=int(document["size"]) * GIB,
        volume_type=document.get("volume_type"),
        encrypted=bool(document.get("encrypted")),
        bootable=str(document.get("bootable")).lower() == "true",
        image_metadata=document.get("volume_image_metadata") or {},
        document=document,
    )
