# SPDX-License-Identifier: Apache-2.0
"""Bundles and disks for the tests of this layer, made from bytes: no other program is needed."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fixtures
import testtools

from osc_imagetools.bundle import sums
from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.bundle.writer import BundleWriter

IMAGE_ID = "8a2e1b7c-0000-4000-8000-000000000001"
KIB = 1024
MIB = 1024 * KIB


def qcow2(
    *,
    version: int = 3,
    virtual_size: int = 64 * MIB,
    backing: int = 0,
    features: int = 0,
    l1_offset: int = 196608,
    length: int = 200 * KIB,
    cluster_bits: int = 16,
    crypt: int = 0,
    snapshots: int = 0,
    l2_offset: int = 0,
) -> bytes:
    """A qcow2 without data: header, refcount table, refcounts, L1 table; a cluster each."""
    entries = min(max(1, -(-virtual_size // (512 * MIB))), 8192)  # an L2 table has 8192 clusters of 64 KiB
    counts = struct.pack(">Q", 128 * KIB).ljust(64 * KIB, b"\0") + struct.pack(">4H", 1, 1, 1, 1)
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        version,
        backing,
        16 if backing else 0,
        cluster_bits,
        virtual_size,
        crypt,
        entries,
        l1_offset,
        65536,
        1,
        snapshots,
        0,
        features,
        0,
        0,
        4,
        104,
    )
    tables = (header.ljust(64 * KIB, b"\0") + counts).ljust(192 * KIB, b"\0")
    if l2_offset:
        tables += struct.pack(">Q", 1 << 63 | l2_offset)
    return tables[:length].ljust(length, b"\0")


def vmdk(*, descriptor: str | None = None, length: int = 64 * KIB, flags: int = 0) -> bytes:
    """A sparse VMDK; its descriptor can be given. *flags* 1: its grain directory is at the end."""
    text = descriptor or vmdk_descriptor()
    directory = 2**64 - 1 if flags else 21
    header = struct.pack("<4sIIQQQQIQQ", b"KDMV", 1, 3, 131072, 128, 1, 20, 512, 0, directory)
    return (header.ljust(512, b"\0") + text.encode()).ljust(length, b"\0")


def vmdk_descriptor(*, kind: str = "monolithicSparse", extent: str = "disk.vmdk", more: str = "") -> str:
    """The text in a VMDK."""
    return (
        "# Disk DescriptorFile\nversion=1\nCID=db237294\nparentCID=ffffffff\n"
        f'createType="{kind}"\n{more}\n# Extent description\nRW 131072 SPARSE "{extent}"\n'
        'ddb.adapterType = "ide"\n'
    )


def vmdk_with_footer(length: int) -> bytes:
    """A VMDK as for streaming, longer than the part that is read of its head."""
    data = bytearray(vmdk(descriptor=vmdk_descriptor(kind="streamOptimized"), flags=1))
    data = data.ljust(length, b"\0")
    footer = bytearray(data[:512])
    struct.pack_into("<Q", footer, 56, 21)
    marker = struct.pack("<QII", 1, 0, 3).ljust(512, b"\0")
    data[-1536:] = marker + footer + bytes(512)
    return bytes(data)


def vhd(*, kind: int = 3, size: int = 64 * MIB) -> bytes:
    """The footer of a VHD, which is the header of a dynamic one as well."""
    footer = bytearray(512)
    footer[:8] = b"conectix"
    struct.pack_into(">QQ", footer, 40, size, size)
    struct.pack_into(">I", footer, 60, kind)
    return bytes(footer)


def vhdx(
    *,
    metadata_at: int = MIB,
    parent: bool = False,
    size: int = 64 * MIB,
    size_length: int = 8,
    signature: bytes = b"metadata",
) -> bytes:
    """The headers of a VHDX with its metadata where it is wanted."""
    data = bytearray(metadata_at + MIB)
    data[:8] = b"vhdxfile"
    region = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
    struct.pack_into("<IIII", data, 192 * KIB, 0x69676572, 0, 1, 0)
    struct.pack_into("<16sQII", data, 192 * KIB + 16, region, metadata_at, MIB, 1)
    size_item = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")
    locator = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")
    items = [(size_item, 65536, size_length), *([(locator, 65552, 20)] if parent else [])]
    struct.pack_into("<8sHH", data, metadata_at, signature, 0, len(items))
    for number, (guid, offset, length) in enumerate(items, 1):
        struct.pack_into("<16sIII", data, metadata_at + 32 * number, guid, offset, length, 0)
    struct.pack_into("<Q", data, metadata_at + 65536, size)
    return bytes(data)


def vdi(*, kind: int = 1) -> bytes:
    """The header of a VDI."""
    data = bytearray(KIB)
    struct.pack_into("<II", data, 0x40, 0xBEDA107F, 0x00010001)
    struct.pack_into("<I", data, 0x4C, kind)
    struct.pack_into("<Q", data, 0x170, 64 * MIB)
    return bytes(data)


def iso(*, bootable: bool = False) -> bytes:
    """An ISO 9660 of 20 blocks; bootable: also as a block device."""
    data = bytearray(40 * KIB)
    data[32 * KIB : 32 * KIB + 6] = b"\x01CD001"
    struct.pack_into("<L", data, 32 * KIB + 80, 20)
    struct.pack_into("<H", data, 32 * KIB + 128, 2048)
    if bootable:
        data[510:512] = b"\x55\xaa"
    return bytes(data)


def partitioned(*, valid: bool) -> bytes:
    """A raw disk with an MBR; one that is not valid has a boot flag that does not exist."""
    data = bytearray(8 * KIB)
    data[446] = 0x80 if valid else 0x17
    data[446 + 4] = 0x83
    data[510:512] = b"\x55\xaa"
    return bytes(data)


def luks(*, version: int = 1, length: int = 8 * KIB) -> bytes:
    """A LUKS header, its data beginning at sector 8."""
    header = struct.pack(
        ">6sH32s32s32sII20s32sI", b"LUKS\xba\xbe", version, b"aes", b"", b"", 8, 32, b"", b"", 1
    )
    return header.ljust(length, b"\0")


def disk_entry(file: str, data: bytes, index: int = 0, **changes: Any) -> dict[str, Any]:
    """A disk of the manifest that is true for *data*, but for the changes."""
    return {
        "index": index,
        "name": f"vd{'abcdef'[index]}",
        "file": file,
        "role": "image",
        "boot_index": None,
        "device": None,
        "disk_format": "raw",
        "container_format": "bare",
        "content_format": "raw",
        "size": len(data),
        "virtual_size": len(data),
        "hash": {"algorithm": "sha512", "value": hashlib.sha512(data).hexdigest()},
        "verified_by": "os_hash",
        "replayable": {},
        "observed": {},
        **changes,
    }


def manifest(*disks: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A manifest that is valid but for the changes; without ``files``, which the writer adds."""
    return {
        "format": "osc-imagetools-bundle",
        "format_version": 1,
        "kind": "image",
        "generator": {"name": "osc-imagetools", "version": "1.0.0"},
        "created_at": "2026-01-02T03:04:05Z",
        "source": {
            "cloud": "here",
            "region": "RegionOne",
            "auth_url": "http://identity.test/v3",
            "project_id": "p1",
            "project_name": "demo",
        },
        "resource": {"id": IMAGE_ID, "name": "web01"},
        "consistency": {"mode": "not-applicable", "snapshots": []},
        "hash_algorithm": "sha512",
        "disks": list(disks),
        "not_captured": [{"name": "vdc", "device": "/dev/vdc", "reason": "swap", "detail": "A swap disk."}],
        "replayable": {
            "name": "web01",
            "properties": {"os_distro": "debian"},
            "tags": ["nightly"],
            "members": [{"project_id": "p2", "status": "accepted"}],
        },
        "observed": {"created_at": "2026-01-01T00:00:00Z", "rxtx_factor": 1.5},
        **changes,
    }


