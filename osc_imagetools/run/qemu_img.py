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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from osc_imagetools import errors
from osc_imagetools.cloud.ownership import PREFIX
from osc_imagetools.data import qemu_img
from osc_imagetools.data.disk_format import DiskFacts, inspect_stream
from osc_imagetools.operations.drafts import CONVERTIBLE
from osc_imagetools.run.context import CreatedResource, RunContext

DIRECTORY = "directory"  # the kind in the journal; the name is the path
PIECE = 1024 * 1024  # bytes that are hashed at a time
NO_TMPDIR = "Set TMPDIR to a directory that exists and can be written to."


def check_converter() -> None:
    """:raises errors.ResourceUnusable: qemu-img is not installed."""
    qemu_img.require_installed("--disk-format")


@contextmanager
def converted(
    context: RunContext,
    source: Path,
    content_format: str,
    disk_format: str,
    *,
    proof: tuple[str, str] | None = None,
) -> Iterator[Path]:
    """The path of a file with the same disk in another format, as long as the context lasts.

    It is in ``TMPDIR``, or beside the bundle where that is not set; parameters and errors are those of
    :func:`convert_file`.
    """
    with temporary_folder(context, source.absolute().parents[2]) as folder:
        yield convert_file(context, source, folder, content_format, disk_format, proof=proof)


@contextmanager
def temporary_folder(context: RunContext, beside: Path) -> Iterator[Path]:
    """A directory of our own in ``TMPDIR``, or in *beside* where that is not set and can be written to.

    :raises errors.ResourceUnusable: it cannot be made.
    :raises errors.JournalUnwritable: it must not be made.
    """
    wanted = os.environ.get("TMPDIR")
    parent = Path(wanted or (beside if os.access(beside, os.W_OK) else "/var/tmp")).absolute()  # noqa: S108
    folder = parent / f".{PREFIX}-{context.run.id}-{uuid.uuid4().hex[:8]}"
    if not parent.is_dir():
        what = "TMPDIR" if wanted else "the place for temporary files"
        raise errors.ResourceUnusable(f"{what} is {parent}, which is not a directory", hint=NO_TMPDIR)
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
    source: Path,
    folder: Path,
    content_format: str,
    disk_format: str,
    *,
    label: str | None = None,
    proof: tuple[str, str] | None = None,
) -> Path:
    """The path of a file in *folder* with the same disk in another format (both as Glance calls them).

    :param label: what messages call the disk; by default the name of the file.
    :param proof: (algorithm, hex digest) that its bytes must have; None: they were proven when they came.
    :raises errors.HashMismatch: they do not have it.
    :raises errors.UnsafeDisk, errors.DamagedDisk, errors.ResourceUnusable: it must not be converted.
    :raises errors.NoSpace: not even the source's bytes have room there.
    """
    label = label or source.name
    with _opened(source, label) as stream:
        if proof is not None:
            _prove(context, stream, label, *proof)
        facts = inspect_stream(stream, content_format, container_format="bare", label=label)
        if CONVERTIBLE.get(facts.content_format) != CONVERTIBLE[content_format]:
            raise errors.ResourceUnusable(
                f"{label} says that it is {content_format}, but its content is {facts.content_format}",
                hint="What a server would make of it is not certain: make an image that says what it is.",
            )
        check_readable(facts, label)
        target = folder / f"{source.stem}.{disk_format}"
        _convert(context, stream, content_format, target, disk_format, label)
        return target


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


@contextmanager
def _opened(source: Path, label: str) -> Iterator[BinaryIO]:
    try:
        file = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise errors.UnsafeDisk(f"{label} is a link") from None
        raise errors.ImagetoolsError(f"Cannot read {source}: {exc.strerror or exc}") from exc
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise errors.UnsafeDisk(f"{label} is no regular file")
        yield stream


def _prove(context: RunContext, stream: BinaryIO, label: str, algorithm: str, wanted: str) -> None:
    digest = hashlib.new(algorithm)
    stream.seek(0)
    while piece := stream.read(PIECE):
        context.deadline.check()
        digest.update(piece)
    if digest.hexdigest() != wanted:
        raise errors.HashMismatch(f"{label} has changed: its {algorithm} is not the one in the manifest")


def _convert(
    context: RunContext, stream: BinaryIO, content_format: str, target: Path, disk_format: str, label: str
) -> None:
    def wait(ended: qemu_img.Ended) -> None:
        context.deadline.until(f"{label} to be converted", ended)

    free, needed = shutil.disk_usage(target.parent).free, os.fstat(stream.fileno()).st_blocks * 512
    if free < needed:
        raise errors.NoSpace(
            f"{target.parent.parent}: {needed - free} bytes are missing to convert {label}",
            hint="Set TMPDIR to a directory with more room.",
        )
    if damage := qemu_img.damage_of(stream, content_format, wait=wait):
        raise damaged(label, damage)
    qemu_img.convert(stream, content_format, target, disk_format, label=label, wait=wait)
