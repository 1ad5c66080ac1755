# SPDX-License-Identifier: Apache-2.0
"""Plans the import of a volume: from the bundle of a volume or a snapshot, or from one disk of a server's.

Contract: pure; all problems at once, before any effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.operations.disk_drafts import (
    disk_volume,
    encrypted_problem,
    smallest_size,
    volume_type_of,
)
from osc_imagetools.operations.drafts import NotReplayed
from osc_imagetools.operations.quota import fit_quota
from osc_imagetools.operations.vocabulary import Phase, SetMetadata
from osc_imagetools.restore.inventory import Destination
from osc_imagetools.restore.plan import ImportPlan
from osc_imagetools.restore.plan_image import check_kind


@dataclass(frozen=True)
class VolumeImportOptions:
    """What the user asked for; None: as in the bundle. ``size`` in GiB."""

    name: str | None = None
    size: int | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    bootable: bool | None = None
    disk: str | None = None


def plan_volume_import(
    manifest: Mapping[str, Any], to: Destination, options: VolumeImportOptions
) -> ImportPlan:
    """Plans ``volume import-full``.

    :param manifest: of a bundle of any kind, validated; with ``options.disk`` one of its disks.
    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    if not to.block_storage:
        region = to.origin.region or "this cloud"
        raise errors.ServiceAbsent(
            f"a volume cannot be made: the catalog of {region} has no block storage",
            hint="The disks of a bundle are plain image files: openstack image create --file <disk> <name>",
        )
    if options.disk is None:
        check_kind(manifest, ("volume", "snapshot"))
    disk = _disk(manifest, options.disk)
    mapping = {} if options.volume_type is None else {"": options.volume_type}
    volume_type, problem = volume_type_of(_with_type(disk, options.volume_type), mapping, to.volume_types)
    problems = [p for p in (problem, encrypted_problem(disk), *_misfits(disk, to, options)) if p]
    errors.raise_problems("it cannot be imported", problems)
    zone, lost = _zone(disk, to, options)
    volume = disk_volume(
        disk,
        fallback=str(manifest["resource"]["name"] or "volume"),
        volume_type=volume_type,
        zone=zone,
    )
    keep = volume.keep
    volume = volume.changed(
        size=options.size * GIB if options.size else None,
        name=options.name if options.name is not None else keep.name,
        bootable=keep.bootable if options.bootable is None else options.bootable,
    )
    old = (disk["replayable"].get("volume") or {}).get("volume_type")
    mapped = (f"volume type {old} -> {volume_type}",) if old and volume_type != old else ()
    _, needs = fit_quota(to.quota, [volume.use], 1, project=to.origin.project_id)
    return ImportPlan(
        result=volume.volume,
        phases=(Phase((volume.lane,)), Phase.of(SetMetadata(volume.volume))),
        listed=(),
        disks=1,
        bytes=volume.send.draft.size,
        not_replayed=lost,
        mapped=mapped,
        needs=needs,
    )


def _with_type(disk: Mapping[str, Any], volume_type: str | None) -> Mapping[str, Any]:
    """The disk as if its volume had no type, where the user names one."""
    if volume_type is None:
        return disk
    return {**disk, "replayable": {**disk["replayable"], "volume": {}}}


def _disk(manifest: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    disks: list[Mapping[str, Any]] = manifest["disks"]
    if name is None:
        return disks[0]
    for disk in disks:
        if disk["name"] == name:
            return disk
    names = ", ".join(disk["name"] for disk in disks)
    raise errors.UsageError(f"the bundle has no disk {name!r}; it has {names}")


def _misfits(
    disk: Mapping[str, Any], to: Destination, options: VolumeImportOptions
) -> list[errors.ImagetoolsError]:
    problems: list[errors.ImagetoolsError] = []
    least = smallest_size(disk) // GIB
    if options.size is not None and options.size < least:
        problems.append(
            errors.UsageError(f"--size {options.size}: disk {disk['name']} needs {least} GiB at least")
        )
    if options.availability_zone and options.availability_zone not in to.volume_zones:
        zones = ", ".join(to.volume_zones) or "none"
        problems.append(
            errors.ResourceNotFound(
                f"there is no volume zone {options.availability_zone!r} here; there are {zones}",
                hint="openstack availability zone list --volume",
            )
        )
    return problems


def _zone(
    disk: Mapping[str, Any], to: Destination, options: VolumeImportOptions
) -> tuple[str | None, tuple[NotReplayed, ...]]:
    """The zone to make the volume in; the original's where it is here too."""
    old = (disk["replayable"].get("volume") or {}).get("availability_zone")
    if options.availability_zone or not old or old in to.volume_zones:
        return options.availability_zone or old, ()
    return None, (NotReplayed(f"availability zone {old}", "there is no such zone here: the default one"),)
