# SPDX-License-Identifier: Apache-2.0
"""Where the data of a conversion is, and what of its source the new resource is to have.

Contract: pure. An image of 0 bytes is followed to the volume or snapshot of its boot disk; the other disks
of its mapping are told. What the source has and the result cannot have is told with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.block_device import BlockDevice
from osc_imagetools.cloud.disk_data import ImageInventory
from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.ownership import run_of_name, without_marks
from osc_imagetools.cloud.states import snapshot_problem, volume_problem
from osc_imagetools.cloud.volume import GIB, Snapshot, Volume
from osc_imagetools.convert.inventory import SnapshotSource, VolumeSource
from osc_imagetools.convert.plan_drafts import ConversionRequest
from osc_imagetools.export.plan import foreign_problem
from osc_imagetools.export.plan_image import check_status, gone
from osc_imagetools.operations.drafts import KEY_DELETION, MAPPING, NotReplayed
from osc_imagetools.operations.image_metadata import SIGNATURE, inherited
from osc_imagetools.operations.reference import Reference

# Nova and Cinder write these into a volume's metadata for themselves.
OWN_METADATA = frozenset({"readonly", "attached_mode"})
# Shown to administrators only, by default, who alone see what is of other projects.
PROJECT_OF = {
    "volume": "os-vol-tenant-attr:tenant_id",
    "snapshot": "os-extended-snapshot-attributes:project_id",
}


@dataclass(frozen=True)
class Data:
    """Where the bytes are: in an image, a volume or a snapshot.

    ``size`` is what a volume needs to hold them, in bytes (whole GiB); ``uploadable``: a volume that nothing
    uses and that has no snapshots; ``bootable`` None where it is not known. ``image_metadata`` is that of the
    volume, empty where only the cloud knows it.
    """

    reference: Reference
    size: int
    volume_type: str | None = None
    zone: str | None = None
    encrypted: bool = False
    bootable: bool | None = None
    uploadable: bool = False
    image: Image | None = None
    image_metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Nature:
    """What of the source the result is to have, as far as its kind can have it.

    ``properties`` are those of an image.
    """

    kind: str
    id: str
    label: str
    name: str
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    min_ram: int | None = None


@dataclass(frozen=True)
class ConversionSource:
    """A source: its data (None where a problem says why), its nature, what is left out, the problems."""

    nature: Nature
    data: Data | None
    lost: tuple[NotReplayed, ...]
    problems: tuple[errors.ImagetoolsError, ...]


def of_volume(found: VolumeSource, origin: Origin) -> ConversionSource:
    """A volume as a source."""
    volume = found.volume
    problem = volume_problem(volume)
    return ConversionSource(
        nature=_nature("volume", volume),
        data=None if problem else _volume_data(volume, alone=not found.snapshots),
        lost=(),
        problems=_problems(problem, volume, origin),
    )


def of_snapshot(found: SnapshotSource, origin: Origin) -> ConversionSource:
    """A snapshot as a source."""
    snapshot = found.snapshot
    problem = snapshot_problem(snapshot)
    return ConversionSource(
        nature=_nature("snapshot", snapshot),
        data=None if problem else _snapshot_data(snapshot, found.volume),
        lost=(),
        problems=_problems(problem, snapshot, origin),
    )


def of_image(found: ImageInventory, wish: ConversionRequest) -> ConversionSource:
    """An image as a source; one of 0 bytes is followed to its boot disk.

    :param wish: what the other disks of its mapping would be converted to as well.
    :raises errors.ImagetoolsError: it has no data, or none that could be read.
    """
    image = found.image
    check_status(image, readable=found.readable and wish.to == "image")
    nature, lost = _image_nature(image)
    if image.size:
        lost += [
            NotReplayed(d.device, "not in the image, but behind its block device mapping")
            for d in image.mapping
            if d.source_type in ("snapshot", "volume")
        ]
        return ConversionSource(nature, _image_data(image), tuple(lost), ())
    boot = _boot_device(image)
    lost += [_left_out(device, wish) for device in image.mapping if device is not boot]
    data, problems = _follow(found, boot, wish)
    return ConversionSource(nature, data, tuple(lost), problems)


def _nature(kind: str, resource: Volume | Snapshot) -> Nature:
    return Nature(
        kind=kind,
        id=resource.id,
        label=resource.label,
        name=_name(resource.name, resource.id),
        description=resource.document.get("description"),
        metadata=_metadata(resource.document),
    )


def _volume_data(volume: Volume, *, alone: bool) -> Data:
    return Data(
        reference=Reference("volume", volume.id, volume.label),
        size=volume.size,
        volume_type=volume.volume_type,
        zone=volume.document.get("availability_zone"),
        encrypted=volume.encrypted,
        bootable=volume.bootable,
        uploadable=alone and volume.status == "available",
        image_metadata=inherited(volume),
    )


def _snapshot_data(snapshot: Snapshot, volume: Volume | None) -> Data:
    """A snapshot has the image metadata that its volume had then, which no API tells; but Cinder gives none
    to one of a volume that is not bootable, nor to what is made from it: that gets what the volume has now.

    Source: cinder/volume/manager.py (create_snapshot) and flows/manager/create_volume.py
    (_create_from_snapshot).
    """
    return Data(
        reference=Reference("snapshot", snapshot.id, snapshot.label),
        size=snapshot.size,
        volume_type=volume.volume_type if volume else None,
        zone=volume.document.get("availability_zone") if volume else None,
        encrypted=volume.encrypted if volume else False,
        bootable=volume.bootable if volume else None,
        image_metadata=inherited(volume) if volume and not volume.bootable else {},
    )


def _image_data(image: Image) -> Data:
    """What a volume needs: the disk's own size (where the cloud knows it), or the image's minimum."""
    size = max(image.virtual_size or image.size or 0, int(image.document.get("min_disk") or 0) * GIB)
    return Data(
        reference=Reference("image", image.id, image.label),
        size=-(-size // GIB) * GIB,
        encrypted="cinder_encryption_key_id" in image.properties,
        bootable=True,
        image=image,
    )


def _image_nature(image: Image) -> tuple[Nature, list[NotReplayed]]:
    lost: list[NotReplayed] = []
    properties: dict[str, str] = {}
    for key, value in without_marks(image.properties).items():
        if key.startswith(SIGNATURE):
            lost.append(NotReplayed(f"property {key}", "it signs the original's bytes"))
        elif key != KEY_DELETION and key not in MAPPING:
            properties[key] = str(value)
    members = ", ".join(member.project_id for member in image.members or ())
    if members:
        lost.append(NotReplayed(f"members {members}", "what is made is the project's own, and private"))
    elif image.visibility in ("public", "community"):
        lost.append(NotReplayed(f"visibility {image.visibility}", "what is made is private"))
    if image.document.get("protected"):
        lost.append(
            NotReplayed("protection", "it is of the original; openstack image set --protected <image>")
        )
    nature = Nature(
        kind="image",
        id=image.id,
        label=image.label,
        name=_name(image.name, image.id),
        properties=properties,
        tags=image.tags,
        min_ram=int(image.document.get("min_ram") or 0),
    )
    return nature, lost


def _boot_device(image: Image) -> BlockDevice:
    """The entry that a server boots from: boot_index 0, or the first one that has data."""
    with_data = [d for d in image.mapping if d.source_type in ("snapshot", "volume", "image")]
    boot = [d for d in with_data if d.is_boot] or with_data
    if not boot:
        raise errors.NoData(
            f"{image.label} has 0 bytes, and no block device mapping leads to data",
            hint="If the server that it was made of lives, its volumes can be converted.",
        )
    return boot[0]


def _left_out(device: BlockDevice, wish: ConversionRequest) -> NotReplayed:
    """What is done with the other disks of a 0-byte image: nothing, and how to do it."""
    sources = {
        "snapshot": ("volume snapshot", device.snapshot_id),
        "volume": ("volume", device.volume_id),
        "image": ("image", device.image_id),
    }
    reason = "an empty disk: made anew with each server"
    if device.source_type in sources:
        noun, identifier = sources[device.source_type]
        if device.source_type == wish.to != "volume":
            how = f"this one is in {noun} {identifier}"
        else:
            how = f"openstack {noun} convert {identifier} --to {wish.to}"
        reason = f"only the boot disk is converted; {how}"
    return NotReplayed(f"disk {device.device}", reason)


def _follow(
    found: ImageInventory, device: BlockDevice, wish: ConversionRequest
) -> tuple[Data | None, tuple[errors.ImagetoolsError, ...]]:
    """The data of a disk of a mapping, None where there is none; and what is wrong with it."""
    snapshot = found.snapshots.get(device.snapshot_id or "")
    volume = found.volumes.get((snapshot.volume_id if snapshot else device.volume_id) or "")
    if device.source_type == "image":
        problem = errors.ResourceUnusable(
            f"{device.device}: its data is that of image {device.image_id}",
            hint=f"Take that one: openstack image show {device.image_id}"
            if wish.to == "image"
            else f"Convert that one: openstack image convert {device.image_id} --to {wish.to}",
        )
        return None, (problem,)
    if device.source_type == "snapshot":
        if snapshot is None:
            return None, (gone(found, f"{device.device}: snapshot {device.snapshot_id}"),)
        data = _snapshot_data(snapshot, volume)
        if volume is None:
            data = replace(data, encrypted=device.encrypted)
        state = snapshot_problem(snapshot)
        return None if state else data, _problems(state, snapshot, found.origin)
    if volume is None:
        return None, (gone(found, f"{device.device}: volume {device.volume_id}"),)
    # What snapshots it has is not asked: taking one is right in any case.
    state = volume_problem(volume)
    data = _volume_data(volume, alone=False)
    return None if state else data, _problems(state, volume, found.origin)


def _problems(
    problem: errors.ImagetoolsError | None, resource: Volume | Snapshot, origin: Origin
) -> tuple[errors.ImagetoolsError, ...]:
    """The problem of its state, if any, and that of its project."""
    key = PROJECT_OF["volume" if isinstance(resource, Volume) else "snapshot"]
    foreign = foreign_problem(resource.label, resource.document.get(key), origin)
    return tuple(p for p in (problem, foreign) if p)


def _metadata(document: Mapping[str, Any]) -> dict[str, str]:
    metadata = without_marks(document.get("metadata") or {})
    return {key: str(value) for key, value in metadata.items() if key not in OWN_METADATA}


def _name(name: str | None, identifier: str) -> str:
    """What the result is called: not as a temporary resource of ours, for a snapshot is told by that."""
    return identifier if not name or run_of_name(name) else name
