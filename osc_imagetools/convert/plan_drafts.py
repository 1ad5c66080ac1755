# SPDX-License-Identifier: Apache-2.0
"""What a conversion is planned as: the wish, the operations, what of their results is kept, the plan.

Contract: values. An operation works on resources by reference (:mod:`osc_imagetools.operations.vocabulary`);
what it makes is temporary unless ``keep`` says what it will be. The execution interprets the operations in
their order; a dry run prints them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from osc_imagetools import errors
from osc_imagetools.cloud.image import RESERVED_PREFIX, Image
from osc_imagetools.operations.drafts import CORE, ImageDraft, NotReplayed
from osc_imagetools.operations.quota import QuotaNeed
from osc_imagetools.operations.vocabulary import Reference, Remove, Step, quota_steps

KINDS = ("image", "volume", "snapshot")
# What Cinder writes a volume into an image as. It knows vhd too, and then fails: qemu-img calls that vpc
# (cinder/image/image_utils.py, 29.0).
FROM_VOLUME = ("qcow2", "raw", "vmdk", "vdi", "vhdx")
# What qemu-img on this machine makes of an image.
FROM_IMAGE = (*FROM_VOLUME, "vhd")
LONGEST = 255  # characters of a name


@dataclass(frozen=True)
class ConversionRequest:
    """What the user asked for; ``size`` in GiB; None and empty: as the source is.

    ``to`` is image, volume or snapshot. ``properties`` are those of the new resource: properties of an
    image, metadata of a volume or snapshot.
    """

    to: str
    name: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    disk_format: str | None = None
    volume_type: str | None = None
    size: int | None = None
    availability_zone: str | None = None

    def check(self, kind: str) -> None:
        """Whether it makes sense for a source of this *kind*.

        :raises errors.UsageError: it does not; all reasons at once.
        """
        wrong = [f"--to {self.to}: it is image, volume or snapshot"] if self.to not in KINDS else []
        if kind == self.to == "snapshot":
            wrong.append("--to snapshot: it is one already")
        if self.disk_format and self.to != "image":
            wrong.append(f"--disk-format and --to {self.to} (a {self.to} has none)")
        formats = FROM_IMAGE if kind == "image" else FROM_VOLUME
        if self.disk_format and self.disk_format not in formats:
            wrong.append(f"--disk-format {self.disk_format} of a new image is {', '.join(formats)}")
        made = self.to == "volume" or (self.to == "snapshot" and kind == "image")
        for option in ("size", "volume_type", "availability_zone"):
            if getattr(self, option) is not None and not made:
                text = {"volume_type": "--type"}.get(option, "--" + option.replace("_", "-"))
                wrong.append(f"{text} and --to {self.to} (no volume is made that stays)")
        if self.size is not None and self.size < 1:
            wrong.append(f"--size {self.size}: at least 1 GiB")
        if self.name is not None and not 0 < len(self.name) <= LONGEST:
            wrong.append(f"--name: 1 to {LONGEST} characters")
        wrong += self._wrong_properties()
        if wrong:
            raise errors.UsageError("these options do not go together: " + "; ".join(wrong))

    def _wrong_properties(self) -> list[str]:
        if self.to != "image":
            long = [key for key, value in self.properties.items() if max(len(key), len(value)) > LONGEST]
            return [f"--property {key}: at most {LONGEST} characters each" for key in long]
        return [
            f"--property {key}: it is no custom property"
            for key in self.properties
            if key in CORE or key.startswith(RESERVED_PREFIX)
        ]


@dataclass(frozen=True)
class KeptImage:
    """What a new image will be; ``min_ram`` in MiB, None: as the volume's image metadata says.

    ``properties`` win over those that the volume hands on.
    """

    name: str
    properties: Mapping[str, str]
    tags: tuple[str, ...]
    min_ram: int | None


@dataclass(frozen=True)
class KeptVolume:
    """What a new volume will be; ``bootable`` None: as what it is made from.

    ``properties`` are set over the image properties that it inherits; ``reason`` why it is kept beside what
    was asked for, None where it is what was asked for.
    """

    name: str
    description: str | None
    metadata: Mapping[str, str]
    properties: Mapping[str, str]
    bootable: bool | None
    reason: str | None


@dataclass(frozen=True)
class KeptSnapshot:
    """What a new snapshot will be."""

    name: str
    description: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class MakeSnapshot:
    """Take a snapshot of a volume (also of one in use); ``size`` in bytes.

    ``quota_type`` is the volume type whose quota it takes, None where it is not known.
    """

    volume: Reference
    makes: Reference
    size: int
    quota_type: str | None
    keep: KeptSnapshot | None


@dataclass(frozen=True)
class MakeVolume:
    """Make a volume from an image or a snapshot; ``size`` in bytes.

    ``begin`` is the size that it is made with, in bytes: drivers such as NFS make a disk no larger than the
    snapshot's and do not say so, and extend it when they are asked to.
    ``volume_type`` and ``zone`` None: what the cloud chooses, which for a snapshot is its volume's.
    ``quota_type`` as of :class:`MakeSnapshot`.
    """

    source: Reference
    makes: Reference
    size: int
    begin: int
    volume_type: str | None
    quota_type: str | None
    zone: str | None
    keep: KeptVolume | None


@dataclass(frozen=True)
class MakeImage:
    """Let the cloud write a volume into an image; ``size`` of the volume in bytes."""

    volume: Reference
    makes: Reference
    disk_format: str
    size: int
    keep: KeptImage | None


@dataclass(frozen=True)
class ReformatImage:
    """Bring an image here, convert it, send it as another one."""

    image: Image
    makes: Reference
    draft: ImageDraft


Operation = MakeSnapshot | MakeVolume | MakeImage | ReformatImage | Remove


@dataclass(frozen=True)
class ConversionPlan:
    """What a conversion does; ``source`` is what the user named, ``purpose`` what temporaries are for.

    The last operation that keeps something makes what was asked for.
    """

    source: Reference
    to: str
    operations: tuple[Operation, ...]
    not_replayed: tuple[NotReplayed, ...]
    needs: tuple[QuotaNeed, ...]
    purpose: str

    def steps(self) -> tuple[Step, ...]:
        """The plan as rows for a dry run."""
        rows = [row for operation in self.operations for row in _rows(operation)]
        return (
            *quota_steps(self.needs),
            *(Step(n, *row) for n, row in enumerate(rows, 1)),
        )


Row = tuple[str, str, bool, int | None]  # action, resource, temporary, bytes


def _rows(operation: Operation) -> list[Row]:
    match operation:
        case MakeSnapshot(volume, makes, size, _, keep):
            return _made("snapshot", f"{makes.role} from {volume.label}", size, keep is None, makes)
        case MakeVolume(source, makes, size, begin, volume_type, _, zone, keep):
            chosen = [f", type {volume_type}" if volume_type else "", f", zone {zone}" if zone else ""]
            text = f"{makes.role} from {source.label}{''.join(chosen)}"
            rows = _made("volume", text, begin, keep is None, makes)
            if begin < size:
                rows.insert(1, ("extend volume", makes.role, False, size))
            return rows
        case MakeImage(volume, makes, disk_format, size, keep):
            text = f"{makes.role} from {volume.label}, as {disk_format}"
            return _made("image", text, size, keep is None, makes)
        case ReformatImage(image, makes, draft):
            form = draft.document["disk_format"]
            return [
                ("fetch", image.label, True, image.size),
                ("convert", f"from {image.disk_format} to {form}", True, image.size),
                *_made("image", makes.role, None, False, makes),
            ]
        case Remove(what):
            return [(f"delete {what.kind}", what.label, True, None)]


def _made(kind: str, text: str, size: int | None, temporary: bool, makes: Reference) -> list[Row]:
    rows: list[Row] = [(f"create {kind}", text, temporary, size)]
    if not temporary:
        rows += [("verify", makes.role, False, None), ("set metadata", makes.role, False, None)]
    return rows
