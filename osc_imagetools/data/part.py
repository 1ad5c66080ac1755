# SPDX-License-Identifier: Apache-2.0
"""A file that is not finished: ``.{name}.part`` beside the target, and what is known of it.

Contract: the part is in the same directory as its target, private, and never a link. What an
earlier run left in it is taken over only if the cloud names the same size and hash as then.
``publish`` is the only way to the final name: file synced, record written, renamed, directory
synced. All failures of the file system are raised as NoSpace or TransferError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.data.blockfile import BlockFile
from osc_imagetools.data.blockmap import BLOCK, BlockMap, MapUnusable
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.names import map_path, part_path
from osc_imagetools.data.record import write_record

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Part:
    """The unfinished file of one source. ``write``, ``read`` and ``sync`` may be called from any
    thread.

    ``discarded`` says why something from an earlier run was not taken over; None if there was
    nothing.
    """

    def __init__(self, source: DownloadSource, target: Path, *, sparse: bool) -> None:
        self._source = source
        self._target = target
        self._lock = threading.Lock()
        self._unsynced: list[int] = []
        self._taken_over = False
        self._stuck = False
        self.discarded: str | None = None
        with self._failures():
            self._refuse_other_files()
            existed = part_path(target).exists()
            self._file = BlockFile(part_path(target), sparse=sparse)
            self._blocks = self._take_over() if existed else self._begin()

    def __str__(self) -> str:
        return str(part_path(self._target))

    @property
    def remaining(self) -> int:
        """Bytes that are still to be written, as far as the size is known."""
        size = self._source.size or 0
        short = (-size % BLOCK) if self._blocks.last_missing() else 0
        return self._blocks.count_missing() * BLOCK - short

    def stored(self, offset: int) -> bool:
        """Whether the block at ``offset`` was written, now or in an earlier run."""
        return self._blocks.stored(offset // BLOCK)

    def snapshot(self) -> bytes:
        """One byte for each block, 0 if it was not written."""
        return self._blocks.snapshot()

    def write(self, offset: int, view: memoryview) -> None:
        """Write whole blocks, the first at ``offset``; only the last of a file may be short."""
        blocks = range(offset // BLOCK, -(-(offset + len(view)) // BLOCK))
        with self._failures():
            self._file.write(offset, view, over=self._taken_over or self._blocks.stored(blocks[0]))
            for block in blocks:
                self._blocks.written(block)
        with self._lock:
            self._unsynced.extend(blocks)

    def read(self, offset: int, view: memoryview | bytearray) -> int:
        """Fill ``view`` with what was written; returns the bytes read."""
        with self._failures():
            return self._file.read(offset, view)

    def expect_read(self, offset: int, length: int) -> None:
        """Have the operating system read ahead."""
        with self._failures():
            self._file.expect_read(offset, length)

    def unsynced(self) -> int:
        """Bytes written since the last sync, roughly."""
        with self._lock:
            return len(self._unsynced) * BLOCK

    def sync(self) -> None:
        """Make what was written so far outlive a power failure."""
        with self._lock:
            blocks, self._unsynced = self._unsynced, []
        if blocks:
            with self._failures():
                self._file.sync()
                self._blocks.durable(blocks)

    def restart(self) -> None:
        """Forget all bytes."""
        with self._failures():
            self._blocks.close()
            self._blocks = self._begin()

    def publish(self, size: int, digests: Mapping[str, str]) -> None:
        """Give the file of ``size`` bytes its final name, durably."""
        with self._failures():
            self._file.resize(size)
            self._file.sync()
            write_record(self._target, self._source, size, digests)
            part_path(self._target).replace(self._target)
            sync_directory(self._target.parent)
            map_path(self._target).unlink(missing_ok=True)
        self.close()

    def discard(self) -> None:
        """Remove all that is here."""
        self.close()
        with self._failures():
            map_path(self._target).unlink(missing_ok=True)
            part_path(self._target).unlink(missing_ok=True)

    def keep_open(self) -> None:
        """A thread is stuck in the file: its number must not become that of another file."""
        self._stuck = True

    def close(self) -> None:
        """Leave it for a later run."""
        if self._stuck:
            return
        self._blocks.close()
        self._file.close()

    def _refuse_other_files(self) -> None:
        for path in (part_path(self._target), map_path(self._target)):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(path.lstat().st_mode):
                    raise errors.TransferError(
                        f"{path} is in the way: it is not a file",
                        hint="Remove it, or choose another output.",
                    )

    def _take_over(self) -> BlockMap:
        try:
            blocks = BlockMap.load(map_path(self._target), self._source)
        except FileNotFoundError:
            self.discarded = "there is no record of it" if self._file.size() else None
            return self._begin()
        except MapUnusable as unusable:
            self.discarded = str(unusable)
            return self._begin()
        if self._file.size() != self._source.size:
            self.discarded = "it has another length than it should have"
            blocks.close()
            return self._begin()
        self._taken_over = True
        return blocks

    def _begin(self) -> BlockMap:
        # In this order: a map must never tell of blocks that are not there.
        map_path(self._target).unlink(missing_ok=True)
        self._file.resize(0)
        self._file.resize(self._source.size or 0)
        self._taken_over = False
        self._unsynced = []
        return BlockMap.create(map_path(self._target), self._source)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn what the file system says into an error for the user."""
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> errors.TransferError:
        label, directory = self._source.label, self._target.parent
        if error.errno not in _FULL:
            return errors.TransferError(f"{label}: cannot work in {directory}: {error.strerror or error}")
        with contextlib.suppress(OSError, AttributeError):
            return no_space(label, directory, self.remaining, free_bytes(directory))
        return errors.NoSpace(f"{label}: no space left in {directory}")


def no_space(label: str, directory: Path, needed: int, free: int) -> errors.NoSpace:
    """The error that says how many bytes are missing; a quota can be used up while the disk has
    room.
    """
    missing = needed - free if needed > free else needed
    return errors.NoSpace(
        f"{label}: no space left in {directory}: {needed} bytes are still to be written, "
        f"{free} are free, {missing} bytes are missing",
        hint="Make room, then run the same command again: it continues where it stopped.",
    )


def free_bytes(directory: Path) -> int:
    """What an ordinary user may still write to the file system of ``directory``. Raises OSError."""
    numbers = os.statvfs(directory)
    return numbers.f_bavail * numbers.f_frsize


def sync_directory(directory: Path) -> None:
    """Make the names in a directory outlive a power failure. Raises OSError."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
