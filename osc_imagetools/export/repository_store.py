# SPDX-License-Identifier: Apache-2.0
"""A restic repository as the place of a bundle.

Contract: no local file but for the small ones while restic reads them, and bounded memory: the bytes of a
disk go from the cloud through the hash into restic, which learns that they end only when they are proven and
their format is known from their edges. A disk that an earlier export has stored is read back and compared
with the hash that the cloud promises, and not fetched again.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle.layout import METADATA
from osc_imagetools.bundle.manifest import format_json
from osc_imagetools.bundle.repository.bundle_writer import RepositoryBundleWriter
from osc_imagetools.bundle.repository.disk_sink import JudgingSink, RepositoryDiskSink
from osc_imagetools.bundle.repository.disk_source import StoredDiskSource
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.resuming import export_bundle_id
from osc_imagetools.bundle.repository.snapshots import EXPORT
from osc_imagetools.bundle.sealing import seal
from osc_imagetools.data.disk_format import DiskFacts, inspect_stream
from osc_imagetools.data.disk_stream import DiskSink, DiskSource, DiskStream
from osc_imagetools.data.download_source import DownloadSource, Fetched
from osc_imagetools.data.image_source import ImageAccess, ImageSource
from osc_imagetools.data.stream_edges import StreamEdges
from osc_imagetools.export.plan import Subject
from osc_imagetools.export.store import DiskTarget, TransferOptions
from osc_imagetools.progress.model import Account
from osc_imagetools.run.qemu_img import temporary_parent

LOG = logging.getLogger(__name__)
TRIES = 2  # of one disk whose hash is wrong


@dataclass(frozen=True)
class RepositoryStore:
    """See :class:`osc_imagetools.export.store.ExportStore`."""

    restic: Restic

    @property
    def label(self) -> str:
        return f"repository {self.restic.address.label}"

    @property
    def resuming(self) -> str:
        return "The same command with the same --repository continues where it stopped."

    @contextmanager
    def open(self, subject: Subject) -> Iterator[_RepositoryBundle]:
        """See :func:`export_bundle_id` and :class:`RepositoryBundleWriter`."""
        with (
            export_bundle_id(self.restic, subject.kind, subject.id) as (bundle_id, new),
            RepositoryBundleWriter(
                self.restic,
                bundle_id=bundle_id,
                kind=subject.kind,
                subject=subject.id,
                cancelled=threading.Event(),
                new=new,
            ) as writer,
        ):
            yield _RepositoryBundle(self.restic, writer)


class _RepositoryBundle:
    def __init__(self, restic: Restic, writer: RepositoryBundleWriter) -> None:
        self.bundle = writer.bundle_id
        self._restic = restic
        self._writer = writer
        self._documents: dict[str, bytes] = {}

    def begin(self, options: TransferOptions) -> None:
        temporary_parent(Path(tempfile.gettempdir()))  # where the manifest will be written
        self._options = options
        self._access = ImageAccess.of(options.session)
        self._writer.heed(options.cancelled)

    def fetch(self, source: DownloadSource, target: DiskTarget) -> tuple[Fetched, DiskFacts]:
        task = self._options.progress.task(target.file, source.size)
        try:
            account = Account(task)
            return self._kept(source, target, account) or self._fetched(source, target, account)
        finally:
            task.done()

    def add_document(self, name: str, document: object) -> None:
        self._documents[f"{METADATA}/{name}.json"] = format_json(document)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        files = seal({**manifest, "bundle_id": self.bundle}, self._documents)
        disks = [disk["file"] for disk in manifest["disks"]]
        self._writer.finish(files, disks, self._options.folder, self._options.may_publish)

    def _kept(
        self, source: DownloadSource, target: DiskTarget, account: Account
    ) -> tuple[Fetched, DiskFacts] | None:
        """A disk that an earlier export has stored, read back; None if it must be fetched."""
        snapshot, proof = self._writer.stored(target.file), source.proof
        if snapshot is None or proof is None or source.size is None:
            return None
        stored = StoredDiskSource(
            self._restic, snapshot, target.file, source.size, proof, self._writer.bundle_id
        )
        sink = JudgingSink(lambda edges: judged(edges, target))
        try:
            digests = self._receive(stored, sink, frozenset({target.algorithm}), account)
        except (errors.RepositoryAbsent, errors.RepositoryPassword):
            raise
        except (errors.TransferError, errors.RepositoryError) as exc:
            LOG.info("%s is fetched again: %s", target.file, exc.message)
            account.restart()
            return None
        account.kept(source.size)
        return Fetched(source.size, digests, proof.kind, 0, source.size, account.retries), sink.facts

    def _fetched(
        self, source: DownloadSource, target: DiskTarget, account: Account
    ) -> tuple[Fetched, DiskFacts]:
        """A disk that is fetched now; once more where its hash is wrong."""
        for left in reversed(range(TRIES)):
            image = ImageSource(self._access, source, account, frozenset({target.algorithm}))
            sink = RepositoryDiskSink(
                lambda: self._writer.disk(target.file, EXPORT), lambda edges: judged(edges, target)
            )
            try:
                digests = self._receive(image, sink, image.algorithms, account)
            except errors.HashMismatch as exc:
                if not left:
                    exc.message += f"; fetched {TRIES} times, and nothing of it was kept"
                    raise
                LOG.warning("%s; fetching it again", exc.message)
                account.retried()
                account.restart()
            else:
                kind = image.proof.kind if image.proof else "none"
                fetched = Fetched(sink.size, digests, kind, account.fetched, 0, account.retries)
                return fetched, sink.facts
        raise AssertionError(TRIES)

    def _receive(
        self, source: DiskSource, sink: DiskSink, algorithms: frozenset[str], account: Account
    ) -> dict[str, str]:
        """Brings all of a source to a sink; its hashes."""
        cancelled = self._options.cancelled
        with source.open(cancelled) as reader:
            stream = DiskStream(
                source, reader, algorithms=algorithms, cancelled=cancelled, advance=account.accepted
            )
            try:
                sink.receive(stream)
                return stream.digests()
            finally:
                stream.close()


def judged(edges: StreamEdges, target: DiskTarget) -> DiskFacts:
    """What the content of a disk is.

    :raises errors.UnsafeDisk: see :func:`inspect_stream`; or its edges do not tell.
    """
    facts = inspect_stream(
        edges.stream, target.disk_format, container_format=target.container_format, label=target.file
    )
    if edges.missed:
        raise errors.UnsafeDisk(
            f"The format of {target.file} cannot be told from its beginning and its end",
            hint="Export to a directory with --output, then bring that into the repository: "
            "openstack bundle copy <bundle> --repository <url>",
        )
    return facts
