# SPDX-License-Identifier: Apache-2.0
"""One server with all that the reasons ask about, and how they say what they find.

Contract: pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from osc_imagetools.backup_check.fleet import (
    FIRST_DEVICES,
    Fleet,
    FleetAttachedVolume,
    FleetImage,
    FleetServer,
    FleetVolume,
    Traits,
)
from osc_imagetools.backup_check.plan_copies import ROOT, Backups, Protection
from osc_imagetools.backup_check.reasons import REASONS, Reason, Severity

HOUR = 3600.0


@dataclass(frozen=True)
class Observation:
    """What a reason says of a server: a sentence with its own numbers, and what to type."""

    message: str
    action: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason that holds for a server."""

    reason: Reason
    severity: Severity
    message: str
    action: str


@dataclass(frozen=True)
class ServerAges:
    """How old the copies and the proof of a server may be, in seconds; None: as old as they like.

    ``problem`` says why no policy tells; empty where one does, or where there are none.
    """

    max_age: float | None = None
    max_proof_age: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class ServerCase:
    """A server and the cloud around it; ``now`` in seconds since 1970."""

    fleet: Fleet
    server: FleetServer
    backups: Backups
    now: float
    ages: ServerAges

    @property
    def max_age(self) -> float | None:
        return self.ages.max_age

    @property
    def max_proof_age(self) -> float | None:
        return self.ages.max_proof_age

    @cached_property
    def volumes(self) -> tuple[tuple[FleetAttachedVolume, FleetVolume], ...]:
        """The attached volumes that could be read."""
        known = self.fleet.volumes
        return tuple((volume, known[volume.id]) for volume in self.server.volumes if volume.id in known)

    @cached_property
    def root_volume(self) -> FleetVolume | None:
        """The volume that the server boots from, if it could be read.

        A server that was made without an image boots from a volume, whatever the device is called; one that
        was made from an image with data never does. In between (an image of 0 bytes, or one that is gone)
        the device decides: the root device, which only administrators are told, or a first one.
        """
        server, volumes = self.server, [volume for _, volume in self.volumes]
        first = {server.root_device} if server.root_device else FIRST_DEVICES
        if server.root_device is None and self.boot_image and self.boot_image.size != 0:
            return None
        for volume in volumes:
            if any(a.server_id == server.id and a.device in first for a in volume.attachments):
                return volume
        if server.image_id is None:
            return next((volume for volume in volumes if volume.bootable), None)
        return None

    @property
    def boot_image(self) -> FleetImage | None:
        """The image that the server was made from, if it is there."""
        return self.fleet.images.get(self.server.image_id or "")

    @property
    def is_known(self) -> bool:
        """Whether Nova tells more of the server than that there is one."""
        return self.server.status != "UNKNOWN"

    @property
    def boots_from_volume(self) -> bool:
        image = self.boot_image
        pointer = image is not None and image.size == 0 and image.is_pointer
        return self.server.image_id is None or self.root_volume is not None or pointer

    @property
    def disks(self) -> tuple[str, ...]:
        """What a complete backup has: the root disk and the volumes."""
        return (*(() if self.boots_from_volume else (ROOT,)), *(volume.id for volume in self.server.volumes))

    @property
    def disk_count(self) -> int:
        """Its disks, those that cannot be copied too."""
        flavor = self.server.flavor
        return len(self.disks) + (bool(flavor.ephemeral) + bool(flavor.swap) if flavor else 0)

    @cached_property
    def traits(self) -> Traits | None:
        """What the properties of the image say, that it was made from; None where they are not known."""
        if self.root_volume is not None:
            return self.root_volume.traits
        if self.boot_image is not None:
            return self.boot_image.traits
        return self.fleet.boot_traits.get(self.server.image_id or "")

    @cached_property
    def protection(self) -> Protection:
        return self.backups.protection(self.server, self.disks)

    @property
    def is_covered(self) -> bool:
        """Whether there is a copy of every disk, not older than it may be."""
        taken = self.protection.as_of
        return taken is not None and (self.max_age is None or self.now - taken <= self.max_age)

    @property
    def copies_unread(self) -> tuple[str, ...]:
        """Why it is not known which copies there are, if so."""
        unread = self.fleet.unread
        parts = ["images"]
        if self.fleet.block_storage and self.server.volumes:
            parts += ["snapshots", "backups"]
        return tuple(unread[part] for part in parts if part in unread)

    def name_of(self, disk: str) -> str:
        """How a message calls a disk."""
        volume = self.fleet.volumes.get(disk)
        if disk == ROOT:
            return "the root disk"
        return f"volume {volume.label} ({volume.size} GiB)" if volume else f"volume {disk}"

    def age(self, taken: float) -> str:
        """``3 days``, ``5 hours`` or ``12 minutes``: how long ago."""
        return span(self.now - taken)


Check = Callable[[ServerCase], Iterator[Observation]]
CHECKS: dict[str, Check] = {}


def finds(code: str) -> Callable[[Check], Check]:
    """Registers the function that tells whether a reason holds."""

    def register(check: Check) -> Check:
        assert code in REASONS and code not in CHECKS, code
        CHECKS[code] = check
        return check

    return register


def span(seconds: float) -> str:
    """A span of time in the largest unit of which there are two or more."""
    for unit, length in (("days", 24 * HOUR), ("hours", HOUR), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} seconds"


def listed(names: list[str], most: int = 4) -> str:
    """Names for a sentence: the first few and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
