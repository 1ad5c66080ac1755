# SPDX-License-Identifier: Apache-2.0
"""How the file of a disk is named in a bundle.

Contract: pure; only plain characters, whatever the device or the format is called.
"""

from __future__ import annotations

import re

from osc_imagetools.cloud.image import Image


def extension(image: Image) -> str:
    """The file name extension of an image's own data: its format, or that of what contains it."""
    form = image.disk_format or "raw"
    container = image.container_format or "bare"
    return form if container in ("bare", form) else container


def disk_file(index: int, name: str, extension: str) -> str:
    """The path of a disk below the bundle: ``disks/0-vda.qcow2``; only plain characters in it."""
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100] or "disk"
    suffix = re.sub(r"[^A-Za-z0-9]", "", extension)[:20] or "img"
    return f"disks/{index}-{stem}.{suffix}"
