# SPDX-License-Identifier: Apache-2.0
"""The effects that make volumes of disks: through an image that is removed again, then settled, compared.

Contract: a volume is ours until it is settled. Its data is proven by the cloud's hash of the image that it is
made from.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.volume import get_volume
from osc_imagetools.operations.drafts import VolumeDraft
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects import block_storage
from osc_imagetools.run.effects.images import create_image, set_properties

LOG = logging.getLogger(__name__)


def restore_volume(
    context: RunContext,
    draft: VolumeDraft,
    bundle: Path,
    *,
    algorithm: str,
    progress: Progress,
    store: str | None = None,
) -> CreatedResource:
    """A volume with the data of a disk of a bundle; waits until it is available.

    :raises errors.ImagetoolsError: the data did not arrive as it is, or the cloud did not make the volume.
    """
    temporary, image = create_image(
        context,
        draft.image,
        bundle / str(draft.image.file),
        algorithm=algorithm,
        digest=draft.image.digest,
        store=store,
        owner=None,
        progress=progress,
    )
    set_properties(context, image, draft.image)
    wanted = {"volume_type": draft.volume_type, "availability_zone": draft.availability_zone}
    fields = {key: value for key, value in wanted.items() if value}
    volume = block_storage.create_volume_from_image(
        context, image.id, draft.size, name=draft.name, fields=fields
    )
    assert temporary.entry is not None and volume.id is not None
    try:
        temporary.entry.run()
    except errors.Cancelled:
        raise
    except errors.ImagetoolsError as exc:  # it is tried once more at the end
        LOG.warning("%s could not be removed yet: %s", temporary.label, exc.message)
    block_storage.set_bootable(context, volume.id, draft.bootable)
    return volume


def settle_volume(context: RunContext, volume: CreatedResource, draft: VolumeDraft) -> None:
    """Makes a volume the user's: with the description and the metadata that it shall have."""
    block_storage.unmark(context, volume, description=draft.description, metadata=draft.metadata)


def volume_differences(context: RunContext, volume_id: str, draft: VolumeDraft) -> list[str]:
    """How a volume that was read back differs from what it should be; empty when it does not."""
    volume = get_volume(context.cloud, volume_id)
    if volume is None:
        return [f"volume {draft.name}: it is gone"]
    found: list[str] = []

    def compare(what: str, wanted: Any, got: Any) -> None:
        if wanted != got:
            found.append(f"volume {draft.name}: {what} is {got!r}, not {wanted!r}")

    compare("name", draft.name, volume.name)
    compare("size", draft.size, volume.size)
    compare("bootable", draft.bootable, volume.bootable)
    compare("description", draft.description, volume.document.get("description"))
    compare("metadata", dict(draft.metadata), volume.document.get("metadata"))
    if draft.volume_type:
        compare("volume_type", draft.volume_type, volume.volume_type)
    for key, value in draft.image.properties.items():
        compare(f"image property {key}", value, volume.image_metadata.get(key))
    return found
