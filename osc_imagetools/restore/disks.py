# SPDX-License-Identifier: Apache-2.0
"""The disks of a bundle as sources of bytes.

Contract: a disk proves itself while it is read, wherever the bundle lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osc_imagetools.data.disk_stream import DiskSource
from osc_imagetools.operations.drafts import ImageDraft
from osc_imagetools.operations.vocabulary import FetchImage
from osc_imagetools.restore.bundle_place import OpenPlace
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.effects.outcome import Outcome, Results


class BundleDisks:
    """Where an import gets its disks from; see :class:`osc_imagetools.run.effects.interpreter.Disks`."""

    def __init__(self, place: OpenPlace, manifest: Mapping[str, Any], context: RunContext) -> None:
        self._place = place
        self._context = context
        self._disks = {disk["file"]: disk for disk in manifest["disks"]}
        self.algorithm: str = manifest["hash_algorithm"]

    def source(self, draft: ImageDraft) -> DiskSource:
        """The disk of a draft, converted where the draft says so."""
        disk = self._disks[str(draft.file)]
        if draft.convert is None:
            return self._place.source(disk)
        return self._place.converted(disk, draft.convert, self._context)

    def fetch(self, operation: FetchImage, results: Results) -> Outcome:
        """An import fetches nothing."""
        raise AssertionError(operation)
