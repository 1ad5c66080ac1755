# SPDX-License-Identifier: Apache-2.0
"""Brings the bytes of one file, which streams fetch in chunks, into order for the hash.

Contract: streams take chunks from the front and fill them at the same time; whoever hashes gets
every byte once, in order: from memory while it is there, from disk if an earlier run wrote it. A
stream gets memory before it gets a chunk, and chunks are taken in order; so the chunk that the hash
waits for always has memory, and nothing can block for good. The first failure ends it all.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.data.blockmap import BLOCK
from osc_imagetools.data.limits import Buffers
from osc_imagetools.data.part import Part
from osc_imagetools.progress.model import Account

# A chunk that is complete so far ahead of the hash (more than all buffers) is read back from disk
# later: the hash is busy with what an earlier run left, and the network need not wait for it.
_FAR = 64 * 1024 * 1024
# Seconds in which what has come is written when all is over, so that a later run need not fetch it.
_LAST_WRITES = 0.3
# How much of a file is asked for before it is read back.
_READ_AHEAD = 8 * BLOCK


class Over(Exception):
    """This pass over the data ended: a failure elsewhere, or a cancellation."""


@dataclass(eq=False)
class Chunk:
    """``length`` bytes from offset ``start`` on, of which ``filled`` have come and ``stored`` are
    on disk.

    ``run_end`` is the offset up to which everything after ``start`` is wanted.
    """

    start: int
    length: int
    run_end: int | None
    buffer: memoryview
    filled: int = 0
    stored: int = 0
    hashed: int = 0

    @property
    def position(self) -> int:
        """The offset in the file of the next byte to come."""
        return self.start + self.filled


class Assembly:
    """One pass over the bytes of one file.

    ``whole``: all bytes come, in order, in one stream; else what is missing in ``part``, in ranges.
    ``over`` is set when there is nothing more to do, for whatever reason. ``starved`` is the time
    in seconds that the hash has waited for bytes.
    """

    def __init__(
        self, part: Part, buffers: Buffers, account: Account, *, size: int | None, whole: bool
    ) -> None:
        self.over = threading.Event()
        self.size = size
        self.starved = 0.0
        self._part = part
        self._buffers = buffers
        self._account = account
        self._whole = whole
        self._condition = threading.Condition()
        self._chunks: dict[int, Chunk] = {}
        self._before = part.snapshot()
        self._runs = iter([(0, size)]) if whole else _missing(self._before, size or 0)
        self._run = next(self._runs, None)
        self._position = 0
        self._hashing: Chunk | None = None
        self._on_disk = bytearray(BLOCK)
        self._failure: BaseException | None = None
        self._write_until = math.inf
        buffers.join(self)

    # -- what streams call

    def take(self) -> Chunk | None:
        """The next chunk to fetch, with memory for it; None if there is none. Raises Over."""
        if not self.wanting():
            return None
        buffer = self._buffers.acquire(self, self.over)
        if buffer is None:
            raise Over
        with self._condition:
            if self._run is None:
                self._buffers.release(self, buffer)
                return None
            start, end = self._run
            length = self._buffers.size if end is None else min(self._buffers.size, end - start)
            chunk = self._chunks[start] = Chunk(start, length, end, buffer)
            self._run = next(self._runs, None) if start + length == end else (start + length, end)
            return chunk

    def wanting(self) -> bool:
        """Whether there is a chunk that nobody has taken."""
        with self._condition:
            return self._run is not None

    def received(self, chunk: Chunk, count: int) -> None:
        """``count`` bytes were added to a chunk."""
        self.check()
        with self._condition:
            chunk.filled += count
            self._condition.notify_all()
        self._account.accepted(count)

    def ended(self, chunk: Chunk) -> None:
        """The data, of unknown size, ended with this chunk."""
        with self._condition:
            chunk.length = chunk.filled
            self.size = chunk.position
            self._run = None
            if not chunk.length:
                del self._chunks[chunk.start]
                self._buffers.release(self, chunk.buffer)
            self._condition.notify_all()

    def fail(self, failure: BaseException) -> None:
        """End it; the first failure counts."""
        with self._condition:
            if self._failure is None:
                self._failure = failure
        self.end()

    def end(self) -> None:
        """End it: whoever waits or asks for something meets Over; what has come is still written."""
        with self._condition:
            self._write_until = min(self._write_until, time.monotonic() + _LAST_WRITES)
            self.over.set()
            self._condition.notify_all()

    def check(self) -> None:
        """Raise Over if there is no point in going on."""
        if self.over.is_set():
            raise Over

    # -- what the hash calls

    def pieces(self) -> Iterator[memoryview]:
        """All bytes, in order; each piece is valid until the next one is asked for. Raises Over."""
        read_back = memoryview(bytearray(BLOCK))
        while self.size is None or self._position < self.size:
            chunk = self._await_bytes()
            if chunk is None:
                if self._position == self.size:
                    break
                piece = self._read_back(read_back)
            else:
                piece = chunk.buffer[chunk.hashed : chunk.filled]
            yield piece
            with self._condition:
                self._position += len(piece)
                if chunk is not None:
                    chunk.hashed += len(piece)
            if chunk is not None:
                self._let_go(chunk)

    # -- what the one who writes calls

    def write_out(self) -> None:
        """Bring to disk what comes, in whole blocks, until all is there. Raises Over."""
        while (chunk := self._await_blocks()) is not None:
            end = self._whole_blocks(chunk)
            if self._whole:
                for at in range(chunk.stored, end, BLOCK):
                    self._write_changed(chunk.start + at, chunk.buffer[at : min(at + BLOCK, end)])
            else:
                self._part.write(chunk.start + chunk.stored, chunk.buffer[chunk.stored : end])
            with self._condition:
                chunk.stored = end
            self._let_go(chunk)

    # -- what the one who started it calls

    def result(self) -> None:
        """Raise the failure, if there was one."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Give the memory back; nothing may be called afterwards."""
        self._chunks.clear()
        self._buffers.leave(self)

    def _await_bytes(self) -> Chunk | None:
        """Wait until the next byte is in memory (its chunk) or on disk (None), or there is none."""
        began = time.monotonic()
        with self._condition:
            while True:
                self.check()
                chunk = self._current()
                if chunk is not None and chunk.filled > chunk.hashed:
                    break
                if self._position == self.size:
                    chunk = None
                    break
                if chunk is None and not self._whole and self._part.stored(self._position):
                    return None
                self._condition.wait()
            self.starved += time.monotonic() - began
            return chunk

    def _current(self) -> Chunk | None:
        """The chunk in memory to which the next byte to hash belongs."""
        if self._hashing is None or self._hashing.hashed == self._hashing.length:
            self._hashing = self._chunks.get(self._position)
        return self._hashing

    def _let_go(self, chunk: Chunk) -> None:
        """Give the memory of a chunk back if nobody needs it any more."""
        with self._condition:
            done = chunk.stored == chunk.length and chunk.hashed == chunk.length
            far = chunk.stored == chunk.length and chunk.start > self._position + _FAR
            if (done or far) and self._chunks.pop(chunk.start, None) is not None:
                self._buffers.release(self, chunk.buffer)

    def _await_blocks(self) -> Chunk | None:
        """Wait for a chunk of which more can be written; None when all is written."""
        with self._condition:
            while True:
                unwritten = [c for c in self._chunks.values() if c.stored < c.length]
                ready = next((c for c in unwritten if self._whole_blocks(c) > c.stored), None)
                if ready is not None and time.monotonic() < self._write_until:
                    return ready
                self.check()
                if self._run is None and not unwritten:
                    return None
                self._condition.wait()

    @staticmethod
    def _whole_blocks(chunk: Chunk) -> int:
        """How much of a chunk can be written by now."""
        if chunk.filled == chunk.length:
            return chunk.length
        return chunk.filled - chunk.filled % BLOCK

    def _write_changed(self, offset: int, block: memoryview) -> None:
        """Write a block unless an earlier run has left the very same bytes there."""
        if self._part.stored(offset):
            self._on_disk[len(block) :] = b""
            if self._part.read(offset, self._on_disk) == len(block) and self._on_disk == block:
                self._account.kept(len(block))
                return
        self._part.write(offset, block)

    def _read_back(self, buffer: memoryview) -> memoryview:
        """The block at which the hash is, from disk."""
        offset = self._position
        if offset % _READ_AHEAD == 0:
            self._part.expect_read(offset, 2 * _READ_AHEAD)
        wanted = buffer[: min(BLOCK, (self.size or 0) - offset)]
        if self._part.read(offset, wanted) != len(wanted):
            raise errors.TransferError(f"{self._part} became shorter while it was read")
        if self._before[offset // BLOCK]:
            self._account.kept(len(wanted))
            self._account.accepted(len(wanted))
        return wanted


def _missing(states: bytes, size: int) -> Iterator[tuple[int, int | None]]:
    """Runs of bytes that are not on disk: the first, and the one after the last."""
    for run in re.finditer(b"\x00+", states):
        yield run.start() * BLOCK, min(run.end() * BLOCK, size)
