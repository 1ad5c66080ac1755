# SPDX-License-Identifier: Apache-2.0
"""Plans an import of an image's bundle: which images (and volumes) will be made, with what metadata.

Contract: pure. What the bundle holds and cannot be set again is listed with the reason, never dropped
silently; what cannot work is found here, before any effect, and listed at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.block_device import parse_mapping
from osc_imagetools.cloud.image import RESERVED_PREFIX
from osc_imagetools.cloud.ownership import without_marks
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.operations.disk_drafts import (
    VolumeOfDisk,
    disk_volume,
    encrypted_problem,
    image_properties,
    with_data,
)
from osc_imagetools.operations.drafts import (
    CONVERTIBLE,
    CORE,
    KEY_DELETION,
    MAPPING,
    ImageDraft,
    KeptSnapshot,
    MappingEntry,
    NotReplayed,
)
from osc_imagetools.operations.quota import fit_quota
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import (
    CreateMappingImage,
    CreateSnapshot,
    Lane,
    Phase,
    Protect,
    SendDisk,
    SetMetadata,
)
from osc_imagetools.restore.inventory import Destination
from osc_imagetools.restore.plan import ImportOptions, ImportPlan


def plan_image_import(manifest: Mapping[str, Any], to: Destination, options: ImportOptions) -> ImportPlan:
    """Plans ``image import-full``.

    :param manifest: of a bundle of kind image, validated.
    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    check_kind(manifest, ("image",))
    disks = sorted(manifest["disks"], key=lambda d: int(d["index"]))
    _check(disks, to, options)
    main, lost = _main_image(manifest, disks, options)
    main, unknown_members = _with_known_members(main, manifest, to)
    lost += unknown_members
    if options.as_volumes:
        return _structure(manifest, main, disks, to, lost)
    return _images(manifest, main, disks, to, options, lost)


def _images(
    manifest: Mapping[str, Any],
    main: ImageDraft,
    disks: Sequence[Mapping[str, Any]],
    to: Destination,
    options: ImportOptions,
    lost: Sequence[NotReplayed],
) -> ImportPlan:
    """One image per disk: the first (image, or boot disk) is the original, the others are its data."""
    drafts = [
        with_data(main if number == 0 else _data_image(main, disk), disk, options.disk_format)
        for number, disk in enumerate(disks)
    ]
    images = [Reference("image", None, draft.title) for draft in drafts]
    sent = tuple(
        (SendDisk(image, draft, owner=to.owner, store=options.store),)
        for image, draft in zip(images, drafts, strict=True)
    )
    protected = [Protect(image) for image in images] if main.document.get("protected") else []
    several = zip(images, drafts, strict=True) if len(images) > 1 else ()
    return ImportPlan(
        result=images[0],
        phases=(Phase(sent), Phase.of(*map(SetMetadata, images), *protected)),
        listed=tuple((f"{draft.file}: {draft.title}", image) for image, draft in several),
        disks=len(disks),
        bytes=sum(draft.size for draft in drafts),
        not_replayed=tuple(lost),
        mapped=(),
        needs=(),
    )


def _structure(
    manifest: Mapping[str, Any],
    main: ImageDraft,
    disks: Sequence[Mapping[str, Any]],
    to: Destination,
    lost: Sequence[NotReplayed],
) -> ImportPlan:
    """Volumes with their snapshots, and the image of 0 bytes that points at these."""
    name = str(main.document["name"])
    volumes, mapped = _volumes(main, disks, to)
    lanes: list[Lane] = []
    pointers: list[MappingEntry] = []
    listed: list[tuple[str, Reference]] = []
    for disk, volume in zip(disks, volumes, strict=True):
        size, volume_type = volume.create.size, volume.create.volume_type
        snapshot = Reference("snapshot", None, f"snapshot of {disk['name']}")
        keep = KeptSnapshot(f"snapshot for {name}"[:255], None, {})
        lanes.append((*volume.lane, CreateSnapshot(volume.volume, snapshot, size, volume_type, keep)))
        entry = _entry(disk, to, size)
        pointers.append(MappingEntry(disk["name"], snapshot, entry))
        listed.append((f"disk {disk['name']}: volume {volume.keep.name}", volume.volume))
        listed.append((f"disk {disk['name']}: snapshot {keep.name}", snapshot))
    image = Reference("image", None, main.title)
    make = CreateMappingImage(image, main, tuple(pointers), _blank_entries(manifest), to.owner)
    given = [image, *(reference for _, reference in listed)]
    protected = [Protect(image)] if main.document.get("protected") else []
    uses = [replace(volume.use, with_snapshot=True) for volume in volumes]
    _, needs = fit_quota(to.quota, uses, len(uses), project=to.origin.project_id, at_once=True)
    lost = [entry for entry in lost if not entry.what.startswith("disk ")]
    return ImportPlan(
        result=image,
        phases=(
            Phase(tuple(lanes)),
            Phase.of(make),
            Phase.of(*map(SetMetadata, given), *protected),
        ),
        listed=tuple(listed),
        disks=len(disks),
        bytes=sum(volume.send.draft.size for volume in volumes),
        not_replayed=(*lost, *_lost_of_volumes(disks)),
        mapped=mapped,
        needs=needs,
    )


