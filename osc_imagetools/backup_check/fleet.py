# SPDX-License-Identifier: Apache-2.0
"""Many servers and all that their backups hang on, as small values.

Contract: values and how a document becomes one; nothing is asked here. Each value keeps what a check needs
and nothing else, because there are tens of thousands of them; texts that occur often exist once.
Times are seconds since 1970 (UTC), sizes GiB unless a name says otherwise.
Sources: the API references of Compute (servers of microversion 2.69), Block Storage v3 and Image v2.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from osc_imagetools import errors
from osc_imagetools.cloud.block_device import parse_mapping
from osc_imagetools.cloud.quota import Quota

# Where a hypervisor puts the first disk; only administrators are told a server's root device.
FIRST_DEVICES = frozenset({"vda", "sda", "xvda", "hda"})
# A snapshot in one of these states has its data (cinder/objects/fields.py, SnapshotStatus): restoring is a
# volume that is reverted to it (cinder/volume/manager.py, revert_to_snapshot), backing-up one that is read.
GOOD_SNAPSHOT = frozenset({"available", "backing-up", "restoring", "updating"})


class Traits(NamedTuple):
    """What the properties of an image say of the servers that boot from it."""

    guest_agent: bool = False
    must_quiesce: bool = False
    uefi: bool = False
    secure_boot: bool = False
    vtpm: bool = False


PLAIN = Traits()


class FleetFlavor(NamedTuple):
    """A flavor as it was when the server was made; ``swap`` in MiB."""

    name: str
    ephemeral: int
    swap: int
    traits: Traits


class FleetAttachedVolume(NamedTuple):
    """A volume as the server names it."""

    id: str
    delete_on_termination: bool


class FleetAttachment(NamedTuple):
    """A server as the volume names it; ``device`` without ``/dev/``."""

    server_id: str
    device: str
    since: float | None


class MappedDisk(NamedTuple):
    """One disk of an image's block device mapping; ``source`` is snapshot, volume, image or blank."""

    source: str
    id: str | None


@dataclass(frozen=True, slots=True)
class FleetServer:
    """A server; ``image_id`` None when it was made without an image."""

    id: str
    name: str
    project_id: str
    status: str
    task_state: str | None
    locked: bool
    image_id: str | None
    root_device: str | None
    flavor: FleetFlavor | None
    volumes: tuple[FleetAttachedVolume, ...]
    created: float | None


@dataclass(frozen=True, slots=True)
class FleetVolume:
    """A volume; ``traits`` are those of the image that it was made from."""

    id: str
    name: str
    project_id: str | None
    status: str
    size: int
    volume_type: str | None
    encrypted: bool
    bootable: bool
    traits: Traits
    attachments: tuple[FleetAttachment, ...]

    @property
    def label(self) -> str:
        return self.name or self.id


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """A snapshot of a volume."""

    id: str
    volume_id: str
    status: str
    created: float | None


@dataclass(frozen=True, slots=True)
class VolumeBackup:
    """A backup of Cinder's backup service."""

    id: str
    volume_id: str
    status: str
    created: float | None


@dataclass(frozen=True, slots=True)
class FleetImage:
    """An image; ``size`` in bytes, None without data.

    ``server_id`` is the server that Nova made it from, where it says so; ``disks`` is the block device
    mapping in boot order, None where it cannot be read.
    """

    id: str
    name: str
    owner: str | None
    status: str
    size: int | None
    created: float | None
    server_id: str | None
    disks: tuple[MappedDisk, ...] | None
    traits: Traits

    @property
    def is_pointer(self) -> bool:
        """Whether its block device mapping leads to snapshots or volumes."""
        return any(disk.source in ("snapshot", "volume") for disk in self.disks or ())


