# SPDX-License-Identifier: Apache-2.0
"""Volumes that a plan creates, from a snapshot or an image: given what they shall be, read back, compared.

Contract: a volume is ours until it is handed over. One that stays is verified before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import get_image
from osc_imagetools.cloud.volume import Volume, get_volume
from osc_imagetools.operations.drafts import MAPPING, KeptVolume, NotReplayed
from osc_imagetools.operations.image_metadata import inherited
from osc_imagetools.operations.vocabulary import CreateVolume
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects import block_storage
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.effects.waits import await_snapshot

SOURCES = {"image": "imageRef", "snapshot": "snapshot_id"}


def create_volume(context: RunContext, operation: CreateVolume, results: Results) -> Outcome:
    """The volume of an operation; one that stays is as it shall be, but for its marks.

    :raises errors.CloudError: it did not become what was asked for.
    """
    source_id = results.id(operation.source)
    if operation.source.kind == "snapshot":
        await_snapshot(context, source_id)
    made = _make(context, operation, {SOURCES[operation.source.kind]: source_id})
    if operation.keep is None:
        return Outcome(made)
    return _kept(context, made, operation, source_id, _original(operation, results))


def _make(context: RunContext, operation: CreateVolume, source: Mapping[str, str]) -> CreatedResource:
    """A volume as the operation says, with the data of *source*, or empty."""
    fields: dict[str, Any] = dict(source)
    if operation.volume_type:
        fields["volume_type"] = operation.volume_type
    if operation.zone:
        fields["availability_zone"] = operation.zone
    role, name = operation.makes.role, operation.keep.name if operation.keep else None
    begin = operation.begin or operation.size
    made = block_storage.make_volume(context, begin, fields, role=role, name=name)
    if begin < operation.size:
        block_storage.extend_volume(context, str(made.id), operation.size)
    return made


def _kept(
    context: RunContext,
    made: CreatedResource,
    operation: CreateVolume,
    source_id: str,
    original: Volume | None,
) -> Outcome:
    """A volume that stays, with its data and all that it is given before it is handed over.

    Where it turns out to be a clone of its image, ``written_anew`` replaces it, inside the cloud, by a volume
    of a qcow2 image, which storage cannot clone. Only allocated data is copied then: ``os-reimage`` (3.68) of
    an empty volume would write all of its zeros too, and that of a clone would leave it one
    (cinder/volume/drivers/rbd.py, _copy_image_to_volume).
    """
    keep = operation.keep
    assert keep is not None
    volume = _finish(context, made, operation, keep, source_id, original)

    def written_anew() -> Outcome:
        role = f"copy of {operation.makes.role}"
        image = block_storage.upload_volume(context, volume.id, "qcow2", role)
        assert made.entry is not None
        assert image.entry is not None
        made.entry.run()
        again = _make(context, operation, {"imageRef": str(image.id)})
        outcome = _kept(context, again, operation, str(image.id), original)
        image.entry.run()
        return outcome

    def hand_over() -> list[NotReplayed]:
        block_storage.unmark(context, made, description=keep.description, metadata=keep.metadata)
        return []

    return Outcome(
        made,
        volume,
        keep.name,
        hand_over,
        differences=lambda: _differences(context.cloud, made, operation),
        source=operation.source,
        written_anew=written_anew,
    )


def _original(operation: CreateVolume, results: Results) -> Volume | None:
    """The volume behind the temporary image that this one is created from: it is to be like that."""
    outcome = results.get(operation.source)
    return outcome.original if outcome else None


def _finish(
    context: RunContext,
    made: CreatedResource,
    operation: CreateVolume,
    keep: KeptVolume,
    source_id: str,
    original: Volume | None,
) -> Volume:
    """The new volume with its image metadata and its bootable flag, verified."""
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
    bootable = keep.bootable if keep.bootable is not None else (original or volume).bootable
    if volume.bootable != bootable:
        block_storage.set_bootable(context, volume.id, bootable)
    volume = _read(context.cloud, made)
    wrong = _wrong(volume, operation, wanted, bootable)
    if operation.source.kind == "image":
        wrong += _other_bytes(context.cloud, source_id, checksum)
    if wrong:
        raise errors.CloudError(f"{volume.label} is not what was asked for: {'; '.join(wrong)}")
    return volume


def _read(cloud: Cloud, made: CreatedResource) -> Volume:
    volume = get_volume(cloud, str(made.id))
    if volume is None:
        raise errors.CloudError(f"volume {made.name} ({made.id}) is gone")
    return volume


def _wrong(
    volume: Volume, operation: CreateVolume, image_metadata: dict[str, str], bootable: bool
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


def _differences(cloud: Cloud, made: CreatedResource, operation: CreateVolume) -> list[str]:
    """How a volume that was read back differs from what it should be; empty when it does not."""
    keep = operation.keep
    assert keep is not None
    volume = get_volume(cloud, str(made.id))
    if volume is None:
        return [f"volume {keep.name}: it is gone"]
    pairs = [
        ("name", keep.name, volume.name),
        ("size", operation.size, volume.size),
        ("description", keep.description, volume.document.get("description")),
        ("metadata", dict(keep.metadata), volume.document.get("metadata")),
    ]
    if keep.bootable is not None:
        pairs.append(("bootable", keep.bootable, volume.bootable))
    if operation.volume_type:
        pairs.append(("volume_type", operation.volume_type, volume.volume_type))
    pairs += [
        (f"image property {key}", value, volume.image_metadata.get(key))
        for key, value in keep.properties.items()
    ]
    return [
        f"volume {keep.name}: {what} is {got!r}, not {wanted!r}"
        for what, wanted, got in pairs
        if wanted != got
    ]
