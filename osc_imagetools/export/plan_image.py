# SPDX-License-Identifier: Apache-2.0
"""Plans the export of an image: of its own data, and of what its block device mapping leads to.

Contract: pure functions over values. Everything that would make the export fail and can be known is found
here, before any effect, and listed at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.block_device import BlockDevice
from osc_imagetools.cloud.disk_data import ImageInventory
from osc_imagetools.cloud.image import Image
from osc_imagetools.export.plan import DiskPlacement, ExportDraft, ExportPlan, NotCaptured, Subject, place_of

IN_WORK = frozenset({"saving", "importing", "uploading"})


def plan_image_export(
    found: ImageInventory, *, disk_format: str | None, jobs: int, allow_encrypted: bool = False
) -> ExportPlan:
    """Plans ``image export-full``.

    :param disk_format: source, raw, qcow2 or None: for data that comes out of a volume (None: qcow2);
        an image's own data is always as stored.
    :raises errors.ImagetoolsError: the image cannot be exported; several reasons as
        :class:`errors.Unready`.
    """
    image = found.image
    check_status(image, readable=found.readable)
    draft = ExportDraft(disk_format, allow_encrypted)
    if image.status == "deactivated":
        draft.warnings.append(f"{image.label} is deactivated: somebody had a reason to take it out of use")
    if image.size:
        _check_stored_format(image, disk_format)
        draft.add_image(image, DiskPlacement("image", None, "image", None, None))
    for device in image.mapping:
        _add_device(draft, found, device)
    if not draft.problems and not draft.disks:
        raise _no_data(image, draft.not_captured)
    return draft.finish(
        _subject(found),
        consistency=_consistency(image) if image.mapping else "not-applicable",
        quota=found.quota,
        jobs=jobs,
    )


def _subject(found: ImageInventory) -> Subject:
    image = found.image
    return Subject(
        kind="image",
        id=image.id,
        name=image.name,
        label=image.label,
        origin=found.origin,
        hash_algo=image.hash_algo,
        replayable=image.replayable(),
        observed=image.observed(),
        documents=dict(_documents(found)),
    )


def _documents(found: ImageInventory) -> Iterator[tuple[str, Any]]:
    """(name, document) of everything that was read, as received less secrets."""
    yield "image", dict(found.image.document)
    if found.image.members is not None:
        yield "members", [asdict(member) for member in found.image.members]
    for kind in ("snapshot", "volume", "image"):
        resources: Any = getattr(found, f"{kind}s")
        for resource in resources.values():
            if resource is not None:
                yield f"{kind}-{resource.id}", dict(resource.document)


def check_status(image: Image, *, readable: bool = True) -> None:
    """Whether an image has data that this account can read.

    :param readable: of one that is deactivated, whether the image service gives its data all the same.
    :raises errors.ImagetoolsError: it has none.
    """
    if image.status == "active" or (image.status == "deactivated" and readable):
        return
    show = f"openstack image show {image.id}"
    if image.status == "queued":
        raise errors.NoData(
            f"{image.label} is queued: it has no data yet",
            hint=f"If it is being made of a server or a volume, wait until it is active: {show}. "
            "Otherwise its upload has failed: make it again.",
        )
    if image.status == "deactivated":
        raise errors.ResourceUnusable(
            f"{image.label} is deactivated: only an administrator can read its data",
            hint=f"An administrator can export it as it is: openstack image export-full {image.id}",
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
        text,
        hint="If the server that it was made of lives, export that: openstack server export-full <server>",
    )


def _add_device(draft: ExportDraft, found: ImageInventory, device: BlockDevice) -> None:
    if device.source_type == "snapshot" and device.snapshot_id:
        _add_snapshot(draft, found, device)
    elif device.source_type == "volume" and device.volume_id:
        _add_volume(draft, found, device)
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


def _add_image(draft: ExportDraft, found: ImageInventory, device: BlockDevice) -> None:
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
        draft.add_image(image, place_of(device))


def _add_snapshot(draft: ExportDraft, found: ImageInventory, device: BlockDevice) -> None:
    snapshot = found.snapshots.get(device.snapshot_id or "")
    if snapshot is None:
        draft.problems.append(gone(found, f"{device.device}: snapshot {device.snapshot_id}"))
    else:
        draft.add_snapshot(snapshot, found.volumes.get(snapshot.volume_id), place_of(device))


def _add_volume(draft: ExportDraft, found: ImageInventory, device: BlockDevice) -> None:
    volume = found.volumes.get(device.volume_id or "")
    if volume is None:
        draft.problems.append(gone(found, f"{device.device}: volume {device.volume_id}"))
    else:
        draft.add_volume(volume, place_of(device))


def gone(found: ImageInventory, what: str) -> errors.ImagetoolsError:
    """Why something that a mapping points at is not there; *what* names it."""
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


def _consistency(image: Image) -> str:
    """What the copy can be relied on for; Nova never says whether the freeze worked."""
    agent = str(image.properties.get("hw_qemu_guest_agent", "")).lower()
    return "freeze-requested" if agent in ("yes", "true", "1", "on") else "crash"
