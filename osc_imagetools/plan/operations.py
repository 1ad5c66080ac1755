# SPDX-License-Identifier: Apache-2.0
"""The operations of a plan, as values: what will be done, to what, and what it makes.

Contract: pure. A plan is a set of lanes that can run at the same time; a lane is a sequence of
operations, each working on resources by reference: those that exist have an ID, those that an earlier
operation of the lane makes are known by their role until then. The execution interprets them; a dry run
prints them. Undoing is not planned: the execution registers the removal of a temporary resource before it
makes it, and :class:`Remove` only says when it is no longer needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from osc_imagetools.plan.quota import Need


@dataclass(frozen=True)
class Reference:
    """A resource that exists (``id``) or that the plan makes (``id`` None, told apart by ``role``)."""

    kind: str  # image, volume, snapshot
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


Operation = SnapshotVolume | VolumeFromSnapshot | ImageFromVolume | FetchImage | Remove


@dataclass(frozen=True)
class Step:
    """One row of a printed plan; ``bytes`` None where they are not known beforehand."""

    number: int
    action: str
    resource: str
    temporary: bool
    bytes: int | None


def steps(lanes: tuple[tuple[Operation, ...], ...], needs: tuple[Need, ...]) -> tuple[Step, ...]:
    """The plan as rows, the quota that it needs first."""
    rows = list(quota_steps(needs))
    number = 0
    for lane in lanes:
        for operation in lane:
            number += 1
            rows.append(_step(number, operation))
    return tuple(rows)


def quota_steps(needs: tuple[Need, ...]) -> tuple[Step, ...]:
    """The rows that say what a plan needs of a quota; they are no steps and have the number 0."""
    return tuple(Step(0, "need quota", f"{n.name}: {n.amount} ({_left(n.left)})", False, None) for n in needs)


def _left(left: int | None) -> str:
    return "no limit" if left is None else f"{left} left"


def _step(number: int, operation: Operation) -> Step:
    match operation:
        case SnapshotVolume(volume, makes, size):
            return Step(number, "create snapshot", f"{makes.label} from {volume.label}", True, size)
        case VolumeFromSnapshot(snapshot, makes, size):
            return Step(number, "create volume", f"{makes.label} from {snapshot.label}", True, size)
        case ImageFromVolume(volume, makes, disk_format, size):
            text = f"{makes.label} from {volume.label}, as {disk_format}"
            return Step(number, "create image", text, True, size)
        case FetchImage(image, _, file, size):
            return Step(number, "fetch", f"{file} from {image.label}", False, size)
        case Remove(what):
            return Step(number, f"delete {what.kind}", what.label, True, None)
