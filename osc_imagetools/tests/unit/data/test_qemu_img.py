# SPDX-License-Identifier: Apache-2.0
"""qemu-img itself, on real files: what it tells, what it is kept from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import fixtures

from osc_imagetools import errors
from osc_imagetools.data import qemu_img
from osc_imagetools.data.disk_format import inspect_disk, size_as
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.bundle.samples import MIB

FORMATS = {"qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhdx": "vhdx", "vhd": "vpc"}


class TestCase(samples.TestCase):
    """Disks of 4 MiB of random bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.raw = self.directory / "disk.raw"
        self.raw.write_bytes(os.urandom(4 * MIB))

    def disk(self, disk_format: str) -> Path:
        path = self.directory / f"disk.{disk_format}"
        options = ["-f", "raw", "-O", FORMATS[disk_format]]
        subprocess.run(["qemu-img", "convert", *options, str(self.raw), str(path)], check=True)
        return path

    def opened(self, path: Path) -> BinaryIO:
        stream = path.open("rb")
        self.addCleanup(stream.close)
        return stream

    def program(self, script: str) -> None:
        """Puts something else in the place of qemu-img."""
        path = self.directory / "bin" / "qemu-img"
        path.parent.mkdir()
        path.write_text(f"#!{sys.executable}\n{script}")
        path.chmod(0o755)
        self.useFixture(fixtures.EnvironmentVariable("PATH", str(path.parent)))


