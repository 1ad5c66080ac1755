# SPDX-License-Identifier: Apache-2.0
"""Files that come out of a repository: small ones at once, disks as a stream that is hashed while it is read.

Contract: no local file; memory in proportion to the limits below. What comes is not trusted: a disk is good
only when :meth:`RepositoryFileReader.problem` finds the size and the hash that the manifest gives, and
restic has ended well after that.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from osc_imagetools import errors
from osc_imagetools.bundle import strict_json
from osc_imagetools.bundle.repository.locks import unlocked
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.cloud.names import printable

PIECE = 1024 * 1024
MAX_FILES = 10_000  # of a bundle, disks apart
MAX_TOTAL = 128 * 1024 * 1024  # bytes of all of them


class RepositoryFileReader:
    """The bytes of one file of a snapshot, in order; made by :func:`open_file`."""

    def __init__(self, stream: IO[bytes], path: str, algorithm: str) -> None:
        self.path = path
        self.size = 0
        self.ended = False
        self._stream = stream
        self._digest = hashlib.new(algorithm, usedforsecurity=False)

    def read(self, count: int = PIECE) -> bytes:
        """The next bytes, *count* at most; none at the end."""
        data = self._stream.read(count)
        self.size += len(data)
        self.ended = self.ended or not data
        self._digest.update(data)
        return data

    def pieces(self) -> Iterator[bytes]:
        """The rest of the file."""
        while data := self.read():
            yield data

    @property
    def digest(self) -> str:
        """The hash of what was read so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def problem(self, size: int, digest: str) -> str | None:
        """What is wrong with a file that was read to its end, as a sentence; None where nothing is."""
        if self.size != size:
            return f"It has {self.size} bytes, the manifest says {size}."
        if self.digest != digest:
            return f"Its {self._digest.name} is not the one in the manifest."
        return None


@contextmanager
def open_file(
    restic: Restic, snapshot: str, path: str, algorithm: str = "sha512", *, lock: bool = True
) -> Iterator[RepositoryFileReader]:
    """A file of a snapshot, streamed. What is not read to its end is not missed.

    :param lock: nobody can remove anything meanwhile.
    :raises errors.RepositoryError: at the end of the context: restic failed, so what was read is not the
        file.
    """
    words = ("dump", *(() if lock else ("--no-lock",)), snapshot, f"/{path}")
    with restic.started(*words) as (process, said):
        reader = RepositoryFileReader(process.stdout, path, algorithm)
        yield reader
        if not reader.ended:
            process.end()
            return
    if process.returncode:
        raise restic.failure(process.returncode, said.text, f"to read {printable(path)}")


def read_file(restic: Restic, snapshot: str, path: str, limit: int = strict_json.MAX_BYTES + 1) -> bytes:
    """The first *limit* bytes of a small file.

    Read without a lock: of many restics that read side by side one would now and then meet the lock of
    another that ends, and restic 0.14 tries for 45 seconds to read a lock that is gone. Where that fails, it
    is read again with a lock, which tells whether somebody removes it; a lock of our own dead process goes.

    :raises errors.RepositoryLocked: somebody removes something.
    :raises errors.RepositoryError: it is not there, or cannot be read.
    """
    try:
        return _file(restic, snapshot, path, limit, lock=False)
    except (errors.RepositoryAbsent, errors.RepositoryPassword):
        raise
    except errors.RepositoryError:
        return unlocked(restic, lambda: _file(restic, snapshot, path, limit, lock=True))


def _file(restic: Restic, snapshot: str, path: str, limit: int, *, lock: bool) -> bytes:
    found = bytearray()
    with open_file(restic, snapshot, path, lock=lock) as reader:
        while len(found) < limit and (data := reader.read(min(PIECE, limit - len(found)))):
            found += data
    return bytes(found)


def read_documents(restic: Restic, snapshot: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """All files of a small snapshot, by path; and what is wrong with those that are no plain files, by path.

    A lock of our own dead process is removed: whoever reads a bundle begins here.

    :raises errors.BundleRefused: there are more of them, or they are larger, than any bundle's.
    :raises errors.RepositoryError: they cannot be read.
    """
    return unlocked(restic, lambda: _documents(restic, snapshot))


def _documents(restic: Restic, snapshot: str) -> tuple[dict[str, bytes], dict[str, str]]:
    documents: dict[str, bytes] = {}
    wrong: dict[str, str] = {}
    with restic.started("dump", snapshot, "/") as (process, said):
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    _take(archive, member, documents, wrong)
            while process.stdout.read(PIECE):
                pass  # what follows the archive
        except tarfile.TarError:
            documents.clear()
    if process.returncode:
        raise restic.failure(process.returncode, said.text, "to read the manifest")
    return documents, wrong


def _take(
    archive: tarfile.TarFile, member: tarfile.TarInfo, documents: dict[str, bytes], wrong: dict[str, str]
) -> None:
    path = member.name.lstrip("/")
    if member.isdir():
        return
    if len(documents) + len(wrong) >= MAX_FILES or member.size > MAX_TOTAL:
        raise errors.BundleRefused(
            f"The snapshot has more files, or larger ones, than a bundle: {printable(path)}"
        )
    if not member.isreg():
        wrong[path] = "It is a link or no regular file."
        return
    stream = archive.extractfile(member)
    assert stream is not None
    documents[path] = stream.read(min(member.size, strict_json.MAX_BYTES + 1))
    if sum(map(len, documents.values())) > MAX_TOTAL:
        raise errors.BundleRefused(f"The files of the snapshot have more than {MAX_TOTAL} bytes")
