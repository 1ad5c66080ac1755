# SPDX-License-Identifier: Apache-2.0
"""A raw disk that really boots, without an operating system and without a download.

Contract: ``write_disk(path, mebibytes, seed)`` writes the same bytes for the same size and
seed, and others for another seed. The disk boots by BIOS; its boot sector (guest.s) prints
``BOOTED`` and ``WROTE`` to the serial port and writes ``TEXT`` to byte ``TEXT_OFFSET``.
From 1 MiB on there are up to 8 MiB of random bytes; the rest is a hole. A busy guest goes on
writing numbers to the sectors from ``RING_SECTOR`` on, so its disk must reach further than that.
"""

from __future__ import annotations

import pathlib
import random
import struct

BOOTED = "OSC-IMAGETOOLS-GUEST-BOOTED"
WROTE = "OSC-IMAGETOOLS-GUEST-WROTE"
FAILED = "OSC-IMAGETOOLS-GUEST-WRITE-FAILED"
TEXT = b"WRITTEN-BY-GUEST"
TEXT_OFFSET = 1024

MIB = 1 << 20
SECTOR = 512
TABLE_OFFSET = 446
RANDOM_OFFSET = MIB
RANDOM_MIB = 8
SMALLEST_MIB = 2

# as --32 -o guest.o guest.s && objcopy -O binary -j .text guest.o guest.bin
# && xxd -p -c 44 guest.bin
BOOT_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfbfc8816887cbe9a7ce86200bf0080b90001f3abbef97cbf0080b91000f3a48a"
    "16887cbe8a7cb80043cd13beb87c7303bed57ce83800803e897c007503f4ebfdf4bd200066ff06108066a110"
    "806625ff00000066050080000066a3927c8a16887cbe8a7cb80043cd134d75d8ebd2ac84c07406baf803eeeb"
    "f531c0c30000100001000080000002000000000000004f53432d494d414745544f4f4c532d47554553542d42"
    "4f4f5445440d0a004f53432d494d414745544f4f4c532d47554553542d57524f54450d0a004f53432d494d41"
    "4745544f4f4c532d47554553542d57524954452d4641494c45440d0a005752495454454e2d42592d47554553"
    "54"
)
# Where the byte "busy" is: nm guest.o
BUSY_OFFSET = 0x89
# What a busy guest writes to: so many sectors from this one on.
RING_SECTOR = 32768
RING_SECTORS = 256


def boot_sector(mebibytes: int, *, busy: bool = False, says: str | None = None) -> bytes:
    """The first sector of a disk; of a busy guest it makes one that never stops writing.

    ``says`` is all that the guest prints, in the place of its usual lines: at most as long as the
    first of these; empty: it prints nothing.

    The partition table must be a valid one: Glance inspects an upload that is said to be raw,
    and refuses (415) one that has a boot signature but no partition.
    """
    first = RANDOM_OFFSET // SECTOR
    partition = struct.pack(
        "<B3sB3sII",
        0x80,
        b"\0\2\0",
        0x83,
        b"\xff\xff\xff",
        first,
        mebibytes * MIB // SECTOR - first,
    )
    code = bytearray(BOOT_CODE)
    code[BUSY_OFFSET] = busy
    if says is not None:
        _replace_text(code, BOOTED, says)
        for text in (WROTE, FAILED):
            _replace_text(code, text, "")
    return bytes(code).ljust(TABLE_OFFSET, b"\0") + partition.ljust(64, b"\0") + b"\x55\xaa"


def _replace_text(code: bytearray, old: str, new: str) -> None:
    """Replace what the boot sector prints by a text that is not longer."""
    if len(new) > len(old):
        raise ValueError(f"a guest says at most {len(old)} characters")
    place = code.index(f"{old}\r\n\0".encode())
    line = f"{new}\r\n".encode() if new else b""
    code[place : place + len(old) + 3] = line.ljust(len(old) + 3, b"\0")


def write_disk(
    path: pathlib.Path,
    mebibytes: int = 64,
    seed: int = 7,
    *,
    busy: bool = False,
    says: str | None = None,
) -> None:
    """Write one disk."""
    if mebibytes < SMALLEST_MIB:
        raise ValueError(f"a guest disk has at least {SMALLEST_MIB} MiB")
    size = min(RANDOM_MIB, mebibytes - 1) * MIB
    with path.open("wb") as disk:
        disk.write(boot_sector(mebibytes, busy=busy, says=says))
        disk.seek(RANDOM_OFFSET)
        disk.write(random.Random(seed).randbytes(size))
        disk.truncate(mebibytes * MIB)
