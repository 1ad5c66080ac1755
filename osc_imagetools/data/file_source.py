# SPDX-License-Identifier: Apache-2.0
"""A disk in a file of a bundle, as a source of bytes.

Contract: reads only. The bundle opens the file and follows no link; what is read is what was opened.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from osc_imagetools import errors
from osc_imagetools.data.download_source import Proof


@dataclass(frozen=True)
class FileSource:
    """A file of *size* bytes that must hash to *proof*.

    ``opener`` gives it open for reading, from the start; it raises OSError. ``bundle`` is the path of the
    bundle, for messages.
    """

    label: str
    size: int | None
    proof: Proof | None
    opener: Callable[[], BinaryIO]
    bundle: str

    @classmethod
    def temporary(cls, path: Path) -> FileSource:
        """A file of this run, which nothing proves."""

        def opener() -> BinaryIO:
            return path.open("rb", buffering=0)

        return cls(path.name, None, None, opener, str(path.parent))

    @contextlib.contextmanager
    def open(self, cancelled: threading.Event) -> Iterator[_Reader]:
        """The file, read without a buffer of its own.

        :raises errors.TransferError: it cannot be opened; :raises errors.HashMismatch: its length changed.
        """
        with self.opened() as stream:
            found = os.fstat(stream.fileno()).st_size
            if self.size is not None and found != self.size:
                raise self.mismatch(f"it has {found} bytes, and should have {self.size}")
            yield _Reader(self.label, stream)

    def opened(self) -> BinaryIO:
        """The file, open for reading.

        :raises errors.TransferError: it cannot be opened.
        """
        try:
            return self.opener()
        except OSError as exc:
            raise errors.TransferError(f"{self.label} cannot be read: {exc.strerror or exc}") from exc

    def mismatch(self, what: str) -> errors.TransferError:
        """The file is not what the manifest says."""
        return errors.HashMismatch(
            f"{self.label} of {self.bundle} is not what its manifest says: {what}",
            hint=f"openstack bundle verify {self.bundle}",
        )


class _Reader:
    def __init__(self, label: str, stream: BinaryIO) -> None:
        self._label = label
        self._descriptor = stream.fileno()

    def read(self, size: int, /) -> bytes:
        try:
            return os.read(self._descriptor, size)
        except OSError as exc:
            raise errors.TransferError(f"{self._label} cannot be read: {exc.strerror or exc}") from exc
