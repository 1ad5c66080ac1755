# SPDX-License-Identifier: Apache-2.0
"""Writes a bundle: the directory becomes a bundle with the very last step.

Contract: effects in one directory only. While an export runs, ``.export.lock`` is locked and holds its
process ID, and ``.export.json`` says what is exported, so that only the same export can be resumed. The lock
file itself becomes the manifest: it gets the manifest's content, ``.export.json`` is removed, and then it is
renamed. So there is never a manifest while anything else is incomplete, nor a work file beside a manifest.
Methods may be called from several threads.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from osc_imagetools import errors
from osc_imagetools.bundle import durable
from osc_imagetools.bundle.claim import Claim, claim
from osc_imagetools.bundle.layout import (
    ALGORITHMS,
    DIRECTORIES,
    DISKS,
    LOCK,
    MANIFEST,
    METADATA,
    STATE,
    digest_of,
    is_work_file,
    path_problem,
    sums_name,
)
from osc_imagetools.bundle.manifest import format_json, format_manifest
from osc_imagetools.bundle.sealing import checked_manifest
from osc_imagetools.bundle.state import ExportState, format_state
from osc_imagetools.bundle.sums import format_sums
from osc_imagetools.bundle.tree import Tree
from osc_imagetools.cloud.names import printable
from osc_imagetools.data.names import record_path

LOG = logging.getLogger(__name__)


class BundleWriter:
    """An export to a directory; a context manager that abandons the export if it is not finished.

    Created by :meth:`open`.
    """

    def __init__(self, held: Claim) -> None:
        self.path = held.path
        self._held = held
        self._state = held.state
        self._open = True
        self._guard = threading.RLock()
        self._documents: dict[str, tuple[int, Mapping[str, str]]] = {}

    @classmethod
    def open(cls, path: Path, *, kind: str, identity: Mapping[str, str]) -> BundleWriter:
        """Create the directory, or resume an unfinished export of the same source.

        :param identity: the ``id`` of the source; everything else, such as its ``name``, is for messages.
        :raises errors.BundleBusy: another process is writing to it; the message has its ID. :raises
        errors.OutputExists: the path is a link, a file, a bundle or the export of another resource, or has
        unrelated files. :raises errors.NoSpace, errors.ImagetoolsError: it cannot be created.
        """
        with durable.storing(path):
            writer = cls(claim(path, ExportState(kind, dict(identity))))
            writer._drop_unproven()
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abandon()

    def disk_path(self, file: str) -> Path:
        """The path of a disk such as ``disks/0-vda.qcow2``; its directory is created.

        :raises errors.ImagetoolsError: the name is not allowed in a bundle.
        """
        return self._announce(file, DISKS)

    def add_document(self, name: str, document: object) -> None:
        """Write ``metadata/<name>.json`` atomically, or replace it.

        :param document: a JSON value; equal values give equal bytes.
        :raises errors.ImagetoolsError: the name is not allowed in a bundle.
        """
        with self._guard:
            file = f"{METADATA}/{name}.json"
            target = self._announce(file, METADATA)
            data = format_json(document)
            with durable.storing(self.path):
                durable.write_atomic(target, data)
            self._documents[file] = len(data), {a: digest_of(data, a) for a in ALGORITHMS}

    def finish(self, manifest: Mapping[str, Any], may_publish: Callable[[], None] = lambda: None) -> None:
        """Complete the bundle; the manifest is renamed last.

        :param manifest: the manifest without ``files``. The hashes of its disks are used as they are.
        :param may_publish: called before the last steps and right before the manifest is renamed; it raises
            where the bundle must not become complete.
        :raises errors.ImagetoolsError: the manifest is invalid, or a disk is missing or has another size; the
            export stays incomplete.
        """
        with self._guard:
            document = {**manifest, "files": self._files(manifest.get("hash_algorithm"))}
            data = format_manifest(document)
            self._check(data)
            may_publish()
            algorithm = document["hash_algorithm"]
            digests = {disk["file"]: disk["hash"]["value"] for disk in document["disks"]}
            digests |= {file: digest[algorithm] for file, (_, digest) in self._documents.items()}
            with durable.storing(self.path):
                self._clear(frozenset(digests))
                digests[MANIFEST] = digest_of(data, algorithm)
                durable.write_atomic(self.path / sums_name(algorithm), format_sums(digests))
                self._become_bundle(data, may_publish)
            self.abandon()

    def abandon(self) -> None:
        """Release the directory. Downloaded data stays, so that the export can be resumed; if no disk was
        started, everything is removed. Never fails; does nothing after :meth:`finish` or when called again.
        """
        with self._guard:
            if not self._open:
                return
            self._open = False
            try:
                if not os.path.lexists(self.path / MANIFEST):
                    self._remove_if_empty()
            except OSError as exc:
                LOG.warning("%s could not be removed: %s", self.path, exc)
            finally:
                self._held.release()

    def _drop_unproven(self) -> None:
        """Remove disks of an earlier attempt that was killed in its last steps, which remove the records.

        They are of this export, and nothing proves them any more.
        """
        try:
            for file in self._state.files:
                if file.startswith(f"{DISKS}/") and not os.path.lexists(record_path(self.path / file)):
                    durable.remove_file(self.path / file)
        except BaseException:
            self._held.release()
            raise

    def _announce(self, file: str, directory: str) -> Path:
        wrong = path_problem(file)
        if not wrong and not file.startswith(f"{directory}/"):
            wrong = f"is not in {directory}/"
        if wrong:
            raise errors.ImagetoolsError(f"{file!r} is not allowed in a bundle: it {wrong}")
        with self._guard, durable.storing(self.path):
            durable.make_directory(self.path / directory)
            if file not in self._state.files:
                self._state = replace(self._state, files=(*self._state.files, file))
                durable.write_atomic(self.path / STATE, format_state(self._state))
        return self.path / file

    def _files(self, algorithm: Any) -> list[dict[str, Any]]:
        return [
            {
                "path": file,
                "size": size,
                "hash": {"algorithm": algorithm, "value": digest.get(algorithm)},
            }
            for file, (size, digest) in sorted(self._documents.items())
        ]

    def _check(self, data: bytes) -> None:
        """Check that a reader accepts the manifest, and that the disks match it."""
        document = checked_manifest(data)
        for disk in document["disks"]:
            path = self.path / disk["file"]
            size = path.lstat().st_size if path.is_file() and not path.is_symlink() else None
            if size != disk["size"]:
                raise errors.ImagetoolsError(
                    f"{path} was changed during the export: it had {disk['size']} bytes, "
                    + ("and is missing now" if size is None else f"and has {size} now"),
                    hint="Run the same command again.",
                )

    def _clear(self, kept: frozenset[str]) -> None:
        """Remove part files, and files of an earlier attempt that the source no longer has."""
        with Tree(self.path) as tree:
            found = {entry.path for entry in tree.entries()} - {LOCK, STATE, *DIRECTORIES, *kept}
        stale = {path for path in found if path in self._state.files or is_work_file(path)}
        foreign = sorted(printable(path) for path in found - stale)
        if foreign:
            raise errors.OutputExists(
                f"{self.path} has files that are not from this export: {', '.join(foreign[:5])}",
                hint="Move them away and run the same command again: it resumes the export.",
            )
        for path in sorted(stale):
            durable.remove_file(self.path / path)
        for directory in DIRECTORIES:
            if (self.path / directory).is_dir():
                durable.sync_directory(self.path / directory)

    def _become_bundle(self, data: bytes, may_publish: Callable[[], None]) -> None:
        """The last step; if the process is killed within it, the result is a bundle or can be resumed."""
        self._held.write(data)
        durable.remove_file(self.path / STATE)
        durable.sync_directory(self.path)
        may_publish()
        os.rename(self.path / LOCK, self.path / MANIFEST)
        durable.sync_directory(self.path)

    def _remove_if_empty(self) -> None:
        """Remove everything, the lock file last, unless there is a disk or an unrelated file."""
        with Tree(self.path) as tree:
            found = {entry.path for entry in tree.entries()}
        directories = found.intersection(DIRECTORIES)
        mine = {path for path in found if path in self._state.files or is_work_file(path)}
        if found - directories - mine or any(path.startswith(f"{DISKS}/") for path in mine):
            return
        for path in mine - {LOCK}:
            durable.remove_file(self.path / path)
        for directory in directories:
            (self.path / directory).rmdir()
        durable.remove_file(self.path / LOCK)
        if self._state.created:
            self.path.rmdir()
        else:
            self._held.restore_mode()
