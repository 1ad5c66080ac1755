# SPDX-License-Identifier: Apache-2.0
"""What has to be known before an image, a volume or a snapshot is converted into another of them.

Contract: reads the cloud (and looks for qemu-img on this machine), changes nothing, judges nothing. What
this account may not see is None in the value.
Source: https://docs.openstack.org/api-ref/block-storage/v3/ : the extra specs of a type and its encryption
are shown to administrators only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, head_of
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota, volume_quota
from osc_imagetools.cloud.volume import (
    Snapshot,
    Volume,
    find_snapshot,
    find_volume,
    get_volume,
    volume_types,
    volume_zones,
)
from osc_imagetools.data import qemu_img
from osc_imagetools.data.disk_head import HEAD_NEEDED, look_at_head


@dataclass(frozen=True)
class VolumeType:
    """A volume type; ``backend`` (its ``volume_backend_name``) and ``encrypted`` None where not shown."""

    id: str
    name: str
    backend: str | None
    encrypted: bool | None


@dataclass(frozen=True)
class ImageContent:
    """What the beginning of an image's data tells: its format as Glance calls it ("raw" if none is known).

    ``damage`` is the end of a sentence that begins with the image, None where nothing is seen to be wrong.
    """

    format: str
    encrypted: bool = False
    damage: str | None = None


@dataclass(frozen=True)
class ConversionTarget:
    """The cloud and the machine in which something is converted.

    ``types`` and ``quota`` are empty and None where block storage has no part in it; ``zones`` tells of each
    availability zone for volumes whether it is available; ``converter`` whether there is a qemu-img here.
    ``content`` is what the beginning of the image to convert tells, None where it could not be read.
    """

    origin: Origin
    block_storage: bool
    types: tuple[VolumeType, ...]
    zones: dict[str, bool]
    quota: Quota | None
    converter: bool
    content: ImageContent | None = None

    def type(self, name_or_id: str | None) -> VolumeType | None:
        """The volume type with this name or ID."""
        found = [t for t in self.types if name_or_id in (t.id, t.name)]
        return found[0] if found else None


@dataclass(frozen=True)
class VolumeSource:
    """A volume to convert, and the snapshots that it has."""

    volume: Volume
    snapshots: tuple[str, ...]


@dataclass(frozen=True)
class SnapshotSource:
    """A snapshot to convert, and its volume, None where this account may not see it."""

    snapshot: Snapshot
    volume: Volume | None


def surroundings(
    cloud: Cloud, *, volumes: bool = True, types: Iterable[str | None] = (), image: Image | None = None
) -> ConversionTarget:
    """Reads what a conversion depends on besides its source.

    :param volumes: whether block storage has a part in it; if not, it need not even answer.
    :param types: names or IDs of the volume types whose encryption matters.
    :param image: the image that is converted, whose own data is looked at.
    """
    block_storage = cloud.has_block_storage
    read = block_storage and volumes
    wanted = {name for name in types if name}
    return ConversionTarget(
        origin=cloud.origin,
        block_storage=block_storage,
        types=_types(cloud, wanted) if read else (),
        zones=volume_zones(cloud) if read else {},
        quota=volume_quota(cloud) if read else None,
        converter=qemu_img.is_installed(),
        content=_content(cloud, image) if image is not None and image.size else None,
    )


def _content(cloud: Cloud, image: Image) -> ImageContent | None:
    head = head_of(cloud, image, HEAD_NEEDED)
    if not head:
        return None
    facts = look_at_head(head)
    return ImageContent(facts.content_format, facts.encrypted, facts.damage)


def volume_source(cloud: Cloud, name_or_id: str) -> VolumeSource:
    """:raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_volume`."""
    volume = find_volume(cloud, name_or_id)
    return VolumeSource(volume, snapshots_of(cloud, volume.id))


def snapshot_source(cloud: Cloud, name_or_id: str) -> SnapshotSource:
    """:raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_snapshot`."""
    snapshot = find_snapshot(cloud, name_or_id)
    return SnapshotSource(snapshot, get_volume(cloud, snapshot.volume_id))


def snapshots_of(cloud: Cloud, volume_id: str) -> tuple[str, ...]:
    """The IDs of a volume's snapshots."""
    query = {"volume_id": volume_id}
    what = f"snapshots of volume {volume_id}"
    found = cloud.list("block-storage", "/snapshots", "snapshots", what=what, params=query)
    return tuple(document["id"] for document in found)


def _types(cloud: Cloud, wanted: set[str]) -> tuple[VolumeType, ...]:
    return tuple(_type(cloud, document, wanted) for document in volume_types(cloud))


def _type(cloud: Cloud, document: Mapping[str, Any], wanted: set[str]) -> VolumeType:
    identifier, name = str(document["id"]), str(document["name"])
    return VolumeType(
        id=identifier,
        name=name,
        backend=(document.get("extra_specs") or {}).get("volume_backend_name"),
        encrypted=_encrypted(cloud, identifier) if {identifier, name} & wanted else None,
    )


def _encrypted(cloud: Cloud, type_id: str) -> bool | None:
    try:
        answer = cloud.get("block-storage", f"/types/{type_id}/encryption", what=f"volume type {type_id}")
    except errors.ImagetoolsError:
        return None
    return bool(answer.get("encryption_id"))
