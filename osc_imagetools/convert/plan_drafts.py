# SPDX-License-Identifier: Apache-2.0
"""What a conversion is planned as: the request of the user, and the plan.

Contract: values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from osc_imagetools import errors
from osc_imagetools.cloud.image import RESERVED_PREFIX
from osc_imagetools.operations.drafts import CORE, NotReplayed
from osc_imagetools.operations.quota import QuotaNeed
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.steps import PlanStep, steps
from osc_imagetools.operations.vocabulary import Phase

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
class ConversionPlan:
    """What a conversion does; ``source`` is what the user named, ``purpose`` what temporaries are for.

    ``result`` is what was asked for, ``kept`` what stays besides, each with the reason.
    """

    source: Reference
    to: str
    result: Reference
    kept: tuple[tuple[str, Reference], ...]
    phases: tuple[Phase, ...]
    not_replayed: tuple[NotReplayed, ...]
    needs: tuple[QuotaNeed, ...]
    purpose: str

    def steps(self) -> tuple[PlanStep, ...]:
        """The plan as rows for a dry run."""
        return steps(self.phases, self.needs)
