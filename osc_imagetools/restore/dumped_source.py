# SPDX-License-Identifier: Apache-2.0
"""A disk in another format, whose original is a stream: it is written into a temporary file first.

Contract: what is converted was proven when it was written. The file lies in ``TMPDIR``, or else in the
current directory, and is removed at the end of the context, or by the clean-up of the run.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.bundle.durable import NO_ROOM
from osc_imagetools.data.disk_stream import DiskReader, DiskSource, DiskStream
from osc_imagetools.data.download_source import Proof
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.converted_source import ConvertedSource
from osc_imagetools.run.qemu_img import plain_source, temporary_folder


@dataclass
class DumpedSource:
    """``size`` is that of the converted disk, known once it is open; nothing but the original proves it."""

    context: RunContext
    original: DiskSource
    content_format: str
    disk_format: str
    size: int | None = field(default=None, init=False)
    proof: Proof | None = field(default=None, init=False)

    @property
    def label(self) -> str:
        """That of the original."""
        return self.original.label

    def mismatch(self, what: str) -> errors.TransferError:
        """What was read of the disk is not what it should be."""
        return self.original.mismatch(what)

    @contextlib.contextmanager
    def open(self, cancelled: threading.Event) -> Iterator[DiskReader]:
        """The converted bytes.

        :raises errors.NoSpace: the original has no room there; and what it and the conversion raise.
        """
        beside = Path.cwd()
        with temporary_folder(self.context, beside) as folder:
            file = folder / f"original.{self.content_format}"
            self._dump(file, cancelled)
            temporary = plain_source(file, self.label)
            converted = ConvertedSource(
                self.context, temporary, self.content_format, self.disk_format, beside
            )
            with converted.open(cancelled) as reader:
                self.size = converted.size
                yield reader

    def _dump(self, file: Path, cancelled: threading.Event) -> None:
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as target, self.original.open(cancelled) as reader:
                stream = DiskStream(
                    self.original, reader, algorithms=(), cancelled=cancelled, advance=lambda count: None
                )
                try:
                    for block in stream:
                        if block.count(0) == len(block):
                            target.seek(len(block), os.SEEK_CUR)
                        else:
                            target.write(block)
                    target.truncate()
                finally:
                    stream.close()
        except OSError as exc:
            what = f"{self.label} cannot be written to {file.parent}: {exc.strerror or exc}"
            if exc.errno in NO_ROOM:
                hint = "Set TMPDIR to a directory with more space: a disk of a repository is converted there."
                raise errors.NoSpace(what, hint=hint) from exc
            raise errors.TransferError(what) from exc