@dataclass
class Fleet:
    """What the lists of a cloud gave.

    ``projects``: those whose volumes it has, None for all; ``whole``: no server of theirs is left out;
    ``login_project``: the one in which commands run, if nothing else is said.
    ``gone`` holds IDs (of volumes, images, servers) that are referred to and do not exist;
    ``boot_traits`` what is known of a boot image that is gone. ``unread`` says why something could not be
    read, by the name of a list (``volumes``) or by an ID. ``flavors`` are names, None where they could not
    be read.
    """

    block_storage: bool
    whole: bool
    projects: frozenset[str] | None = None
    login_project: str | None = None
    servers: list[FleetServer] = field(default_factory=list)
    volumes: dict[str, FleetVolume] = field(default_factory=dict)
    snapshots: dict[str, FleetSnapshot] = field(default_factory=dict)
    volume_backups: list[VolumeBackup] = field(default_factory=list)
    images: dict[str, FleetImage] = field(default_factory=dict)
    flavors: frozenset[str] | None = None
    volume_quotas: dict[str, Quota] = field(default_factory=dict)
    image_quotas: dict[str, Quota] = field(default_factory=dict)
    boot_traits: dict[str, Traits] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unread: dict[str, str] = field(default_factory=dict)

    def snapshots_of(self, image: FleetImage) -> list[FleetSnapshot]:
        """Those that an image points at and that are there."""
        ids = [disk.id or "" for disk in image.disks or () if disk.source == "snapshot"]
        return [self.snapshots[snapshot] for snapshot in ids if snapshot in self.snapshots]

    def is_foreign(self, image: FleetImage) -> bool:
        """Whether what an image points at is another project's, and not to be seen."""
        return self.projects is not None and image.owner not in self.projects and not self.snapshots_of(image)

    def lost(self, image: FleetImage) -> tuple[str, ...]:
        """What is gone or broken of that which an image points at; nothing where that cannot be known."""
        if not self.knows_snapshots:
            return ()
        lost = []
        for disk in image.disks or ():
            if disk.source == "snapshot":
                snapshot = self.snapshots.get(disk.id or "")
                if snapshot is None or snapshot.status not in GOOD_SNAPSHOT:
                    lost.append(f"snapshot {disk.id}")
            elif disk.source == "volume" and disk.id in self.gone:
                lost.append(f"volume {disk.id}")
        return tuple(lost)

    @property
    def knows_snapshots(self) -> bool:
        """Whether a snapshot that it does not have does not exist."""
        return self.block_storage and "snapshots" not in self.unread


def read_server(document: Mapping[str, Any]) -> FleetServer:
    """From an entry of ``GET /servers/detail``; one of a cell that is down has next to nothing in it."""
    image = document.get("image") or {}
    device = document.get("OS-EXT-SRV-ATTR:root_device_name")
    return FleetServer(
        id=sys.intern(document["id"]),
        name=document.get("name") or "",
        project_id=_often(document.get("tenant_id")) or "",
        status=_often(document.get("status")) or "UNKNOWN",
        task_state=_often(document.get("OS-EXT-STS:task_state")),
        locked=bool(document.get("locked")),
        image_id=_often(image.get("id")) if isinstance(image, Mapping) else None,
        root_device=sys.intern(bare(device)) if device else None,
        flavor=_flavor(document.get("flavor") or {}),
        volumes=tuple(
            FleetAttachedVolume(sys.intern(entry["id"]), bool(entry.get("delete_on_termination")))
            for entry in document.get("os-extended-volumes:volumes_attached") or ()
        ),
        created=when(document.get("created")),
    )


def read_volume(document: Mapping[str, Any]) -> FleetVolume:
    """From an entry of ``GET /volumes/detail``."""
    return FleetVolume(
        id=sys.intern(document["id"]),
        name=document.get("name") or "",
        project_id=_often(document.get("os-vol-tenant-attr:tenant_id")),
        status=sys.intern(document["status"]),
        size=int(document["size"]),
        volume_type=_often(document.get("volume_type")),
        encrypted=bool(document.get("encrypted")),
        bootable=str(document.get("bootable")).lower() == "true",
        traits=read_traits(document.get("volume_image_metadata") or {}),
        attachments=tuple(
            FleetAttachment(
                sys.intern(entry["server_id"]),
                sys.intern(bare(entry.get("device"))),
                when(entry.get("attached_at")),
            )
            for entry in document.get("attachments") or ()
            if entry.get("server_id")
        ),
    )


