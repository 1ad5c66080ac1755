# SPDX-License-Identifier: Apache-2.0
"""Conversions into temporary files: what is converted, where, and what is known of it."""

import hashlib
import os
import pathlib

import fixtures

from osc_imagetools import errors
from osc_imagetools.data.download_source import Proof
from osc_imagetools.run import deadline
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.run.qemu_img import convert_file, is_ours, open_plain, remove_folder, temporary_folder
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.bundle import samples


class QemuImgTestCase(TestCase):
    def setUp(self):
        super().setUp()
        self.patch(deadline, "FIRST_PAUSE", 0.01)
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.temporary = self.directory / "tmp"
        self.temporary.mkdir()
        self.useFixture(fixtures.EnvironmentVariable("TMPDIR", str(self.temporary)))
        self.context = RunContext.of(self.mocked_cloud().cloud, "test", None)
        self.disk = self.directory / "web01.bundle" / "disks" / "0-vda.raw"
        self.disk.parent.mkdir(parents=True)
        self.disk.write_bytes(os.urandom(100000))

    def proof(self, data):
        return Proof("sha512", hashlib.sha512(data).hexdigest(), "os_hash")


class TestConverted(QemuImgTestCase):
    def test_what_is_not_the_disk_of_the_bundle_is_not_converted(self):
        """Somebody has changed it since it was verified."""
        proof = self.proof(self.disk.read_bytes())
        self.disk.write_bytes(b"another")
        error = self.assertRaises(errors.HashMismatch, self.convert, "raw", proof=proof)
        self.assertIn("image web01 has changed", error.message)

    def test_it_is_inspected_when_it_is_used(self):
        for data, content, error, text in (
            (samples.qcow2(backing=512), "qcow2", errors.UnsafeDisk, "backing file"),
            (samples.qcow2(features=2), "qcow2", errors.DamagedDisk, "marked corrupt"),
            (samples.qcow2()[: 100 * 1024], "qcow2", errors.DamagedDisk, "cut short"),
            (samples.qcow2(crypt=2), "qcow2", errors.ResourceUnusable, "is encrypted"),
            (
                samples.qcow2(),
                "raw",
                errors.ResourceUnusable,
                "says that it is raw, but its content is qcow2",
            ),
            (samples.luks(), "raw", errors.ResourceUnusable, "its content is luks"),
        ):
            self.disk.write_bytes(data)
            found = self.assertRaises(error, self.convert, content)
            self.assertIn(text, found.message)
            self.assertIn("image web01", found.message)
        os.symlink("/etc/passwd", self.directory / "link")
        self.disk = self.directory / "link"
        self.assertIn("symbolic link", self.assertRaises(errors.UnsafeDisk, self.convert, "raw").message)

    def test_what_only_qemu_img_sees(self):
        self.disk.write_bytes(samples.qcow2(l2_offset=1 << 30))
        error = self.assertRaises(errors.DamagedDisk, self.convert, "qcow2")
        self.assertIn("zeros would take the place", error.message)

    def test_a_sparse_disk_needs_the_room_of_its_data(self):
        os.truncate(self.disk, 2**43)
        self.convert("raw")

    def convert(self, content, proof=None):
        with temporary_folder(self.context, self.directory) as folder:
            convert_file(
                self.context,
                lambda: open_plain(self.disk),
                folder / "disk.qcow2",
                content,
                "qcow2",
                label="image web01",
                proof=proof,
            )


class TestTemporaryFolder(QemuImgTestCase):
    def test_it_is_in_the_journal_before_it_is_made(self):
        with temporary_folder(self.context, self.directory) as folder:
            (run,) = journaled_runs()
            self.assertEqual([("directory", str(folder))], [(e.kind, e.name) for e in run.pending])
            self.assertTrue(is_ours(folder))
            (folder / "disk").write_bytes(b"x")
        (run,) = journaled_runs()
        self.assertEqual((), run.pending)

    def test_a_failure_leaves_it_to_the_clean_up(self):
        with self.assertRaisesRegex(RuntimeError, "x"), temporary_folder(self.context, self.directory):
            raise RuntimeError("x")
        self.assertEqual(1, len(self.context.cleanup.pending()))
        self.assertEqual((), self.context.cleanup.unwind())
        self.assertEqual([], list(self.temporary.iterdir()))

    def test_a_tmpdir_that_does_not_exist_is_an_error(self):
        for path in (self.directory / "missing", self.disk):
            self.useFixture(fixtures.EnvironmentVariable("TMPDIR", str(path)))
            context = temporary_folder(self.context, self.directory)
            error = self.assertRaises(errors.ResourceUnusable, context.__enter__)
            self.assertIn(f"TMPDIR is {path}, which is not a directory", error.message)

    def test_without_tmpdir_it_is_beside_the_bundle(self):
        self.useFixture(fixtures.EnvironmentVariable("TMPDIR"))
        with temporary_folder(self.context, self.directory) as folder:
            self.assertEqual(self.directory, folder.parent)

    def test_only_what_is_ours_is_removed(self):
        other, link = self.directory / "other", self.directory / ".osc-imagetools-link"
        other.mkdir()
        link.symlink_to(other)
        for path in (other, link, self.directory / ".osc-imagetools-missing"):
            self.assertFalse(is_ours(path))
            remove_folder(path)
        self.assertTrue(other.is_dir() and link.is_symlink())
