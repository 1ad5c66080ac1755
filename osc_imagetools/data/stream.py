# SPDX-License-Identifier: Apache-2.0
"""One connection at a time that brings chunks of a file.

Contract: a stream survives what may pass, and goes on at the byte where it broke: with ranges it
asks for the rest only; without, it reads again from the start and drops what it had. It goes on
from chunk to chunk in one response as long as these follow each other.
"""

from __future__ import annotations

from collections.abc import Callable

from osc_imagetools import errors
from osc_imagetools.data.assembly import Assembly, Chunk
from osc_imagetools.data.http import Body, ImageData
from osc_imagetools.data.read_size import ReadSize
from osc_imagetools.data.retry import Attempts, Broken
from osc_imagetools.progress.model import Account


class Stream:
    """Fetches chunks in its own thread.

    ``whole``: without ranges. ``alone()`` tells whether no other stream works on this file.
    ``proven()`` is called once a range was answered rightly.
    """

    def __init__(
        self,
        data: ImageData,
        assembly: Assembly,
        account: Account,
        attempts: Attempts,
        *,
        whole: bool,
        alone: Callable[[], bool],
        proven: Callable[[], None],
    ) -> None:
        self._data = data
        self._assembly = assembly
        self._account = account
        self._attempts = attempts
        self._whole = whole
        self._alone = alone
        self._proven = proven
        self._body: Body | None = None
        self._size = ReadSize()

    def fill(self, chunk: Chunk) -> None:
        """Bring all bytes of a chunk. Raises Over, RangeRefused, or an error for the user."""
        while chunk.filled < chunk.length:
            try:
                self._receive(chunk)
            except Broken as broken:
                self.close()
                self._assembly.check()
                self._attempts.failed(broken)
                self._assembly.check()

    def finish(self) -> None:
        """All chunks are here: see that no more data follows than there should be."""
        body = self._body
        if body is not None and body.end is None and body.position == self._assembly.size:
            try:
                more = body.read(memoryview(bytearray(1)))
            except Broken:
                more = 0
            if more:
                raise errors.TransferError(f"{self._data.label}: more data comes than the image has")

    def interrupt(self) -> None:
        """Wake the stream up, wherever it waits for data; from any thread."""
        body = self._body
        if body is not None:
            body.interrupt()

    def close(self) -> None:
        """Close the connection, or give it back if it has nothing more to say."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _receive(self, chunk: Chunk) -> None:
        """Bring bytes until the chunk is complete or the response ends."""
        body = self._open(chunk)
        while chunk.filled < chunk.length:
            count = self._read(body, chunk.buffer[chunk.filled : chunk.length])
            if not count:
                if self._assembly.size is None and body.end in {None, body.position}:
                    self._assembly.ended(chunk)
                    return
                if body.position == body.end and not self._whole:
                    self.close()  # a shorter range than was asked for: legal
                    return
                raise Broken("the connection ended before the data did")
            self._attempts.moved(count)
            self._assembly.received(chunk, count)

    def _read(self, body: Body, view: memoryview) -> int:
        """One read of a size that suits the speed."""
        count = self._size.read(body.read, view)
        self._account.received(count)
        return count

    def _open(self, chunk: Chunk) -> Body:
        """A response that is at the next byte of the chunk."""
        body = self._body
        if body is not None and body.position == chunk.position and self._goes_on(body):
            return body
        self.close()
        self._assembly.check()
        if self._whole:
            body = self._body = self._data.whole()
            self._assembly.check()
            if self._assembly.size is None and body.end is not None:
                self._account.total(body.end)
            self._skip(body, chunk)
            return body
        end = chunk.run_end if chunk.run_end is not None and self._alone() else chunk.start + chunk.length
        body = self._body = self._data.part(chunk.position, end - 1)
        self._assembly.check()
        self._proven()
        return body

    def _goes_on(self, body: Body) -> bool:
        """Whether a response has more to say: at the least, that it ends here."""
        return self._whole or body.position != body.end

    def _skip(self, body: Body, chunk: Chunk) -> None:
        """Read over what is already here, into memory that is still to be filled."""
        spare = chunk.buffer[chunk.filled :]
        while body.position < chunk.position:
            if not self._read(body, spare[: chunk.position - body.position]):
                raise Broken("the connection ended before the data did")
            self._assembly.check()