def check_kind(manifest: Mapping[str, Any], kinds: Sequence[str]) -> None:
    """:raises errors.UsageError: the bundle holds something else."""
    kind = manifest["kind"]
    if kind not in kinds:
        noun = "volume" if kind == "snapshot" else kind
        raise errors.UsageError(
            f"the bundle's kind is {kind}, not {' or '.join(kinds)}",
            hint=f"openstack {noun} import-full <bundle>",
        )


def _check(
    disks: Sequence[Mapping[str, Any]],
    to: Destination,
    options: ImportOptions,
) -> None:
    problems: list[errors.ImagetoolsError] = []
    if options.store and options.store not in to.stores:
        names = ", ".join(to.stores) or "this cloud has a single store without a name"
        problems.append(errors.ResourceNotFound(f"no image store {options.store!r}: {names}"))
    if options.as_volumes and not _is_mapping(disks):
        problems.append(errors.UsageError("--as-volumes: the image of this bundle holds its data itself"))
    if options.as_volumes and not to.block_storage:
        region = to.origin.region or "this cloud"
        problems.append(
            errors.ServiceAbsent(
                f"--as-volumes: the catalog of {region} has no block storage",
                hint="Without --as-volumes each disk becomes an image of its own.",
            )
        )
    if options.as_volumes and to.owner:
        problems.append(
            errors.UsageError("--as-volumes and --project: volumes are made in the login's project")
        )
    if options.as_volumes:
        problems += [problem for disk in disks if (problem := encrypted_problem(disk))]
    if options.disk_format:
        for disk in disks:
            if disk["container_format"] not in ("bare", None):
                problems.append(
                    errors.UsageError(f"{disk['file']} is in a container that cannot be converted")
                )
            elif disk["content_format"] not in CONVERTIBLE:
                form = disk["content_format"]
                problems.append(errors.UsageError(f"{disk['file']} is {form}, which cannot be converted"))
    errors.raise_problems("the bundle cannot be imported", problems)


