# SPDX-License-Identifier: Apache-2.0
"""Gives an image another disk format: brought here verified, converted, sent, proven by the cloud's hash.

Contract: the disk is inspected before qemu-img sees it, and must be of the format that the image claims.
What it needs on this machine is one temporary directory (``TMPDIR``, or ``/var/tmp``), which goes again.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.cloud.image import Image
from osc_imagetools.data import raw_stream
from osc_imagetools.data.disk_format import DiskFacts, inspect_disk, size_as
from osc_imagetools.data.disk_stream import DiskSource
from osc_imagetools.data.download import Downloader
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.operations.vocabulary import ReformatImage, SendDisk
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.converted_source import ConvertedSource
from osc_imagetools.run.effects.images import send_disk, source_of
from osc_imagetools.run.effects.outcome import Outcome
from osc_imagetools.run.qemu_img import (
    check_content,
    convert_file,
    plain_source,
    temporary_folder,
    temporary_parent,
)

LOG = logging.getLogger(__name__)
# As large as disks need it, where /tmp may be in memory; a directory of our own is made in it.
FOLDER = Path("/var/tmp")  # noqa: S108
ALGORITHM = "sha512"


def reformat_image(
    context: RunContext, operation: ReformatImage, *, jobs: int, progress: Progress
) -> Outcome:
    """A private image of ours with the same disk in the format of the draft.

    :raises errors.TransferError: bytes could not be moved; :raises errors.UnsafeDisk: it must not be
        converted; :raises errors.CloudError: the new image has another disk.
    """
    image, draft = operation.image, operation.draft
    declared, wanted = str(image.disk_format), str(draft.convert)
    _check_space(image, wanted)
    with temporary_folder(context, FOLDER) as folder:
        path = folder / f"{image.id}.source"
        facts: list[DiskFacts] = []

        def accept(file: Path) -> None:
            facts.append(inspect_disk(file, declared, label=image.label))
            check_content(facts[0], declared, image.label)

        downloader = Downloader(
            context.cloud.connection.session,
            jobs=jobs,
            progress=progress,
            cancelled=context.deadline.cancelled,
        )
        fetched = downloader.fetch(
            source_of(context.cloud, image, image.label),
            path,
            algorithms=frozenset(),
            sparse=declared == "raw",
            accept=accept,
        )
        if fetched.verified == "none":
            LOG.warning("%s has no hash: nothing proves the bytes that are converted", image.label)
        made = send_disk(
            context,
            SendDisk(operation.makes, draft),
            _source(context, path, image.label, facts[0].content_format, wanted),
            algorithm=ALGORITHM,
            progress=progress,
        )
    size, new = facts[0].virtual_size, made.value
    expected = None if size is None else size_as(wanted, size)
    if None not in (expected, new.virtual_size) and new.virtual_size != expected:
        raise errors.CloudError(f"{new.label} has a disk of {new.virtual_size} bytes instead of {expected}")
    return made


def _source(context: RunContext, path: Path, label: str, content_format: str, disk_format: str) -> DiskSource:
    """The converted disk: as a stream, or as a file in whose place the original is given up."""
    original = plain_source(path, label)
    if disk_format == "raw" and raw_stream.is_installed():
        return ConvertedSource(context, original, content_format, disk_format, path.parent)
    target = path.with_suffix(f".{disk_format}")
    convert_file(context, original.opened, target, content_format, disk_format, label=label)
    path.unlink()
    return FileSource.temporary(target)


def _check_space(image: Image, disk_format: str) -> None:
    """Before the download: both files need room, or only the original where the other is a stream.

    :raises errors.NoSpace: there is less.
    """
    files = 1 if disk_format == "raw" and raw_stream.is_installed() else 2
    folder = temporary_parent(FOLDER)
    needed, free = files * (image.size or 0), shutil.disk_usage(folder).free
    if free < needed:
        raise errors.NoSpace(
            f"{folder}: {needed} bytes are needed to convert {image.label}, and {free} are free",
            hint="Set TMPDIR to a directory with more space. Conversions to raw need half of it if nbdcopy "
            "is installed (Debian: libnbd-bin).",
        )
