# SPDX-License-Identifier: Apache-2.0
"""Converts disks on this machine into temporary files, for an upload in another format.

Contract: what is converted is what was proven: the same open file is hashed, inspected and given to qemu-img.
The result is temporary: its directory is in the journal before it is made, and goes as soon as the result has
been sent, or with the clean-up of the run.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from osc_imagetools import errors
from osc_imagetools.cloud.ownership import PREFIX
from osc_imagetools.data import qemu_img
from osc_imagetools.data.disk_format import DiskFacts, inspect_stream
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.operations.drafts import CONVERTIBLE
from osc_imagetools.run.context import CreatedResource, RunContext

DIRECTORY = "directory"  # the kind in the journal; the name is the path
PIECE = 1024 * 1024  # bytes that are hashed at a time
NO_TMPDIR = "Set TMPDIR to a directory that exists and can be written to."


def check_converter() -> None:
    """:raises errors.ResourceUnusable: qemu-img is not installed."""
    qemu_img.require_installed("--disk-format")


def temporary_parent(beside: Path) -> Path:
    """``TMPDIR``, or *beside* where that is not set and can be written to, or ``/var/tmp``.

    :raises errors.ResourceUnusable: it is not a directory.
    """
    wanted = os.environ.get("TMPDIR")
    parent = Path(wanted or (beside if os.access(beside, os.W_OK) else "/var/tmp")).absolute()  # noqa: S108
    if not parent.is_dir():
        what = "TMPDIR" if wanted else "the place for temporary files"
        raise errors.ResourceUnusable(f"{what} is {parent}, which is not a directory", hint=NO_TMPDIR)
    return parent


@contextmanager
def temporary_folder(context: RunContext, beside: Path) -> Iterator[Path]:
    """A directory of our own in ``TMPDIR``, or in *beside* where that is not set and can be written to.

    :raises errors.ResourceUnusable: it cannot be made.
    :raises errors.JournalUnwritable: it must not be made.
    """
    parent = temporary_parent(beside)
    folder = parent / f".{PREFIX}-{context.run.id}-{uuid.uuid4().hex[:8]}"
    made = context.register(DIRECTORY, str(folder), _remove)
    try:
        folder.mkdir(mode=0o700)
    except OSError as exc:
        raise errors.ResourceUnusable(
            f"no temporary directory can be made in {parent}: {exc.strerror or exc}", hint=NO_TMPDIR
        ) from exc
    yield folder
    assert made.entry is not None
    made.entry.run()


def convert_file(
    context: RunContext,
    opener: Callable[[], BinaryIO],
    target: Path,
    content_format: str,
    disk_format: str,
    *,
    label: str,
    proof: Proof | None = None,
) -> None:
    """Writes the same disk into the file *target*, in another format (both as Glance calls them).

    :param opener: gives the disk open for reading; it follows no link.
    :param label: what messages call the disk.
    :param proof: what its bytes must hash to; None: they were proven when they came.
    :raises errors.HashMismatch: they do not.
    :raises errors.UnsafeDisk, errors.DamagedDisk, errors.ResourceUnusable: it must not be converted.
    :raises errors.NoSpace: not even the source's bytes have room there.
    """
    with opener() as stream:
        if proof is not None:
            _prove(context, stream, label, proof)
        readable_facts(context, stream, content_format, label)
        _convert(context, stream, content_format, target, disk_format, label)


def readable_facts(context: RunContext, stream: BinaryIO, content_format: str, label: str) -> DiskFacts:
    """What an open disk is, whose content can be read whole.

    :raises errors.UnsafeDisk, errors.DamagedDisk, errors.ResourceUnusable: it must not be converted.
    """
    facts = inspect_stream(stream, content_format, container_format="bare", label=label)
    check_content(facts, content_format, label)
    check_readable(facts, label)
    if damage := qemu_img.damage_of(stream, content_format, wait=_wait(context, label)):
        raise damaged(label, damage)
    return facts


def check_content(facts: DiskFacts, declared: str, label: str) -> None:
    """:raises errors.ResourceUnusable: a disk is not of the format that is declared."""
    if CONVERTIBLE.get(facts.content_format) != CONVERTIBLE[declared]:
        raise errors.ResourceUnusable(
            f"{label} says that it is {declared}, but its content is {facts.content_format}",
            hint="What a server would make of it is not certain: make an image that says what it is.",
        )


def check_readable(facts: DiskFacts, label: str) -> None:
    """Whether a disk's headers let its content be read.

    :raises errors.DamagedDisk: it is cut short or corrupt.
    :raises errors.ResourceUnusable: it is encrypted.
    """
    if facts.encrypted:
        raise errors.ResourceUnusable(
            f"{label} is encrypted ({facts.content_format}): only who has its key can read it",
            hint="It can be copied as it is, without another disk format: openstack image export-full",
        )
    if facts.damage:
        raise damaged(label, facts.damage)


def damaged(label: str, damage: str) -> errors.DamagedDisk:
    """The error for a disk whose content cannot be read whole."""
    return errors.DamagedDisk(
        f"{label} {damage}; zeros would take the place of what is missing",
        hint="Take another copy of it. What is left can be looked at with: qemu-img check",
    )


def is_ours(folder: Path) -> bool:
    """Whether a path that a journal names is a temporary directory of ours that is there."""
    try:
        told = folder.lstat()
    except OSError:
        return False
    mine = stat.S_ISDIR(told.st_mode) and told.st_uid == os.getuid()
    return mine and folder.is_absolute() and folder.name.startswith(f".{PREFIX}-")


def remove_folder(folder: Path) -> None:
    """Removes a temporary directory of ours, if it is there.

    :raises errors.ResourceUnusable: it cannot be removed.
    """
    if not is_ours(folder):
        return
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise errors.ResourceUnusable(f"{folder} cannot be removed: {exc.strerror or exc}") from exc


def _remove(context: RunContext, made: CreatedResource) -> None:
    remove_folder(Path(made.name))


def plain_source(path: Path, label: str) -> FileSource:
    """A file of ours as the source of a disk; it was proven when it came."""
    return FileSource(label, None, None, lambda: open_plain(path), str(path.parent))


def open_plain(path: Path) -> BinaryIO:
    """A file of ours, open for reading.

    :raises errors.UnsafeDisk: it is a link, or no regular file; :raises OSError: it cannot be opened.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise errors.UnsafeDisk(f"{path.name} is a symbolic link") from None
        raise
    stream = os.fdopen(file, "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise errors.UnsafeDisk(f"{path.name} is not a regular file")
    return stream


def _prove(context: RunContext, stream: BinaryIO, label: str, proof: Proof) -> None:
    digest = hashlib.new(proof.algorithm, usedforsecurity=False)
    stream.seek(0)
    while piece := stream.read(PIECE):
        context.deadline.check()
        digest.update(piece)
    if digest.hexdigest() != proof.value:
        raise errors.HashMismatch(
            f"{label} has changed: its {proof.algorithm} is not the one in the manifest"
        )


def _wait(context: RunContext, label: str) -> qemu_img.Wait:
    return lambda ended: context.deadline.until(f"{label} to be converted", ended)


def _convert(
    context: RunContext, stream: BinaryIO, content_format: str, target: Path, disk_format: str, label: str
) -> None:
    free, needed = shutil.disk_usage(target.parent).free, os.fstat(stream.fileno()).st_blocks * 512
    if free < needed:
        raise errors.NoSpace(
            f"{target.parent.parent}: {needed - free} bytes are missing to convert {label}",
            hint="Set TMPDIR to a directory with more space. Conversions to raw need none if nbdcopy is "
            "installed (Debian: libnbd-bin).",
        )
    wait = _wait(context, label)
    qemu_img.convert(stream, content_format, target, disk_format, label=label, wait=wait)
