# SPDX-License-Identifier: Apache-2.0
"""Fetches the data of images into files.

Contract: a file gets its final name only when all of its bytes were hashed, agree with what the
cloud promises, and are durable. What an earlier run left is used where that can be proven in the
end. Several threads may call one Downloader; they share its streams and its memory.
"""

from __future__ import annotations

import contextlib
import logging
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from osc_imagetools import errors
from osc_imagetools.data import digest
from osc_imagetools.data.blockmap import BLOCK
from osc_imagetools.data.download_source import DownloadSource, Fetched, Verified
from osc_imagetools.data.http import Login
from osc_imagetools.data.late_proof import with_late_proof
from osc_imagetools.data.limits import Buffers, Slots
from osc_imagetools.data.names import part_path, record_path
from osc_imagetools.data.part import Part, free_bytes, no_space
from osc_imagetools.data.passes import Pass, TransferContext
from osc_imagetools.data.ranges import RangeRefused, RangeSupport
from osc_imagetools.data.record import read_record
from osc_imagetools.data.retry import DEFAULT_POLICY, RESUME_HINT, RetryPolicy
from osc_imagetools.progress.model import Account, Progress

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter
    from keystoneauth1.session import Session

LOG = logging.getLogger(__name__)


class Downloader:
    """Fetches files; one for a whole run.

    ``jobs`` limits the streams that are open at the same time, over all files. ``cancelled`` makes
    every call raise Cancelled within about a second; what was fetched by then stays for a later
    run.
    """

    def __init__(
        self,
        session: Session | Adapter,
        *,
        jobs: int,
        progress: Progress,
        cancelled: threading.Event,
        policy: RetryPolicy = DEFAULT_POLICY,
    ) -> None:
        self._shared = TransferContext(
            login=Login(session),
            ranges=RangeSupport(),
            slots=Slots(jobs),
            buffers=Buffers(jobs),
            cancelled=cancelled,
            policy=policy,
        )
        self._progress = progress
        self._lock = threading.Lock()
        self._parts: list[tuple[int, Part]] = []

    def fetch(
        self,
        source: DownloadSource,
        target: Path,
        *,
        algorithms: frozenset[str],
        sparse: bool,
        accept: Callable[[Path], None] | None = None,
    ) -> Fetched:
        """Fetch ``source`` into ``target``, or keep what an earlier run has finished.

        The directory exists. ``algorithms`` (names of hashlib) are computed in the same pass.
        ``sparse`` makes holes of zeros. ``accept`` looks at the proven file before it gets its
        final name, and raises what is wrong with its content; then nothing of it is kept. Raises
        TransferError (HashMismatch, NoSpace), Forbidden, ResourceNotFound or Cancelled.
        """
        if source.size == 0:
            raise errors.TransferError(
                f"{source.label} has no data of its own (0 bytes)",
                hint="Its data may lie in volume snapshots, which its block device mapping names.",
            )
        task = self._progress.task(target.name, source.size)
        try:
            file_download = _FileDownload(
                self._shared,
                source,
                target,
                digest.needed(source, algorithms),
                Account(task),
                accept or _anything,
            )
            kept = file_download.keep_finished()
            if kept is not None:
                return kept
            with file_download.open_part(sparse) as unfinished, self._space(source, target, unfinished):
                return file_download.fetch(unfinished)
        finally:
            task.done()

    @contextlib.contextmanager
    def _space(self, source: DownloadSource, target: Path, unfinished: Part) -> Iterator[None]:
        """See that there is room for what is missing, here and in the other files on their way."""
        try:
            device = target.parent.stat().st_dev
            free = free_bytes(target.parent)
        except OSError as error:
            raise errors.TransferError(f"{target.parent}: {error.strerror or error}") from error
        entry = (device, unfinished)
        with self._lock:
            others = sum(other.remaining for number, other in self._parts if number == device)
            if unfinished.remaining + others > free:
                raise no_space(source.label, target.parent, unfinished.remaining + others, free)
            self._parts.append(entry)
        try:
            yield
        finally:
            with self._lock:
                self._parts.remove(entry)


def _anything(path: Path) -> None:
    """Accepts every content."""


