# SPDX-License-Identifier: Apache-2.0
"""Plans an export: from what was found in the cloud to the disks and the operations that fetch them.

Contract: pure functions over values. Everything that would make the export fail and can be known is found
here, before any effect, and listed at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from osc_imagetools import errors
from osc_imagetools.inventory.block_device import BlockDevice
from osc_imagetools.inventory.export import ImageInventory
from osc_imagetools.inventory.image import Image
from osc_imagetools.inventory.volume import GIB, Snapshot, Volume
from osc_imagetools.plan.disk_file import disk_file, extension
from osc_imagetools.plan.operations import (
    FetchImage,
    ImageFromVolume,
    Operation,
    Reference,
    Remove,
    SnapshotVolume,
    Step,
    VolumeFromSnapshot,
    steps,
)
from osc_imagetools.plan.quota import Need, Room, fit_quota

# What Cinder lets a snapshot be on the way to available; anything else never gets there by itself.
SNAPSHOT_USABLE = frozenset({"available", "creating", "backing-up"})
VOLUME_USABLE = frozenset({"available", "in-use"})
IN_WORK = frozenset({"saving", "importing", "uploading"})


@dataclass(frozen=True)
class DiskPlan:
    """A disk of the bundle: ``file`` below it, what it is, and the facts for the manifest.

    ``role`` is image (an image's own data), boot or data.
    """

    index: int
    name: str
    file: str
    role: str
    disk_format: str
    container_format: str | None
    device: str | None
    boot_index: int | None
    replayable: Mapping[str, Any]
    observed: Mapping[str, Any]
    image: Image | None = None
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class NotCaptured:
    """A disk that is not in the bundle, and why."""

    name: str
    device: str | None
    reason: str
    detail: str


@dataclass(frozen=True)
class ExportPlan:
    """What an export does: ``lanes[i]`` brings ``disks[i]``, at most ``width`` lanes at a time."""

    kind: str
    source: ImageInventory
    disks: tuple[DiskPlan, ...]
    lanes: tuple[tuple[Operation, ...], ...]
    not_captured: tuple[NotCaptured, ...]
    consistency: str
    needs: tuple[Need, ...]
    width: int

    def steps(self) -> tuple[Step, ...]:
        """The plan as rows for a dry run."""
        return steps(self.lanes, self.needs)


@dataclass
class _Draft:
    """What a plan is put together from."""

    disks: list[DiskPlan] = field(default_factory=list)
    lanes: list[tuple[Operation, ...]] = field(default_factory=list)
    not_captured: list[NotCaptured] = field(default_factory=list)
    problems: list[errors.ImagetoolsError] = field(default_factory=list)
    room: list[Room] = field(default_factory=list)  # of each lane that makes volumes


def plan_image_export(found: ImageInventory, *, disk_format: str | None, jobs: int) -> ExportPlan:
    """Plans ``image export-full``.

    :param disk_format: source, raw, qcow2 or None: for data that comes out of a volume (None: qcow2);
        an image's own data is always as stored.
    :raises errors.ImagetoolsError: the image cannot be exported; several reasons as
        :class:`errors.Unready`.
    """
    image = found.image
    _check_status(image)
    draft = _Draft()
    if image.size:
        _check_stored_format(image, disk_format)
        _add_stored(draft, image, name="image", device=None)
    for device in image.mapping:
        _add_device(draft, found, device, disk_format)
    if draft.problems:
        raise _together(image, draft.problems)
    if not draft.disks:
        raise _no_data(image, draft.not_captured)
    wanted = max(1, min(jobs, len(draft.lanes)))
    width, needs = fit_quota(found.quota, draft.room, wanted, project=found.origin.project_id)
    return ExportPlan(
        kind="image",
        source=found,
        disks=tuple(draft.disks),
        lanes=tuple(draft.lanes),
        not_captured=tuple(draft.not_captured),
        consistency=_consistency(image) if image.mapping else "not-applicable",
        needs=needs,
        width=width,
    )


def _together(image: Image, problems: Sequence[errors.ImagetoolsError]) -> errors.ImagetoolsError:
    if len(problems) == 1:
        return problems[0]
    return errors.Unready(f"{image.label} cannot be exported", problems)


def _check_status(image: Image) -> None:
    if image.status == "active":
        return
    show = f"openstack image show {image.id}"
    if image.status == "queued":
        raise errors.NoData(
            f"{image.label} is queued: nothing has been uploaded to it yet",
            hint=f"Upload its data (openstack image stage / import, or create it anew). {show}",
        )
    if image.status == "deactivated":
        raise errors.ResourceUnusable(
            f"{image.label} is deactivated: its data cannot be read",
            hint=f"An administrator can run: openstack image set --activate {image.id}",
        )
    if image.status in IN_WORK:
        raise errors.ResourceUnusable(
            f"{image.label} is still {image.status}", hint=f"Wait until it is active: {show}"
        )
    raise errors.ResourceUnusable(
        f"{image.label} is {image.status}: it has no data that could be read", hint=show
    )


def _check_stored_format(image: Image, disk_format: str | None) -> None:
    if disk_format in (None, "source", image.disk_format):
        return
    raise errors.UsageError(
        f"{image.label} is stored as {image.disk_format}, and an image's own data is exported as it "
        f"is stored: --disk-format {disk_format} applies to data that comes out of a volume",
        hint="Leave --disk-format out; afterwards: qemu-img convert",
    )


def _no_data(image: Image, not_captured: Sequence[NotCaptured]) -> errors.NoData:
    if image.mapping:
        kinds = ", ".join(f"{n.name} ({n.reason})" for n in not_captured)
        text = f"{image.label} has 0 bytes and its block device mapping leads to no data: {kinds}"
    else:
        text = f"{image.label} has 0 bytes and no block device mapping: there is nothing to export"
    return errors.NoData(
        text, hint="It is no backup of anything. Export the server's volumes while they exist."
    )


def _add_stored(draft: _Draft, image: Image, *, name: str, device: BlockDevice | None) -> None:
    """A disk whose bytes are an image's own data."""
    index = len(draft.disks)
    file = disk_file(index, name, extension(image))
    role = "image" if device is None else ("boot" if device.is_boot else "data")
    draft.disks.append(
        DiskPlan(
            index=index,
            name=name,
            file=file,
            role=role,
            disk_format=image.disk_format or "raw",
            container_format=image.container_format,
            device=device.device_name if device else None,
            boot_index=device.boot_index if device else None,
            replayable=_replayable(device, None),
            observed={"image_id": image.id},
            image=image,
        )
    )
    reference = Reference("image", image.id, f"image {image.id}")
    draft.lanes.append((FetchImage(reference, index, file, image.size),))


def _add_device(draft: _Draft, found: ImageInventory, device: BlockDevice, disk_format: str | None) -> None:
    if device.source_type == "snapshot" and device.snapshot_id:
        _add_snapshot(draft, found, device, disk_format)
    elif device.source_type == "volume" and device.volume_id:
        _add_volume(draft, found, device, disk_format)
    elif device.source_type == "image" and device.image_id not in (None, found.image.id):
        _add_image(draft, found, device)
    elif device.source_type == "image" and found.image.size:
        return  # the image's own data, which is a disk already
    elif device.source_type == "blank":
        swap = device.guest_format == "swap"
        reason = "swap" if swap else "ephemeral"
        detail = (
            "a swap disk: made empty with each server"
            if swap
            else "an empty or ephemeral disk: no copy that the API can make holds its data"
        )
        draft.not_captured.append(NotCaptured(device.device, device.device_name, reason, detail))
    else:
        draft.problems.append(
            errors.NoData(
                f"{device.device}: its entry in the mapping is of type {device.source_type}, "
                "but names no source that could be read",
                hint=f"openstack image show -c properties {found.image.id}",
            )
        )


def _add_image(draft: _Draft, found: ImageInventory, device: BlockDevice) -> None:
    image = found.images.get(device.image_id or "")
    if image is None:
        draft.problems.append(
            errors.ResourceNotFound(f"{device.device}: its image {device.image_id} is gone")
        )
    elif image.status != "active" or not image.size:
        draft.problems.append(
            errors.NoData(f"{device.device}: {image.label} is {image.status}, {image.size} bytes")
        )
    else:
        _add_stored(draft, image, name=device.device, device=device)


def _add_snapshot(draft: _Draft, found: ImageInventory, device: BlockDevice, disk_format: str | None) -> None:
    snapshot = found.snapshots.get(device.snapshot_id or "")
    if snapshot is None:
        draft.problems.append(_gone(found, f"{device.device}: snapshot {device.snapshot_id}"))
        return
    volume = found.volumes.get(snapshot.volume_id)
    if snapshot.status not in SNAPSHOT_USABLE:
        draft.problems.append(
            errors.ResourceUnusable(
                f"{device.device}: {snapshot.label} is {snapshot.status}",
                hint=f"openstack volume snapshot show {snapshot.id}",
            )
        )
    elif _encrypted(device, volume):
        draft.problems.append(_encrypted_problem(device, snapshot.label))
    else:
        reference = Reference("snapshot", snapshot.id, snapshot.label)
        _add_lane(draft, device, (), reference, snapshot.size, volume, disk_format, snapshot)


def _add_volume(draft: _Draft, found: ImageInventory, device: BlockDevice, disk_format: str | None) -> None:
    volume = found.volumes.get(device.volume_id or "")
    if volume is None:
        draft.problems.append(_gone(found, f"{device.device}: volume {device.volume_id}"))
    elif volume.status not in VOLUME_USABLE:
        draft.problems.append(
            errors.ResourceUnusable(
                f"{device.device}: {volume.label} is {volume.status}",
                hint=f"Wait until it is available or in-use: openstack volume show {volume.id}",
            )
        )
    elif _encrypted(device, volume):
        draft.problems.append(_encrypted_problem(device, volume.label))
    else:
        name = f"{len(draft.disks)}-{device.device}"
        made = Reference("snapshot", None, f"snapshot of {name}", temporary=True)
        first = SnapshotVolume(Reference("volume", volume.id, volume.label), made, volume.size)
        _add_lane(draft, device, (first,), made, volume.size, volume, disk_format, None)


def _add_lane(
    draft: _Draft,
    device: BlockDevice,
    before: tuple[Operation, ...],
    snapshot: Reference,
    size: int,
    volume: Volume | None,
    disk_format: str | None,
    facts: Snapshot | None,
) -> None:
    """Snapshot, temporary volume, temporary image, the bundle; then all temporaries away."""
    index = len(draft.disks)
    form = {None: "qcow2", "source": "raw"}.get(disk_format, disk_format) or "qcow2"
    file = disk_file(index, device.device, form)
    made_volume = Reference("volume", None, f"volume of {index}-{device.device}", temporary=True)
    made_image = Reference("image", None, f"image of {index}-{device.device}", temporary=True)
    lane: list[Operation] = [
        *before,
        VolumeFromSnapshot(snapshot, made_volume, size),
        ImageFromVolume(made_volume, made_image, form, size),
        FetchImage(made_image, index, file, None),
        Remove(made_image),
        Remove(made_volume),
    ]
    if snapshot.temporary:
        lane.append(Remove(snapshot))
    volume_type = volume.volume_type if volume else None
    draft.room.append(Room(size // GIB, volume_type, with_snapshot=snapshot.temporary))
    draft.lanes.append(tuple(lane))
    draft.disks.append(
        DiskPlan(
            index=index,
            name=device.device,
            file=file,
            role="boot" if device.is_boot else "data",
            disk_format=form,
            container_format="bare",
            device=device.device_name,
            boot_index=device.boot_index,
            replayable=_replayable(device, volume),
            observed={
                "snapshot_id": facts.id if facts else None,
                "snapshot_created_at": facts.created_at if facts else None,
                "volume_id": volume.id if volume else None,
            },
            snapshot=facts,
        )
    )


def _replayable(device: BlockDevice | None, volume: Volume | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if device is not None:
        keys = ("device_type", "disk_bus", "delete_on_termination", "tag", "guest_format")
        facts["block_device"] = {key: device.document.get(key) for key in keys}
        facts["block_device"]["volume_type"] = device.document.get("volume_type")
        facts["block_device"]["volume_size"] = device.volume_size
    if volume is not None:
        facts["volume"] = {
            "name": volume.name,
            "description": volume.document.get("description"),
            "size": volume.size // GIB,
            "volume_type": volume.volume_type,
            "bootable": volume.bootable,
            "metadata": dict(volume.document.get("metadata") or {}),
            "image_metadata": dict(volume.image_metadata),
            "availability_zone": volume.document.get("availability_zone"),
        }
    return facts


def _gone(found: ImageInventory, what: str) -> errors.ImagetoolsError:
    image, project = found.image, found.origin.project_id
    if not found.block_storage:
        region = found.origin.region or "this cloud"
        return errors.ServiceAbsent(
            f"{what} holds the data, and the catalog of {region} has no block storage",
            hint="Export it in the region that has the volumes: --os-region-name <region>",
        )
    if image.owner and project and image.owner != project:
        return errors.ResourceNotFound(
            f"{what} is gone or not visible: the image belongs to project {image.owner}, and what its "
            "mapping points at is not shared with it",
            hint=f"Run it in project {image.owner}: --os-project-id {image.owner}",
        )
    return errors.ResourceNotFound(
        f"{what} is gone: the data of this disk no longer exists behind {image.label}",
        hint="The image is no backup any more. If the server lives, make a new one.",
    )


def _encrypted(device: BlockDevice, volume: Volume | None) -> bool:
    return volume.encrypted if volume is not None else device.encrypted


def _encrypted_problem(device: BlockDevice, label: str) -> errors.ImagetoolsError:
    return errors.ResourceUnusable(
        f"{device.device}: {label} is of an encrypted volume; its bytes could only be read with its key, "
        "which would be cloned for the temporary image and deleted together with it",
        hint="Make a copy inside the cloud, retype that to an unencrypted type (openstack volume set "
        "--type <type> --retype-policy on-demand <copy>) and export it; or back up inside the guest.",
    )


def _consistency(image: Image) -> str:
    """What the copy can be relied on for; Nova never says whether the freeze worked."""
    agent = str(image.properties.get("hw_qemu_guest_agent", "")).lower()
    return "freeze-requested" if agent in ("yes", "true", "1", "on") else "crash"
