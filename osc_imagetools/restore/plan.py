# SPDX-License-Identifier: Apache-2.0
"""What an import is planned as: the options of an image's import, and the plan of any.

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
from osc_imagetools.operations.vocabulary import CreateVolume, Phase, SendDisk, operations_of


@dataclass(frozen=True)
class ImportOptions:
    """What the user asked for; None and empty: as in the bundle."""

    name: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    remove_properties: frozenset[str] = frozenset()
    visibility: str | None = None
    project: str | None = None  # of the owner, as it was typed; the destination has its ID
    store: str | None = None
    disk_format: str | None = None
    as_volumes: bool = False

    def check(self) -> None:
        """:raises errors.UsageError: options that contradict each other, all of them at once."""
        wrong = [
            f"--property {k} and --remove-property {k}"
            for k in self.properties
            if k in self.remove_properties
        ]
        if self.as_volumes and self.disk_format:
            wrong.append("--as-volumes and --disk-format (a volume has none)")
        if self.as_volumes and self.store:
            wrong.append("--as-volumes and --store (the data goes into volumes)")
        for key in self.properties:
            if key in CORE or key.startswith(RESERVED_PREFIX):
                wrong.append(f"--property {key}: it is no custom property")
        if wrong:
            raise errors.UsageError("these options do not go together: " + "; ".join(wrong))


@dataclass(frozen=True)
class ImportPlan:
    """What an import does.

    ``result`` is the resource with the original's name. ``listed`` are those created besides that the report
    names, each with what it is called there. ``disks`` is the number of disks that are sent, ``bytes`` their
    size.
    """

    result: Reference
    phases: tuple[Phase, ...]
    listed: tuple[tuple[str, Reference], ...]
    disks: int
    bytes: int
    not_replayed: tuple[NotReplayed, ...]
    mapped: tuple[str, ...]
    needs: tuple[QuotaNeed, ...]

    @property
    def reads_content(self) -> bool:
        """Whether a disk's content is looked into, by a conversion or by the making of a volume."""
        return any(
            isinstance(operation, CreateVolume)
            or (isinstance(operation, SendDisk) and operation.draft.convert is not None)
            for operation in operations_of(self.phases)
        )

    def steps(self) -> tuple[PlanStep, ...]:
        """The plan as rows for a dry run."""
        return steps(self.phases, self.needs)
