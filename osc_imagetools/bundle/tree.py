# SPDX-License-Identifier: Apache-2.0
"""The directory of a bundle on disk, read without following symbolic links.

Contract: reads only. Every path below the directory is opened relative to an open directory, and links are
refused, so that nothing outside is ever opened, even if somebody changes the tree at the same time. It never
blocks on FIFOs or devices.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

from osc_imagetools.bundle.layout import DIRECTORIES, RECORDS
from osc_imagetools.cloud.names import printable

Kind = Literal["file", "directory", "link", "special"]


class NotAPlainFile(OSError):
    """A path in the bundle is a symbolic link, a directory, a FIFO, a socket or a device."""


@dataclass(frozen=True)
class TreeEntry:
    """An entry of the bundle: its relative path, its kind, its size and the space it uses, in bytes."""

    path: str
    kind: Kind
    size: int
    occupied: int


class Tree:
    """An open directory; a context manager.

    :raises OSError: *path* is not a directory, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._root)

    def entries(self) -> list[TreeEntry]:
        """The entries of the bundle, sorted by path; directories that no bundle has are not read.

        :raises OSError: a directory cannot be read.
        """
        found = self._list(self._root, "")
        for entry in list(found):
            if entry.kind == "directory" and entry.path in (*DIRECTORIES, RECORDS):
                directory = self._open_directory(entry.path)
                try:
                    found += self._list(directory, f"{entry.path}/")
                finally:
                    os.close(directory)
        return sorted(found, key=lambda entry: entry.path)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file of the bundle for reading.

        :param path: ``<name>`` or ``<directory>/<name>``, accepted by :func:`layout.path_problem`.
        :raises NotAPlainFile: it is not a regular file, or its directory is a link.
        :raises OSError: it does not exist or cannot be read.
        """
        directory, _, name = path.rpartition("/")
        parent = self._open_directory(directory) if directory else os.dup(self._root)
        try:
            if not stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise NotAPlainFile(printable(path))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            stream = os.fdopen(os.open(name, flags, dir_fd=parent), "rb")
        finally:
            os.close(parent)
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            stream.close()
            raise NotAPlainFile(printable(path))
        return stream

    def read(self, path: str, limit: int) -> bytes:
        """The first *limit* bytes of a file; raises as :meth:`open`."""
        with self.open(path) as stream:
            return stream.read(limit)

    def _open_directory(self, name: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(name, flags, dir_fd=self._root)
        except NotADirectoryError:
            raise NotAPlainFile(printable(name)) from None

    def _list(self, directory: int, prefix: str) -> list[TreeEntry]:
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                found.append(
                    TreeEntry(
                        path=f"{prefix}{entry.name}",
                        kind=_kind(facts.st_mode),
                        size=facts.st_size,
                        occupied=facts.st_blocks * 512,
                    )
                )
        return found


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "special"
