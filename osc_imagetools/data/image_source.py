# SPDX-License-Identifier: Apache-2.0
"""The data of an image as one ordered stream, which survives what may pass.

Contract: a :class:`osc_imagetools.data.disk_stream.DiskSource` that gives each byte once and in order,
without a file and with bounded memory. After a break it goes on at the byte where it was: with a range where
the store has them, else it reads from the start and drops what it has given already. Faults are counted and
waited for as :mod:`osc_imagetools.data.retry` says. A hash that the cloud promises only afterwards is waited
for at the end of the stream, before its reader learns that it is the end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from osc_imagetools import errors
from osc_imagetools.data import digest
from osc_imagetools.data.disk_stream import BLOCK, hash_of
from osc_imagetools.data.download_source import DownloadSource, Proof
from osc_imagetools.data.http import Body, ImageData, Login
from osc_imagetools.data.late_proof import with_late_proof
from osc_imagetools.data.ranges import RangeRefused, RangeSupport
from osc_imagetools.data.read_size import ReadSize
from osc_imagetools.data.retry import DEFAULT_POLICY, RESUME_HINT, Attempts, Broken, RetryPolicy
from osc_imagetools.progress.model import Account

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter
    from keystoneauth1.session import Session

TICK = 0.2  # seconds between two looks at a cancellation
ALWAYS = "sha512"  # is computed wherever the cloud's own hash is not known from the beginning


@dataclass(frozen=True)
class ImageAccess:
    """What all image sources of a run have in common."""

    login: Login
    ranges: RangeSupport
    policy: RetryPolicy

    @classmethod
    def of(cls, session: Session | Adapter, policy: RetryPolicy = DEFAULT_POLICY) -> ImageAccess:
        """That of a new run."""
        return cls(Login(session), RangeSupport(), policy)


class ImageSource:
    """The data of one image.

    :param algorithms: the hashes that the bundle needs. Whoever reads the stream computes all of
        :attr:`algorithms`, which are these and what proves the data.
    """

    def __init__(
        self, access: ImageAccess, source: DownloadSource, account: Account, algorithms: frozenset[str]
    ) -> None:
        self.label = source.label
        self.algorithms = digest.needed(source, algorithms)
        self._access = access
        self._account = account
        self._source = source
        self._proof = source.proof

    @property
    def size(self) -> int | None:
        """Its bytes, where the cloud tells."""
        return self._source.size

    @property
    def proof(self) -> Proof | None:
        """What proves the data; after the end of a stream, with what the cloud has promised meanwhile."""
        return self._proof

    @contextlib.contextmanager
    def open(self, cancelled: threading.Event) -> Iterator[_ImageReader]:
        """The data, from the first byte."""
        if self._source.size == 0:
            raise errors.TransferError(
                f"{self.label} has no data of its own (0 bytes)",
                hint="Its data may lie in volume snapshots, which its block device mapping names.",
            )
        reader = _ImageReader(self._access, self._source, self._account, cancelled, self._await_proof)
        over = threading.Event()

        def watch() -> None:
            while not over.wait(TICK):
                if cancelled.is_set():
                    reader.interrupt()

        watcher = threading.Thread(target=watch, name="imagetools-watch", daemon=True)
        watcher.start()
        try:
            yield reader
        finally:
            over.set()
            watcher.join()
            reader.close()

    def mismatch(self, what: str) -> errors.TransferError:
        """The data is not what the cloud promises."""
        proof = self.proof
        promised = f", but the cloud says {proof}" if proof else ""
        return errors.HashMismatch(
            f"{self.label}: {what}{promised}",
            hint="The image may be damaged in its store, or something in between changes the data.",
        )

    def _await_proof(self, size: int, cancelled: threading.Event) -> None:
        """All bytes have come: what the cloud promises for them by now."""
        access, account = self._access, self._account
        now = with_late_proof(self._source, size, policy=access.policy, cancelled=cancelled, say=account.say)
        self._source, self._proof = now, now.proof
        if now.proof is not None and now.proof.algorithm not in self.algorithms:
            account.say(f"reading it again for its {now.proof.algorithm}")
            self._proof = self._proof_by_reading_again(now, now.proof.kind, cancelled)

    def _proof_by_reading_again(
        self, source: DownloadSource, kind: Literal["os_hash", "checksum"], cancelled: threading.Event
    ) -> Proof:
        """What the data that has the promised hash has as another hash, which was computed before.

        :raises errors.HashMismatch: it does not have the promised hash.
        """
        again = ImageSource(self._access, replace(source, reread=None), self._account, frozenset({ALWAYS}))
        return Proof(ALWAYS, hash_of(again, ALWAYS, cancelled), kind)


class _ImageReader:
    """An open image; ``ended(size, cancelled)`` is called once, when all bytes have come."""

    def __init__(
        self,
        access: ImageAccess,
        source: DownloadSource,
        account: Account,
        cancelled: threading.Event,
        ended: Callable[[int, threading.Event], None],
    ) -> None:
        self._data = ImageData(access.login, source, access.policy)
        self._access = access
        self._source = source
        self._account = account
        self._cancelled = cancelled
        self._ended = ended
        self._attempts = Attempts(access.policy, source.label, account, cancelled.wait)
        self._size = source.size  # once it is known
        self._position = 0  # of the next byte that is given
        self._body: Body | None = None
        self._over = False
        self._pace = ReadSize()
        self._buffer = memoryview(bytearray(BLOCK))

    def read(self, size: int, /) -> bytes:
        """The next bytes, as many as come at once; none at the end.

        :raises errors.TransferError, errors.Forbidden, errors.ResourceNotFound: there is no way to go on.
        :raises errors.Cancelled: interrupted.
        """
        while not self._over:
            self._check()
            try:
                data = self._receive(size)
            except Broken as broken:
                self.close()
                self._check()
                self._attempts.failed(broken)
                continue
            if data:
                return data
            self.close()
            if data is None:
                self._over = True
                self._ended(self._position, self._cancelled)
        return b""

    def interrupt(self) -> None:
        """Wakes up a thread that waits for data; from any thread."""
        body = self._body
        if body is not None:
            body.interrupt()

    def close(self) -> None:
        """Closes the connection, or gives it back if it has nothing more to say."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise errors.Cancelled(f"{self._source.label}: interrupted", hint=RESUME_HINT)

    def _receive(self, size: int) -> bytes | None:
        """One read; None at the end of all, nothing at that of an answer shorter than what was asked for."""
        body = self._body or self._open()
        if body.position == body.end:
            if self._size is not None and self._position < self._size:
                return b""
            return self._end()
        view = self._buffer[:size]
        count = self._read(body, view)
        if count:
            self._attempts.moved(count)
            self._position += count
            return bytes(view[:count])
        if self._size is None and body.end is not None:
            raise Broken("the connection ended before the data did")
        if self._size is not None and self._position < self._size:
            raise Broken("the connection ended before the data did")
        return self._end()

    def _end(self) -> bytes | None:
        if not self._position:
            raise errors.TransferError(f"{self._source.label}: the service sends no data for it")
        return None

    def _read(self, body: Body, view: memoryview) -> int:
        try:
            count = self._pace.read(body.read, view)
        except Broken:
            if self._position != self._size:
                raise
            return 0  # all is here; only that nothing follows could not be seen
        self._account.received(count)
        return count

    def _open(self) -> Body:
        """An answer that is at the next byte."""
        ranges = self._access.ranges
        if self._position and self._size is not None and ranges.works(self._source) is not False:
            try:
                self._body = self._data.part(self._position, self._size - 1)
                ranges.learn(self._source, True)
                return self._body
            except RangeRefused:
                ranges.learn(self._source, False)
        self._check()
        body = self._body = self._data.whole()
        if self._size is None and body.end is not None:
            self._size = body.end
            self._account.total(body.end)
        while body.position < self._position:
            self._check()
            rest = self._position - body.position
            count = self._pace.read(body.read, self._buffer[: min(rest, BLOCK)])
            self._account.received(count)
            if not count:
                raise Broken("the connection ended before the data did")
        return body
