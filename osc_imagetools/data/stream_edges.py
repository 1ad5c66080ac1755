# SPDX-License-Identifier: Apache-2.0
"""The beginning and the end of a stream of bytes: what tells the format of a disk that no file holds.

Contract: bounded memory. What lies between the two is not known, and whoever asks for it is told so.
"""

from __future__ import annotations

from typing import BinaryIO, cast

HEAD = 8 * 1024 * 1024
TAIL = 1024 * 1024


class StreamEdges:
    """Is given the bytes of a stream, and can be read as a file of them afterwards.

    ``missed`` is set when something in between was asked for; zeros are given for it.
    """

    def __init__(self) -> None:
        self.missed = False
        self._size = 0
        self._head = bytearray()
        self._tail = b""
        self._place = 0

    @property
    def stream(self) -> BinaryIO:
        """Itself, for whoever reads files: it has ``seek`` and ``read``."""
        return cast(BinaryIO, self)

    def add(self, piece: bytes) -> None:
        """The next bytes of the stream."""
        self._size += len(piece)
        if len(self._head) < HEAD:
            self._head += piece[: HEAD - len(self._head)]
        self._tail = piece[-TAIL:] if len(piece) >= TAIL else (self._tail + piece)[-TAIL:]

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file; from its beginning or its end."""
        self._place = offset + (self._size if whence == 2 else 0)
        return self._place

    def read(self, count: int) -> bytes:
        """As of a file."""
        start, end = self._place, min(self._place + count, self._size)
        self._place = max(start, end)
        tail = self._size - len(self._tail)
        if end <= len(self._head):
            return bytes(self._head[start:end])
        if start >= tail:
            return self._tail[start - tail : end - tail]
        if tail <= len(self._head):  # they meet
            return bytes(self._head[start:tail]) + self._tail[: end - tail]
        self.missed = True
        return bytes(max(0, end - start))
