# SPDX-License-Identifier: Apache-2.0
"""A bundle from a directory into a repository, byte for byte.

Contract: the directory is only read, and trusted in nothing: each byte is hashed on its way, and a disk
becomes a snapshot only when its hash is that of the manifest. The same copy again goes on with one that was
interrupted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle import strict_json
from osc_imagetools.bundle.bundle_id import bundle_id_of
from osc_imagetools.bundle.layout import DISKS, MANIFEST, is_record
from osc_imagetools.bundle.reader import bundle_entries, open_tree
from osc_imagetools.bundle.records import read_records
from osc_imagetools.bundle.repository.bundle_writer import RepositoryBundleWriter
from osc_imagetools.bundle.repository.copying import (
    CopiedDisk,
    CopyResult,
    copying_records,
    each_disk,
    refuse_findings,
)
from osc_imagetools.bundle.repository.documents import judge_documents
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.stored_records import store_record
from osc_imagetools.bundle.tree import NotAPlainFile, Tree
from osc_imagetools.bundle.verification import BundleFinding
from osc_imagetools.cloud.names import printable
from osc_imagetools.progress.model import Progress, TaskProgress

PIECE = 1024 * 1024


@dataclass(frozen=True)
class DirectorySource:
    """A bundle in a directory whose small files were read and are right; its disks have the sizes they
    should.

    :param files: everything but the disks and the records, by path.
    """

    path: Path
    bundle_id: str
    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]


def read_source(path: Path) -> DirectorySource:
    """Reads what a copy begins with; no disk is read.

    :raises errors.NoBundle: there is no bundle at *path*.
    :raises errors.BundleRefused: it is incomplete, or anything is wrong with it; all of it is named.
    """
    files: dict[str, bytes] = {}
    strange: dict[str, str] = {}
    sizes: dict[str, int] = {}
    with open_tree(path) as tree:
        for entry in bundle_entries(tree, path):
            if entry.kind in ("link", "special"):
                strange[entry.path] = "It is a link or no regular file."
            elif entry.kind == "file" and entry.path.startswith(f"{DISKS}/"):
                sizes[entry.path] = entry.size
            elif entry.kind == "file" and not is_record(entry.path):
                files[entry.path] = _read(tree, entry.path)
    manifest, findings = judge_documents(files, strange)
    if MANIFEST not in files:
        raise errors.BundleRefused(
            f"{path} is incomplete: there is no manifest", hint="Run its export again."
        )
    disks = {disk["file"]: disk["size"] for disk in manifest.get("disks", ())}
    if manifest:
        findings += [
            BundleFinding(
                printable(file), "unlisted", "It is not listed: remove it, or do not trust the bundle."
            )
            for file in sizes.keys() - disks.keys()
        ]
    for file, size in disks.items():
        if file not in sizes:
            findings.append(BundleFinding(file, "missing", "It is listed, but not there."))
        elif sizes[file] != size:
            detail = f"It has {sizes[file]} bytes, {MANIFEST} says {size}."
            findings.append(BundleFinding(file, "size", detail))
    refuse_findings(str(path), findings)
    return DirectorySource(path, bundle_id_of(manifest, files[MANIFEST]), manifest, files)


def copy_into_repository(
    source: DirectorySource,
    restic: Restic,
    *,
    jobs: int,
    progress: Progress,
    cancelled: threading.Event,
) -> CopyResult:
    """Copies a bundle, and then its records; what fails with the records is a warning.

    :raises errors.OutputExists: the repository has it already.
    :raises errors.BundleRefused: a disk is not what the manifest says; it was not stored.
    :raises errors.RepositoryError: restic failed; the same copy again goes on.
    """
    manifest = source.manifest
    with (
        open_tree(source.path) as tree,
        RepositoryBundleWriter(
            restic,
            bundle_id=source.bundle_id,
            kind=manifest["kind"],
            subject=manifest["resource"]["id"],
            cancelled=cancelled,
        ) as writer,
    ):

        def copy(disk: Mapping[str, Any]) -> CopiedDisk:
            task = progress.task(disk["file"], disk["size"])
            try:
                return _copy_disk(tree, writer, disk, task, source.path)
            finally:
                task.done()

        disks = each_disk(manifest["disks"], copy, jobs=jobs, cancelled=cancelled)
        writer.finish(source.files, [disk["file"] for disk in manifest["disks"]])
        with copying_records(f"bundle {source.bundle_id}"):  # while nobody can remove the bundle
            for record in read_records(source.path):
                store_record(
                    restic,
                    record,
                    bundle_id=source.bundle_id,
                    kind=manifest["kind"],
                    subject=manifest["resource"]["id"],
                )
    return CopyResult(source.bundle_id, manifest, disks)


def _copy_disk(
    tree: Tree, writer: RepositoryBundleWriter, disk: Mapping[str, Any], task: TaskProgress, label: Path
) -> CopiedDisk:
    file, size, claimed = disk["file"], disk["size"], disk["hash"]
    algorithm, value = claimed["algorithm"], claimed["value"]
    if writer.is_stored(file, size=size, algorithm=algorithm, digest=value):
        task.advance(size)
        return CopiedDisk(size, 0, reused=True)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with tree.open(file) as stream, writer.disk(file) as stored:
            while piece := stream.read(PIECE):
                digest.update(piece)
                stored.write(piece)
                task.advance(len(piece))
            if stored.size != size or digest.hexdigest() != value:
                detail = f"Its {algorithm} is not the one in {MANIFEST}."
                refuse_findings(str(label), [BundleFinding(file, "changed", detail)])
            return CopiedDisk(size, stored.finish().added)
    except (OSError, NotAPlainFile) as exc:
        raise errors.BundleRefused(f"{label / file} cannot be read: {exc.strerror or exc}") from exc


def _read(tree: Tree, file: str) -> bytes:
    try:
        return tree.read(file, strict_json.MAX_BYTES + 1)
    except OSError as exc:
        raise errors.BundleRefused(f"{printable(file)} cannot be read: {exc.strerror or exc}") from exc
