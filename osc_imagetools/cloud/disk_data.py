# SPDX-License-Identifier: Apache-2.0
"""Everything that has to be known before an export can be planned.

Contract: reads the cloud, changes nothing, judges nothing. What is not there is None in the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, find_image, get_image, head_of
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota, volume_quota
from osc_imagetools.cloud.server import get_server
from osc_imagetools.cloud.volume import (
    Snapshot,
    Volume,
    find_snapshot,
    find_volume,
    get_snapshot,
    get_volume,
)


@dataclass(frozen=True)
class ImageInventory:
    """An image and all that its block device mapping leads to.

    ``snapshots``, ``volumes`` and ``images`` are by ID, None for what is gone; ``quota`` is None where
    no volume has to be made. ``readable``: the image service gives the data to this account, which is asked
    of an image that is deactivated.
    """

    origin: Origin
    image: Image
    block_storage: bool
    snapshots: Mapping[str, Snapshot | None]
    volumes: Mapping[str, Volume | None]
    images: Mapping[str, Image | None]
    quota: Quota | None
    readable: bool = True


@dataclass(frozen=True)
class VolumeInventory:
    """A volume, or a snapshot and the volume that it was taken of (None where that is not visible).

    ``stopped``: all servers that have the volume are stopped.
    """

    origin: Origin
    volume: Volume | None
    snapshot: Snapshot | None
    stopped: bool
    quota: Quota | None


NO_VOLUMES = "In a region with block storage: --os-region-name <region>. Images: openstack image export-full"


def volume_inventory(cloud: Cloud, name_or_id: str) -> VolumeInventory:
    """Reads a volume, and whether the servers that have it run.

    :raises errors.ServiceAbsent: the catalog has no block storage.
    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_one`.
    """
    cloud.require_block_storage(f"volume {name_or_id}", NO_VOLUMES)
    volume = find_volume(cloud, name_or_id)
    servers = [get_server(cloud, a.server_id) if a.server_id else None for a in volume.attachments]
    return VolumeInventory(
        origin=cloud.origin,
        volume=volume,
        snapshot=None,
        stopped=bool(servers) and all(server is not None and server.is_stopped for server in servers),
        quota=volume_quota(cloud),
    )


def snapshot_inventory(cloud: Cloud, name_or_id: str) -> VolumeInventory:
    """Reads a volume snapshot and the volume that it was taken of; raises as :func:`volume_inventory`."""
    cloud.require_block_storage(f"volume snapshot {name_or_id}", NO_VOLUMES)
    snapshot = find_snapshot(cloud, name_or_id)
    volume = get_volume(cloud, snapshot.volume_id)
    return VolumeInventory(cloud.origin, volume, snapshot, False, volume_quota(cloud))


def image_inventory(cloud: Cloud, name_or_id: str) -> ImageInventory:
    """Reads an image, and where it has a block device mapping what that points at.

    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_image`.
    """
    image = find_image(cloud, name_or_id)
    block_storage = cloud.has_block_storage
    snapshots: dict[str, Snapshot | None] = {}
    volumes: dict[str, Volume | None] = {}
    images: dict[str, Image | None] = {}
    for device in image.mapping:
        if device.image_id and device.source_type == "image":
            images[device.image_id] = _image(cloud, device.image_id)
        if not block_storage:
            continue
        volume_id = device.volume_id
        if device.snapshot_id and device.source_type == "snapshot":
            snapshot = snapshots[device.snapshot_id] = get_snapshot(cloud, device.snapshot_id)
            volume_id = snapshot.volume_id if snapshot else None
        if volume_id:
            volumes[volume_id] = get_volume(cloud, volume_id)
    needs_quota = any(snapshots.values()) or any(volumes.values())
    return ImageInventory(
        origin=cloud.origin,
        image=image,
        block_storage=block_storage,
        snapshots=snapshots,
        volumes=volumes,
        images=images,
        quota=volume_quota(cloud) if needs_quota else None,
        readable=image.status != "deactivated" or head_of(cloud, image) is not None,
    )


def _image(cloud: Cloud, image_id: str) -> Image | None:
    try:
        return get_image(cloud, image_id)
    except errors.ResourceNotFound:
        return None
