# SPDX-License-Identifier: Apache-2.0
"""Volumes and volume snapshots as the Block Storage API v3 tells them, as frozen values.

Contract: read-only. A snapshot or volume that is not there (or not visible: Cinder answers 404 to both)
is None, so that a plan can name everything that is missing at once.
Source: https://docs.openstack.org/api-ref/block-storage/v3/
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.answers import sensible
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.find import find_one, listed
from osc_imagetools.cloud.names import label_of

GIB = 1 << 30
MICROVERSION = "3.64"  # tells the encryption_key_id


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
        return label_of("snapshot", self.name, self.id)


@dataclass(frozen=True)
class Attachment:
    """Where a volume is attached: ``device`` as the server has it (/dev/vdb); no server: to a host."""

    server_id: str | None
    device: str | None


@dataclass(frozen=True)
class Volume:
    """A volume; ``size`` in bytes, ``image_metadata`` the properties of the image it was made from.

    ``snapshot_id`` is the snapshot that it was made from, if any; ``encryption_key_id`` None where it is not
    encrypted, or where this account may not know.
    """

    id: str
    name: str | None
    status: str
    size: int
    volume_type: str | None
    encrypted: bool
    bootable: bool
    image_metadata: Mapping[str, Any]
    attachments: tuple[Attachment, ...]
    snapshot_id: str | None
    encryption_key_id: str | None
    document: Mapping[str, Any]

    @property
    def label(self) -> str:
        return label_of("volume", self.name, self.id)


def read_snapshot(document: Mapping[str, Any]) -> Snapshot:
    """A value from a document of ``GET /v3/snapshots/{id}``."""
    return Snapshot(
        id=document["id"],
        name=document.get("name"),
        status=document["status"],
        size=int(document["size"]) * GIB,
        volume_id=document["volume_id"],
        created_at=document.get("created_at"),
        document=document,
    )


def read_volume(document: Mapping[str, Any], key_id: str | None = None) -> Volume:
    """A value from a document of ``GET /v3/volumes/{id}``; *key_id* where only another request tells it."""
    return Volume(
        id=document["id"],
        name=document.get("name"),
        status=document["status"],
        size=int(document["size"]) * GIB,
        volume_type=document.get("volume_type"),
        encrypted=bool(document.get("encrypted")),
        bootable=str(document.get("bootable")).lower() == "true",
        image_metadata=document.get("volume_image_metadata") or {},
        attachments=tuple(
            Attachment(a.get("server_id"), a.get("device")) for a in document.get("attachments") or ()
        ),
        snapshot_id=document.get("snapshot_id"),
        encryption_key_id=document.get("encryption_key_id") or key_id,
        document=document,
    )


def get_snapshot(cloud: Cloud, snapshot_id: str) -> Snapshot | None:
    """The snapshot, or None where it is gone or not visible to this login."""
    path = f"/snapshots/{quote(snapshot_id, safe='')}"
    what = f"snapshot {snapshot_id}"
    try:
        document = cloud.get("block-storage", path, what=what, key="snapshot")
    except errors.ResourceNotFound:
        return None
    with sensible(what):
        return read_snapshot(document)


def get_volume(cloud: Cloud, volume_id: str) -> Volume | None:
    """The volume, or None where it is gone or not visible to this login."""
    path = f"/volumes/{quote(volume_id, safe='')}"
    version = cloud.microversion("block-storage", MICROVERSION)
    what = f"volume {volume_id}"
    try:
        document = cloud.get("block-storage", path, what=what, key="volume", microversion=version)
    except errors.ResourceNotFound:
        return None
    key_id = _key_id(cloud, path, volume_id) if document.get("encrypted") else None
    with sensible(what):
        return read_volume(document, key_id)


def _key_id(cloud: Cloud, path: str, volume_id: str) -> str | None:
    """The ID of an encrypted volume's key: the volume itself tells it from 3.64 on, but not a fixed one."""
    try:
        answer = cloud.get("block-storage", f"{path}/encryption", what=f"encryption of volume {volume_id}")
    except (errors.Forbidden, errors.ResourceNotFound):
        return None
    key_id = answer.get("encryption_key_id")
    return str(key_id) if key_id else None


def find_volume(cloud: Cloud, name_or_id: str) -> Volume:
    """The one volume with this name or ID.

    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_one`.
    """
    return find_one(
        "volume",
        name_or_id,
        get=lambda identifier: get_volume(cloud, identifier),
        search=lambda name: listed(cloud, "block-storage", "/volumes/detail", "volumes", _by_name(name)),
        facts=_facts,
    )


def find_snapshot(cloud: Cloud, name_or_id: str) -> Snapshot:
    """The one volume snapshot with this name or ID.

    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_one`.
    """
    return find_one(
        "volume snapshot",
        name_or_id,
        get=lambda identifier: get_snapshot(cloud, identifier),
        search=lambda name: listed(cloud, "block-storage", "/snapshots/detail", "snapshots", _by_name(name)),
        facts=_facts,
    )


def volume_types(cloud: Cloud) -> Iterator[dict[str, Any]]:
    """The documents of the volume types that this account can use."""
    return cloud.list("block-storage", "/types", "volume_types", what="volume types")


def volume_zones(cloud: Cloud) -> dict[str, bool]:
    """The availability zones for volumes, each with whether it is available."""
    answer = cloud.get("block-storage", "/os-availability-zone", what="availability zones for volumes")
    return {
        str(zone["zoneName"]): bool((zone.get("zoneState") or {}).get("available"))
        for zone in answer.get("availabilityZoneInfo", ())
    }


def _by_name(name: str) -> dict[str, str]:
    """The filter of a list; none where an older Cinder would take the name for a literal of Python.

    Source: cinder/volume/api.py, check_volume_filters (before 2025.2: "'a'" is a, and "5" a number).
    """
    try:
        ast.literal_eval(name)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"name": name}
    return {}


def _facts(document: Mapping[str, Any]) -> str:
    return f"{document.get('status')} {document.get('size')} GiB, created {document.get('created_at')}"