def _is_mapping(disks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the data was behind the image's block device mapping and not in the image itself."""
    return not any(disk["role"] == "image" for disk in disks)


def _main_image(
    manifest: Mapping[str, Any], disks: Sequence[Mapping[str, Any]], options: ImportOptions
) -> tuple[ImageDraft, list[NotReplayed]]:
    """The image with the original's name and metadata, and what of that it does not get."""
    source = manifest["replayable"]
    lost: list[NotReplayed] = []
    properties: dict[str, str] = {}
    removed = set(options.remove_properties)
    if any(disk["role"] != "image" for disk in disks):
        removed.update(MAPPING)
        if not options.as_volumes and "block_device_mapping" in source["properties"]:
            reason = "each disk becomes an image that holds its data itself (see --as-volumes)"
            lost.append(NotReplayed("property block_device_mapping", reason))
    for key, value in without_marks(source["properties"]).items():
        if key == KEY_DELETION:
            lost.append(NotReplayed(f"property {key}", "the key belongs to the original too"))
        elif key in CORE or key.startswith(RESERVED_PREFIX):
            lost.append(NotReplayed(f"property {key}", "the image service keeps it for itself"))
        elif key not in removed:
            properties[key] = value
    properties.update(options.properties)
    for entry in manifest["not_captured"]:
        lost.append(NotReplayed(f"disk {entry['name']}", f"not in the bundle: {entry['reason']}"))
    keys = ("name", "visibility", "protected", "os_hidden", "min_disk", "min_ram")
    document = {key: source.get(key) for key in keys}
    document["name"] = options.name if options.name is not None else document["name"]
    document["visibility"] = options.visibility or document["visibility"] or "private"
    document["disk_format"] = source.get("disk_format") or "raw"
    document["container_format"] = source.get("container_format") or "bare"
    return (
        ImageDraft(
            title=f"image {document['name'] or '(no name)'}",
            document=document,
            properties=properties,
            tags=tuple(source.get("tags") or ()),
            members=tuple(source.get("members") or ()),
        ),
        lost,
    )


def _with_known_members(
    main: ImageDraft, manifest: Mapping[str, Any], to: Destination
) -> tuple[ImageDraft, list[NotReplayed]]:
    """The image without the members that are no projects here, and those.

    A plain member of a project may not look others up: where the bundle comes from this same cloud the
    projects are taken to be there.
    """
    same = manifest["source"].get("auth_url") == to.origin.auth_url
    lost = []
    for member in main.members:
        exists = to.projects.get(member["project_id"])
        if exists is False:
            reason = "there is no such project in this cloud"
        elif exists is None and not same:
            reason = "this account cannot see whether there is such a project in this cloud"
        else:
            continue
        lost.append(NotReplayed(f"member {member['project_id']}", reason))
    gone = {entry.what for entry in lost}
    kept = tuple(m for m in main.members if f"member {m['project_id']}" not in gone)
    return replace(main, members=kept), lost


def _data_image(main: ImageDraft, disk: Mapping[str, Any]) -> ImageDraft:
    volume = disk["replayable"].get("volume") or {}
    name = f"{main.document['name'] or 'image'}-{disk['name']}"[:255]
    return ImageDraft(
        title=f"image {name}",
        document={**main.document, "name": name, "min_disk": 0, "min_ram": 0},
        properties=image_properties(volume.get("image_metadata")),
        tags=main.tags,
        members=main.members,
    )


def _volumes(
    main: ImageDraft, disks: Sequence[Mapping[str, Any]], to: Destination
) -> tuple[tuple[VolumeOfDisk, ...], tuple[str, ...]]:
    made: list[VolumeOfDisk] = []
    mapped: list[str] = []
    for disk in disks:
        facts = disk["replayable"].get("volume") or {}
        wanted = facts.get("volume_type")
        kept = wanted if wanted in to.volume_types else None
        if wanted and not kept:
            mapped.append(f"{disk['name']}: volume type {wanted} -> the default type")
        volume = disk_volume(disk, fallback=str(main.document["name"] or "volume"), volume_type=kept)
        made.append(volume.changed(bootable=bool(facts.get("bootable"))))
    return tuple(made), tuple(mapped)


def _entry(disk: Mapping[str, Any], to: Destination, size: int) -> dict[str, Any]:
    """The entry of a block device mapping for a snapshot of *size* bytes, but for the snapshot's ID."""
    device = disk["replayable"].get("block_device") or {}
    entry = {key: device.get(key) for key in ("device_type", "disk_bus", "tag", "guest_format")}
    if device.get("volume_type") in to.volume_types:
        entry["volume_type"] = device["volume_type"]
    return {
        **entry,
        "source_type": "snapshot",
        "destination_type": "volume",
        "device_name": disk["device"],
        "boot_index": disk["boot_index"],
        "volume_size": size // GIB,
        "delete_on_termination": bool(device.get("delete_on_termination")),
    }


def _blank_entries(manifest: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The entries of the original mapping that need no data, as they were."""
    properties = manifest["replayable"]["properties"]
    devices = parse_mapping(
        properties.get("block_device_mapping"),
        root_device=properties.get("root_device_name"),
        what="image of the bundle",
    )
    return tuple(device.document for device in devices if device.source_type == "blank")


def _lost_of_volumes(disks: Sequence[Mapping[str, Any]]) -> list[NotReplayed]:
    """What the volumes will not have of the originals, besides what is mapped."""
    lost = []
    for disk in disks:
        zone = (disk["replayable"].get("volume") or {}).get("availability_zone")
        if zone:
            reason = f"{zone} there; made in the default zone here"
            lost.append(NotReplayed(f"availability zone of {disk['name']}", reason))
    return lost
