# SPDX-License-Identifier: Apache-2.0
"""Carries out a conversion plan: makes, verifies, and only then hands over what was made.

Contract: the only caller of effects for conversions. Until all is there and verified, everything is marked as
ours, and whatever ends the run before that removes it (or lists it in the error). What only was needed on
the way is removed; what cannot be removed is told, and fails nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import get_image
from osc_imagetools.cloud.volume import GIB, Volume, get_volume
from osc_imagetools.convert.execute_volume import settle_volume, verify_snapshot
from osc_imagetools.convert.plan_drafts import (
    ConversionPlan,
    KeptImage,
    MakeImage,
    MakeSnapshot,
    MakeVolume,
    Operation,
    ReformatImage,
)
from osc_imagetools.convert.plan_source import handed_on, inherited, min_ram_of
from osc_imagetools.convert.reformat import reformat_image
from osc_imagetools.operations.drafts import ImageDraft, NotReplayed
from osc_imagetools.operations.services import services_of
from osc_imagetools.operations.vocabulary import Reference, Remove
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import CreatedResource, RunContext, run_context
from osc_imagetools.run.effects import block_storage
from osc_imagetools.run.effects.images import proof_of, settle_image
from osc_imagetools.run.effects.waits import await_snapshot

LOG = logging.getLogger(__name__)
SOURCES = {"image": "imageRef", "snapshot": "snapshot_id"}


@dataclass(frozen=True)
class ConvertedResource:
    """Something that a conversion made and that stays; ``type`` is image, volume or snapshot."""

    type: str
    id: str
    name: str
    status: str
    bytes: int


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did: ``made`` is what was asked for; bytes and seconds as numbers.

    ``kept`` is what is there besides, and why; ``not_replayed`` what of the source the new resource does not
    have.
    """

    made: ConvertedResource
    kept: tuple[str, ...]
    not_replayed: tuple[NotReplayed, ...]
    seconds: float


def convert(
    plan: ConversionPlan, cloud: Cloud, *, jobs: int, timeout: float | None, progress: Progress
) -> ConversionReport:
    """Makes what the plan says.

    :param jobs: streams at a time where an image is downloaded.
    :param timeout: seconds that a single wait for the cloud may take; None: as long as it takes.
    :raises errors.ImagetoolsError: with ``left`` naming everything that remains in the cloud.
    """
    started = time.monotonic()
    with run_context(cloud, plan.purpose, timeout) as context:
        cloud.reach(*services_of(plan.operations))
        work = _Conversion(context, jobs, progress)
        for operation in plan.operations:
            context.deadline.check()
            work.do(operation)
        refused = work.hand_over()
        left = context.cleanup.unwind()
    return ConversionReport(
        made=work.resources[-1],
        kept=(*work.reasons, *(f"{what}: it could not be removed" for what in left)),
        not_replayed=(*plan.not_replayed, *refused),
        seconds=time.monotonic() - started,
    )


