# SPDX-License-Identifier: Apache-2.0
"""The operations of a plan, as values: what is done, to what, and what it creates.

Contract: pure. A plan is a sequence of phases; the lanes of a phase may run at the same time, the operations
of a lane run in their order. Operations name resources by reference: those that exist have an ID, those that
an earlier operation creates are known by their role until then. One interpreter carries them out
(:mod:`osc_imagetools.run.effects.interpreter`), a dry run prints them (``operations.steps``).
Clean-up is not planned: the interpreter registers the removal of a resource before it creates it, and
:class:`Remove` only says when a temporary one is no longer needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools.cloud.image import Image
from osc_imagetools.operations.drafts import (
    ImageDraft,
    KeptImage,
    KeptSnapshot,
    KeptVolume,
    MappingEntry,
    Plug,
    PortDraft,
    ServerDraft,
)
from osc_imagetools.operations.reference import Reference


@dataclass(frozen=True)
class CreateSnapshot:
    """Take a snapshot of a volume (also of one in use); ``size`` in bytes.

    ``quota_type`` is the volume type whose quota it takes, None where it is not known; ``keep`` is what the
    snapshot becomes, None for a temporary one.
    """

    volume: Reference
    makes: Reference
    size: int
    quota_type: str | None = None
    keep: KeptSnapshot | None = None


@dataclass(frozen=True)
class SnapshotServer:
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
    """Stop a running server; the clean-up starts it again whatever happens."""

    server: Reference


@dataclass(frozen=True)
class StartServer:
    """Start the server again that was stopped."""

    server: Reference


@dataclass(frozen=True)
class CreateVolume:
    """Create a volume from a snapshot or an image, as soon as that is available; ``size`` in bytes.

    ``begin`` is the size that it is created with, in bytes (None: ``size``): drivers such as NFS make a disk
    no larger than the snapshot's without saying so, and extend it when they are asked to.
    ``volume_type`` and ``zone`` None: what the cloud chooses, which for a snapshot is its volume's.
    ``quota_type`` and ``keep`` as of :class:`CreateSnapshot`.
    """

    source: Reference
    makes: Reference
    size: int
    begin: int | None = None
    volume_type: str | None = None
    quota_type: str | None = None
    zone: str | None = None
    keep: KeptVolume | None = None


@dataclass(frozen=True)
class UploadVolume:
    """Let Cinder write a volume into an image in this format; ``size`` of the volume in bytes."""

    volume: Reference
    makes: Reference
    disk_format: str
    size: int
    keep: KeptImage | None = None


@dataclass(frozen=True)
class FetchImage:
    """Fetch an image's data into the bundle; ``size`` in bytes, None where only the upload will tell."""

    image: Reference
    disk: int  # index into the plan's disks
    file: str
    size: int | None

    @property
    def makes(self) -> Reference:
        return Reference("file", None, self.file)


@dataclass(frozen=True)
class SendDisk:
    """Send a disk of the bundle into a new image, converted where the draft says so.

    ``makes`` is temporary, or stays and gets the metadata of the draft. ``owner`` is the ID of a project,
    ``store`` the name of an image store; None: the login's, the default one.
    """

    makes: Reference
    draft: ImageDraft
    owner: str | None = None
    store: str | None = None


@dataclass(frozen=True)
class CreateMappingImage:
    """Create the image of 0 bytes whose block device mapping points at the snapshots of ``disks``.

    ``blank`` are the entries of the mapping that need no data (swap, ephemeral disks).
    """

    makes: Reference
    draft: ImageDraft
    disks: tuple[MappingEntry, ...]
    blank: tuple[Mapping[str, Any], ...] = ()
    owner: str | None = None


@dataclass(frozen=True)
class ReformatImage:
    """Fetch an image, convert it, send it as another one."""

    image: Image
    makes: Reference
    draft: ImageDraft


@dataclass(frozen=True)
class CreatePort:
    """Create a port of a server."""

    makes: Reference
    draft: PortDraft


@dataclass(frozen=True)
class CreateServer:
    """Create a server of the volumes and images ``disks``, plugged in at ``ports``.

    :param wait: until it is ACTIVE; else the request has only to be accepted.
    """

    makes: Reference
    draft: ServerDraft
    disks: tuple[MappingEntry, ...]
    ports: tuple[Plug, ...]
    wait: bool = False


@dataclass(frozen=True)
class SetMetadata:
    """Give a resource that stays its name and metadata, and take our marks from it."""

    what: Reference


@dataclass(frozen=True)
class Protect:
    """Protect an image: the last effect of all, for what is protected cannot be removed any more."""

    what: Reference


@dataclass(frozen=True)
class Remove:
    """Remove a temporary resource and wait until it is gone."""

    what: Reference


Creation = (
    CreateSnapshot
    | SnapshotServer
    | CreateVolume
    | UploadVolume
    | SendDisk
    | CreateMappingImage
    | ReformatImage
    | CreatePort
    | CreateServer
)
Operation = Creation | FetchImage | StopServer | StartServer | SetMetadata | Protect | Remove
Lane = tuple[Operation, ...]


@dataclass(frozen=True)
class Phase:
    """Lanes that may run at the same time, ``width`` of them (None: as many as the run allows)."""

    lanes: tuple[Lane, ...]
    width: int | None = None

    @classmethod
    def of(cls, *operations: Operation) -> Phase:
        """A phase of a single lane."""
        return cls((tuple(operations),))


def operations_of(phases: Iterable[Phase]) -> Iterator[Operation]:
    """All operations, in the order in which a dry run prints them."""
    for phase in phases:
        for lane in phase.lanes:
            yield from lane
