# SPDX-License-Identifier: Apache-2.0
"""A disk in a repository, as a source of bytes.

Contract: reads only, through restic; no file. restic's own failure is told before the end of the bytes is, so
a stream that broke off never looks like a disk that is too short.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.bundle.repository.failures import Stderr
from osc_imagetools.bundle.repository.guarded_process import GuardedProcess
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.cloud.names import printable
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.stream_edges import StreamEdges

TICK = 0.2  # seconds between two looks at a cancellation


def _anything(edges: StreamEdges) -> None:
    """Accepts every content."""


@dataclass(frozen=True)
class StoredDiskSource:
    """A disk of *size* bytes that must hash to *proof*.

    :param snapshot: of restic's; *file* is the disk's path in the bundle.
    :param bundle: the ID of the bundle, for messages.
    :param judge: looks at the edges of the disk before whoever reads it learns that it has ended, and raises
        what is wrong with its content.
    """

    restic: Restic
    snapshot: str
    file: str
    size: int | None
    proof: Proof | None
    bundle: str
    judge: Callable[[StreamEdges], object] = _anything

    @property
    def label(self) -> str:
        """The path in the bundle."""
        return printable(self.file)

    @contextmanager
    def open(self, cancelled: threading.Event) -> Iterator[_StoredDiskReader]:
        """The disk, from its first byte.

        :raises errors.RepositoryError: restic failed.
        """
        with self.restic.started("dump", self.snapshot, f"/{self.file}") as (process, said):
            over = threading.Event()

            def watch() -> None:
                while not over.wait(TICK):
                    if cancelled.is_set():
                        process.interrupt()
                        return

            watcher = threading.Thread(target=watch, name="restic-watch", daemon=True)
            watcher.start()
            try:
                yield _StoredDiskReader(self, process, said, cancelled)
            finally:
                over.set()
                watcher.join()
                process.end()

    def mismatch(self, what: str) -> errors.TransferError:
        """The disk is not what the manifest says."""
        place = f"--repository {self.restic.address.label}"
        return errors.HashMismatch(
            f"{self.label} of bundle {self.bundle} is not what its manifest says: {what}",
            hint=f"openstack bundle verify {self.bundle} {place}",
        )


class _StoredDiskReader:
    def __init__(
        self,
        source: StoredDiskSource,
        process: GuardedProcess,
        said: Stderr,
        cancelled: threading.Event,
    ) -> None:
        self._source = source
        self._process = process
        self._said = said
        self._cancelled = cancelled
        self._edges = StreamEdges()
        self._over = False

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes; none at the end.

        :raises errors.RepositoryError: restic failed; :raises errors.Cancelled: interrupted.
        """
        if self._over:
            return b""
        data = self._process.stdout.read(size)
        if self._cancelled.is_set():
            raise errors.Cancelled("interrupted")
        self._edges.add(data)
        if data:
            return data
        code = self._process.wait()
        if code:
            doing = f"to read {self._source.label}"
            raise self._source.restic.failure(code, self._said.text, doing)
        self._over = True
        self._source.judge(self._edges)
        return b""
