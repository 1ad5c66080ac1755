# SPDX-License-Identifier: Apache-2.0
"""What a disk is, and which ones are refused."""

from __future__ import annotations

import os
import struct
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies

from osc_imagetools import errors
from osc_imagetools.data.disk_format import DiskFacts, inspect_disk, size_as
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.bundle.samples import KIB, MIB


class Inspect(samples.TestCase):
    """inspect_disk."""

    def inspect(self, data: bytes, declared: str = "raw", **kwargs: Any) -> DiskFacts:
        disk = self.directory / "disk"
        disk.write_bytes(data)
        return inspect_disk(disk, declared, **kwargs)

    def refused(self, data: bytes, declared: str = "raw", **kwargs: Any) -> str:
        error = self.assertRaises(errors.UnsafeDisk, self.inspect, data, declared, **kwargs)
        self.assertTrue(error.message.startswith(kwargs.get("label", "disk") + " "), error.message)
        return str(error.message)

    def test_formats(self) -> None:
        for data, declared, content, virtual in (
            (samples.qcow2(), "qcow2", "qcow2", 64 * MIB),
            (samples.qcow2(version=2), "qcow2", "qcow2", 64 * MIB),
            (samples.vmdk(), "vmdk", "vmdk", 64 * MIB),
            (samples.vmdk_with_footer(5 * MIB), "vmdk", "vmdk", 64 * MIB),
            (samples.vhd(), "vhd", "vhd", 64 * MIB),
            (samples.vhdx(), "vhdx", "vhdx", 64 * MIB),
            (samples.vhdx(metadata_at=6 * MIB), "vhdx", "vhdx", 64 * MIB),
            (samples.vdi(), "vdi", "vdi", 64 * MIB),
            (samples.iso(), "iso", "iso", 40 * KIB),
            (samples.iso(bootable=True), "iso", "iso", 40 * KIB),
            (samples.luks(), "luks", "luks", 4 * KIB),
            (samples.luks(version=2), "luks", "luks", None),
            (samples.luks()[:100], "luks", "luks", None),
            (samples.luks()[: 2 * KIB], "luks", "luks", None),
            (b"anything", "raw", "raw", 8),
            (b"anything", "qcow2", "raw", 8),
            (b"anything", "ami", "raw", 8),
            (b"anything", "vhd", "raw", 8),
            (b"a" * 600 + b"\xff" * 600, "raw", "raw", 1200),
            (samples.partitioned(valid=True), "raw", "raw", 8 * KIB),
            (samples.partitioned(valid=False), "raw", "raw", 8 * KIB),
            (samples.qcow2(length=300 * KIB), "raw", "qcow2", 300 * KIB),
        ):
            facts = self.inspect(data, declared)
            self.assertEqual((content, virtual), (facts.content_format, facts.virtual_size))
            self.assertIsNone(facts.damage)
            self.assertEqual(content == "luks", facts.encrypted)

    def test_damaged_but_safe(self) -> None:
        """Their bytes may be kept; what is missing would be read as zeros."""
        blocks = bytearray(samples.vdi())
        struct.pack_into("<I", blocks, 0x158, 512)
        struct.pack_into("<IIII", blocks, 0x178, MIB, 0, 64, 3)
        for data, declared, damage in (
            (samples.qcow2()[: 100 * KIB], "qcow2", "cut short"),
            (samples.qcow2(l1_offset=2**63), "qcow2", "cut short"),
            (samples.qcow2()[: 64 * KIB], "qcow2", "cut short"),
            (samples.qcow2(features=1 << 1), "qcow2", "marked corrupt"),
            (samples.qcow2(snapshots=60000), "qcow2", "60000 snapshots"),
            (bytes(blocks), "vdi", "cut short"),
            (samples.vhd() + bytes(4 * KIB), "vhd", "cut short"),
        ):
            facts = self.inspect(data, declared)
            self.assertEqual(declared, facts.content_format)
            self.assertIn(damage, str(facts.damage))
        self.assertIsNone(self.inspect(bytes(blocks) + bytes(3 * MIB), "vdi").damage)
        self.assertIsNone(self.inspect(samples.vhd() + bytes(4 * KIB) + samples.vhd()[:511], "vhd").damage)
        # A version 2 has no features, and a guest may have left anything on a raw disk.
        self.assertIsNone(self.inspect(samples.qcow2(version=2, features=1 << 1), "qcow2").damage)
        self.assertIsNone(self.inspect(samples.qcow2(features=1 << 1), "raw").damage)

    def test_encrypted(self) -> None:
        for crypt, encrypted in ((0, False), (1, True), (2, True)):
            facts = self.inspect(samples.qcow2(crypt=crypt), "qcow2")
            self.assertEqual(("qcow2", encrypted), (facts.content_format, facts.encrypted))

    def test_size_in_a_format(self) -> None:
        for disk_format, size in (("raw", 1000001), ("iso", 1000001), ("qcow2", 1000448), ("vhd", 1000448)):
            self.assertEqual(size, size_as(disk_format, 1000001))
        self.assertEqual(512, size_as("qcow2", 512))

    def test_fixed_vhd_has_only_a_footer(self) -> None:
        data = bytes(8 * KIB) + samples.vhd(kind=2, size=8 * KIB)
        self.assertEqual(DiskFacts("vhd", 8 * KIB), self.inspect(data, "vhd"))
        self.assertEqual(DiskFacts("vhd", 8 * KIB), self.inspect(data, "vpc"))
        self.assertEqual(DiskFacts("raw", len(data)), self.inspect(data, "raw"))
        self.assertIn("too short", self.refused(data[-1024:], "vhd"))

    def test_references_to_other_files(self) -> None:
        foreign = samples.vmdk_descriptor(extent="/etc/passwd")
        parent = samples.vmdk_descriptor(more='parentFileNameHint="base.vmdk"')
        flat = samples.vmdk_descriptor(kind="monolithicFlat")
        for data, reason in (
            (samples.qcow2(backing=512), "backing file"),
            (samples.qcow2(features=1 << 2), "data_file"),
            (samples.qcow2(features=1 << 40), "nknown QCOW2 features"),
            (samples.vmdk(descriptor=foreign), "extent"),
            (samples.vmdk(descriptor=parent), "parent disk"),
            (samples.vmdk(descriptor=flat), "subformat"),
            (flat.encode(), "subformat"),
            (samples.vmdk_descriptor().encode(), "descriptor of a VMDK"),
            (b"# caf\xc3\xa9\n\nversion=1\n" + b"x" * 5000, "descriptor of a VMDK"),
            (samples.vhd(kind=4), "parent disk"),
            (samples.vhdx(parent=True), "parent disk"),
            (samples.vdi(kind=4), "parent disk"),
            (b"QED\0".ljust(KIB, b"\0"), "not allowed"),
        ):
            for container in ("bare", "ova", "compressed"):
                self.assertIn(reason, self.refused(data, container_format=container))

    def test_damaged(self) -> None:
        for data, declared in (
            (samples.qcow2()[:100], "qcow2"),
            (samples.qcow2(version=7), "qcow2"),
            (samples.qcow2(cluster_bits=8), "qcow2"),
            (samples.vhdx(size_length=4), "vhdx"),
            (samples.vhdx(metadata_at=6 * MIB, signature=b"atadatem"), "vhdx"),
            (b"QFI\xfb" + b"\xff" * 4096, "qcow2"),
            (samples.qcow2(virtual_size=2**64 - 1), "qcow2"),
            (samples.vmdk()[:600], "vmdk"),
            (b"KDMV", "vmdk"),
            (samples.vhdx()[: 100 * KIB], "vhdx"),
            (samples.vhdx()[: MIB + 100], "vhdx"),
            (b"vhdxfile".ljust(400 * KIB, b"\x01"), "vhdx"),
            (samples.vhd()[:100], "vhd"),
            (samples.vmdk_with_footer(5 * MIB)[: 4 * MIB], "vmdk"),
        ):
            self.refused(data, declared)

    def test_a_guest_may_leave_anything_on_a_raw_disk(self) -> None:
        for data in (samples.qcow2()[: 100 * KIB], b"QFI\xfb", b"conectix"[:4]):
            self.assertEqual(len(data), self.inspect(data, "raw").virtual_size)

    def test_vhdx_that_points_far_away(self) -> None:
        data = bytearray(samples.vhdx())
        struct.pack_into("<Q", data, 192 * KIB + 32, 2**63 + 5)
        self.assertIn("damaged", self.refused(bytes(data), "vhdx"))

    def test_several_formats_at_once(self) -> None:
        data = bytearray(samples.iso())
        data[:512] = samples.qcow2()[:512]
        self.assertIn("several formats at once (iso, qcow2)", self.refused(bytes(data), "iso"))

    def test_wrapped(self) -> None:
        self.assertEqual(DiskFacts("ova", None), self.inspect(b"tar", container_format="ova"))

    def test_label(self) -> None:
        self.assertIn("disk 0 of web01", self.refused(samples.qcow2(backing=1), label="disk 0 of web01"))

    def test_only_a_part_is_read(self) -> None:
        disk = self.directory / "disk"
        for data, content in ((b"", "raw"), (samples.qcow2(), "qcow2")):
            disk.write_bytes(data)
            os.truncate(disk, 2**42)
            self.assertEqual(content, inspect_disk(disk, content).content_format)

    def test_no_regular_file(self) -> None:
        target = self.directory / "target"
        target.write_bytes(b"x")
        os.symlink(target, self.directory / "link")
        os.mkfifo(self.directory / "fifo")
        for name, error in (
            ("link", errors.UnsafeDisk),
            ("fifo", errors.UnsafeDisk),
            ("missing", errors.ImagetoolsError),
        ):
            self.assertRaises(error, inspect_disk, self.directory / name, "raw")

    @settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
    @given(
        strategies.sampled_from(
            [samples.qcow2(length=1024), samples.vmdk(length=2048), samples.vdi(), samples.vhd()]
        ),
        strategies.lists(
            strategies.tuples(strategies.integers(0, 1023), strategies.binary(max_size=16)),
            max_size=4,
        ),
        strategies.sampled_from(["raw", "qcow2", "vmdk", "vhd", "vdi"]),
    )
    def test_damage_never_surprises(
        self, data: bytes, damage: list[tuple[int, bytes]], declared: str
    ) -> None:
        spoiled = bytearray(data)
        for offset, piece in damage:
            spoiled[offset : offset + len(piece)] = piece
        try:
            facts = self.inspect(bytes(spoiled), declared)
        except errors.UnsafeDisk:
            return
        self.assertLess(facts.virtual_size or 0, 2**63)
