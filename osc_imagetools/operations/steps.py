# SPDX-License-Identifier: Apache-2.0
"""The rows of a dry run: the operations of a plan in words, the quota that they need first.

Contract: pure; one row for each resource that an operation creates, changes or removes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from osc_imagetools.operations.quota import QuotaNeed
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import (
    CreateMappingImage,
    CreatePort,
    CreateServer,
    CreateSnapshot,
    CreateVolume,
    FetchImage,
    Lane,
    Operation,
    Phase,
    Protect,
    ReformatImage,
    Remove,
    SendDisk,
    SetMetadata,
    SnapshotServer,
    StartServer,
    StopServer,
    UploadVolume,
    operations_of,
)

Row = tuple[str, str, bool, int | None]  # action, resource, temporary, bytes


@dataclass(frozen=True)
class PlanStep:
    """One row of a printed plan; ``bytes`` None where they are not known beforehand."""

    number: int
    action: str
    resource: str
    temporary: bool
    bytes: int | None


# What an operation is called while it goes on.
NAMES: dict[type[Operation], str] = {
    CreateSnapshot: "snapshot",
    SnapshotServer: "server image",
    CreateVolume: "volume",
    UploadVolume: "upload inside the cloud",
    FetchImage: "fetch",
    SendDisk: "send",
    CreateMappingImage: "image",
    ReformatImage: "convert",
    CreatePort: "port",
    CreateServer: "server",
    StopServer: "stop server",
    StartServer: "start server",
    SetMetadata: "metadata",
    Protect: "protect",
}


def step_name(operation: Operation) -> str:
    """What an operation is called while it goes on: ``volume from snapshot``, ``remove image``."""
    if isinstance(operation, Remove):
        return f"remove {operation.what.kind}"
    if isinstance(operation, CreateVolume):
        return f"volume from {operation.source.kind}"
    return NAMES[type(operation)]


def lane_name(lane: Lane) -> str:
    """What a lane is about: the disk that it fetches or sends, else what it works on."""
    for operation in lane:
        match operation:
            case FetchImage():
                return posixpath.basename(operation.file)
            case SendDisk():
                return posixpath.basename(operation.draft.file or operation.draft.title)
    for operation in lane:
        match operation:
            case CreateSnapshot():
                return operation.volume.label
            case StopServer(server) | StartServer(server) | SnapshotServer(server):
                return server.label
    return "run"


def steps(phases: Iterable[Phase], needs: tuple[QuotaNeed, ...]) -> tuple[PlanStep, ...]:
    """The plan as rows, the quota that it needs first; those rows are no steps and have the number 0."""
    quota = (PlanStep(0, "need quota", f"{n.name}: {n.amount} ({_left(n.left)})", False, None) for n in needs)
    rows = (row for operation in operations_of(phases) for row in _rows(operation))
    return (*quota, *(PlanStep(number, *row) for number, row in enumerate(rows, 1)))


def _left(left: int | None) -> str:
    return "no limit" if left is None else f"{left} left"


def _rows(operation: Operation) -> list[Row]:
    match operation:
        case CreateSnapshot(volume, makes, size, _, keep):
            return _created("snapshot", f"{makes.role} from {volume.label}", size, keep is None, makes)
        case CreateVolume():
            return _volume_rows(operation)
        case UploadVolume(volume, makes, disk_format, size, keep):
            text = f"{makes.role} from {volume.label}, as {disk_format}"
            return _created("image", text, size, keep is None, makes)
        case SnapshotServer(server, makes, size, snapshots):
            taken: list[Row] = [
                ("create snapshot", f"{snapshot.label} from volume {volume_id}", True, None)
                for volume_id, snapshot in snapshots
            ]
            return [("create image", f"{makes.role} from {server.label}", True, size), *taken]
        case SendDisk() | ReformatImage():
            return _image_rows(operation)
        case CreateMappingImage(makes):
            return _created("image", makes.role, 0, False, makes)
        case FetchImage(image, _, file, size):
            return [("fetch", f"{file} from {image.label}", False, size)]
        case CreatePort(_, draft):
            return [("create port", draft.title, False, None)]
        case CreateServer(_, draft):
            return [("create server", draft.name, False, None)]
        case StopServer(server):
            return [("stop server", server.label, False, None)]
        case StartServer(server):
            return [("start server", server.label, False, None)]
        case SetMetadata(what):
            return [("set metadata", what.label, False, None)]
        case Protect(what):
            return [("protect image", what.label, False, None)]
        case Remove(what):
            return [(f"delete {what.kind}", what.label, True, None)]


def _volume_rows(operation: CreateVolume) -> list[Row]:
    makes, begin = operation.makes, operation.begin or operation.size
    kind, zone = operation.volume_type, operation.zone
    chosen = [f", type {kind}" if kind else "", f", zone {zone}" if zone else ""]
    text = f"{makes.role} from {operation.source.label}{''.join(chosen)}"
    rows = _created("volume", text, begin, operation.keep is None, makes)
    if begin < operation.size:
        rows.insert(1, ("extend volume", makes.role, False, operation.size))
    return rows


def _image_rows(operation: SendDisk | ReformatImage) -> list[Row]:
    draft, makes = operation.draft, operation.makes
    rows: list[Row] = []
    if isinstance(operation, ReformatImage):
        image = operation.image
        rows.append(("fetch", image.label, True, image.size))
        rows.append(("convert", f"from {image.disk_format} to {draft.convert}", True, image.size))
    elif draft.convert:
        text = f"{draft.file} from {draft.content_format} to {draft.convert}"
        rows.append(("convert", text, True, draft.size))
    return rows + _created("image", makes.role, draft.size or None, makes.temporary, makes)


def _created(kind: str, text: str, size: int | None, temporary: bool, makes: Reference) -> list[Row]:
    rows: list[Row] = [(f"create {kind}", text, temporary, size)]
    if not temporary:
        rows.append(("verify", makes.role, False, None))
    return rows