FIRST, SECOND = "disks/0-vda.raw", "disks/1-vdb.qcow2"


def contents() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """The disks of the sample bundle: data and what differs from :func:`disk_entry`."""
    qcow = {"disk_format": "qcow2", "content_format": "qcow2", "virtual_size": 64 * MIB}
    return {FIRST: (b"disk a" * 4000, {}), SECOND: (second(), qcow)}


def second() -> bytes:
    """The second disk of the sample bundle."""
    return qcow2()


class SecondDisk(fixtures.Fixture):
    """Gives the sample bundle another second disk."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def _setUp(self) -> None:
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.second", lambda: self._data))


def open_writer(
    path: Path, identifier: str = IMAGE_ID, kind: str = "image", name: str = "web01"
) -> BundleWriter:
    """A writer for the sample image."""
    return BundleWriter.open(path, kind=kind, identity={"id": identifier, "name": name})


def fill(writer: BundleWriter) -> dict[str, Any]:
    """Writes the disks and documents of the sample bundle; its manifest."""
    disks = []
    for index, (file, (data, changes)) in enumerate(contents().items()):
        target = writer.disk_path(file)
        target.write_bytes(data)
        target.chmod(0o600)
        disks.append(disk_entry(file, data, index, **changes))
    writer.add_document("image", {"id": IMAGE_ID, "name": "wéb01"})
    return manifest(*disks)


def make_bundle(path: Path) -> Path:
    """The sample bundle."""
    with open_writer(path) as writer:
        writer.finish(fill(writer))
    return path


def reseal(path: Path, changed: object = None) -> None:
    """Makes a bundle agree with itself again, as somebody would who forges one.

    :param changed: the new manifest: bytes, or a document; None: as it is.
    """
    if isinstance(changed, bytes):
        (path / "manifest.json").write_bytes(changed)
    elif changed is not None:
        (path / "manifest.json").write_text(json.dumps(changed))
    digests = {}
    for directory, _, names in os.walk(path):
        for name in names:
            file = Path(directory, name)
            if name != "SHA512SUMS" and file.is_file() and not file.is_symlink():
                digest = hashlib.sha512(file.read_bytes()).hexdigest()
                digests[str(file.relative_to(path))] = digest
    (path / "SHA512SUMS").write_bytes(sums.format_sums(digests))


def load(path: Path) -> dict[str, Any]:
    """The manifest of a bundle."""
    document: dict[str, Any] = json.loads((path / "manifest.json").read_bytes())
    return document


def with_disk(path: Path, data: bytes, **changes: Any) -> Path:
    """A bundle of one disk, sealed: its manifest is true for the bytes, but for the changes."""
    file = changes.pop("file", FIRST)
    (path / "disks").mkdir(parents=True)
    (path / FIRST).write_bytes(data)
    document = manifest(disk_entry(file, data, **changes), files=[])
    reseal(path, format_manifest(document))
    return path


class TestCase(testtools.TestCase):
    """Base of the tests of this layer: ``directory`` is the test's own."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.useFixture(fixtures.TempDir()).path)
        self.path = self.directory / "web01.bundle"
        # The disk of the tests need not survive a power cut; test_writer looks at the order.
        self.useFixture(fixtures.MonkeyPatch("os.fsync", lambda descriptor: None))

    def fails(self, error: type[BaseException], call: Callable[..., Any], *args: Any) -> str:
        """The text of the error that a call raises."""
        return str(self.assertRaises(error, call, *args))
