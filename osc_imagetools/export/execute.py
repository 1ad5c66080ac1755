# SPDX-License-Identifier: Apache-2.0
"""Carries out an export plan: the bundle is opened first, the lanes fill it, its manifest is written last.

Contract: the only caller of effects for exports. Whatever ends the run, the temporary resources are
removed (or listed in the error), and the bundle stays incomplete and can be resumed.
"""

from __future__ import annotations

import functools
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.cloud.block_device import BlockDevice
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.cloud.volume import get_snapshot
from osc_imagetools.data.disk_format import DiskFacts
from osc_imagetools.data.disk_stream import DiskSource
from osc_imagetools.data.download_source import Fetched
from osc_imagetools.export.manifest import bundle_algorithm, manifest
from osc_imagetools.export.plan import DiskPlan, ExportPlan, place_of
from osc_imagetools.export.plan_server_properties import ExportedFacts, facts_with_made_image
from osc_imagetools.export.store import DiskTarget, ExportStore, OpenStore, TransferOptions
from osc_imagetools.operations.disk_file import disk_file, extension
from osc_imagetools.operations.drafts import ImageDraft
from osc_imagetools.operations.vocabulary import FetchImage, operations_of
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.assignment import check_lease
from osc_imagetools.run.context import RunContext, run_context
from osc_imagetools.run.effects.images import source_of
from osc_imagetools.run.effects.interpreter import Interpreter
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.qemu_img import temporary_folder

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchedDisk:
    """A disk that is in the bundle: what was planned, what arrived, what its content is.

    ``snapshot_time`` is the ID of the snapshot that holds its state (or of the image that Nova made of it),
    and when that was created.
    """

    plan: DiskPlan
    fetched: Fetched
    facts: DiskFacts
    image: Image  # whose data it was
    snapshot_time: tuple[str, str | None] | None


@dataclass(frozen=True)
class ExportReport:
    """What an export did; bytes and seconds as numbers.

    ``bundle`` is what the bundle is called when it is read; ``place`` is where it is, for messages;
    ``requests_repeated`` is how many requests were sent again, those for data not included.
    """

    bundle: str
    place: str
    plan: ExportPlan
    facts: ExportedFacts
    disks: tuple[FetchedDisk, ...]
    algorithm: str
    seconds: float
    left: tuple[str, ...]
    requests_repeated: int


def export(
    plan: ExportPlan,
    cloud: Cloud,
    store: ExportStore,
    *,
    jobs: int,
    timeout: float | None,
    purpose: str,
    progress: Progress,
) -> ExportReport:
    """Makes a bundle in *store*.

    :param purpose: what the temporary resources are for; it is written on them.
    :param timeout: seconds that a single wait for the cloud may take; None: as long as it takes.
    :raises errors.ImagetoolsError: with ``left`` naming every temporary resource that remains;
        :class:`errors.Cancelled` when a signal interrupted it.
    """
    started = time.monotonic()
    subject = plan.subject
    algorithm = bundle_algorithm(subject)
    with store.open(subject) as writer, run_context(cloud, purpose, timeout) as context:
        folder = functools.partial(temporary_folder, context, Path(tempfile.gettempdir()))
        session, cancelled = cloud.connection.session, context.deadline.cancelled
        writer.begin(TransferOptions(session, jobs, progress, cancelled, folder, check_lease))
        bundle = _BundleDisks(plan.disks, context, writer, algorithm)
        try:
            results = Interpreter(context, bundle, jobs=jobs, progress=progress).run(plan.phases)
        except errors.Cancelled as exc:
            exc.hint = store.resuming
            raise
        disks = fetched_disks(plan, results)
        facts = exported_facts(plan, disks)
        for name, document in subject.documents.items():
            writer.add_document(name, document)
        writer.finish(manifest(plan, facts, disks, algorithm))
        down = [entry for entry in context.cleanup.pending() if entry.urgent]
        left = context.conclude()
    if any(not entry.done for entry in down):
        raise errors.CloudError(
            f"the bundle {writer.bundle} is complete, but {subject.label} could not be started again",
            hint=f"openstack server start {subject.id}",
            left=left,
        )
    return ExportReport(
        bundle=writer.bundle,
        place=store.label,
        plan=plan,
        facts=facts,
        disks=disks,
        algorithm=algorithm,
        seconds=time.monotonic() - started,
        left=left,
        requests_repeated=context.retries,
    )


