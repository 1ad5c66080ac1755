# SPDX-License-Identifier: Apache-2.0
"""The disks of a bundle as sources of bytes.

Contract: the bundle's directory is open as long as the run lasts, and files are opened below it without
following a link, so that what is sent is what was looked at. A disk proves itself while it is read.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle.tree import Tree
from osc_imagetools.data.disk_stream import DiskReader, DiskSource, hash_of
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.operations.drafts import ImageDraft
from osc_imagetools.operations.vocabulary import FetchImage
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.qemu_img import converted


class BundleDisks:
    """Where an import gets its disks from; see :class:`osc_imagetools.run.effects.interpreter.Disks`."""

    def __init__(self, path: Path, tree: Tree, manifest: Mapping[str, Any], context: RunContext) -> None:
        self._path = path
        self._tree = tree
        self._context = context
        self._disks = {disk["file"]: disk for disk in manifest["disks"]}
        self.algorithm: str = manifest["hash_algorithm"]

    def source(self, draft: ImageDraft) -> DiskSource:
        """The file of a draft, converted where the draft says so."""
        disk = self._disks[str(draft.file)]
        source = FileSource(
            label=disk["file"],
            size=disk["size"],
            proof=Proof(disk["hash"]["algorithm"], disk["hash"]["value"], "os_hash"),
            opener=functools.partial(self._tree.open, disk["file"]),
            bundle=str(self._path),
        )
        if draft.convert is None:
            return source
        path = self._path / disk["file"]
        return ConvertedSource(source, path, disk["content_format"], draft.convert, self._context)

    def fetch(self, operation: FetchImage, results: Results) -> Outcome:
        """An import fetches nothing."""
        raise AssertionError(operation)


@dataclass
class ConvertedSource:
    """A disk of a bundle in another format, in a temporary file; its size is known once it is open."""

    original: FileSource
    path: Path
    content_format: str
    disk_format: str
    context: RunContext
    size: int | None = None
    proof: Proof | None = field(default=None, init=False)

    @property
    def label(self) -> str:
        return self.original.label

    @contextlib.contextmanager
    def open(self, cancelled: threading.Event) -> Iterator[DiskReader]:
        """Proves the original and converts it; raises as :func:`osc_imagetools.run.qemu_img.converted`."""
        proof = self.original.proof
        if proof is not None:
            hash_of(self.original, proof.algorithm, cancelled)
        with converted(self.context, self.path, self.content_format, self.disk_format) as path:
            self.size = os.stat(path).st_size
            with FileSource.temporary(path).open(cancelled) as reader:
                yield reader

    def mismatch(self, what: str) -> errors.TransferError:
        """The converted file changed while it was sent."""
        return self.original.mismatch(what)
