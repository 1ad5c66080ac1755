# SPDX-License-Identifier: Apache-2.0
"""A disk in another format, as a source of bytes.

Contract: what is converted is what was proven: the same open file is inspected, hashed and read. To raw it is
a stream where nbdcopy is installed (:mod:`osc_imagetools.data.raw_stream`); else, and to other formats, a
temporary file in ``TMPDIR`` or, where that is not set, in the directory that the caller names.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.data import raw_stream
from osc_imagetools.data.disk_stream import DiskReader
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.qemu_img import convert_file, readable_facts, temporary_folder


@dataclass
class ConvertedSource:
    """``original`` proves the file; ``size`` and ``proof`` are those of the converted disk.

    Its size is known once it is open, and nothing but the original proves its bytes.
    """

    context: RunContext
    original: FileSource
    content_format: str
    disk_format: str
    beside: Path
    size: int | None = field(default=None, init=False)
    proof: Proof | None = field(default=None, init=False)

    @property
    def label(self) -> str:
        return self.original.label

    def mismatch(self, what: str) -> errors.TransferError:
        """What was read of the disk is not what it should be."""
        return self.original.mismatch(what)

    @contextlib.contextmanager
    def open(self, cancelled: threading.Event) -> Iterator[DiskReader]:
        """The converted bytes.

        :raises errors.UnsafeDisk, errors.DamagedDisk, errors.ResourceUnusable: it must not be converted.
        :raises errors.HashMismatch: the original is not what it must be: at the latest at its end.
        """
        way = self._stream if self.disk_format == "raw" and raw_stream.is_installed() else self._file
        with way(cancelled) as reader:
            yield reader

    @contextlib.contextmanager
    def _stream(self, cancelled: threading.Event) -> Iterator[DiskReader]:
        with self.original.opened() as stream:
            facts = readable_facts(self.context, stream, self.content_format, self.label)
            self.size = facts.virtual_size
            with raw_stream.raw_stream(
                stream,
                self.content_format,
                label=self.label,
                proof=self.original.proof,
                cancelled=cancelled,
                mismatch=self.mismatch,
            ) as reader:
                yield reader

    @contextlib.contextmanager
    def _file(self, cancelled: threading.Event) -> Iterator[DiskReader]:
        with temporary_folder(self.context, self.beside) as folder:
            target = folder / f"disk.{self.disk_format}"
            convert_file(
                self.context,
                self.original.opened,
                target,
                self.content_format,
                self.disk_format,
                label=self.label,
                proof=self.original.proof,
            )
            self.size = os.stat(target).st_size
            try:
                with FileSource.temporary(target).open(cancelled) as reader:
                    yield reader
            finally:
                target.unlink()  # its space, whatever comes next
