# SPDX-License-Identifier: Apache-2.0
"""What a disk really is, and whether it is whole in its own file.

Contract: reads only; a bounded part of the file whatever its length (its head, where that points
to, its tail). The formats are told apart by oslo.utils' inspectors, and mixtures are judged as
Glance judges them (glance/location.py). Refused beyond what those refuse: a VMDK, VHD, VHDX or VDI
with a parent disk, a VMDK that is only a descriptor, a disk that begins like a format and does not
go on like it. What is safe and yet not whole (cut short, marked corrupt) is no reason to refuse its bytes,
and told as ``damage``: who reads its content must refuse it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from oslo_utils.imageutils import format_inspector
from oslo_utils.imageutils.format_inspector import EndCaptureRegion, FileInspector

from osc_imagetools import errors

# What an inspector logs about a disk that it refuses stands in the error that is raised here.
logging.getLogger(format_inspector.__name__).setLevel(logging.CRITICAL)

STEP = 4096  # bytes: the inspectors follow one pointer for each piece that they get
HEAD = 2 * 1024 * 1024
MAX_SIZE = 2**63 - 1
ROUNDS = 8  # pointers that are followed beyond the head; VHDX needs 2

MAGIC = {
    b"QFI\xfb": "qcow2",
    b"QED\0": "qed",
    b"KDMV": "vmdk",
    b"conectix": "vhd",
    b"vhdxfile": "vhdx",
}
DESCRIPTOR = "is the descriptor of a VMDK, whose data is in other files"
CUT_SHORT = "is cut short"
CORRUPT = "is marked corrupt by what has written it last"
VHD_NAMES = ("vhd", "vpc")
VHD_FOOTER = 512
VHD_DIFFERENCING = 4
VDI_WHOLE = (1, 2)  # image types: dynamic, static; the others refer to a parent
# The metadata item of a VHDX that names its parent [MS-VHDX 2.6.2]:
# A8D35F2D-B30B-454D-ABF7-D3D84834AB0C.
VHDX_PARENT_LOCATOR = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")


QCOW2_CORRUPT = 1 << 1  # incompatible feature bit (docs/interop/qcow2.rst of QEMU)
MAX_SNAPSHOTS = 1000  # each has tables of its own, which a check would have to read
SECTOR = 512  # what all formats but raw count in


@dataclass(frozen=True)
class DiskFacts:
    """What the content of a disk is; ``virtual_size`` in bytes, None where it cannot be told.

    ``damage`` is the end of a sentence that begins with the disk: why its content cannot be read whole, as
    far as its headers tell (qemu-img knows more: :func:`osc_imagetools.data.qemu_img.damage_of`).
    ``encrypted``: its format keeps the data encrypted, which only who has the key can read.
    """

    content_format: str
    virtual_size: int | None
    damage: str | None = None
    encrypted: bool = False


def size_as(disk_format: str, size: int) -> int:
    """The virtual size that a disk of *size* bytes has in a format: all but raw count in sectors."""
    return size if disk_format in ("raw", "iso") else -(-size // SECTOR) * SECTOR


def inspect_disk(
    path: Path,
    declared_format: str,
    *,
    container_format: str = "bare",
    label: str | None = None,
) -> DiskFacts:
    """Looks at a disk in a file.

    :param declared_format: its disk_format: what has only a footer (a fixed VHD) is recognised by
        it, and what is called raw has the size of its file as its virtual size, as in Glance.
    :param container_format: where it is not bare, it is the content's format, and the virtual size
        is unknown; a disk that refers to other files is refused all the same.
    :param label: what messages call the disk; by default the name of the file.
    :raises errors.UnsafeDisk: it is not whole in its own file, is damaged, or is of several formats
        at once.
    :raises errors.ImagetoolsError: it cannot be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with open(os.open(path, flags), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise errors.UnsafeDisk(f"{label or path} is no regular file")
            return inspect_stream(
                stream,
                declared_format,
                container_format=container_format,
                label=label or path.name,
            )
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise errors.UnsafeDisk(f"{label or path} is a link") from None
        raise errors.ImagetoolsError(f"Cannot read {path}: {exc.strerror or exc}") from exc


def inspect_stream(stream: BinaryIO, declared_format: str, *, container_format: str, label: str) -> DiskFacts:
    """:func:`inspect_disk` for an open regular file, whose position it moves."""
    disk = _Disk(stream, label, called_raw=declared_format == "raw")
    bare = container_format == "bare"
    inspector = disk.recognise(mixture_allowed=not bare)
    name = inspector.NAME if inspector else "raw"
    if not bare:
        return DiskFacts(container_format, None)
    if name == "raw" and declared_format in VHD_NAMES:
        return disk.fixed_vhd()
    if inspector is None or declared_format == "raw":
        return DiskFacts(name, disk.size)
    return DiskFacts(name, disk.virtual_size(inspector), disk.damage(name), disk.is_encrypted(name))


class Qcow2Header(NamedTuple):
    """What is of interest in the header of a qcow2."""

    cluster_bits: int
    crypt: int  # 0: none, 1: AES, 2: LUKS
    l1_size: int
    l1_offset: int
    refcount_offset: int
    snapshots: int
    features: int  # incompatible ones


def qcow2_header(head: bytes) -> Qcow2Header:
    """docs/interop/qcow2.rst of QEMU."""
    head = head.ljust(STEP, b"\0")
    (version,) = struct.unpack_from(">I", head, 4)
    bits, _, crypt, l1_size, l1_offset, refcounts, _, snapshots = struct.unpack_from(">IQIIQQII", head, 20)
    (features,) = struct.unpack_from(">Q", head, 72)
    return Qcow2Header(bits, crypt, l1_size, l1_offset, refcounts, snapshots, features if version > 2 else 0)


class _Disk:
    def __init__(self, stream: BinaryIO, label: str, *, called_raw: bool) -> None:
        self._stream = stream
        self._label = label
        self._called_raw = called_raw  # then a guest may have left a part of some format in it
        self.size = stream.seek(0, os.SEEK_END)
        self._head = self._read(0, STEP)

    def recognise(self, *, mixture_allowed: bool) -> FileInspector | None:
        """The inspector that knows the content; None for raw data, partitioned or not.

        :raises errors.UnsafeDisk: see :func:`inspect_disk`.
        """
        found = {i.NAME: i for i in self._inspectors() if _matches(i)}
        if found.keys() == {"iso", "gpt"}:
            del found["gpt"]  # an ISO that also boots as a block device
        if len(found) > 1 and not mixture_allowed:
            raise self._unsafe(f"looks like several formats at once ({', '.join(sorted(found))})")
        for name, inspector in found.items():
            self._check(name, inspector)
        self._check_unrecognised(found.keys())
        # The content of a raw disk is arbitrary: a partition table, however odd, is part of it.
        found.pop("gpt", None)
        return next(iter(found.values()), None)

    def virtual_size(self, inspector: FileInspector) -> int | None:
        """Bytes; None where the format does not tell."""
        if isinstance(inspector, format_inspector.LUKSInspector):
            return self._luks_payload(inspector)
        try:
            size = inspector.virtual_size
        except Exception:
            raise self._unsafe(f"begins like {inspector.NAME}, but is damaged") from None
        if size > MAX_SIZE:
            raise self._unsafe(f"claims a virtual size of {size} bytes, which is impossible")
        return size or None

    def is_encrypted(self, name: str) -> bool:
        """Whether a format that is recognised keeps its data encrypted."""
        return name == "luks" or (name == "qcow2" and self._qcow2.crypt != 0)

    def damage(self, name: str) -> str | None:
        """Why a disk that is safe cannot be read whole; None where its headers know nothing of it."""
        if name == "qcow2":
            return self._qcow2_damage()
        if name == "vdi":
            # Offset of the data; size of a block and of what is beside it, blocks that are in the file.
            (start,) = struct.unpack_from("<I", self._head, 0x158)
            size, extra, _, blocks = struct.unpack_from("<IIII", self._head, 0x178)
            return CUT_SHORT if start + blocks * (size + extra) > self.size else None
        if name == "vhd":
            # The footer of a dynamic one stands at its beginning, too (511 bytes in very old ones).
            return None if b"conectix" in self._read(max(self.size - VHD_FOOTER, 0), 9) else CUT_SHORT
        return None

    def _qcow2_damage(self) -> str | None:
        """docs/interop/qcow2.rst of QEMU: the tables that the header points at are in the file."""
        header = self._qcow2
        if header.features & QCOW2_CORRUPT:
            return CORRUPT
        if header.l1_size and header.l1_offset + header.l1_size * 8 > self.size:
            return f"{CUT_SHORT}: its tables are beyond the end of the file"
        if header.refcount_offset >= self.size:
            return f"{CUT_SHORT}: its tables are beyond the end of the file"
        if header.snapshots > MAX_SNAPSHOTS:
            return f"has {header.snapshots} snapshots in itself, and more than {MAX_SNAPSHOTS} are not read"
        return None

    @property
    def _qcow2(self) -> Qcow2Header:
        return qcow2_header(self._head)

    def fixed_vhd(self) -> DiskFacts:
        """What was found raw and is called a VHD: a fixed one is raw data with a footer."""
        footer = self._read(max(self.size - VHD_FOOTER, 0), VHD_FOOTER)
        if len(footer) < VHD_FOOTER or not footer.startswith(b"conectix"):
            return DiskFacts("raw", self.size)
        self._check_vhd(footer)
        (size,) = struct.unpack_from(">Q", footer, 48)
        if size > self.size:
            raise self._unsafe(f"claims a virtual size of {size} bytes, which its file is too short for")
        return DiskFacts("vhd", size)

    def _luks_payload(self, inspector: format_inspector.LUKSInspector) -> int | None:
        try:
            header = inspector.header_items
        except struct.error:
            return None
        if header["version"] != 1:
            return None  # another header; it cannot refer to other files either
        size = self.size - header["payload_offset"] * 512
        return size if size > 0 else None

    def _inspectors(self) -> list[FileInspector]:
        """All inspectors, having seen what they want to see of the file."""
        kinds = [kind for name, kind in format_inspector.ALL_FORMATS.items() if name != "raw"]
        everyone = [kind() for kind in kinds]
        alive = list(everyone)
        place = 0
        while place < min(self.size, HEAD) and not all(i.complete for i in alive):
            chunk = self._read(place, STEP)
            place += len(chunk)
            alive = [i for i in alive if _takes(i, chunk)]
            if not chunk:
                break
        for inspector in alive:
            if place < self.size and not inspector.complete and _matches(inspector):
                self._show_rest(inspector)
            inspector.finish()
        return everyone

    def _show_rest(self, inspector: FileInspector) -> None:
        """Shows an inspector the parts beyond the head that it asks for, in the order it asks."""
        with contextlib.suppress(Exception):  # its way to say that this is not its format
            for _ in range(ROUNDS):
                if not self._show_wanted(inspector):
                    return

    def _show_wanted(self, inspector: FileInspector) -> bool:
        """Shows what is asked for now; False if there is nothing of it in the file."""
        shown = False
        regions = {name: inspector.region(name) for name in inspector.context_info}
        for name, region in regions.items():
            if isinstance(region, EndCaptureRegion):
                tail = self._read(max(self.size - region.length, 0), region.length)
                region.capture(tail, self.size)
                continue
            place, length = region.offset + len(region.data), region.length - len(region.data)
            missing = self._read(place, length)
            region.capture(missing, place + len(missing))
            shown = shown or bool(missing)
            if missing and region.complete:
                inspector.region_complete(name)
        inspector.post_process()
        return shown

    def _check(self, name: str, inspector: FileInspector) -> None:
        """Refuses what refers to other files, and what is damaged."""
        if name in ("gpt", "luks"):
            return  # neither can refer to anything; a guest writes there what it likes
        try:
            inspector.safety_check()
        except format_inspector.SafetyCheckFailed as exc:
            reasons = "; ".join(str(failure) for failure in exc.failures.values())
            raise self._unsafe(f"is {name} and must not be used: {reasons}") from None
        except Exception:
            raise self._unsafe(f"begins like {name}, but is damaged or cut short") from None
        if name == "qcow2" and not self._called_raw:
            self._check_qcow2()
        elif name == "vmdk":
            self._check_vmdk(inspector)
        elif name == "vhd":
            self._check_vhd(self._head)
        elif name == "vhdx":
            self._check_vhdx(inspector)
        elif name == "vdi":
            self._check_vdi()

    def _check_unrecognised(self, found: Collection[str]) -> None:
        for magic, name in MAGIC.items():
            if self._head.startswith(magic) and name not in found and not self._called_raw:
                raise self._unsafe(f"begins like {name}, but is damaged or cut short")
        if "vmdk" not in found and _is_vmdk_descriptor(self._head):
            raise self._unsafe(DESCRIPTOR)

    def _check_qcow2(self) -> None:
        if len(self._head) < SECTOR or not 9 <= self._qcow2.cluster_bits <= 21 or self._qcow2.crypt > 2:
            raise self._unsafe("begins like qcow2, but its header is damaged")

    def _check_vmdk(self, inspector: FileInspector) -> None:
        if not self._head.startswith(b"KDMV"):
            raise self._unsafe(DESCRIPTOR)
        text = inspector.desc_text if isinstance(inspector, format_inspector.VMDKInspector) else None
        if text and "parentfilenamehint" in text:
            raise self._unsafe("is vmdk and must not be used: Image has a parent disk")

    def _check_vhd(self, footer: bytes) -> None:
        (kind,) = struct.unpack_from(">I", footer, 60)
        if kind == VHD_DIFFERENCING:
            raise self._unsafe("is vhd and must not be used: Image has a parent disk")

    def _check_vhdx(self, inspector: FileInspector) -> None:
        if not inspector.has_region("vds"):
            raise self._unsafe("begins like vhdx, but is damaged or cut short")
        if VHDX_PARENT_LOCATOR in bytes(inspector.region("metadata").data):
            raise self._unsafe("is vhdx and must not be used: Image has a parent disk")

    def _check_vdi(self) -> None:
        (kind,) = struct.unpack_from("<I", self._head, 0x4C)
        if kind not in VDI_WHOLE:
            raise self._unsafe("is vdi and must not be used: Image has a parent disk")

    def _read(self, offset: int, length: int) -> bytes:
        if offset >= self.size or length <= 0:
            return b""
        self._stream.seek(offset)
        return self._stream.read(length)

    def _unsafe(self, what: str) -> errors.UnsafeDisk:
        return errors.UnsafeDisk(f"{self._label} {what}")


def _takes(inspector: FileInspector, chunk: bytes) -> bool:
    try:
        inspector.eat_chunk(chunk)
    except Exception:
        return False  # the way in which an inspector says that this is not its format
    return True


def _matches(inspector: FileInspector) -> bool:
    try:
        return inspector.format_match
    except Exception:
        return False  # an inspector that never got to the point of knowing


def _is_vmdk_descriptor(head: bytes) -> bool:
    """As QEMU recognises one (block/vmdk.c, vmdk_probe): comments, empty lines, then a version."""
    for line in head.split(b"\n"):
        if line.startswith(b"#") or not line.strip(b" \r"):
            continue
        return line.startswith((b"version=1", b"version=2", b"version=3"))
    return False
