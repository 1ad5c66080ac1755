# SPDX-License-Identifier: Apache-2.0
"""Carries out an import plan: data first, proven by the cloud's hash, then metadata, then the comparison.

Contract: the only caller of effects for imports of images. Whatever ends the run before all is there,
everything that it made is removed again (or listed in the error).
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.operations.drafts import ImageDraft, ImportPlan, NotReplayed, VolumeDraft
from osc_imagetools.progress.model import Progress
from osc_imagetools.restore.result import ImportReport
from osc_imagetools.run.context import CreatedResource, RunContext, run_context
from osc_imagetools.run.effects import block_storage
from osc_imagetools.run.effects.images import (
    create_image,
    differences,
    protect_image,
    settle_image,
)
from osc_imagetools.run.effects.volumes import restore_volume, settle_volume
from osc_imagetools.run.lanes import run_lanes
from osc_imagetools.run.qemu_img import converted


def import_image(
    plan: ImportPlan,
    cloud: Cloud,
    bundle: Path,
    *,
    jobs: int,
    timeout: float | None,
    purpose: str,
    progress: Progress,
) -> ImportReport:
    """Makes what the plan says from the disks of *bundle*, which has been verified.

    :raises errors.ImagetoolsError: with ``left`` naming everything that remains in the cloud.
    """
    started = time.monotonic()
    with run_context(cloud, purpose, timeout) as context:
        cloud.reach("image", *(["block-storage"] if plan.volumes else []))
        work = _ImageImport(plan, context, bundle, progress)
        made = work.volumes_and_mapping(jobs) if plan.volumes else work.images(jobs)
        refused = [r for image, draft in made for r in settle_image(context, image, draft)]
        work.unmark_volumes()
        refused += [r for image, draft in made for r in protect_image(context, image, draft)]
        images = [(get_image(cloud, image.id), draft) for image, draft in made]
        work.keep()
        left = context.cleanup.unwind()  # what was only needed on the way
    image = images[0][0]
    return ImportReport(
        kind="image",
        id=image.id,
        name=image.name,
        bytes=sum(draft.size for draft in plan.images) + sum(v.image.size for v in plan.volumes),
        disks=len(plan.volumes) or len(plan.images),
        differences=tuple(d for i, draft in images for d in differences(i, draft, plan.algorithm)),
        not_replayed=(*plan.not_replayed, *refused, *(NotReplayed(w, "left behind") for w in left)),
        mapped=(*plan.mapped, *work.made_volumes),
        seconds=time.monotonic() - started,
    )


class _ImageImport:
    def __init__(self, plan: ImportPlan, context: RunContext, bundle: Path, progress: Progress) -> None:
        self._plan = plan
        self._context = context
        self._bundle = bundle
        self._progress = progress
        self._kept: list[CreatedResource] = []
        self._volumes: list[tuple[CreatedResource, CreatedResource, VolumeDraft]] = []

    @property
    def made_volumes(self) -> tuple[str, ...]:
        """What was made besides images, for the report."""
        return tuple(
            f"volume {draft.name}: {volume.id}, snapshot {snapshot.id}"
            for volume, snapshot, draft in sorted(self._volumes, key=lambda v: v[2].name)
        )

    def images(self, jobs: int) -> list[tuple[Image, ImageDraft]]:
        """The images with their data, not yet with their metadata."""
        lanes = [functools.partial(self._image, draft) for draft in self._plan.images]
        return run_lanes(lanes, width=jobs, cancelled=self._context.deadline.cancelled)

    def volumes_and_mapping(self, jobs: int) -> list[tuple[Image, ImageDraft]]:
        """The volumes with their snapshots, and the image of 0 bytes that points at them."""
        lanes = [functools.partial(self._volume, draft) for draft in self._plan.volumes]
        entries = run_lanes(lanes, width=jobs, cancelled=self._context.deadline.cancelled)
        (main,) = self._plan.images
        mapping = {"block_device_mapping": json.dumps([*entries, *self._plan.blank]), "bdm_v2": "True"}
        draft = replace(main, properties={**main.properties, **mapping})
        made, image = self._create(draft, None)
        self._kept.append(made)
        return [(image, draft)]

    def unmark_volumes(self) -> None:
        """Makes the volumes and snapshots the user's; until :meth:`keep` they can be removed all the same."""
        for volume, snapshot, draft in self._volumes:
            settle_volume(self._context, volume, draft)
            block_storage.unmark(self._context, snapshot, description=None, metadata={})

    def keep(self) -> None:
        """All is there and proven: nothing of it is removed at the end."""
        volumes = (made for volume, snapshot, _ in self._volumes for made in (volume, snapshot))
        for made in (*self._kept, *volumes):
            assert made.entry is not None
            made.entry.keep()

    def _image(self, draft: ImageDraft) -> tuple[Image, ImageDraft]:
        assert draft.file is not None
        path = self._bundle / draft.file
        if not draft.convert:
            made, image = self._create(draft, path)
        else:
            with converted(self._context, path, draft.content_format or "raw", draft.convert) as path:
                made, image = self._create(draft, path)
        self._kept.append(made)
        return image, draft

    def _create(self, draft: ImageDraft, path: Path | None) -> tuple[CreatedResource, Image]:
        return create_image(
            self._context,
            draft,
            path,
            algorithm=self._plan.algorithm,
            digest=draft.digest,
            store=self._plan.store,
            owner=self._plan.owner,
            progress=self._progress,
        )

    def _volume(self, draft: VolumeDraft) -> Mapping[str, Any]:
        """A volume with the data of a disk, its snapshot, and the entry that points at it."""
        context = self._context
        volume = restore_volume(
            context, draft, self._bundle, algorithm=self._plan.algorithm, progress=self._progress
        )
        name = f"snapshot for {self._plan.images[0].document['name']}"[:255]
        snapshot = block_storage.create_snapshot(context, str(volume.id), draft.name, name=name)
        self._volumes.append((volume, snapshot, draft))
        return {**draft.entry, "snapshot_id": snapshot.id}
