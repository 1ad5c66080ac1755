# SPDX-License-Identifier: Apache-2.0
"""A file that is written in blocks, in any order, by several threads.

Contract: zero pages become holes if ``sparse``; writes go around the page cache where the file
system can do that and is fast at it, because copying into the cache costs more of a processor than
anything else here but the hash, and because a final sync is then short. What only some systems have is
looked for where it is used, and what stands in for it elsewhere is slower, never less safe. All methods
raise OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from osc_imagetools.data.blockmap import open_private

# The unit of holes and of direct writes: what a file system allocates, and no disk asks for more.
PAGE = 4096
_ZERO = bytearray(PAGE)
_ZEROS = bytearray(1024 * 1024)
# A file system that writes directly, but below this speed (bytes per second, judged after so many
# bytes), is not made for it: an ordinary disk is faster even while the machine is busy.
_SLOW = 32 * 1024 * 1024
_TRIAL = 32 * 1024 * 1024


class BlockFile:
    """One open file, made if need be."""

    def __init__(self, path: Path, *, sparse: bool) -> None:
        self._sparse = sparse
        self._file = open_private(path, os.O_RDWR | os.O_CREAT)
        os.fchmod(self._file.fileno(), 0o600)
        self._direct = _open_direct(path)
        self._direct_works = self._direct is not None
        self._direct_bytes = 0
        self._direct_seconds = 0.0

    def size(self) -> int:
        """The length in bytes, holes included."""
        return os.fstat(self._file.fileno()).st_size

    def resize(self, size: int) -> None:
        """Cut off or append a hole."""
        os.ftruncate(self._file.fileno(), size)

    def read(self, offset: int, view: memoryview | bytearray) -> int:
        """Fill ``view`` from ``offset``; returns the bytes read, fewer only at the file's end."""
        view = memoryview(view)
        done = 0
        while done < len(view):
            count = _read_at(self._file.fileno(), view[done:], offset + done)
            if not count:
                break
            done += count
        return done

    def expect_read(self, offset: int, length: int) -> None:
        """Have the operating system read ahead, where it can be told to (not on macOS)."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), offset, length, os.POSIX_FADV_WILLNEED)

    def write(self, offset: int, view: memoryview, *, over: bool) -> None:
        """Write ``view``; ``offset`` is a multiple of PAGE. ``over``: there may be something else
        than a hole.
        """
        if not self._sparse:
            self._put(offset, view)
            return
        done = 0
        for begin, end in data_runs(view):
            if over:
                self._clear(offset + done, begin - done)
            self._put(offset + begin, view[begin:end])
            done = end
        if over:
            self._clear(offset + done, len(view) - done)

    def sync(self) -> None:
        """Make all that was written outlive a power failure."""
        _sync(self._file.fileno())

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
        if self._direct is not None:
            self._direct.close()

    def _clear(self, offset: int, length: int) -> None:
        """Make zeros of what an earlier run may have left there."""
        for at in range(offset, offset + length, len(_ZEROS)):
            old = bytearray(min(len(_ZEROS), offset + length - at))
            count = self.read(at, old)
            if not is_zero(memoryview(old)[:count]):
                self._buffered(at, memoryview(_ZEROS)[:count])

    def _put(self, offset: int, view: memoryview) -> None:
        if self._direct_works and self._direct is not None:
            whole = len(view) - len(view) % PAGE
            whole = self._write_direct(self._direct.fileno(), offset, view[:whole]) if whole else 0
            offset, view = offset + whole, view[whole:]
        self._buffered(offset, view)

    def _write_direct(self, number: int, offset: int, view: memoryview) -> int:
        """Returns the bytes written, 0 if the file system would not."""
        began = time.monotonic()
        try:
            count = os.pwrite(number, view, offset)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
            self._direct_works = False
            return 0
        self._direct_seconds += time.monotonic() - began
        self._direct_bytes += count
        if self._direct_bytes > _TRIAL and self._direct_bytes < self._direct_seconds * _SLOW:
            self._direct_works = False
        return count - count % PAGE

    def _buffered(self, offset: int, view: memoryview) -> None:
        while view:
            count = os.pwrite(self._file.fileno(), view, offset)
            offset, view = offset + count, view[count:]


def _open_direct(path: Path) -> FileIO | None:
    """The file once more, for writes around the page cache; None where there is no such thing (macOS, tmpfs,
    some network file systems): then all writes go through the cache.
    """
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        return open_private(path, os.O_RDWR | os.O_DIRECT)
    except OSError:
        return None


def _read_at(number: int, view: memoryview, offset: int) -> int:
    """Fill a part of ``view``; with a copy where there is no preadv (macOS before 11)."""
    if hasattr(os, "preadv"):
        return os.preadv(number, [view], offset)
    data = os.pread(number, len(view), offset)
    view[: len(data)] = data
    return len(data)


def _sync(number: int) -> None:
    """Make data outlive a power failure: fdatasync, or on macOS, whose fsync leaves it in the disk's own
    cache, F_FULLFSYNC (fsync(2) of macOS); fsync where a system, or a file system, has neither.
    """
    if hasattr(os, "fdatasync"):
        os.fdatasync(number)
        return
    command = getattr(fcntl, "F_FULLFSYNC", None)
    if command is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(number, command)
            return
    os.fsync(number)


def is_zero(view: memoryview) -> bool:
    """Whether there is nothing but zeros in at most 1 MiB; ``bytearray == view`` is memcmp."""
    return (_ZEROS if len(view) == len(_ZEROS) else _ZEROS[: len(view)]) == view


def data_runs(view: memoryview) -> Iterator[tuple[int, int]]:
    """Where in ``view`` there is something but zeros, in whole pages: begin and end of a run."""
    begin: int | None = None
    whole = len(view) - len(view) % PAGE
    for at in range(0, len(view), PAGE):
        page = view[at : at + PAGE]
        zero = _ZERO.__eq__(page) if at < whole else is_zero(page)
        if zero and begin is not None:
            yield begin, at
            begin = None
        elif not zero and begin is None:
            begin = at
    if begin is not None:
        yield begin, len(view)
