# SPDX-License-Identifier: Apache-2.0
"""What a volume hands on to the images that are made from it, and what of that an image is to have.

Contract: pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osc_imagetools.cloud.image import RESERVED_PREFIX
from osc_imagetools.cloud.ownership import without_marks
from osc_imagetools.cloud.volume import GIB, Volume
from osc_imagetools.operations.disk_drafts import image_properties
from osc_imagetools.operations.drafts import ImageDraft
from osc_imagetools.operations.vocabulary import UploadVolume

SIGNATURE = "img_signature"


def inherited(volume: Volume) -> dict[str, str]:
    """The image metadata that a volume hands on, without our marks."""
    return {key: str(value) for key, value in without_marks(volume.image_metadata).items()}


def min_ram_of(metadata: Mapping[str, str]) -> int | None:
    """The ``min_ram`` in a volume's image metadata, which its owner can set to anything."""
    value = metadata.get("min_ram", "")
    return int(value) if value.isascii() and value.isdigit() else None


def handed_on(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The custom properties that an image made from a volume with this image metadata is to have.

    Source: cinder/volume/api.py (_merge_volume_image_meta), cinder/image/image_utils.py (reserved
    namespaces): a signature is that of other bytes.
    """
    return {
        key: value
        for key, value in image_properties(metadata).items()
        if not key.startswith((RESERVED_PREFIX, SIGNATURE))
    }


def image_of_volume(operation: UploadVolume, volume: Volume) -> ImageDraft:
    """The image that stays of a volume: the properties that the volume carries, a minimum for its disk."""
    keep = operation.keep
    assert keep is not None
    metadata = inherited(volume)
    min_ram = keep.min_ram if keep.min_ram is not None else min_ram_of(metadata) or 0
    return ImageDraft(
        title=operation.makes.role,
        size=volume.size,
        content_format=operation.disk_format,
        document={
            "name": keep.name,
            "visibility": "private",
            "min_disk": -(-volume.size // GIB),
            "min_ram": min_ram,
            "disk_format": operation.disk_format,
            "container_format": "bare",
        },
        properties={**handed_on(metadata), **keep.properties},
        tags=keep.tags,
    )
