# SPDX-License-Identifier: Apache-2.0
"""A disk on its way into a repository, as a sink of bytes.

Contract: there is a snapshot only when the whole stream has come, proven, and its content was accepted.
"""

from __future__ import annotations

from collections.abc import Callable

from osc_imagetools.bundle.repository.disk_writer import RepositoryFileWriter
from osc_imagetools.data.disk_format import DiskFacts
from osc_imagetools.data.disk_stream import DiskStream
from osc_imagetools.data.stream_edges import StreamEdges


class JudgingSink:
    """Takes a stream and keeps nothing but its ``size`` and the ``facts`` that *judge* finds in its edges.

    :param judge: raises what is wrong with the content.
    """

    def __init__(self, judge: Callable[[StreamEdges], DiskFacts]) -> None:
        self._judge = judge

    def receive(self, stream: DiskStream) -> None:
        """Reads the whole stream."""
        edges = StreamEdges()
        for block in stream:
            edges.add(block)
            self._take(block)
        self.size = stream.sent
        self.facts = self._judge(edges)

    def _take(self, block: bytes) -> None:
        """What becomes of the bytes: nothing."""


class RepositoryDiskSink(JudgingSink):
    """Stores the stream as well."""

    def __init__(
        self, begin: Callable[[], RepositoryFileWriter], judge: Callable[[StreamEdges], DiskFacts]
    ) -> None:
        super().__init__(judge)
        self._begin = begin

    def receive(self, stream: DiskStream) -> None:
        """Stores it.

        :raises errors.RepositoryError: restic failed; and what the stream and the judge raise. There is no
            snapshot then.
        """
        with self._begin() as writer:
            self._writer = writer
            super().receive(stream)
            writer.finish()

    def _take(self, block: bytes) -> None:
        self._writer.write(block)