class _Conversion:
    def __init__(self, context: RunContext, jobs: int, progress: Progress) -> None:
        self.resources: list[ConvertedResource] = []
        self.reasons: list[str] = []
        self._context = context
        self._jobs = jobs
        self._progress = progress
        self._made: dict[Reference, CreatedResource] = {}
        self._uploaded: dict[Reference, Volume] = {}  # by the image that was made of it
        self._kept: list[tuple[CreatedResource, Callable[[], list[NotReplayed]]]] = []

    def do(self, operation: Operation) -> None:
        """Carries out one operation."""
        match operation:
            case MakeSnapshot():
                self._snapshot(operation)
            case MakeVolume():
                self._volume(operation)
            case MakeImage():
                self._image(operation)
            case ReformatImage():
                self._reformat(operation)
            case Remove(what):
                self._remove(self._made[what])

    def hand_over(self) -> list[NotReplayed]:
        """All is there and verified: it becomes the user's. What the cloud refused to set."""
        refused = [lost for _, settle in self._kept for lost in settle()]
        for made, _ in self._kept:
            assert made.entry is not None
            made.entry.keep()
        return refused

    def _snapshot(self, operation: MakeSnapshot) -> None:
        context, keep = self._context, operation.keep
        role, name = operation.makes.role, keep.name if keep else None
        made = block_storage.create_snapshot(context, self._id(operation.volume), role, name=name)
        self._made[operation.makes] = made
        if keep is None:
            return
        snapshot = verify_snapshot(context.cloud, made, operation.size)

        def settle() -> list[NotReplayed]:
            block_storage.unmark(context, made, description=keep.description, metadata=keep.metadata)
            return []

        self._kept.append((made, settle))
        self.resources.append(
            ConvertedResource("snapshot", snapshot.id, keep.name, snapshot.status, snapshot.size)
        )

    def _volume(self, operation: MakeVolume) -> None:
        context, keep, source = self._context, operation.keep, operation.source
        source_id = self._id(source)
        if source.kind == "snapshot":
            await_snapshot(context, source_id)
        fields = {SOURCES[source.kind]: source_id}
        if operation.volume_type:
            fields["volume_type"] = operation.volume_type
        if operation.zone:
            fields["availability_zone"] = operation.zone
        role, name = operation.makes.role, keep.name if keep else None
        made = block_storage.make_volume(context, operation.begin, fields, role=role, name=name)
        self._made[operation.makes] = made
        if operation.begin < operation.size:
            block_storage.extend_volume(context, str(made.id), operation.size)
        if keep is None:
            return
        volume = settle_volume(context, made, operation, source_id, self._uploaded.get(source))

        def hand_over() -> list[NotReplayed]:
            block_storage.unmark(context, made, description=keep.description, metadata=keep.metadata)
            return []

        self._kept.append((made, hand_over))
        self.resources.append(ConvertedResource("volume", volume.id, keep.name, volume.status, volume.size))
        if keep.reason:
            self.reasons.append(f"volume {keep.name} ({volume.id}): {keep.reason}")

    def _image(self, operation: MakeImage) -> None:
        context, source = self._context, operation.volume
        volume = get_volume(context.cloud, self._id(source))
        if volume is None:
            raise errors.ResourceNotFound(f"{source.label} is gone")
        made = block_storage.upload_volume(
            context, volume.id, operation.disk_format, operation.makes.role, temporary=source.temporary
        )
        self._made[operation.makes] = made
        self._uploaded[operation.makes] = volume
        image = get_image(context.cloud, str(made.id))
        virtual = image.size if operation.disk_format == "raw" else image.virtual_size
        wrong = virtual not in (None, volume.size) or image.disk_format != operation.disk_format
        if wrong or not image.size:
            raise errors.CloudError(
                f"{image.label} is not what was asked for: {image.disk_format}, {image.size} bytes, a disk "
                f"of {virtual} bytes instead of {volume.size}",
                hint="A volume that its driver never really extended has a smaller disk than the cloud says: "
                "openstack volume set --size <larger> <volume> repairs it.",
            )
        if operation.keep is not None:
            self._keep_image(made, _image_draft(operation, operation.keep, volume))

    def _reformat(self, operation: ReformatImage) -> None:
        made = reformat_image(self._context, operation, jobs=self._jobs, progress=self._progress)
        self._made[operation.makes] = made
        self._keep_image(made, operation.draft)

    def _keep_image(self, made: CreatedResource, draft: ImageDraft) -> None:
        image = get_image(self._context.cloud, str(made.id))
        name, size = draft.document["name"], image.size or 0

        def settle() -> list[NotReplayed]:
            refused = settle_image(self._context, image, draft)
            if proof_of(image) is None:
                refused.append(NotReplayed("hash", "the cloud has none for it: its bytes are unproven"))
            return refused

        self._kept.append((made, settle))
        self.resources.append(ConvertedResource("image", image.id, name, image.status, size))

    def _remove(self, made: CreatedResource) -> None:
        """What cannot be removed now is tried once more at the end, and then told."""
        assert made.entry is not None
        try:
            made.entry.run()
        except errors.ImagetoolsError as exc:
            LOG.warning("%s could not be removed: %s", made.label, exc.message)

    def _id(self, reference: Reference) -> str:
        identifier = reference.id or self._made[reference].id
        assert identifier is not None
        return identifier


def _image_draft(operation: MakeImage, keep: KeptImage, volume: Volume) -> ImageDraft:
    """An image of a volume: the properties that the volume carries, a minimum that its disk needs."""
    metadata = inherited(volume)
    min_ram = keep.min_ram if keep.min_ram is not None else min_ram_of(metadata) or 0
    return ImageDraft(
        title=operation.makes.role,
        file=None,
        size=volume.size,
        content_format=operation.disk_format,
        digest=None,
        convert=None,
        document={
            "name": keep.name,
            "visibility": "private",
            "min_disk": -(-volume.size // GIB),
            "min_ram": min_ram,
            "disk_format": operation.disk_format,
            "container_format": "bare",
        },
        properties={**handed_on(metadata), **keep.properties},
        tags=keep.tags,
        members=(),
    )
