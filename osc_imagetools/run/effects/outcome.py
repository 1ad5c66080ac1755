# SPDX-License-Identifier: Apache-2.0
"""What the operations of a plan gave.

Contract: values, but for the two calls of :class:`Outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.volume import Volume
from osc_imagetools.operations.drafts import NotReplayed
from osc_imagetools.operations.reference import Reference
from osc_imagetools.run.context import CreatedResource


def _nothing() -> list[NotReplayed]:
    return []


@dataclass(frozen=True)
class Outcome:
    """What one operation gave: the resource that it created, and what the cloud says of it.

    ``value`` is an Image, Volume, Snapshot or Server; of a fetch, what the bundle got; of a snapshot that
    Nova took, its block device. ``name`` is what the resource is called once it is handed over.
    ``hand_over`` gives it its metadata and takes our marks from it, ``protect`` protects it; both return
    what the cloud refused. ``differences`` compares it, read back, with what it should be. ``original`` is
    the volume that an image was uploaded from; ``source`` what a volume was created from; ``written_anew``
    puts one in its place that does not depend on that.
    """

    resource: CreatedResource | None = None
    value: Any = None
    name: str | None = None
    hand_over: Callable[[], list[NotReplayed]] = _nothing
    protect: Callable[[], list[NotReplayed]] = _nothing
    differences: Callable[[], list[str]] = list
    original: Volume | None = None
    source: Reference | None = None
    written_anew: Callable[[], Outcome] | None = None


@dataclass(frozen=True)
class Results:
    """The outcomes so far, by what the operations create; ``refused`` is what the cloud did not set."""

    outcomes: Mapping[Reference, Outcome]
    refused: tuple[NotReplayed, ...] = ()

    def __getitem__(self, reference: Reference) -> Outcome:
        return self.outcomes[reference]

    def get(self, reference: Reference) -> Outcome | None:
        """The outcome, None where nothing created it."""
        return self.outcomes.get(reference)

    def id(self, reference: Reference) -> str:
        """The ID of a resource that exists, or that was created."""
        if reference.id is not None:
            return reference.id
        made = self.resource(reference)
        assert made.id is not None
        return made.id

    def resource(self, reference: Reference) -> CreatedResource:
        """A resource that was created."""
        made = self.outcomes[reference].resource
        if made is None:
            raise errors.CloudError(f"{reference.label} was not created")
        return made

    def made_from(self, source: Reference) -> dict[Reference, Outcome]:
        """The volumes that were created from a resource and stay."""
        return {made: outcome for made, outcome in self.outcomes.items() if outcome.source == source}

    def with_outcomes(self, outcomes: Mapping[Reference, Outcome], refused: list[NotReplayed]) -> Results:
        """These and more."""
        return Results({**self.outcomes, **outcomes}, (*self.refused, *refused))
