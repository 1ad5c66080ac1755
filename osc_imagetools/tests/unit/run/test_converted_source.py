# SPDX-License-Identifier: Apache-2.0
"""A disk in another format on its way into an upload: as a stream, or through a file."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import threading
from typing import BinaryIO

import fixtures

from osc_imagetools import errors
from osc_imagetools.data import raw_stream
from osc_imagetools.data.disk_stream import DiskStream
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.run import deadline
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.converted_source import ConvertedSource
from osc_imagetools.tests.unit.base import TestCase

MIB = 1 << 20


class ConvertedCase(TestCase):
    stream = True

    def setUp(self) -> None:
        super().setUp()
        self.patch(deadline, "FIRST_PAUSE", 0.01)
        if not self.stream:
            self.patch(raw_stream, "COPIER", "no-such-nbdcopy")
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(fixtures.EnvironmentVariable("TMPDIR"))
        self.context = RunContext.of(self.mocked_cloud().cloud, "test", None)
        self.cancelled = threading.Event()
        self.raw = os.urandom(3 * MIB) + bytes(20 * MIB) + os.urandom(MIB + 512)
        (self.directory / "disk.raw").write_bytes(self.raw)
        self.disk = self.directory / "disk.qcow2"
        command = ["qemu-img", "convert", "-O", "qcow2", str(self.directory / "disk.raw"), str(self.disk)]
        subprocess.run(command, check=True)
        self.digest = hashlib.sha512(self.disk.read_bytes()).hexdigest()

    def source(self, disk_format: str = "raw") -> ConvertedSource:
        def opener() -> BinaryIO:
            return self.disk.open("rb", buffering=0)

        proof = Proof("sha512", self.digest, "os_hash")
        original = FileSource("disks/0-vda.qcow2", None, proof, opener, "web01.bundle")
        return ConvertedSource(self.context, original, "qcow2", disk_format, self.directory)

    def read(self, source: ConvertedSource) -> tuple[bytes, int]:
        """What a sink gets, and the most bytes of temporary files meanwhile."""
        taken, most = b"", 0
        with source.open(self.cancelled) as reader:
            stream = DiskStream(
                source, reader, algorithms=(), cancelled=self.cancelled, advance=lambda count: None
            )
            try:
                while block := stream.read():
                    self.received = taken = taken + block
                    files = (p for p in self.directory.rglob(".osc-imagetools-*/*"))
                    most = max(most, sum(p.stat().st_size for p in files))
            finally:
                stream.close()
        return taken, most


class TestStream(ConvertedCase):
    def test_the_bytes_and_no_file(self) -> None:
        taken, most = self.read(self.source())
        self.assertTrue(taken == self.raw)
        self.assertEqual(0, most)

    def test_it_can_be_read_again(self) -> None:
        source = self.source()
        self.assertEqual(self.read(source), self.read(source))

    def test_another_disk_than_the_bundle_has_never_ends(self) -> None:
        """Its content is right, its hash is not: what was sent of it must not become an image."""
        self.digest = "0" * 128
        error = self.assertRaises(errors.HashMismatch, self.read, self.source())
        self.assertIn("bundle verify web01.bundle", str(error))
        self.assertLess(len(self.received), len(self.raw))

    def test_a_reader_that_is_killed(self) -> None:
        self.patch(raw_stream, "READER", str(self.dying("qemu-nbd")))
        self.assertRaises(errors.ResourceUnusable, self.read, self.source())

    def test_a_copier_that_ends_early_and_well(self) -> None:
        program = self.directory / "nbdcopy"
        program.write_text("#!/bin/sh\nhead -c 2000000 /dev/zero\n")
        program.chmod(0o755)
        self.patch(raw_stream, "COPIER", str(program))
        error = self.assertRaises(errors.HashMismatch, self.read, self.source())
        self.assertIn("ended after 2000000 of", str(error))

    def test_cut_short(self) -> None:
        os.truncate(self.disk, self.disk.stat().st_size - MIB)
        self.assertRaises(errors.DamagedDisk, self.read, self.source())

    def test_an_interrupt(self) -> None:
        self.cancelled.set()
        self.assertRaises(errors.Cancelled, self.read, self.source())

    def dying(self, name: str) -> pathlib.Path:
        """A program that is killed before it has done anything."""
        program = self.directory / name
        program.write_text("#!/bin/sh\nkill -9 $$\n")
        program.chmod(0o755)
        return program


class TestFile(ConvertedCase):
    stream = False

    def test_the_bytes_and_a_file_that_goes(self) -> None:
        taken, most = self.read(self.source())
        self.assertTrue(taken == self.raw)
        self.assertEqual(len(self.raw), most)
        self.assertEqual([], list(self.directory.glob(".osc-imagetools-*")))

    def test_another_format(self) -> None:
        taken, _ = self.read(self.source("vmdk"))
        (self.directory / "disk.vmdk").write_bytes(taken)
        pair = [str(self.directory / "disk.vmdk"), str(self.directory / "disk.raw")]
        subprocess.run(["qemu-img", "compare", "-f", "vmdk", "-F", "raw", *pair], check=True)

    def test_another_disk_than_the_bundle_has(self) -> None:
        self.digest = "0" * 128
        self.assertRaises(errors.HashMismatch, self.read, self.source())