def fetched_disks(plan: ExportPlan, results: Results) -> tuple[FetchedDisk, ...]:
    """The disks of the bundle, in their order."""
    fetches = (o for o in operations_of(plan.phases) if isinstance(o, FetchImage))
    return tuple(results[o.makes].value for o in sorted(fetches, key=lambda o: o.disk))


def exported_facts(plan: ExportPlan, disks: Sequence[FetchedDisk]) -> ExportedFacts:
    """What the manifest tells of the subject, with what only the export's own work has told."""
    made = (d.image for d in disks if d.plan.captured_by and d.plan.captured_by.kind == "image")
    return facts_with_made_image(plan, next(made, None))


class _BundleDisks:
    """The bundle that is written; see :class:`osc_imagetools.run.effects.interpreter.Disks`."""

    def __init__(
        self,
        disks: Sequence[DiskPlan],
        context: RunContext,
        writer: OpenStore,
        algorithm: str,
    ) -> None:
        self._disks = disks
        self._context = context
        self._writer = writer
        self.algorithm = algorithm

    def source(self, draft: ImageDraft) -> DiskSource:
        """An export sends nothing."""
        raise AssertionError(draft)

    def fetch(self, operation: FetchImage, results: Results) -> Outcome:
        """Fetches the data of a disk; the value of the outcome is a :class:`FetchedDisk`."""
        disk = self._disks[operation.disk]
        image = disk.image or get_image(self._context.cloud, results.id(operation.image))
        disk = self._as_it_came(disk, operation, image, results)
        label = image.label if disk.image else f"{disk.file} ({image.label})"
        source = source_of(self._context.cloud, image, label)
        target = DiskTarget(disk.file, disk.disk_format, disk.container_format or "bare", self.algorithm)
        fetched, facts = self._writer.fetch(source, target)
        for warning in warnings_of(disk, image, fetched, facts):
            LOG.warning("%s", warning)
        taken = self._snapshot_time(disk, image, results)
        return Outcome(value=FetchedDisk(disk, fetched, facts, image, taken))

    def _as_it_came(self, disk: DiskPlan, operation: FetchImage, image: Image, results: Results) -> DiskPlan:
        """The disk with what only the cloud's work has told: its format, its place in the server."""
        if disk.captured_by == operation.image:  # the compute host chooses the format
            form = image.disk_format or "raw"
            file = disk_file(disk.index, disk.name, extension(image))
            disk = replace(disk, disk_format=form, container_format=image.container_format, file=file)
        holder = results.get(disk.captured_by) if disk.captured_by else None
        device = holder.value if holder else None
        if not isinstance(device, BlockDevice):
            return disk
        told = place_of(device)
        planned = disk.replayable.get("block_device") or {}
        facts = {**(told.facts or {}), **{k: v for k, v in planned.items() if v is not None}}
        facts.pop("encrypted", None)
        return replace(
            disk,
            role=told.role,
            boot_index=device.boot_index,
            replayable={**disk.replayable, "block_device": facts},
        )

    def _snapshot_time(self, disk: DiskPlan, image: Image, results: Results) -> tuple[str, str | None] | None:
        """What holds the disk's state, and since when."""
        if disk.snapshot is not None:
            return disk.snapshot.id, disk.snapshot.created_at
        if disk.captured_by is None:
            return None
        if disk.captured_by.kind == "image":
            return image.id, image.document.get("created_at")
        snapshot = get_snapshot(self._context.cloud, results.id(disk.captured_by))
        return (snapshot.id, snapshot.created_at) if snapshot else None


def warnings_of(disk: DiskPlan, image: Image, fetched: Fetched, facts: DiskFacts) -> Iterator[str]:
    """What a restore would suffer from, though each byte is there: the disk is exported as it is."""
    if fetched.verified == "checksum":
        yield f"{image.label} has no os_hash_value: verified against its MD5 checksum only"
    elif fetched.verified != "os_hash":
        yield (
            f"{image.label} has neither os_hash_value nor checksum: its size is right, "
            "but nothing proves its bytes"
        )
    if disk.container_format != "bare":
        return
    if disk.disk_format != facts.content_format:
        yield (
            f"{image.label} says that it is {disk.disk_format}, but its content is {facts.content_format}: "
            "exported as it is"
        )
    if facts.damage:
        yield f"{image.label} {facts.damage}: exported as it is"
