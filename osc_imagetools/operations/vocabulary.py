# SPDX-License-Identifier: Apache-2.0
"""The operations of a plan, as values: what will be done, to what, and what it makes.

Contract: pure. A plan is a set of lanes that can run at the same time; a lane is a sequence of
operations, each working on resources by reference: those that exist have an ID, those that an earlier
operation of the lane makes are known by their role until then. The execution interprets them; a dry run
prints them. Undoing is not planned: the execution registers the removal of a temporary resource before it
makes it, and :class:`Remove` only says when it is no longer needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from osc_imagetools.operations.quota import QuotaNeed


@dataclass(frozen=True)
class Reference:
    """A resource that exists (``id``) or that the plan makes (``id`` None, told apart by ``role``)."""

    kind: str  # image, volume, snapshot, server
    id: str | None
    role: str  # "snapshot of 0-vda", unique among what the plan makes
    temporary: bool = False

    @property
    def label(self) -> str:
        return f"{self.kind} {self.id}" if self.id else self.role


@dataclass(frozen=True)
class SnapshotVolume:
    """Take a snapshot of a volume (also of one in use); ``size`` in bytes."""

    volume: Reference
    makes: Reference
    size: int


@dataclass(frozen=True)
class ServerImage:
    """Let Nova make an image of a server (createImage); ``size`` in bytes.

    Of a server that boots from an image it holds the root disk. Of one that boots from a volume it is empty,
    and Nova takes a snapshot of each of its volumes for it, all under one freeze: ``snapshots`` are those
    by the ID of the volume.
    """

    server: Reference
    makes: Reference
    size: int
    snapshots: tuple[tuple[str, Reference], ...] = ()


@dataclass(frozen=True)
class StopServer:
    """Stop a running server, which the undo starts again whatever happens."""

    server: Reference


@dataclass(frozen=True)
class StartServer:
    """Start the server again that was stopped."""

    server: Reference


@dataclass(frozen=True)
class VolumeFromSnapshot:
    """Make a volume from a snapshot, as soon as that is available; ``size`` in bytes."""

    snapshot: Reference
    makes: Reference
    size: int


@dataclass(frozen=True)
class ImageFromVolume:
    """Let Cinder write a volume into an image in this format (raw or qcow2)."""

    volume: Reference
    makes: Reference
    disk_format: str
    size: int


@dataclass(frozen=True)
class FetchImage:
    """Bring an image's data into the bundle; ``size`` in bytes, None where only the upload will tell."""

    image: Reference
    disk: int  # index into the plan's disks
    file: str
    size: int | None


@dataclass(frozen=True)
class Remove:
    """Remove a temporary resource and wait until it is gone."""

    what: Reference


Making = SnapshotVolume | ServerImage | VolumeFromSnapshot | ImageFromVolume
Operation = Making | StopServer | StartServer | FetchImage | Remove


@dataclass(frozen=True)
class Step:
    """One row of a printed plan; ``bytes`` None where they are not known beforehand."""

    number: int
    action: str
    resource: str
    temporary: bool
    bytes: int | None


def steps(lanes: tuple[tuple[Operation, ...], ...], needs: tuple[QuotaNeed, ...]) -> tuple[Step, ...]:
    """The plan as rows, the quota that it needs first."""
    rows = list(quota_steps(needs))
    number = 0
    for lane in lanes:
        for operation in lane:
            for action, resource, temporary, size in _rows(operation):
                number += 1
                rows.append(Step(number, action, resource, temporary, size))
    return tuple(rows)


def quota_steps(needs: tuple[QuotaNeed, ...]) -> tuple[Step, ...]:
    """The rows that say what a plan needs of a quota; they are no steps and have the number 0."""
    return tuple(Step(0, "need quota", f"{n.name}: {n.amount} ({_left(n.left)})", False, None) for n in needs)


def _left(left: int | None) -> str:
    return "no limit" if left is None else f"{left} left"


def _rows(operation: Operation) -> Iterator[tuple[str, str, bool, int | None]]:
    """(action, resource, temporary, bytes) of what an operation does, one for each resource."""
    match operation:
        case SnapshotVolume(volume, makes, size):
            yield "create snapshot", f"{makes.label} from {volume.label}", True, size
        case ServerImage(server, makes, size, snapshots):
            yield "create image", f"{makes.label} from {server.label}", True, size
            for volume_id, snapshot in snapshots:
                yield "create snapshot", f"{snapshot.label} from volume {volume_id}", True, None
        case VolumeFromSnapshot(snapshot, makes, size):
            yield "create volume", f"{makes.label} from {snapshot.label}", True, size
        case ImageFromVolume(volume, makes, disk_format, size):
            yield "create image", f"{makes.label} from {volume.label}, as {disk_format}", True, size
        case FetchImage(image, _, file, size):
            yield "fetch", f"{file} from {image.label}", False, size
        case Remove(what):
            yield f"delete {what.kind}", what.label, True, None
        case StopServer(server):
            yield "stop server", server.label, False, None
        case StartServer(server):
            yield "start server", server.label, False, None