class TestDamage(TestCase):
    """damage_of, and what the headers tell."""

    def damage(self, path: Path, disk_format: str) -> str | None:
        facts = inspect_disk(path, disk_format)
        return facts.damage or qemu_img.damage_of(self.opened(path), disk_format)

    def test_whole(self) -> None:
        for disk_format in FORMATS:
            self.assertIsNone(self.damage(self.disk(disk_format), disk_format), disk_format)
        self.assertIsNone(self.damage(self.raw, "raw"))

    def test_cut_short(self) -> None:
        for disk_format in FORMATS:
            path = self.disk(disk_format)
            os.truncate(path, path.stat().st_size // 2)
            self.assertIsNotNone(self.damage(path, disk_format), disk_format)

    def test_compressed_and_cut_short(self) -> None:
        self.raw.write_bytes(os.urandom(2 * MIB).hex().encode())
        path = self.directory / "disk.qcow2"
        subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", "-f", "raw", self.raw, path], check=True)
        self.assertIsNone(self.damage(path, "qcow2"))
        os.truncate(path, path.stat().st_size - MIB)
        self.assertIn("cut short", str(self.damage(path, "qcow2")))

    def test_clusters_that_are_not_used_are_no_damage(self) -> None:
        path = self.disk("qcow2")
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(bytes(MIB))
        self.assertIsNone(self.damage(path, "qcow2"))

    def test_a_qcow2_that_grows_without_end_is_given_up(self) -> None:
        self.patch(qemu_img, "MEMORY", 64 * MIB)
        self.patch(qemu_img, "CPU", 1)
        self.program("while True: pass")
        damage = qemu_img.damage_of(self.opened(self.disk_of_nothing()), "qcow2")
        self.assertIn("ended by signal", str(damage))

    def test_memory_is_limited(self) -> None:
        self.program(f"try: bytearray({4 * 1024 * MIB})\nexcept MemoryError: exit('no memory')")
        damage = qemu_img.damage_of(self.opened(self.disk_of_nothing()), "qcow2")
        self.assertEqual("cannot be read whole: no memory", damage)

    def test_a_lot_on_stderr_does_not_block_it(self) -> None:
        self.program("import sys; sys.stderr.write('qemu-img: bad\\x1b[31m ' + 'x' * 1000000); sys.exit(1)")
        damage = str(qemu_img.damage_of(self.opened(self.disk_of_nothing()), "qcow2"))
        self.assertIn("cannot be read whole: bad?[31m xxx", damage)
        self.assertLess(len(damage), 400)

    def disk_of_nothing(self) -> Path:
        path = self.directory / "some.qcow2"
        path.write_bytes(samples.qcow2())
        return path


class TestConvert(TestCase):
    """convert."""

    def convert(self, source: Path, content: str, disk_format: str) -> Path:
        target = self.directory / f"made.{disk_format}"
        qemu_img.convert(self.opened(source), content, target, disk_format, label="image web01 (i1)")
        return target

    def test_there_and_back(self) -> None:
        for disk_format in FORMATS:
            there = self.convert(self.raw, "raw", disk_format)
            self.assertEqual(disk_format, inspect_disk(there, disk_format).content_format)
            back = self.convert(there, disk_format, "raw")
            self.assertEqual(self.raw.read_bytes(), back.read_bytes(), disk_format)

    def test_an_odd_size_becomes_whole_sectors(self) -> None:
        self.raw.write_bytes(os.urandom(1000001))
        for disk_format in FORMATS:
            made = inspect_disk(self.convert(self.raw, "raw", disk_format), disk_format)
            self.assertEqual(size_as(disk_format, 1000001), made.virtual_size, disk_format)

    def test_the_open_file_is_converted_and_not_the_one_of_its_name(self) -> None:
        stream = self.opened(self.raw)
        wanted = self.raw.read_bytes()
        self.raw.unlink()
        self.raw.write_bytes(b"another one")
        target = self.directory / "made.raw"
        qemu_img.convert(stream, "raw", target, "raw", label="disk")
        self.assertEqual(wanted, target.read_bytes())

    def test_no_backing_file_is_opened(self) -> None:
        """Even if the inspection that refuses such a disk were left out."""
        secret = self.directory / "secret"
        secret.write_bytes(b"secret" * 1000)
        path = self.directory / "over.qcow2"
        options = ["-q", "-f", "qcow2", "-b", str(secret), "-F", "raw"]
        subprocess.run(["qemu-img", "create", *options, str(path), "1M"], check=True)
        self.assertNotIn(b"secret", self.convert(path, "qcow2", "raw").read_bytes())

    def test_a_file_that_changes_meanwhile(self) -> None:
        stream = self.opened(self.raw)

        def wait(ended: qemu_img.Ended) -> None:
            with self.raw.open("ab") as file:
                file.write(b"more")
            while not ended():
                pass

        target = self.directory / "made.raw"
        error = self.assertRaises(
            errors.TransferError, qemu_img.convert, stream, "raw", target, "raw", label="disk", wait=wait
        )
        self.assertIn("changed while it was converted", error.message)

    def test_an_interrupt_ends_it(self) -> None:
        mark = self.directory / "pid"
        self.program(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(100)")

        def wait(ended: qemu_img.Ended) -> None:
            while not (mark.exists() and mark.read_text()):
                self.assertFalse(ended())
            raise errors.Cancelled("interrupted")

        call = (qemu_img.convert, self.opened(self.raw), "raw", self.directory / "made.raw", "raw")
        self.assertRaises(errors.Cancelled, *call, label="disk", wait=wait)
        self.assertRaises(ProcessLookupError, os.kill, int(mark.read_text()), 0)

    def test_it_ends_with_the_process_that_runs_it(self) -> None:
        mark = self.directory / "pid"
        self.program(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(100)")
        script = (
            "import pathlib; from osc_imagetools.data import qemu_img; "
            f"stream = open({str(self.raw)!r}, 'rb'); "
            "qemu_img.convert(stream, 'raw', pathlib.Path('/nowhere'), 'raw', label='disk')"
        )
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            while not (mark.exists() and mark.read_text()):
                self.assertIsNone(process.poll())
            process.kill()
        gone = threading.Event()
        while not gone.wait(0.01):
            stat = Path(f"/proc/{mark.read_text()}/stat")
            if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
                gone.set()

    def test_no_room(self) -> None:
        self.program("import os, sys; sys.exit('qemu-img: error while writing: ' + os.strerror(28))")
        error = self.assertRaises(errors.NoSpace, self.convert, self.raw, "raw", "qcow2")
        self.assertIn("image web01 (i1)", error.message)

    def test_the_message_names_the_disk(self) -> None:
        path = self.directory / "bad.qcow2"
        path.write_bytes(b"QFI\xfb" + bytes(1000))
        error = self.assertRaises(errors.ResourceUnusable, self.convert, path, "qcow2", "raw")
        self.assertIn("image web01 (i1) cannot be converted to raw: Could not open", error.message)
        self.assertNotIn("json:", error.message)

    def test_not_installed(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable("PATH", str(self.directory)))
        self.assertFalse(qemu_img.is_installed())
        error = self.assertRaises(errors.ResourceUnusable, qemu_img.require_installed, "--disk-format")
        self.assertIn("--disk-format needs qemu-img", error.message)