def read_snapshot(document: Mapping[str, Any]) -> FleetSnapshot:
    """From an entry of ``GET /snapshots/detail``."""
    return FleetSnapshot(
        id=sys.intern(document["id"]),
        volume_id=sys.intern(document["volume_id"]),
        status=sys.intern(document["status"]),
        created=when(document.get("created_at")),
    )


def read_backup(document: Mapping[str, Any]) -> VolumeBackup:
    """From an entry of ``GET /backups/detail``."""
    return VolumeBackup(
        id=document["id"],
        volume_id=sys.intern(document["volume_id"]),
        status=sys.intern(document["status"]),
        # The data is as old as the snapshot that it was taken from, where there was one.
        created=when(document.get("data_timestamp") or document.get("created_at")),
    )


def read_image(document: Mapping[str, Any]) -> FleetImage:
    """From an entry of ``GET /v2/images``."""
    size = document.get("size")
    return FleetImage(
        id=sys.intern(document["id"]),
        name=document.get("name") or "",
        owner=_often(document.get("owner")),
        status=sys.intern(document["status"]),
        size=None if size is None else int(size),
        created=when(document.get("created_at")),
        server_id=_often(document.get("instance_uuid")),
        disks=_disks(document),
        traits=read_traits(document),
    )


def read_traits(properties: Mapping[str, Any]) -> Traits:
    """From the properties of an image, the image metadata of a volume or a flavor's extra specs."""
    secure = properties.get("os_secure_boot", properties.get("os:secure_boot"))
    traits = Traits(
        guest_agent=_yes(properties.get("hw_qemu_guest_agent")),
        must_quiesce=_yes(properties.get("os_require_quiesce")),
        uefi=properties.get("hw_firmware_type") == "uefi",
        secure_boot=secure in ("required", "optional"),
        vtpm=bool(properties.get("hw_tpm_version") or properties.get("hw:tpm_version")),
    )
    return PLAIN if traits == PLAIN else traits


def when(text: Any) -> float | None:
    """A time of any of the services as seconds since 1970; Cinder leaves the zone out and means UTC."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def bare(device: Any) -> str:
    """``vda`` of ``/dev/vda``."""
    return str(device or "").rsplit("/", 1)[-1]


def _disks(document: Mapping[str, Any]) -> tuple[MappedDisk, ...] | None:
    value = document.get("block_device_mapping")
    if not value:
        return ()
    what = f"image {document['id']}"
    try:
        devices = parse_mapping(value, root_device=document.get("root_device_name"), what=what)
    except errors.ResourceUnusable:
        return None
    disks = []
    for device in devices:
        source = sys.intern(device.source_type)
        identifier = device.snapshot_id if source == "snapshot" else device.volume_id
        disks.append(MappedDisk(source, _often(identifier)))
    return tuple(disks)


def _flavor(document: Mapping[str, Any]) -> FleetFlavor | None:
    if "original_name" not in document:
        return None
    flavor = FleetFlavor(
        name=str(document["original_name"]),
        ephemeral=int(document.get("ephemeral") or 0),
        swap=int(document.get("swap") or 0),
        traits=read_traits(document.get("extra_specs") or {}),
    )
    return _shared(flavor)


@cache
def _shared(flavor: FleetFlavor) -> FleetFlavor:
    """The same object for the same flavor."""
    return flavor


def _often(text: Any) -> str | None:
    """A text that many values share, once in memory."""
    return sys.intern(str(text)) if text else None


def _yes(value: Any) -> bool:
    return str(value).strip().lower() in ("1", "t", "true", "on", "y", "yes")
