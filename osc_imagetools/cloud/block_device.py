# SPDX-License-Identifier: Apache-2.0
"""The block device mapping of an image or a server: which disks a server made from it gets.

Contract: pure parsing of both forms that Nova has written into the image property
``block_device_mapping``: version 2 (``bdm_v2`` true: ``source_type``, ``destination_type``,
``boot_index``) and the legacy one (``virtual_name``, the root named by ``root_device_name`` alone).
Source: nova/block_device.py; the entries are in no fixed order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors


@dataclass(frozen=True)
class BlockDevice:
    """One entry; ``volume_size`` in GiB, ``boot_index`` None or below 0 when it is not booted from.

    ``source_type`` is snapshot, volume, image or blank.
    """

    source_type: str
    device_name: str | None
    boot_index: int | None
    snapshot_id: str | None
    volume_id: str | None
    image_id: str | None
    volume_size: int | None
    guest_format: str | None
    encrypted: bool
    document: Mapping[str, Any]

    @property
    def is_boot(self) -> bool:
        return self.boot_index == 0

    @property
    def device(self) -> str:
        """The bare device name (``vda``), or ``disk`` when Nova has not written one."""
        return (self.device_name or "disk").rsplit("/", 1)[-1]

    @property
    def boot_order(self) -> tuple[int, str]:
        """Sorts entries in boot order: by boot index, then those without one by device name."""
        index = self.boot_index if self.boot_index is not None and self.boot_index >= 0 else 1 << 30
        return index, self.device_name or "~"


def parse_mapping(value: Any, *, root_device: Any, what: str) -> tuple[BlockDevice, ...]:
    """The entries of the image property ``block_device_mapping``, in boot order.

    :param value: a JSON string (a list of objects), a list, or None.
    :raises errors.ResourceUnusable: it is neither.
    """
    if value in (None, ""):
        return ()
    broken = errors.ResourceUnusable(
        f"{what}: its property block_device_mapping is not a JSON list of objects",
        hint=f"openstack {what.split()[0]} show -c properties {what.split()[-1]}",
    )
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise broken from None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise broken
    try:
        devices = [_entry(e, root_device) for e in value if not e.get("no_device")]
    except (TypeError, ValueError, OverflowError):
        raise broken from None
    return tuple(sorted(devices, key=lambda d: d.boot_order))


def _entry(document: Mapping[str, Any], root_device: Any) -> BlockDevice:
    source, guest_format = _kind(document)
    device = document.get("device_name")
    boot_index = document.get("boot_index")
    if boot_index is not None:
        boot_index = int(boot_index)
    elif "source_type" not in document and device and _bare(device) == _bare(root_device):
        boot_index = 0
    size = document.get("volume_size")
    return BlockDevice(
        source_type=source,
        device_name=str(device) if device else None,
        boot_index=boot_index,
        snapshot_id=_identifier(document.get("snapshot_id")),
        volume_id=_identifier(document.get("volume_id")),
        image_id=_identifier(document.get("image_id")),
        volume_size=int(size) if size not in (None, "") else None,
        guest_format=guest_format,
        encrypted=bool(document.get("encrypted")),
        document=dict(document),
    )


def _kind(document: Mapping[str, Any]) -> tuple[str, str | None]:
    """(source_type, guest_format) of an entry of either form."""
    if document.get("source_type"):
        guest_format = document.get("guest_format")
        return str(document["source_type"]), str(guest_format) if guest_format else None
    virtual = str(document.get("virtual_name") or "")
    if virtual == "swap" or virtual.startswith("ephemeral"):
        return "blank", "swap" if virtual == "swap" else None
    if document.get("snapshot_id"):
        return "snapshot", None
    if document.get("volume_id"):
        return "volume", None
    return "blank", None


def _identifier(value: Any) -> str | None:
    """An ID fit to stand in a URL; anything else is as good as none."""
    text = str(value) if value else ""
    return text if text.replace("-", "").replace("_", "").isalnum() else None


def _bare(device: Any) -> str:
    return str(device or "").rsplit("/", 1)[-1]
