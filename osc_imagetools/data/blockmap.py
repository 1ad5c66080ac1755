# SPDX-License-Identifier: Apache-2.0
"""Which blocks of a part file were written, kept beside it as ``.{name}.part.map``.

Contract: a header that names the data (its size and the hash that the cloud promises) and the boot
of this machine, then one byte for each block of 1 MiB. A block that was written outlives the
process; one that was also synced outlives the machine, and is all that is believed after a reboot.
What the map says decides what need not be fetched, never whether the data is right.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

from osc_imagetools.data.download_source import DownloadSource

BLOCK = 1024 * 1024
_HEADER = 1024
_MISSING, _WRITTEN, _DURABLE = 0, 1, 2
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class MapUnusable(Exception):
    """The map does not belong to this data, or is damaged; the text says which."""


class BlockMap:
    """The blocks of one part file; in memory only, where nothing could be proven later."""

    def __init__(self, states: bytearray, file: FileIO | None) -> None:
        self._states = states
        self._file = file

    @classmethod
    def create(cls, path: Path, source: DownloadSource) -> BlockMap:
        """Begin with nothing written. Raises OSError."""
        states = bytearray(_count(source.size or 0))
        if not resumable(source):
            return cls(states, None)
        file = open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        header = json.dumps(_identity(source) | {"boot": _boot()}).encode()
        _write(file, header.ljust(_HEADER), 0)
        _write(file, states, _HEADER)
        return cls(states, file)

    @classmethod
    def load(cls, path: Path, source: DownloadSource) -> BlockMap:
        """Read the map of an earlier run. Raises MapUnusable, or OSError (FileNotFoundError if
        there is none).
        """
        if not resumable(source):
            raise MapUnusable("the cloud names no hash that could prove it")
        file = open_private(path, os.O_RDWR)
        content = os.pread(file.fileno(), _HEADER + _count(source.size or 0) + 1, 0)
        try:
            states = _parse(content, source)
        except MapUnusable:
            file.close()
            raise
        return cls(states, file)

    def stored(self, block: int) -> bool:
        """Whether a block was written."""
        return block < len(self._states) and self._states[block] != _MISSING

    def written(self, block: int) -> None:
        """A block was handed to the operating system."""
        if block >= len(self._states):
            self._states.extend(bytes(block + 1 - len(self._states)))
        self._set(block, _WRITTEN)

    def durable(self, blocks: Iterable[int]) -> None:
        """Blocks were synced to the disk."""
        for block in blocks:
            self._set(block, _DURABLE)

    def snapshot(self) -> bytes:
        """One byte for each block, 0 if it was not written."""
        return bytes(self._states)

    def count_missing(self) -> int:
        """How many blocks were not written."""
        return self._states.count(_MISSING)

    def last_missing(self) -> bool:
        """Whether the last block, which may be short, was not written."""
        return bool(self._states) and self._states[-1] == _MISSING

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    def _set(self, block: int, state: int) -> None:
        self._states[block] = state
        if self._file is not None:
            os.pwrite(self._file.fileno(), bytes((state,)), _HEADER + block)


def resumable(source: DownloadSource) -> bool:
    """Whether a later run could prove that what is here belongs to the source.

    A hash that there is not yet may be there by then; the data of an image never changes.
    """
    return (source.proof is not None or source.reread is not None) and source.size is not None


def open_private(path: Path, flags: int) -> FileIO:
    """Open a file for reading and writing that nobody else may read; never through a link."""

    def opener(name: str, _flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    return FileIO(path, "r+", opener=opener)


def _identity(source: DownloadSource) -> dict[str, object]:
    return {
        "format": "osc-imagetools-part",
        "version": 1,
        "block": BLOCK,
        "size": source.size,
        "proof": str(source.proof),
        "source": hashlib.sha256(urlsplit(source.url).path.encode()).hexdigest(),
    }


def _belongs(header: dict[str, object], source: DownloadSource) -> bool:
    """The same hash, or the same image while there was none or is none."""
    known = _identity(source)
    image, proof = header.pop("source", None), header.pop("proof", None)
    same_image, same_proof = image == known.pop("source"), proof == known.pop("proof")
    unproven = proof == "None" or source.proof is None
    return header == known and (same_image if unproven else same_proof)


def _parse(content: bytes, source: DownloadSource) -> bytearray:
    try:
        header = json.loads(content[:_HEADER])
        boot = header.pop("boot")
    except (ValueError, AttributeError, KeyError, RecursionError) as error:
        raise MapUnusable("the record of it is damaged") from error
    if not isinstance(header, dict) or not _belongs(header, source):
        raise MapUnusable("the source has changed since")
    states = bytearray(content[_HEADER:])
    if len(states) != _count(source.size or 0) or not set(states) <= {_MISSING, _WRITTEN, _DURABLE}:
        raise MapUnusable("the record of it is damaged")
    if not boot or boot != _boot():
        states = states.replace(bytes((_WRITTEN,)), bytes((_MISSING,)))
    return states


def _count(size: int) -> int:
    return -(-size // BLOCK)


def _boot() -> str:
    """Tells this boot of the machine from another; empty where the system does not say (macOS): then nothing
    that was written but not synced is believed.
    """
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def _write(file: FileIO, data: bytes | bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file.fileno(), view, offset)
        view, offset = view[count:], offset + count
