# SPDX-License-Identifier: Apache-2.0
"""A bundle from a repository into a directory, byte for byte.

Contract: the directory is claimed as an export claims it, and becomes a bundle at its very end. Nothing
that comes out of the repository gets its final name before its hash is that of the manifest. The same copy
again goes on with one that was interrupted.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle import durable
from osc_imagetools.bundle.claim import Claim, claim
from osc_imagetools.bundle.layout import DIRECTORIES, DISKS, LOCK, MANIFEST, METADATA, STATE, SUMS
from osc_imagetools.bundle.records import write_record
from osc_imagetools.bundle.repository.catalog import RepositoryBundle
from osc_imagetools.bundle.repository.copying import (
    CopiedDisk,
    CopyResult,
    copying_records,
    each_disk,
    refuse_findings,
)
from osc_imagetools.bundle.repository.documents import judge_documents
from osc_imagetools.bundle.repository.reader import PIECE, open_file, read_documents
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.stored_records import stored_records
from osc_imagetools.bundle.state import ExportState, format_state
from osc_imagetools.bundle.tree import Tree
from osc_imagetools.cloud.names import printable
from osc_imagetools.progress.model import Progress, TaskProgress

BLOCK = 4096  # bytes: a block of zeros becomes a hole


def copy_to_directory(
    bundle: RepositoryBundle,
    restic: Restic,
    output: Path,
    *,
    jobs: int,
    progress: Progress,
    cancelled: threading.Event,
) -> CopyResult:
    """Copies a complete bundle, and then its records; what fails with the records is a warning.

    :raises errors.BundleBusy, errors.OutputExists: *output* is in use or holds something else.
    :raises errors.BundleRefused: the bundle is not to be trusted, or its bytes are not those of its manifest.
    :raises errors.RepositoryError: restic failed; the same copy again goes on.
    """
    assert bundle.stored.last is not None
    manifest, findings = judge_documents(*(found := read_documents(restic, bundle.stored.last.id)))
    refuse_findings(f"Bundle {bundle.id}", findings)
    files = found[0]
    identity = {key: text for key, text in manifest["resource"].items() if key in ("id", "name") and text}
    listed = tuple([disk["file"] for disk in manifest["disks"]] + [e["path"] for e in manifest["files"]])
    with durable.storing(output):
        held = claim(output, ExportState(manifest["kind"], identity))
    try:
        with durable.storing(output):
            state = ExportState(held.state.kind, held.state.identity, held.state.created, listed)
            durable.write_atomic(output / STATE, format_state(state))
            for directory in {path.partition("/")[0] for path in listed}:
                durable.make_directory(output / directory)

            def copy(disk: Mapping[str, Any]) -> CopiedDisk:
                snapshot = bundle.stored.disks[disk["file"]].id
                task = progress.task(disk["file"], disk["size"])
                try:
                    return _copy_disk(restic, snapshot, disk, output, task, cancelled)
                finally:
                    task.done()

            disks = each_disk(manifest["disks"], copy, jobs=jobs, cancelled=cancelled)
            _finish(held, files, {*listed})
    finally:
        _leave(held)
    with copying_records(f"bundle {bundle.id}"):
        for record in stored_records(restic, bundle):
            write_record(output, record)
    return CopyResult(bundle.id, manifest, disks)


def _leave(held: Claim) -> None:
    """Lets go of the directory, and removes it where no disk has arrived; it never fails."""
    try:
        with suppress(OSError), Tree(held.path) as tree:
            found = [entry.path for entry in tree.entries()]
            if held.state.created and all(path in (LOCK, STATE, *DIRECTORIES) for path in found):
                for directory in set(found).intersection(DIRECTORIES):
                    (held.path / directory).rmdir()
                for file in (STATE, LOCK):
                    durable.remove_file(held.path / file)
                held.path.rmdir()
    finally:
        held.release()


def _finish(held: Claim, files: Mapping[str, bytes], listed: set[str]) -> None:
    """Makes the directory a bundle; as :class:`osc_imagetools.bundle.writer.BundleWriter` does."""
    output = held.path
    for path, data in files.items():
        if path.startswith(f"{METADATA}/"):
            durable.write_atomic(output / path, data)
    for path, data in files.items():
        if path in SUMS:
            durable.write_atomic(output / path, data)
    with Tree(output) as tree:
        known = {LOCK, STATE, *DIRECTORIES, *SUMS, *listed}
        stray = sorted(entry.path for entry in tree.entries() if entry.path not in known)
    foreign = [path for path in stray if not path.startswith(f"{DISKS}/.")]
    if foreign:
        raise errors.OutputExists(
            f"{output} has files that are not of this bundle: {', '.join(map(printable, foreign[:5]))}",
            hint="Move them away and run the same command again: it goes on from there.",
        )
    for path in stray:
        durable.remove_file(output / path)
    for directory in DIRECTORIES:
        if (output / directory).is_dir():
            durable.sync_directory(output / directory)
    held.write(files[MANIFEST])
    durable.remove_file(output / STATE)
    durable.sync_directory(output)
    os.rename(output / LOCK, output / MANIFEST)
    durable.sync_directory(output)


def _copy_disk(
    restic: Restic,
    snapshot: str,
    disk: Mapping[str, Any],
    output: Path,
    task: TaskProgress,
    cancelled: threading.Event,
) -> CopiedDisk:
    target, size, claimed = output / disk["file"], disk["size"], disk["hash"]
    if _has(target, size, claimed["algorithm"], claimed["value"], cancelled):
        task.advance(size)
        return CopiedDisk(size, 0, reused=True)
    durable.remove_file(target)
    part = target.with_name(f".{target.name}")
    durable.remove_file(part)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, durable.FILE_MODE)
    try:
        with open_file(restic, snapshot, disk["file"], claimed["algorithm"]) as reader:
            for piece in reader.pieces():
                if cancelled.is_set():
                    raise errors.Cancelled("interrupted")
                if reader.size > size:
                    break
                _write_sparse(descriptor, piece)
                task.advance(len(piece))
        problem = reader.problem(size, claimed["value"])
        if problem:
            raise errors.BundleRefused(
                f"{disk['file']} in the repository is not what its manifest says: {problem}"
            )
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    except BaseException:
        durable.remove_file(part)
        raise
    finally:
        os.close(descriptor)
    os.rename(part, target)
    return CopiedDisk(size, size)


def _write_sparse(descriptor: int, piece: bytes) -> None:
    """Writes at the descriptor's position; blocks of zeros are skipped."""
    view = memoryview(piece)
    zeros = bytes(BLOCK)
    start = 0
    for place in range(0, len(view), BLOCK):
        if view[place : place + BLOCK] == zeros:
            if start < place:
                durable.write_all(descriptor, view[start:place])  # type: ignore[arg-type]
            os.lseek(descriptor, BLOCK, os.SEEK_CUR)
            start = place + BLOCK
    if start < len(view):
        durable.write_all(descriptor, view[start:])  # type: ignore[arg-type]


def _has(target: Path, size: int, algorithm: str, digest: str, cancelled: threading.Event) -> bool:
    """Whether an earlier attempt has brought this very disk; it is read."""
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    found = hashlib.new(algorithm, usedforsecurity=False)
    with os.fdopen(descriptor, "rb") as stream:
        if os.fstat(descriptor).st_size != size:
            return False
        while piece := stream.read(PIECE):
            if cancelled.is_set():
                raise errors.Cancelled("interrupted")
            found.update(piece)
    return found.hexdigest() == digest
