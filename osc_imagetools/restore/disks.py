# SPDX-License-Identifier: Apache-2.0
"""The disks of a bundle as sources of bytes.

Contract: the bundle's directory is open as long as the run lasts, and files are opened below it without
following a link, so that what is sent is what was looked at. A disk proves itself while it is read.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osc_imagetools.bundle.tree import Tree
from osc_imagetools.data.disk_stream import DiskSource
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.operations.drafts import ImageDraft
from osc_imagetools.operations.vocabulary import FetchImage
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.converted_source import ConvertedSource
from osc_imagetools.run.effects.outcome import Outcome, Results


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
        return ConvertedSource(
            self._context, source, disk["content_format"], draft.convert, self._path.absolute().parent
        )

    def fetch(self, operation: FetchImage, results: Results) -> Outcome:
        """An import fetches nothing."""
        raise AssertionError(operation)
