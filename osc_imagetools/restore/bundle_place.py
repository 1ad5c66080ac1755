# SPDX-License-Identifier: Apache-2.0
"""Where an import finds its bundle: what a directory and a repository have in common for it.

Contract: a place is opened as long as the run lasts, and gives each disk as a source that proves itself while
it is read. Nothing in a bundle is trusted, wherever it lies.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from osc_imagetools import errors
from osc_imagetools.bundle.reader import complete_bundle, open_tree
from osc_imagetools.bundle.records import BundleRecord, write_record
from osc_imagetools.bundle.repository import catalog
from osc_imagetools.bundle.repository.catalog import RepositoryBundle
from osc_imagetools.bundle.repository.disk_source import StoredDiskSource
from osc_imagetools.bundle.repository.documents import judge_documents
from osc_imagetools.bundle.repository.locks import patiently
from osc_imagetools.bundle.repository.reader import read_documents
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.stored_records import store_record
from osc_imagetools.bundle.repository.verification import format_problem
from osc_imagetools.bundle.tree import Tree
from osc_imagetools.bundle.verification import BundleFinding, check_bundle
from osc_imagetools.data.disk_stream import DiskSource
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.data.stream_edges import StreamEdges
from osc_imagetools.restore.dumped_source import DumpedSource
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.converted_source import ConvertedSource

LOG = logging.getLogger(__name__)


class OpenPlace(Protocol):
    """A bundle that is open."""

    def source(self, disk: Mapping[str, Any]) -> DiskSource:
        """A disk of the manifest, as it is stored."""

    def converted(self, disk: Mapping[str, Any], disk_format: str, context: RunContext) -> DiskSource:
        """The same disk in another format."""


class BundlePlace(Protocol):
    """A bundle that can be opened."""

    def read(self) -> Mapping[str, Any]:
        """Its manifest, for a plan.

        :raises errors.BundleRefused: it is incomplete, or its manifest is not valid; errors.NoBundle.
        """

    def check(self, *, reads_content: bool) -> Mapping[str, Any]:
        """Its manifest, when everything was looked at that can be without reading the disks.

        :param reads_content: the content of disks is looked into: what is damaged is refused.
        :raises errors.BundleRefused: anything is wrong with it; all of it is named.
        """

    def open(self, *, reads_content: bool) -> AbstractContextManager[OpenPlace]:
        """Opens it; raises errors.NoBundle."""

    @property
    def label(self) -> str:
        """What a user types for it: its path, or its ID."""

    def keep_record(self, record: BundleRecord) -> str:
        """Adds a record to it; where that is.

        :raises errors.ImagetoolsError: it cannot be stored.
        """


@dataclass(frozen=True)
class DirectoryPlace:
    """A bundle in a directory. Its files are opened below it without following a link, so that what is sent
    is what was looked at."""

    path: Path

    def read(self) -> Mapping[str, Any]:
        """See :class:`BundlePlace`."""
        return complete_bundle(self.path).manifest

    def check(self, *, reads_content: bool) -> Mapping[str, Any]:
        """See :class:`BundlePlace`."""
        return check_bundle(self.path, damaged_allowed=not reads_content).manifest

    @contextmanager
    def open(self, *, reads_content: bool) -> Iterator[_DirectoryDisks]:
        """The directory stays open."""
        with open_tree(self.path) as tree:
            yield _DirectoryDisks(self.path, tree)

    @property
    def label(self) -> str:
        """See :class:`BundlePlace`."""
        return str(self.path)

    def keep_record(self, record: BundleRecord) -> str:
        """See :class:`BundlePlace`; a file of its own."""
        return str(write_record(self.path, record))


class _DirectoryDisks:
    def __init__(self, path: Path, tree: Tree) -> None:
        self._path = path
        self._tree = tree

    def source(self, disk: Mapping[str, Any]) -> FileSource:
        return FileSource(
            label=disk["file"],
            size=disk["size"],
            proof=_proof(disk),
            opener=functools.partial(self._tree.open, disk["file"]),
            bundle=str(self._path),
        )

    def converted(self, disk: Mapping[str, Any], disk_format: str, context: RunContext) -> DiskSource:
        beside = self._path.absolute().parent
        return ConvertedSource(context, self.source(disk), disk["content_format"], disk_format, beside)


@dataclass(frozen=True)
class RepositoryPlace:
    """A complete bundle in a repository.

    A disk that is not to be trusted is refused before the last block of it is sent, which is when its end is
    known: what is not sent completely never becomes an image.
    """

    restic: Restic
    bundle: RepositoryBundle

    def read(self) -> Mapping[str, Any]:
        """See :class:`BundlePlace`."""
        return catalog.complete_bundle(self.bundle).manifest

    def check(self, *, reads_content: bool) -> Mapping[str, Any]:
        """See :class:`BundlePlace`; the formats of the disks are judged while they are read."""
        last = self.bundle.stored.last
        assert last is not None  # complete
        manifest, findings = judge_documents(*read_documents(self.restic, last.id))
        wrong = [finding for finding in findings if finding.result != "ok"]
        if wrong:
            raise self.refused(wrong)
        return manifest

    @contextmanager
    def open(self, *, reads_content: bool) -> Iterator[_RepositoryDisks]:
        """restic is started for each disk."""
        yield _RepositoryDisks(self, reads_content)

    @property
    def label(self) -> str:
        """See :class:`BundlePlace`."""
        return self.bundle.id

    def keep_record(self, record: BundleRecord) -> str:
        """See :class:`BundlePlace`; a snapshot of its own. While others remove something it waits."""
        whose = {
            "bundle_id": self.bundle.id,
            "kind": self.bundle.stored.kind,
            "subject": self.bundle.manifest["resource"]["id"],
        }
        patiently(self.restic, lambda: store_record(self.restic, record, **whose))
        return record.file

    def refused(self, findings: Sequence[BundleFinding]) -> errors.BundleRefused:
        """The error for a bundle that is not to be trusted."""
        listed = "".join(f"\n- {f.file}: {f.result}. {f.detail}" for f in findings)
        place = f"--repository {self.restic.address.label}"
        return errors.BundleRefused(
            f"Bundle {self.bundle.id} is refused:{listed}",
            hint=f"openstack bundle verify {self.bundle.id} {place}",
        )


class _RepositoryDisks:
    def __init__(self, place: RepositoryPlace, reads_content: bool) -> None:
        self._place = place
        self._reads_content = reads_content

    def source(self, disk: Mapping[str, Any]) -> StoredDiskSource:
        place, file = self._place, disk["file"]

        def judge(edges: StreamEdges) -> None:
            result, detail = format_problem(edges, disk) or ("ok", "")
            if result == "damaged" and not self._reads_content:
                LOG.warning("%s: %s", file, detail)
            elif result != "ok":
                raise place.refused([BundleFinding(file, result, detail)])

        snapshot = place.bundle.stored.disks[file].id
        return StoredDiskSource(
            place.restic, snapshot, file, disk["size"], _proof(disk), place.bundle.id, judge
        )

    def converted(self, disk: Mapping[str, Any], disk_format: str, context: RunContext) -> DiskSource:
        """By way of a temporary file, for converting reads a disk here and there."""
        return DumpedSource(context, self.source(disk), disk["content_format"], disk_format)


def _proof(disk: Mapping[str, Any]) -> Proof:
    return Proof(disk["hash"]["algorithm"], disk["hash"]["value"], "os_hash")