class _FileDownload:
    """One call of ``fetch``."""

    def __init__(
        self,
        shared: TransferContext,
        source: DownloadSource,
        target: Path,
        algorithms: frozenset[str],
        account: Account,
        accept: Callable[[Path], None],
    ) -> None:
        self._shared = shared
        self._accept = accept
        self._source = source
        self._target = target
        self._algorithms = algorithms
        self._account = account

    def keep_finished(self) -> Fetched | None:
        """The file that an earlier run has finished, hashed again; None if it must be fetched."""
        try:
            status = self._target.lstat()
            known = read_record(self._target)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.TransferError(f"{self._target}: {error.strerror or error}") from error
        if known is None or not stat.S_ISREG(status.st_mode):
            raise errors.TransferError(
                f"{self._target} exists, and nothing tells that it comes from this export",
                hint="Move it away, or choose another output.",
            )
        if not known.belongs_to(self._source):
            self._discard_finished("the source has changed since, or has no hash to prove it")
        elif status.st_size != known.size:
            self._discard_finished("it has another length than it should have")
        else:
            digests = self._hash_again()
            if digest.agrees(self._source.proof, digests):
                self._accept(self._target)
                return self._fetched(known.size, digests)
            self._discard_finished("its bytes have changed")
        return None

    @contextlib.contextmanager
    def open_part(self, sparse: bool) -> Iterator[Part]:
        """The part, open."""
        unfinished = Part(self._source, self._target, sparse=sparse)
        try:
            if unfinished.discarded:
                self._say_starting_over(unfinished.discarded)
            yield unfinished
        except errors.ImagetoolsError:
            if not any(unfinished.snapshot()):
                unfinished.discard()  # nothing in it that a later run could use
            raise
        finally:
            unfinished.close()

    def fetch(self, unfinished: Part) -> Fetched:
        """Fetch what is missing; if the hash is wrong then, all of it, once more."""
        size, digests = self._pass(unfinished)
        digests = self._late_proof(part_path(self._target), size, digests)
        if not digest.agrees(self._source.proof, digests):
            self._account.retried()
            self._say_starting_over("the hash of what came is not what the cloud says")
            unfinished.restart()
            size, digests = self._pass(unfinished)
        if not digest.agrees(self._source.proof, digests):
            unfinished.discard()
            raise self._mismatch(digests)
        try:
            self._accept(part_path(self._target))
        except errors.ImagetoolsError:
            unfinished.discard()
            raise
        unfinished.publish(size, digests)
        return self._fetched(size, digests)

    def _late_proof(self, path: Path, size: int, digests: dict[str, str]) -> dict[str, str]:
        """The hashes with the one that the cloud promises by now, where it promised none before.

        Waits a while where the cloud is at it. What is known of the source is what the cloud says now.
        """
        shared, account = self._shared, self._account
        now = with_late_proof(
            self._source, size, policy=shared.policy, cancelled=shared.cancelled, say=account.say
        )
        self._source = now
        if now.proof is None or now.proof.algorithm in digests:
            return digests
        return digests | self._hash_of(path, frozenset({now.proof.algorithm}))

    def _pass(self, unfinished: Part) -> tuple[int, dict[str, str]]:
        """Go through all of the data, in ranges if these work. Returns its size and hashes."""
        ranges = self._shared.ranges
        if self._source.size is not None and ranges.works(self._source) is not False:
            try:
                return self._one_pass(unfinished, whole=False)
            except RangeRefused as refused:
                LOG.info("%s: one stream, because %s", self._source.label, refused)
                ranges.learn(self._source, False)
        return self._one_pass(unfinished, whole=True)

    def _one_pass(self, unfinished: Part, *, whole: bool) -> tuple[int, dict[str, str]]:
        self._account.restart()
        sums = digest.Digest(self._algorithms)
        size = Pass(self._shared, self._source, unfinished, sums, self._account, whole=whole).run()
        if size == 0:
            raise errors.TransferError(f"{self._source.label}: the service sends no data for it")
        return size, sums.values()

    def _hash_again(self) -> dict[str, str]:
        """The hashes of the finished file."""
        return self._hash_of(self._target, self._algorithms, kept=True)

    def _hash_of(self, path: Path, algorithms: frozenset[str], *, kept: bool = False) -> dict[str, str]:
        """The hashes of a file here; *kept*: its bytes count as kept from an earlier run."""
        sums = digest.Digest(algorithms)
        buffer = memoryview(bytearray(BLOCK))
        try:
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    if self._shared.cancelled.is_set():
                        raise errors.Cancelled(f"{self._source.label}: interrupted", hint=RESUME_HINT)
                    sums.update(buffer[:count])
                    if kept:
                        self._account.kept(count)
                        self._account.accepted(count)
        except OSError as error:
            raise errors.TransferError(f"{path}: {error.strerror or error}") from error
        return sums.values()

    def _discard_finished(self, reason: str) -> None:
        """Remove a file of this export that is not, or no more, what it should be."""
        self._account.restart()
        self._say_starting_over(reason)
        try:
            self._target.unlink()
            record_path(self._target).unlink(missing_ok=True)
        except OSError as error:
            raise errors.TransferError(f"{self._target}: {error.strerror or error}") from error

    def _say_starting_over(self, reason: str) -> None:
        LOG.warning("%s: starting over with %s: %s", self._source.label, self._target.name, reason)
        self._account.say(f"starting over: {reason}")

    def _fetched(self, size: int, digests: dict[str, str]) -> Fetched:
        proof, account = self._source.proof, self._account
        verified: Verified = proof.kind if proof else "none"
        return Fetched(size, digests, verified, account.fetched, account.reused, account.retries)

    def _mismatch(self, digests: dict[str, str]) -> errors.HashMismatch:
        proof = self._source.proof
        assert proof is not None  # without one, nothing can disagree
        return errors.HashMismatch(
            f"{self._source.label}: {proof.algorithm} is {digests[proof.algorithm]}, but the cloud "
            f"says {proof.value}; fetched twice, and nothing of it was kept",
            hint="The image may be damaged in its store, or something in between changes the data.",
        )
