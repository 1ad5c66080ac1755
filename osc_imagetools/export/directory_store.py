# SPDX-License-Identifier: Apache-2.0
"""A directory as the place of a bundle.

Contract: :class:`osc_imagetools.bundle.writer.BundleWriter` for the files, and
:class:`osc_imagetools.data.download.Downloader` for the disks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osc_imagetools.bundle.writer import BundleWriter
from osc_imagetools.data.disk_format import DiskFacts, inspect_disk
from osc_imagetools.data.download import Downloader
from osc_imagetools.data.download_source import DownloadSource, Fetched
from osc_imagetools.export.plan import Subject
from osc_imagetools.export.store import DiskTarget, TransferOptions


@dataclass(frozen=True)
class DirectoryStore:
    """See :class:`osc_imagetools.export.store.ExportStore`."""

    path: Path

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def resuming(self) -> str:
        return "The same command with the same --output continues where it stopped."

    @contextmanager
    def open(self, subject: Subject) -> Iterator[_DirectoryBundle]:
        """See :meth:`BundleWriter.open`."""
        identity = {"id": subject.id, "name": subject.name or ""}
        with BundleWriter.open(self.path, kind=subject.kind, identity=identity) as writer:
            yield _DirectoryBundle(writer)


class _DirectoryBundle:
    def __init__(self, writer: BundleWriter) -> None:
        self.bundle = str(writer.path)
        self._writer = writer

    def begin(self, options: TransferOptions) -> None:
        self._may_publish = options.may_publish
        self._downloader = Downloader(
            options.session, jobs=options.jobs, progress=options.progress, cancelled=options.cancelled
        )

    def fetch(self, source: DownloadSource, target: DiskTarget) -> tuple[Fetched, DiskFacts]:
        facts: list[DiskFacts] = []

        def accept(path: Path) -> None:
            container = target.container_format
            facts.append(
                inspect_disk(path, target.disk_format, container_format=container, label=target.file)
            )

        fetched = self._downloader.fetch(
            source,
            self._writer.disk_path(target.file),
            algorithms=frozenset({target.algorithm}),
            sparse=target.disk_format == "raw",
            accept=accept,
        )
        return fetched, facts[0]

    def add_document(self, name: str, document: object) -> None:
        self._writer.add_document(name, document)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        self._writer.finish(manifest, self._may_publish)
