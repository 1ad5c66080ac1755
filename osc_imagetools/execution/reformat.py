# SPDX-License-Identifier: Apache-2.0
"""Gives an image another disk format: brought here verified, converted, sent, proven by the cloud's hash.

Contract: the disk is inspected before qemu-img sees it, and must be of the format that the image claims.
What it needs on this machine is one temporary directory (``TMPDIR``, or ``/var/tmp``), which goes again.
"""

from __future__ import annotations

import logging
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.bundle.disk_format import DiskFacts, inspect_disk
from osc_imagetools.execution.image_store import create_image, source_of
from osc_imagetools.execution.qemu_img import convert_file, temporary_folder
from osc_imagetools.execution.workshop import Made, Workshop
from osc_imagetools.plan.conversion_drafts import ReformatImage
from osc_imagetools.plan.image_drafts import CONVERTIBLE
from osc_imagetools.transfer.download import Downloader
from osc_imagetools.transfer.progress import Progress

LOG = logging.getLogger(__name__)
# As large as disks need it, where /tmp may be in memory; a directory of our own is made in it.
FOLDER = Path("/var/tmp")  # noqa: S108
ALGORITHM = "sha512"


def reformat_image(shop: Workshop, operation: ReformatImage, *, jobs: int, progress: Progress) -> Made:
    """A private image of ours with the same disk in the format of the draft.

    :raises errors.TransferError: bytes could not be moved; :raises errors.UnsafeDisk: it must not be
        converted; :raises errors.CloudError: the new image has another disk.
    """
    image, draft = operation.image, operation.draft
    declared, wanted = str(image.disk_format), str(draft.convert)
    with temporary_folder(shop, FOLDER) as folder:
        path = folder / f"{image.id}.source"
        facts: list[DiskFacts] = []

        def accept(file: Path) -> None:
            facts.append(inspect_disk(file, declared, label=image.label))
            content = facts[0].content_format
            if CONVERTIBLE.get(content) != CONVERTIBLE[declared]:
                raise errors.ResourceUnusable(
                    f"{image.label} says that it is {declared}, but its content is {content}",
                    hint="What a server would make of it is not certain: make an image that says what it is.",
                )

        downloader = Downloader(
            shop.cloud.connection.session, jobs=jobs, progress=progress, cancelled=shop.patience.cancelled
        )
        fetched = downloader.fetch(
            source_of(shop.cloud, image, image.label),
            path,
            algorithms=frozenset(),
            sparse=declared == "raw",
            accept=accept,
        )
        if fetched.verified == "none":
            LOG.warning("%s has no hash: nothing proves the bytes that are converted", image.label)
        target = convert_file(shop, path, folder, facts[0].content_format, wanted)
        path.unlink()
        made, new = create_image(
            shop,
            draft,
            target,
            algorithm=ALGORITHM,
            digest=None,
            store=None,
            owner=None,
            progress=progress,
        )
    size = facts[0].virtual_size
    if None not in (size, new.virtual_size) and new.virtual_size != size:
        raise errors.CloudError(f"{new.label} has a disk of {new.virtual_size} bytes instead of {size}")
    return made
