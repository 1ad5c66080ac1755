# SPDX-License-Identifier: Apache-2.0
"""Plans the export of a whole server: every disk at one moment, and what it takes to make it again.

Contract: pure functions over values; all problems at once, as for every export. All snapshots are taken
before any byte is moved, as close together as the API allows:

* of a server that boots from a volume Nova takes all of them itself, under one freeze (createImage);
* of one that boots from an image, those of its volumes are taken first, all at the same time, and Nova's
  image of the root disk directly after: while Nova makes it, storage that needs the hypervisor for a snapshot
  is refused one (nova/compute/api.py, volume_snapshot_create).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.ownership import without_marks
from osc_imagetools.cloud.server import Server
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.export.inventory_server import ServerInventory, ServerVolume
from osc_imagetools.export.plan import DiskPlacement, ExportDraft, ExportPlan, NotCaptured, Subject
from osc_imagetools.export.plan_server_properties import (
    freeze_requested,
    known_properties,
    root_of,
    uncopied,
    vtpm,
)
from osc_imagetools.operations.quota import VolumeUse
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import (
    CreateSnapshot,
    Operation,
    Remove,
    SnapshotServer,
    StartServer,
    StopServer,
)

USER_DATA = "OS-EXT-SRV-ATTR:user_data"
# nova/compute/api.py: snapshot, snapshot_volume_backed
SNAPSHOT_STATES = frozenset({"ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED"})

PASSING = frozenset({"BUILD", "REBUILD", "REBOOT", "HARD_REBOOT", "RESIZE", "MIGRATING", "PASSWORD"})


@dataclass(frozen=True)
class ServerExportOptions:
    """What the user asked for; ``disks`` are names as vda, empty for all."""

    disk_format: str | None = None
    allow_encrypted: bool = False
    stop: bool = False
    user_data: bool = True  # it may hold secrets, and a server cannot be made again without it
    disks: tuple[str, ...] = ()


def plan_server_export(found: ServerInventory, options: ServerExportOptions, *, jobs: int) -> ExportPlan:
    """Plans ``server export-full``.

    :raises errors.ImagetoolsError: the server cannot be exported; several reasons as
        :class:`errors.Unready`.
    """
    draft = ExportDraft(options.disk_format, options.allow_encrypted)
    disks = _ServerDisks(found, options)
    draft.check_project(found.server.label, found.server.project_id, found.origin)
    draft.problems += disks.problems()
    _check_state(draft, found, options)
    draft.not_captured += _uncopied(found)
    if found.boots_from_volume:
        stages, room = _from_volumes(draft, found, disks)
    else:
        stages, room = _from_image(draft, found, disks)
    server = Reference("server", found.server.id, found.server.label)
    if options.stop and not found.server.is_stopped:
        stages = [(StopServer(server),), *stages]
        last = next(n for n, stage in reversed(list(enumerate(stages))) if not _only_removes(stage))
        stages.insert(last + 1, (StartServer(server),))
    subject = _subject(found, disks, with_user_data=options.user_data)
    draft.warnings += _unreadable_warning(subject.replayable["unreadable"])
    return draft.finish(
        subject,
        consistency=_consistency(found, options),
        quota=found.quota,
        jobs=jobs,
        stages=stages,
        at_once=room,
    )


def _only_removes(stage: tuple[Operation, ...]) -> bool:
    return all(isinstance(operation, Remove) for operation in stage)


class _ServerDisks:
    """Which disks of a server are wanted, and how they are called."""

    def __init__(self, found: ServerInventory, options: ServerExportOptions) -> None:
        self._wanted = options.disks
        self.label = found.server.label
        self.names = {v.id: _bare(v.device) or f"volume-{n}" for n, v in enumerate(found.volumes)}
        self.root = None if found.boots_from_volume else _root_name(found, self.names)

    def wants(self, name: str) -> bool:
        return not self._wanted or name in self._wanted

    def problems(self) -> list[errors.ImagetoolsError]:
        known = sorted({*([self.root] if self.root else []), *self.names.values()})
        return [
            errors.UsageError(f"{self.label} has no disk {name!r}; it has {', '.join(known)}")
            for name in self._wanted
            if name not in known
        ]


def _root_name(found: ServerInventory, names: Mapping[str, str]) -> str:
    """The name of a root disk that Nova made from an image, which only administrators are told.

    It is the first device of the bus that the volumes are on, unless one of them has that.
    """
    if found.server.root_device:
        return _bare(found.server.root_device)
    bus = next((name[:2] for name in names.values() if len(name) == 3), "vd")
    return f"{bus}a" if f"{bus}a" not in names.values() else "root"


def _bare(device: str | None) -> str:
    return (device or "").rsplit("/", 1)[-1]


def _check_state(draft: ExportDraft, found: ServerInventory, options: ServerExportOptions) -> None:
    server = found.server
    show = f"openstack server show {server.id}"
    if server.task_state is not None:
        draft.problems.append(
            errors.ResourceUnusable(
                f"{server.label} is busy ({server.task_state}): no snapshot can be taken now",
                hint=f"Wait until it is not: {show}",
            )
        )
    if server.status not in SNAPSHOT_STATES:
        draft.problems.append(
            errors.ResourceUnusable(
                f"{server.label} is {server.status}: Nova takes a snapshot only of a server that is "
                f"{', '.join(sorted(SNAPSHOT_STATES))}",
                hint=_way_to_a_snapshot(server),
            )
        )
    if options.stop and server.status not in ("ACTIVE", "SHUTOFF"):
        draft.problems.append(
            errors.ResourceUnusable(f"--stop: {server.label} is {server.status}, which cannot be stopped")
        )
    if options.stop and server.locked and not server.is_stopped:
        draft.problems.append(
            errors.ResourceUnusable(
                f"--stop: {server.label} is locked", hint=f"openstack server unlock {server.id}"
            )
        )


def _way_to_a_snapshot(server: Server) -> str:
    """What brings a server into a state in which Nova takes a snapshot of it, or gets its data anyway."""
    commands = {
        "SHELVED": f"openstack server unshelve {server.id}",
        "SHELVED_OFFLOADED": f"openstack server unshelve {server.id}",
        "RESCUE": f"openstack server unrescue {server.id}",
        "VERIFY_RESIZE": f"openstack server resize confirm {server.id}",
        "SOFT_DELETED": f"openstack server restore {server.id}",
    }
    if server.status in commands:
        return commands[server.status]
    show = f"openstack server show {server.id}"
    if server.status in PASSING:
        return f"Wait until it is ACTIVE: {show} -c status"
    why = f"{show} -c fault tells why. " if server.status == "ERROR" else f"{show} tells more. "
    if server.volumes:
        return f"{why}Its volumes can be exported one by one: openstack volume export-full <volume>"
    return why.strip()


def _from_volumes(
    draft: ExportDraft, found: ServerInventory, disks: _ServerDisks
) -> tuple[list[tuple[Operation, ...]], list[VolumeUse]]:
    """Nova's image of a server that boots from a volume, of which only the snapshots are needed."""
    server = Reference("server", found.server.id, found.server.label)
    image = Reference("image", None, f"image of {found.server.name}", temporary=True)
    snapshots: list[tuple[str, Reference]] = []
    unwanted: list[Operation] = []
    room: list[VolumeUse] = []
    size = 0
    root = root_of(found)
    for attached in found.volumes:
        name = disks.names[attached.id]
        place = _place(name, attached, is_root=attached is root)
        volume = attached.volume
        if volume is None:
            draft.problems.append(_no_volume(found, attached, name))
            continue
        made = draft.snapshot_of(place)
        if not disks.wants(name):
            made = Reference("snapshot", None, f"snapshot of {name}, which is not wanted", temporary=True)
            unwanted.append(Remove(made))
            draft.not_captured.append(_not_selected(attached, name))
        elif not draft.volume_is_usable(volume, place):
            continue
        else:
            draft.add_snapshotted(made, volume, place)
        snapshots.append((volume.id, made))
        room.append(VolumeUse(volume.size // GIB, volume.volume_type, with_snapshot=True, with_volume=False))
        size += volume.size
    stages: list[tuple[Operation, ...]] = [(SnapshotServer(server, image, size, tuple(snapshots)),)]
    return [*stages, (Remove(image), *unwanted)], room


def _from_image(
    draft: ExportDraft, found: ServerInventory, disks: _ServerDisks
) -> tuple[list[tuple[Operation, ...]], list[VolumeUse]]:
    """Snapshots of the volumes, all at once; then Nova's image of the root disk."""
    server = Reference("server", found.server.id, found.server.label)
    stages: list[tuple[Operation, ...]] = []
    room: list[VolumeUse] = []
    root = disks.root or "root"
    if disks.wants(root):
        image = Reference("image", None, f"image of {found.server.name}", temporary=True)
        size = int(found.server.flavor.get("disk") or 0) * GIB
        form = found.image.disk_format if found.image and found.image.disk_format else "qcow2"
        place = DiskPlacement(root, f"/dev/{root}", "boot", 0, {"delete_on_termination": True})
        observed = {"image_id": found.server.image_id}
        draft.add_made_image(image, place, disk_format=form, observed=observed)
        stages.append((SnapshotServer(server, image, size),))
    else:
        draft.not_captured.append(NotCaptured(root, None, "not-selected", "--disk did not name this disk"))
    snapshots: list[Operation] = []
    for attached in found.volumes:
        name = disks.names[attached.id]
        place = _place(name, attached, is_root=False)
        volume = attached.volume
        if not disks.wants(name):
            draft.not_captured.append(_not_selected(attached, name))
        elif volume is None:
            draft.problems.append(_no_volume(found, attached, name))
        elif draft.volume_is_usable(volume, place):
            made = draft.snapshot_of(place)
            snapshots.append(CreateSnapshot(Reference("volume", volume.id, volume.label), made, volume.size))
            draft.add_snapshotted(made, volume, place)
            room.append(
                VolumeUse(volume.size // GIB, volume.volume_type, with_snapshot=True, with_volume=False)
            )
    return [*([tuple(snapshots)] if snapshots else []), *stages], room


def _place(name: str, attached: ServerVolume, *, is_root: bool) -> DiskPlacement:
    facts = {"delete_on_termination": attached.delete_on_termination, "tag": attached.tag}
    return DiskPlacement(name, attached.device, "boot" if is_root else "data", 0 if is_root else None, facts)


def _not_selected(attached: ServerVolume, name: str) -> NotCaptured:
    return NotCaptured(name, attached.device, "not-selected", "--disk did not name this disk")


def _no_volume(found: ServerInventory, attached: ServerVolume, name: str) -> errors.ImagetoolsError:
    if not found.block_storage:
        region = found.origin.region or "this cloud"
        return errors.ServiceAbsent(
            f"{name}: it is volume {attached.id}, and the catalog of {region} has no block storage",
            hint="Export the server in the region that has its volumes: --os-region-name <region>",
        )
    return errors.ResourceNotFound(
        f"{name}: volume {attached.id} of {found.server.label} is gone or not visible",
        hint=f"openstack server volume list {found.server.id}",
    )


def _uncopied(found: ServerInventory) -> list[NotCaptured]:
    """What no copy that the API can make holds."""
    flavor = found.server.flavor
    lost = []
    if int(flavor.get("ephemeral") or 0):
        text = f"an ephemeral disk of {flavor['ephemeral']} GiB: no copy that the API can make holds its data"
        lost.append(NotCaptured("ephemeral", None, "ephemeral", text))
    if int(flavor.get("swap") or 0):
        text = f"a swap disk of {flavor['swap']} MiB: made empty with each server"
        lost.append(NotCaptured("swap", None, "swap", text))
    lost += uncopied(known_properties(found))
    specs = flavor.get("extra_specs") or {}
    if specs.get("hw:tpm_version") and vtpm() not in lost:
        lost.append(vtpm())
    return lost


def _consistency(found: ServerInventory, options: ServerExportOptions) -> str:
    """What the copy can be relied on for; Nova never says whether the freeze worked."""
    if found.server.is_stopped or options.stop:
        return "stopped"
    agent = freeze_requested(known_properties(found))
    # Snapshots that Nova does not take itself are under no freeze.
    alone = found.boots_from_volume or not found.volumes
    return "freeze-requested" if agent and alone and found.server.status == "ACTIVE" else "crash"


def _properties(found: ServerInventory, disks: _ServerDisks) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The image properties, None where those of Nova's image are to be taken; and what is unreadable."""
    properties, unreadable = known_properties(found), dict(found.unreadable)
    if properties is not None or disks.wants(disks.root or "root"):
        return properties, unreadable
    reason = "the image is gone, and Nova's own copies of them are in a copy of the root disk only"
    return {}, {**unreadable, "image properties": reason}


def _unreadable_warning(unreadable: Mapping[str, str]) -> list[str]:
    """A word of what is not in the bundle; of an image that is gone the bundle needs no more than it has."""
    lost = [f"{fact} ({reason})" for fact, reason in unreadable.items() if fact != "image"]
    return [f"Not in the bundle, because it could not be read: {'; '.join(lost)}"] if lost else []


def _subject(found: ServerInventory, disks: _ServerDisks, *, with_user_data: bool) -> Subject:
    server, document = found.server, found.server.document
    properties, unreadable = _properties(found, disks)
    user_data = document.get(USER_DATA)
    if user_data and not with_user_data:
        user_data, unreadable = None, {**unreadable, "user data": "it was left out (--no-user-data)"}
    return Subject(
        kind="server",
        id=server.id,
        name=server.name,
        label=server.label,
        origin=found.origin,
        hash_algo=None,
        replayable={
            "name": server.name,
            "hostname": document.get("OS-EXT-SRV-ATTR:hostname"),
            "description": document.get("description"),
            "metadata": without_marks(server.metadata),
            "tags": sorted(server.tags),
            "availability_zone": document.get("OS-EXT-AZ:availability_zone"),
            **{key: document[key] for key in ("pinned_availability_zone",) if key in document},
            "boot_from": "volume" if found.boots_from_volume else "image",
            "flavor": dict(found.flavor),
            "image": {"id": server.image_id, "name": found.image.name if found.image else None}
            if server.image_id and not found.boots_from_volume
            else None,
            "image_properties": properties,
            "key_name": document.get("key_name"),
            "key_pair": {key: found.key_pair.get(key) for key in ("name", "type", "public_key")}
            if found.key_pair
            else None,
            "user_data": user_data,
            "config_drive": str(document.get("config_drive")).lower() == "true",
            "security_groups": [dict(group) for group in found.security_groups],
            "server_group": dict(found.server_group) if found.server_group else None,
            "scheduler_hints": dict(document.get("scheduler_hints") or {}),
            "ports": [dict(port) for port in found.ports],
            "unreadable": unreadable,
        },
        observed={
            "id": server.id,
            "status": server.status,
            "project_id": server.project_id,
            "created": document.get("created"),
            "host_id": document.get("hostId"),
            "locked": server.locked,
            "volumes": [{"id": v.id, "device": v.device} for v in found.volumes],
        },
        documents={name: _without_user_data(value) for name, value in found.documents.items()},
    )


def _without_user_data(document: Any) -> Any:
    """A document as it came, but for what may hold secrets and is in the manifest, if it is wanted."""
    if not isinstance(document, Mapping) or USER_DATA not in document:
        return document
    return {key: value for key, value in document.items() if key != USER_DATA}
