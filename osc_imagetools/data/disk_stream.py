# SPDX-License-Identifier: Apache-2.0
"""The bytes of a disk on their way from a source to a sink: hashed on the way, proven before they end.

Contract: a source (:class:`DiskSource`) gives a disk's bytes with their size and what they must hash to; a
sink (:class:`DiskSink`) takes them. Between the two stands a :class:`DiskStream`, which reads each byte once
and gives its last block only when size and hash are right: what an upload has not sent completely never
becomes an image (the image service puts it back to ``queued``), and a program that reads from a pipe is ended
before its end of file. So no sink ever holds a whole disk of wrong bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from osc_imagetools import errors
from osc_imagetools.data.download_source import Proof

BLOCK = 1 << 20  # bytes


class DiskReader(Protocol):
    """An open source."""

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes, none at the end; raises errors.TransferError."""


class DiskSource(Protocol):
    """A disk that can be read, once or again."""

    @property
    def label(self) -> str:
        """What it is, for messages."""

    @property
    def size(self) -> int | None:
        """Its bytes; None where only reading tells."""

    @property
    def proof(self) -> Proof | None:
        """What its bytes must hash to; None where nothing proves them."""

    def open(self, cancelled: threading.Event) -> AbstractContextManager[DiskReader]:
        """Begins at the first byte. *cancelled* ends a read that waits."""

    def mismatch(self, what: str) -> errors.TransferError:
        """The error of a source whose bytes are not what they must be; *what* says how."""


class DiskSink(Protocol):
    """A place for a disk's bytes."""

    def receive(self, stream: DiskStream) -> None:
        """Takes the whole stream; when that raises, nothing of it stays under its final name."""


class DiskStream:
    """A file-like object for the bytes of an open source; the hash follows in a thread of its own.

    ``read`` gives whole blocks whatever size is asked for: an HTTP client would ask for 16 KiB. The last
    block is held back until everything is known to be right.
    """

    def __init__(
        self,
        source: DiskSource,
        reader: DiskReader,
        *,
        algorithms: Iterable[str],
        cancelled: threading.Event,
        advance: Callable[[int], None],
    ) -> None:
        proof = source.proof
        names = {*algorithms, *([proof.algorithm] if proof else [])}
        self.size = source.size
        self.sent = 0  # bytes that were read so far
        self._source = source
        self._reader = reader
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in sorted(names)}
        self._cancelled = cancelled
        self._advance = advance
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hash")
        self._hashed: Future[None] | None = None
        self._next: bytes | None = None
        self._ended = False

    @property
    def len(self) -> int:
        """The bytes of the whole stream, where the HTTP client looks for them (requests.utils.super_len).

        :raises AttributeError: they are not known: the client sends chunks.
        """
        if self.size is None:
            raise AttributeError("len")
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read():
            yield block

    def read(self, size: int = -1) -> bytes:
        """The next block; nothing at the end.

        :raises errors.HashMismatch: the last block would follow, and the bytes are not what they must be.
        :raises errors.TransferError: the source broke off, or has another size; :raises errors.Cancelled:
            interrupted.
        """
        if self._ended:
            return b""
        block = self._take() if self._next is None else self._next
        self._next = self._take() if block else b""
        if not self._next:
            self._prove()
            self._ended = True
        self._advance(len(block))
        return block

    def digests(self) -> dict[str, str]:
        """The hashes of all bytes, in hex, by algorithm; at the end of the stream."""
        self._await_hash()
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    def close(self) -> None:
        """Ends the thread of the hash."""
        self._pool.shutdown()

    def _take(self) -> bytes:
        """A block of the source, in the hash already or on its way there."""
        if self._cancelled.is_set():
            raise errors.Cancelled("interrupted")
        block = self._reader.read(BLOCK)
        self.sent += len(block)
        if self.size is not None and self.sent > self.size:
            raise self._source.mismatch(f"it has more than {self.size} bytes")
        if block:
            self._await_hash()
            self._hashed = self._pool.submit(self._update, block)
        return block

    def _update(self, block: bytes) -> None:
        for digest in self._digests.values():
            digest.update(block)

    def _await_hash(self) -> None:
        if self._hashed is not None:
            self._hashed.result()

    def _prove(self) -> None:
        if self.size is not None and self.sent != self.size:
            raise self._source.mismatch(f"it ended after {self.sent} of {self.size} bytes")
        proof, digests = self._source.proof, self.digests()
        if proof is not None and digests[proof.algorithm] != proof.value:
            raise self._source.mismatch(f"its {proof.algorithm} is {digests[proof.algorithm]}")


@dataclass(frozen=True)
class NoBytes:
    """A source of 0 bytes."""

    label: str
    size: int | None = 0
    proof: Proof | None = None

    @contextlib.contextmanager
    def open(self, cancelled: threading.Event) -> Iterator[io.BytesIO]:
        """Nothing to read."""
        yield io.BytesIO()

    def mismatch(self, what: str) -> errors.TransferError:
        """It has no bytes that could be wrong."""
        return errors.TransferError(f"{self.label}: {what}")


def hash_of(source: DiskSource, algorithm: str, cancelled: threading.Event) -> str:
    """The digest of a source's bytes, in hex; raises as :meth:`DiskStream.read`."""
    with source.open(cancelled) as reader:
        stream = DiskStream(
            source, reader, algorithms={algorithm}, cancelled=cancelled, advance=lambda count: None
        )
        try:
            for _ in stream:
                pass
            return stream.digests()[algorithm]
        finally:
            stream.close()
