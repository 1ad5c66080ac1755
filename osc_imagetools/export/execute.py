# SPDX-License-Identifier: Apache-2.0
"""Carries out an export plan: the bundle is opened first, the lanes fill it, its manifest is written last.

Contract: the only caller of effects for exports. Whatever ends the run, the temporary resources are
removed (or listed in the error), and the bundle stays incomplete and can be resumed.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.bundle.writer import BundleWriter
from osc_imagetools.cloud.block_device import BlockDevice
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.cloud.volume import get_snapshot
from osc_imagetools.data.disk_format import DiskFacts, inspect_disk
from osc_imagetools.data.download import Downloader
from osc_imagetools.data.download_source import Fetched
from osc_imagetools.export.manifest import bundle_algorithm, manifest
from osc_imagetools.export.plan import DiskPlan, ExportPlan, place_of
from osc_imagetools.export.plan_server_properties import with_made_image
from osc_imagetools.operations.disk_file import disk_file, extension
from osc_imagetools.operations.services import services_of
from osc_imagetools.operations.vocabulary import (
    FetchImage,
    ImageFromVolume,
    Operation,
    Reference,
    Remove,
    ServerImage,
    SnapshotVolume,
    StartServer,
    StopServer,
    VolumeFromSnapshot,
)
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import CreatedResource, RunContext, run_context
from osc_imagetools.run.effects import block_storage, servers
from osc_imagetools.run.effects.images import source_of
from osc_imagetools.run.lanes import run_lanes

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchedDisk:
    """A disk that is in the bundle: what was planned, what arrived, what its content is.

    ``moment`` is the snapshot that holds its state (or the image that Nova made of it), and since when.
    """

    plan: DiskPlan
    fetched: Fetched
    facts: DiskFacts
    image: Image  # whose data it was
    moment: tuple[str, str | None] | None


@dataclass(frozen=True)
class ExportReport:
    """What an export did; bytes and seconds as numbers. The plan is as it was carried out."""

    path: Path
    plan: ExportPlan
    disks: tuple[FetchedDisk, ...]
    algorithm: str
    seconds: float
    left: tuple[str, ...]


def export(
    plan: ExportPlan,
    cloud: Cloud,
    output: Path,
    *,
    jobs: int,
    timeout: float | None,
    purpose: str,
    progress: Progress,
) -> ExportReport:
    """Makes the bundle *output*.

    :param purpose: what the temporary resources are for; it is written on them.
    :param timeout: seconds that a single wait for the cloud may take; None: as long as it takes.
    :raises errors.ImagetoolsError: with ``left`` naming every temporary resource that remains;
        :class:`errors.Cancelled` when a signal interrupted it.
    """
    started = time.monotonic()
    subject = plan.subject
    identity = {"id": subject.id, "name": subject.name or ""}
    writer = BundleWriter.open(output, kind=subject.kind, identity=identity)
    algorithm = bundle_algorithm(subject)
    with writer, run_context(cloud, purpose, timeout) as context:
        downloader = Downloader(
            cloud.connection.session,
            jobs=jobs,
            progress=progress,
            cancelled=context.deadline.cancelled,
        )
        operations = (o for lane in (*plan.stages, *plan.lanes) for o in lane)
        cloud.reach(*services_of(operations))
        try:
            disks = _Export(plan, context, writer, downloader, algorithm).run()
        except errors.Cancelled as exc:
            exc.hint = "The same command with the same --output goes on where it stopped."
            raise
        plan = as_carried_out(plan, disks)
        for name, document in subject.documents.items():
            writer.add_document(name, document)
        writer.finish(manifest(plan, disks, algorithm))
        down = [entry for entry in context.cleanup.pending() if entry.urgent]
        left = context.cleanup.unwind()  # what could not be removed on the way
    if any(not entry.done for entry in down):
        raise errors.CloudError(
            f"the bundle {output} is complete, but {subject.label} could not be started again",
            hint=f"openstack server start {subject.id}",
            left=left,
        )
    return ExportReport(
        path=output,
        plan=plan,
        disks=disks,
        algorithm=algorithm,
        seconds=time.monotonic() - started,
        left=left,
    )


def as_carried_out(plan: ExportPlan, disks: Sequence[FetchedDisk]) -> ExportPlan:
    """The plan with what only its own work has told."""
    made = (d.image for d in disks if d.plan.moment is not None and d.plan.moment.kind == "image")
    return with_made_image(plan, next(made, None))


class _Export:
    """The stages and lanes of one export; the methods but :meth:`run` work in threads of their own."""

    def __init__(
        self,
        plan: ExportPlan,
        context: RunContext,
        writer: BundleWriter,
        downloader: Downloader,
        algorithm: str,
    ) -> None:
        self._plan = plan
        self._context = context
        self._writer = writer
        self._downloader = downloader
        self._algorithm = algorithm
        self._made: dict[str, CreatedResource] = {}  # by the stages
        self._devices: dict[str, BlockDevice] = {}  # by the ID of the volume

    def run(self) -> tuple[FetchedDisk, ...]:
        """Runs all stages, then all lanes; the disks in their order."""
        cancelled = self._context.deadline.cancelled
        for stage in self._plan.stages:
            operations = [functools.partial(self._stage, operation) for operation in stage]
            for made in run_lanes(operations, width=len(operations), cancelled=cancelled):
                self._made.update(made)
        lanes = [functools.partial(self._lane, number) for number in range(len(self._plan.lanes))]
        return tuple(run_lanes(lanes, width=self._plan.width, cancelled=cancelled))

    def _stage(self, operation: Operation) -> dict[str, CreatedResource]:
        """One operation of a stage; what it made, by role."""
        match operation:
            case StopServer(server):
                return {server.role: servers.stop_server(self._context, str(server.id))}
            case StartServer(server):
                self._remove(self._made[server.role])
            case ServerImage():
                made, devices = servers.create_server_image(self._context, operation)
                self._devices.update(devices)
                return made
            case Remove(what):
                self._remove(self._made[what.role])
            case SnapshotVolume() | VolumeFromSnapshot() | ImageFromVolume():
                return {operation.makes.role: self._make(operation, self._made)}
        return {}

    def _lane(self, number: int) -> FetchedDisk:
        """Runs one lane; every lane fetches exactly one disk."""
        made = dict(self._made)
        disk: FetchedDisk | None = None
        for operation in self._plan.lanes[number]:
            match operation:
                case FetchImage():
                    disk = self._fetch(operation, made)
                case Remove(what):
                    self._remove(made[what.role])
                case SnapshotVolume() | VolumeFromSnapshot() | ImageFromVolume():
                    self._context.deadline.check()
                    made[operation.makes.role] = self._make(operation, made)
                case _:
                    raise AssertionError(operation)
        assert disk is not None
        return disk

    def _make(
        self,
        operation: SnapshotVolume | VolumeFromSnapshot | ImageFromVolume,
        made: Mapping[str, CreatedResource],
    ) -> CreatedResource:
        context = self._context
        match operation:
            case SnapshotVolume(volume, makes, _):
                return block_storage.create_snapshot(context, _id(volume, made), makes.role)
            case VolumeFromSnapshot(snapshot, makes, size):
                return block_storage.create_volume(context, _id(snapshot, made), size, makes.role)
            case ImageFromVolume(volume, makes, disk_format, _):
                return block_storage.upload_volume(context, _id(volume, made), disk_format, makes.role)

    def _fetch(self, operation: FetchImage, made: dict[str, CreatedResource]) -> FetchedDisk:
        disk = self._plan.disks[operation.disk]
        image = disk.image or get_image(self._context.cloud, _id(operation.image, made))
        disk = self._as_it_came(disk, operation, image)
        label = image.label if disk.image else f"{disk.file} ({image.label})"
        source = source_of(self._context.cloud, image, label)
        facts: list[DiskFacts] = []

        def accept(path: Path) -> None:
            container = disk.container_format or "bare"
            facts.append(inspect_disk(path, disk.disk_format, container_format=container, label=disk.file))

        fetched = self._downloader.fetch(
            source,
            self._writer.disk_path(disk.file),
            algorithms=frozenset({self._algorithm}),
            sparse=disk.disk_format == "raw",
            accept=accept,
        )
        if fetched.verified != "os_hash":
            LOG.warning("%s", _unproven(image, fetched))
        if disk.disk_format != facts[0].content_format and disk.container_format == "bare":
            LOG.warning(
                "%s says that it is %s, but its content is %s: exported as it is",
                image.label,
                disk.disk_format,
                facts[0].content_format,
            )
        moment = self._moment(disk, image, made)
        return FetchedDisk(plan=disk, fetched=fetched, facts=facts[0], image=image, moment=moment)

    def _as_it_came(self, disk: DiskPlan, operation: FetchImage, image: Image) -> DiskPlan:
        """The disk with what only the cloud's work has told: its format, its place in the server."""
        if disk.moment == operation.image:  # the compute host chooses the format
            form = image.disk_format or "raw"
            file = disk_file(disk.index, disk.name, extension(image))
            disk = replace(disk, disk_format=form, container_format=image.container_format, file=file)
        device = self._devices.get(str(disk.observed.get("volume_id")))
        if device is None:
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

    def _moment(
        self, disk: DiskPlan, image: Image, made: Mapping[str, CreatedResource]
    ) -> tuple[str, str | None] | None:
        """What holds the disk's state, and since when."""
        if disk.snapshot is not None:
            return disk.snapshot.id, disk.snapshot.created_at
        if disk.moment is None:
            return None
        if disk.moment.kind == "image":
            return image.id, image.document.get("created_at")
        snapshot = get_snapshot(self._context.cloud, _id(disk.moment, made))
        return (snapshot.id, snapshot.created_at) if snapshot else None

    def _remove(self, made: CreatedResource) -> None:
        """The bytes are safe: what cannot be removed now is reported, and fails nothing."""
        assert made.entry is not None
        try:
            made.entry.run()
        except errors.ImagetoolsError as exc:
            LOG.warning("%s could not be removed: %s", made.label, exc.message)


def _unproven(image: Image, fetched: Fetched) -> str:
    if fetched.verified == "checksum":
        return f"{image.label} has no os_hash_value: verified against its MD5 checksum only"
    return (
        f"{image.label} has neither os_hash_value nor checksum: its size is right, "
        "but nothing proves its bytes"
    )


def _id(reference: Reference, made: Mapping[str, CreatedResource]) -> str:
    identifier = reference.id or made[reference.role].id
    assert identifier is not None
    return identifier
