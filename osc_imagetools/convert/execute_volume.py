# SPDX-License-Identifier: Apache-2.0
"""What a volume or snapshot that a conversion has made must be before it is handed over.

Contract: gives a volume the image metadata and the bootable flag that it is to have, reads it back, and
raises what is wrong with it. It stays marked as ours.
"""

from __future__ import annotations

from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import get_image
from osc_imagetools.cloud.volume import Snapshot, Volume, get_snapshot, get_volume
from osc_imagetools.convert.plan_drafts import KeptVolume, MakeVolume
from osc_imagetools.convert.plan_source import inherited
from osc_imagetools.operations.drafts import MAPPING
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects import block_storage


def settle_volume(
    context: RunContext, made: CreatedResource, operation: MakeVolume, source_id: str, original: Volume | None
) -> Volume:
    """The new volume as it is to be, verified.

    :param source_id: of the image or snapshot that it was made from.
    :param original: the volume behind the temporary image that this one was made from: it is to be like
        that, and not like one that was made from an image.
    :raises errors.CloudError: it is not what was asked for.
    """
    keep = operation.keep
    assert keep is not None
    volume = _read(context.cloud, made)
    checksum = volume.image_metadata.get("checksum")
    wanted = inherited(original if original is not None else volume)
    wanted.update(keep.properties)
    wanted = {key: value for key, value in wanted.items() if key not in MAPPING}
    present = {key: str(value) for key, value in volume.image_metadata.items()}
    missing = {key: value for key, value in wanted.items() if present.get(key) != value}
    if missing:
        block_storage.set_image_metadata(context, volume.id, missing)
    block_storage.unset_image_metadata(context, volume.id, [k for k in present if k not in wanted])
    bootable = _bootable(keep, original, volume)
    if volume.bootable != bootable:
        block_storage.set_bootable(context, volume.id, bootable)
    volume = _read(context.cloud, made)
    wrong = _differences(volume, operation, wanted, bootable)
    if operation.source.kind == "image":
        wrong += _other_bytes(context.cloud, source_id, checksum)
    if wrong:
        raise errors.CloudError(f"{volume.label} is not what was asked for: {'; '.join(wrong)}")
    return volume


def verify_snapshot(cloud: Cloud, made: CreatedResource, size: int) -> Snapshot:
    """:raises errors.CloudError: it is not available, or not of this size (bytes)."""
    snapshot = get_snapshot(cloud, str(made.id))
    if snapshot is None or (snapshot.status, snapshot.size) != ("available", size):
        found = f"{snapshot.status}, {snapshot.size} bytes" if snapshot else "gone"
        raise errors.CloudError(f"snapshot {made.name} ({made.id}) is {found}, and not of {size} bytes")
    return snapshot


def _read(cloud: Cloud, made: CreatedResource) -> Volume:
    volume = get_volume(cloud, str(made.id))
    if volume is None:
        raise errors.CloudError(f"volume {made.name} ({made.id}) is gone")
    return volume


def _bootable(keep: KeptVolume, original: Volume | None, volume: Volume) -> bool:
    if keep.bootable is not None:
        return keep.bootable
    return (original or volume).bootable


def _differences(
    volume: Volume, operation: MakeVolume, image_metadata: dict[str, str], bootable: bool
) -> list[str]:
    pairs: list[tuple[str, Any, Any]] = [
        ("status", "available", volume.status),
        ("size", operation.size, volume.size),
        ("bootable", bootable, volume.bootable),
        ("image metadata", image_metadata, {k: str(v) for k, v in volume.image_metadata.items()}),
    ]
    if operation.volume_type:
        pairs.append(("type", operation.volume_type, volume.volume_type))
    if operation.zone:
        pairs.append(("zone", operation.zone, volume.document.get("availability_zone")))
    return [f"{what} is {found!r}, not {wanted!r}" for what, wanted, found in pairs if wanted != found]


def _other_bytes(cloud: Cloud, image_id: str, checksum: Any) -> list[str]:
    """Cinder notes the checksum of the image whose bytes it wrote (volume_glance_metadata)."""
    promised = get_image(cloud, image_id).checksum
    if None in (promised, checksum) or promised == checksum:
        return []
    return [f"it was made of bytes with the checksum {checksum}, and the image has {promised}"]
