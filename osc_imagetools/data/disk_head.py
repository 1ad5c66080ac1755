# SPDX-License-Identifier: Apache-2.0
"""What the beginning of a disk tells, for what can be refused before anything is moved.

Contract: pure; believes nothing: the whole disk is judged by :mod:`osc_imagetools.data.disk_format` later.
"""

from __future__ import annotations

from osc_imagetools.data.disk_format import CORRUPT, MAGIC, QCOW2_CORRUPT, SECTOR, DiskFacts, qcow2_header

VDI_AT, VDI_MAGIC = 0x40, b"\x7f\x10\xda\xbe"
ISO_AT, ISO_MAGIC = 32 * 1024 + 1, b"CD001"
HEAD_NEEDED = ISO_AT + len(ISO_MAGIC)  # bytes


def look_at_head(head: bytes) -> DiskFacts:
    """The format that the first :data:`HEAD_NEEDED` bytes show, "raw" if none; never the virtual size."""
    name = _format(head)
    if name != "qcow2" or len(head) < SECTOR:
        return DiskFacts(name, None, encrypted=name == "luks")
    header = qcow2_header(head)
    damage = CORRUPT if header.features & QCOW2_CORRUPT else None
    return DiskFacts(name, None, damage, encrypted=header.crypt != 0)


def _format(head: bytes) -> str:
    for magic, name in {**MAGIC, b"LUKS\xba\xbe": "luks"}.items():
        if head.startswith(magic):
            return name
    if head[VDI_AT:].startswith(VDI_MAGIC):
        return "vdi"
    return "iso" if head[ISO_AT:].startswith(ISO_MAGIC) else "raw"
