# SPDX-License-Identifier: Apache-2.0
"""Carries out an export plan: the bundle is opened first, the lanes fill it, its manifest is written last.

Contract: the only caller of effects for exports. Whatever ends the run, the temporary resources are
removed (or listed in the error), and the bundle stays incomplete and can be resumed.
"""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.bundle.disk_format import DiskFacts, inspect_disk
from osc_imagetools.bundle.writer import BundleWriter
from osc_imagetools.cloud import Cloud
from osc_imagetools.execution import block_storage
from osc_imagetools.execution.lanes import run_lanes
from osc_imagetools.execution.manifest import bundle_algorithm, image_documents, image_manifest
from osc_imagetools.execution.workshop import Made, Workshop, workshop
from osc_imagetools.inventory.image import Image, get_image
from osc_imagetools.plan.export import DiskPlan, ExportPlan
from osc_imagetools.plan.operations import (
    FetchImage,
    ImageFromVolume,
    Operation,
    Reference,
    Remove,
    SnapshotVolume,
    VolumeFromSnapshot,
)
from osc_imagetools.transfer.download import Downloader
from osc_imagetools.transfer.progress import Progress
from osc_imagetools.transfer.source import Fetched, Source

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchedDisk:
    """A disk that is in the bundle: what was planned, what arrived, what its content is."""

    plan: DiskPlan
    fetched: Fetched
    facts: DiskFacts
    image: Image  # whose data it was


@dataclass(frozen=True)
class ExportReport:
    """What an export did; bytes and seconds as numbers."""

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
    image = plan.source.image
    writer = BundleWriter.open(output, kind=plan.kind, identity={"id": image.id, "name": image.name or ""})
    algorithm = bundle_algorithm(image)
    with writer, workshop(cloud, purpose, timeout) as shop:
        downloader = Downloader(
            cloud.connection.session,
            jobs=jobs,
            progress=progress,
            cancelled=shop.patience.cancelled,
        )
        try:
            disks = _Work(plan, shop, writer, downloader, algorithm).run()
        except errors.Cancelled as exc:
            exc.hint = "The same command with the same --output goes on where it stopped."
            raise
        for name, document in image_documents(plan.source):
            writer.add_document(name, document)
        writer.finish(image_manifest(plan, disks, algorithm))
    return ExportReport(
        path=output,
        plan=plan,
        disks=disks,
        algorithm=algorithm,
        seconds=time.monotonic() - started,
        left=tuple(entry.what for entry in shop.undo.pending()),
    )


class _Work:
    """The lanes of one export; the methods run in worker threads."""

    def __init__(
        self,
        plan: ExportPlan,
        shop: Workshop,
        writer: BundleWriter,
        downloader: Downloader,
        algorithm: str,
    ) -> None:
        self._plan = plan
        self._shop = shop
        self._writer = writer
        self._downloader = downloader
        self._algorithm = algorithm

    def run(self) -> tuple[FetchedDisk, ...]:
        """Runs all lanes; the disks in their order."""
        lanes = [functools.partial(self.lane, number) for number in range(len(self._plan.lanes))]
        cancelled = self._shop.patience.cancelled
        return tuple(run_lanes(lanes, width=self._plan.width, cancelled=cancelled))

    def lane(self, number: int) -> FetchedDisk:
        """Runs one lane; every lane fetches exactly one disk."""
        made: dict[str, Made] = {}
        disk: FetchedDisk | None = None
        for operation in self._plan.lanes[number]:
            if isinstance(operation, FetchImage):
                disk = self._fetch(operation, made)
            elif isinstance(operation, Remove):
                self._remove(made[operation.what.role])
            else:
                self._shop.patience.check()
                made[operation.makes.role] = self._make(operation, made)
        assert disk is not None
        return disk

    def _make(self, operation: Operation, made: dict[str, Made]) -> Made:
        shop = self._shop
        match operation:
            case SnapshotVolume(volume, makes, _):
                return block_storage.create_snapshot(shop, _id(volume, made), makes.role)
            case VolumeFromSnapshot(snapshot, makes, size):
                return block_storage.create_volume(shop, _id(snapshot, made), size, makes.role)
            case ImageFromVolume(volume, makes, disk_format, _):
                return block_storage.upload_volume(shop, _id(volume, made), disk_format, makes.role)
        raise AssertionError(operation)

    def _fetch(self, operation: FetchImage, made: dict[str, Made]) -> FetchedDisk:
        disk = self._plan.disks[operation.disk]
        image = disk.image or get_image(self._shop.cloud, _id(operation.image, made))
        source = Source(
            url=self._shop.cloud.url("image", f"/images/{image.id}/file"),
            label=image.label if disk.image else f"{operation.file} ({image.label})",
            size=image.size,
            hash_algo=image.hash_algo,
            hash_value=image.hash_value,
            checksum=image.checksum,
            store=image.store,
        )
        facts: list[DiskFacts] = []

        def accept(path: Path) -> None:
            container = disk.container_format or "bare"
            facts.append(
                inspect_disk(path, disk.disk_format, container_format=container, label=operation.file)
            )

        fetched = self._downloader.fetch(
            source,
            self._writer.disk_path(operation.file),
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
        return FetchedDisk(plan=disk, fetched=fetched, facts=facts[0], image=image)

    def _remove(self, made: Made) -> None:
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


def _id(reference: Reference, made: dict[str, Made]) -> str:
    identifier = reference.id or made[reference.role].id
    assert identifier is not None
    return identifier
