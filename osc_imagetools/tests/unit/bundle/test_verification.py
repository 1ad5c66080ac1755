# SPDX-License-Identifier: Apache-2.0
"""Everything that can happen to a bundle is found, by name."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures

from osc_imagetools import errors
from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.bundle.verification import BundleFinding, check_bundle, verify
from osc_imagetools.progress.model import Progress
from osc_imagetools.tests.unit.bundle import samples

FILES = (samples.FIRST, samples.SECOND, "metadata/image.json", "manifest.json", "SHA512SUMS")


class Counting(Progress):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.label, self.total, self.read, self.ended = "", -1, 0, False
        self._lock = threading.Lock()

    def task(self, label: str, total: int | None) -> Any:
        self.label, self.total = label, total or 0
        return self

    def advance(self, count: int) -> None:
        with self._lock:
            self.read += count

    def done(self) -> None:
        self.ended = True


class TestCase(samples.TestCase):
    """A bundle to be spoiled."""

    def setUp(self) -> None:
        super().setUp()
        samples.make_bundle(self.path)

    def wrong(self) -> dict[str, list[str]]:
        """The results that are not ok, by file."""
        found: dict[str, list[str]] = {}
        for finding in verify(self.path):
            if finding.result != "ok":
                self.assertTrue(finding.detail.endswith("."), finding)
                found.setdefault(finding.file, []).append(finding.result)
        return found

    def details(self) -> str:
        return "\n".join(finding.detail for finding in verify(self.path))


class Whole(TestCase):
    """A bundle that nothing is wrong with."""

    def test_every_file_is_listed(self) -> None:
        self.assertEqual([BundleFinding(file, "ok", "") for file in sorted(FILES)], verify(self.path))

    def test_progress(self) -> None:
        progress = Counting()
        verify(self.path, progress)
        sizes = [(self.path / f).stat().st_size for f in FILES[:3]]
        self.assertEqual("verify web01.bundle", progress.label)
        self.assertEqual((sum(sizes), sum(sizes)), (progress.total, progress.read))
        self.assertTrue(progress.ended)

    def test_looser_modes_are_no_error(self) -> None:
        self.path.chmod(0o755)
        (self.path / samples.FIRST).chmod(0o644)
        self.assertEqual({}, self.wrong())

    def test_by_a_link_to_it(self) -> None:
        link = self.directory / "link"
        link.symlink_to(self.path)
        self.assertEqual({"ok"}, {finding.result for finding in verify(link)})

    def test_each_byte_is_read_once(self) -> None:
        real = hashlib.new
        hashed = []

        class Counting:
            def __init__(self, name: str, data: bytes = b"") -> None:
                self._real = real(name, data)
                self.digest_size = self._real.digest_size

            def update(self, data: bytes) -> None:
                hashed.append(len(data))
                self._real.update(data)

            def hexdigest(self) -> str:
                return self._real.hexdigest()

        with mock.patch("hashlib.new", Counting):
            verify(self.path)
        self.assertEqual(sum((self.path / f).stat().st_size for f in FILES[:3]), sum(hashed))

    def test_interrupted(self) -> None:
        class Impatient(Counting):
            def advance(self, count: int) -> None:
                raise KeyboardInterrupt

        progress = Impatient()
        self.assertRaises(KeyboardInterrupt, verify, self.path, progress)
        self.assertTrue(progress.ended)


class Spoiled(TestCase):
    """One thing is wrong, and it is named."""

    def test_one_byte_of_each_file(self) -> None:
        for file in FILES:
            data = (self.path / file).read_bytes()
            for place in (0, len(data) // 2, len(data) - 1):
                spoiled = bytearray(data)
                spoiled[place] ^= 1
                (self.path / file).write_bytes(spoiled)
                told = str([f for f in verify(self.path) if f.result != "ok"])
                self.assertIn(file, told, f"{file} at {place}")
            (self.path / file).write_bytes(data)
        self.assertEqual({}, self.wrong())

    def test_changed_disk(self) -> None:
        path = self.path / samples.FIRST
        path.write_bytes(b"X" + path.read_bytes()[1:])
        self.assertEqual({samples.FIRST: ["changed"]}, self.wrong())
        self.assertIn("not the one in SHA512SUMS and manifest.json", self.details())

    def test_truncated_and_grown(self) -> None:
        for file in FILES[:3]:
            size = (self.path / file).stat().st_size
            for other in (size - 1, size + 1, 0):
                os.truncate(self.path / file, other)
                self.assertEqual("size", self.wrong()[file][0])
            self.assertIn(f"manifest.json says {size}.", self.details())
            shutil.rmtree(self.path)
            samples.make_bundle(self.path)

    def test_cut_manifest_and_sums(self) -> None:
        os.truncate(self.path / "manifest.json", 100)
        self.assertEqual({"manifest.json": ["changed", "refused"]}, self.wrong())
        os.truncate(self.path / "SHA512SUMS", 100)
        self.assertEqual(["refused"], self.wrong()["SHA512SUMS"][:1])

    def test_removed(self) -> None:
        for file, result in zip(
            FILES, ("missing", "missing", "missing", "incomplete", "missing"), strict=True
        ):
            data = (self.path / file).read_bytes()
            (self.path / file).unlink()
            self.assertEqual({file: [result]}, self.wrong())
            (self.path / file).write_bytes(data)

    def test_added(self) -> None:
        for file in ("disks/2-vdc.raw", "disks/.hidden", "metadata/x.json", "notes", ".export.lock"):
            (self.path / file).write_bytes(b"x")
            self.assertEqual({file: ["unlisted"]}, self.wrong())
            (self.path / file).unlink()
        for directory in ("more", "disks/deeper"):
            (self.path / directory).mkdir()
            self.assertEqual({directory: ["unlisted"]}, self.wrong())
            (self.path / directory).rmdir()

    def test_names_that_hurt_a_terminal(self) -> None:
        Path(os.fsdecode(os.fsencode(self.path) + b"/\x1b[2J\xff")).write_bytes(b"")
        self.assertEqual({r"\x1b[2J\xff": ["unlisted"]}, self.wrong())

    def test_links(self) -> None:
        for file in FILES:
            shutil.copytree(self.path, copy := self.directory / file.replace("/", "-"))
            (copy / file).rename(self.directory / "elsewhere")
            (copy / file).symlink_to(self.directory / "elsewhere")
            found = {f.file: f.result for f in verify(copy) if f.result != "ok"}
            self.assertEqual("unsafe", found.get(file), file)

    def test_linked_directory(self) -> None:
        (self.path / "disks").rename(self.directory / "elsewhere")
        (self.path / "disks").symlink_to(self.directory / "elsewhere")
        self.assertEqual(["unsafe"], self.wrong()["disks"])
        self.assertEqual(["missing"], self.wrong()[samples.FIRST])

    def test_what_is_no_file_is_never_opened(self) -> None:
        for file in FILES:
            shutil.copytree(self.path, copy := self.directory / file.replace("/", "-"))
            (copy / file).unlink()
            os.mkfifo(copy / file)
            found = {f.file: f.result for f in verify(copy) if f.result != "ok"}
            self.assertEqual("unsafe", found.get(file), file)

    def test_a_directory_in_place_of_a_file(self) -> None:
        for file in FILES:
            shutil.copytree(self.path, copy := self.directory / file.replace("/", "-"))
            (copy / file).unlink()
            (copy / file).mkdir()
            self.assertIn(file, {f.file for f in verify(copy) if f.result != "ok"})

    def test_a_link_put_there_meanwhile(self) -> None:
        real = os.scandir
        target = self.path / samples.FIRST

        def swap(directory: int) -> object:
            entries = real(directory)
            if (
                target.exists()
                and not target.is_symlink()
                and "disks" in os.readlink(f"/proc/self/fd/{directory}")
            ):
                listed = list(entries)
                [entry.stat(follow_symlinks=False) for entry in listed]
                target.unlink()
                target.symlink_to("/etc/passwd")
                return _Listing(listed)
            return entries

        with mock.patch("os.scandir", swap):
            found = {f.file: f.result for f in verify(self.path)}
        self.assertEqual("unsafe", found[samples.FIRST])

    def test_unreadable(self) -> None:
        real = os.open

        def refuse(path: object, *args: object, **kwargs: object) -> int:
            if path == "0-vda.raw":
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **kwargs)  # type: ignore[arg-type]

        with mock.patch("os.open", refuse):
            self.assertEqual({samples.FIRST: ["unreadable"]}, self.wrong())

    def test_all_at_once(self) -> None:
        (self.path / samples.FIRST).write_bytes(b"x")
        (self.path / samples.SECOND).unlink()
        (self.path / "notes").write_bytes(b"x")
        (self.path / "metadata" / "image.json").write_bytes(b"")
        (self.path / "metadata" / "link").symlink_to("/etc/passwd")
        document = samples.load(self.path)
        document["kind"] = 7
        (self.path / "manifest.json").write_bytes(format_manifest(document))
        found = self.wrong()
        self.assertEqual(["changed", "refused"], found["manifest.json"])
        self.assertEqual(["missing"], found[samples.SECOND])
        self.assertEqual(["changed"], found[samples.FIRST])
        self.assertEqual(["changed"], found["metadata/image.json"])
        self.assertEqual(["unsafe"], found["metadata/link"])
        self.assertEqual(["unlisted"], found["notes"])


class _Listing(list[os.DirEntry[str]]):
    def __enter__(self) -> _Listing:
        return self

    def __exit__(self, *args: object) -> None:
        pass


class Sums(TestCase):
    """The sums and the manifest watch each other."""

    def edit(self, change: Callable[[str], str]) -> None:
        path = self.path / "SHA512SUMS"
        path.write_text(change(path.read_text()))

    def test_a_line_less(self) -> None:
        for file in (samples.FIRST, "manifest.json"):
            text = (self.path / "SHA512SUMS").read_text()
            self.edit(
                lambda t, f=file: "".join(  # type: ignore[misc]
                    line for line in t.splitlines(True) if f not in line
                )
            )
            self.assertEqual({"SHA512SUMS": ["refused"]}, self.wrong())
            self.assertIn(f"It does not list {file}.", self.details())
            (self.path / "SHA512SUMS").write_text(text)

    def test_a_line_more(self) -> None:
        (self.path / "disks" / "x").write_bytes(b"")
        digest = hashlib.sha512(b"").hexdigest()
        self.edit(lambda text: f"{text}{digest}  disks/x\n")
        self.assertEqual({"disks/x": ["unlisted"]}, self.wrong())

    def test_a_path_that_leaves(self) -> None:
        digest = hashlib.sha512(b"").hexdigest()
        self.edit(lambda text: f"{text}{digest}  ../../etc/passwd\n")
        self.assertEqual({"SHA512SUMS": ["refused"]}, self.wrong())

    def test_a_wrong_hash_is_laid_to_who_is_alone(self) -> None:
        self.edit(lambda text: ("0" * 128) + text[128:])
        found = [f for f in verify(self.path) if f.result != "ok"]
        self.assertEqual([("SHA512SUMS", "changed")], [(f.file, f.result) for f in found])
        self.assertIn("the file is as manifest.json says", found[0].detail)

    def test_another_algorithm(self) -> None:
        (self.path / "SHA512SUMS").rename(self.path / "SHA256SUMS")
        self.assertEqual({"SHA256SUMS": ["unlisted"], "SHA512SUMS": ["missing"]}, self.wrong())

    def test_no_text_and_too_long(self) -> None:
        (self.path / "SHA512SUMS").write_bytes(b"\xff\xfe")
        self.assertIn("refused", self.wrong()["SHA512SUMS"])
        os.truncate(self.path / "SHA512SUMS", 17 * 1024 * 1024)
        self.assertEqual({"SHA512SUMS": ["refused"]}, self.wrong())


class Verified(TestCase):
    """check_bundle."""

    def test_whole(self) -> None:
        self.assertEqual(samples.load(self.path), check_bundle(self.path).manifest)

    def test_anything_wrong(self) -> None:
        (self.path / samples.FIRST).unlink()
        (self.path / "notes").touch()
        error = self.assertRaises(errors.BundleRefused, check_bundle, self.path)
        self.assertIn(f"- {samples.FIRST}: missing.", str(error))
        self.assertIn("- notes: unlisted.", str(error))

    def test_disks_are_not_read_but_all_else_is(self) -> None:
        """They prove themselves while they are sent."""
        disk, small = self.path / samples.FIRST, self.path / "metadata" / "image.json"
        for path, refused in ((disk, False), (small, True)):
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
            if refused:
                self.assertRaises(errors.BundleRefused, check_bundle, self.path)
            else:
                check_bundle(self.path)

    def test_incomplete(self) -> None:
        (self.path / "manifest.json").unlink()
        self.assertRaises(errors.BundleRefused, check_bundle, self.path)


class Incomplete(samples.TestCase):
    """An export that did not end, and what is no bundle."""

    def test_export_in_progress(self) -> None:
        with samples.open_writer(self.path) as writer:
            samples.fill(writer)
            (self.path / "disks" / ".2-vdc.raw.part").write_bytes(b"x")
            (finding,) = verify(self.path)
            self.assertEqual(("manifest.json", "incomplete"), (finding.file, finding.result))

    def test_links_are_told_even_then(self) -> None:
        with samples.open_writer(self.path) as writer:
            samples.fill(writer)
            (self.path / "disks" / "link").symlink_to("/etc/passwd")
            found = {f.file: f.result for f in verify(self.path)}
            self.assertEqual({"manifest.json": "incomplete", "disks/link": "unsafe"}, found)

    def test_no_manifest_but_sums(self) -> None:
        samples.make_bundle(self.path)
        (self.path / "manifest.json").unlink()
        (self.path / samples.FIRST).write_bytes(b"x")
        (self.path / "disks" / "more").write_bytes(b"x")
        found = {f.file: f.result for f in verify(self.path)}
        self.assertEqual(
            {
                "SHA512SUMS": "ok",
                "disks/0-vda.raw": "changed",
                "disks/1-vdb.qcow2": "ok",
                "disks/more": "unlisted",
                "manifest.json": "incomplete",
                "metadata/image.json": "ok",
            },
            found,
        )

    def test_damaged_when_it_was_exported(self) -> None:
        """The bytes are those of the cloud, and yet no server can read them."""
        for data, detail in (
            (samples.qcow2(features=2), "The disk is marked corrupt by what has written it last."),
            (
                samples.qcow2()[: 100 * samples.KIB],
                "The disk is cut short: its tables are beyond the end of the file.",
            ),
            (samples.qcow2(l2_offset=1 << 30), "The disk is cut short or corrupt: parts of its data"),
        ):
            shutil.rmtree(self.path, ignore_errors=True)
            self.useFixture(samples.SecondDisk(data))
            samples.make_bundle(self.path)
            (found,) = [f for f in verify(self.path) if f.result != "ok"]
            self.assertEqual((samples.SECOND, "damaged"), (found.file, found.result))
            self.assertTrue(found.detail.startswith(detail), found.detail)
            error = self.assertRaises(errors.BundleRefused, check_bundle, self.path)
            self.assertIn("damaged", error.message)
            self.assertEqual(self.path, check_bundle(self.path, damaged_allowed=True).path)
            (self.path / samples.FIRST).write_bytes(b"x")
            self.assertRaises(errors.BundleRefused, check_bundle, self.path, damaged_allowed=True)

    def test_without_qemu_img(self) -> None:
        samples.make_bundle(self.path)
        self.useFixture(fixtures.EnvironmentVariable("PATH", str(self.directory)))
        found = {f.file: (f.result, f.detail) for f in verify(self.path)}
        self.assertEqual({"ok"}, {result for result, _ in found.values()})
        self.assertIn("qemu-img is not installed", found[samples.SECOND][1])
        self.assertEqual("", found[samples.FIRST][1])

    def test_each_mark_of_a_bundle(self) -> None:
        for name in ("manifest.json", "SHA256SUMS", "disks", ".export.lock"):
            path = self.directory / name
            path.mkdir()
            (path / name).mkdir() if name == "disks" else (path / name).write_bytes(b"")
            self.assertNotEqual([], verify(path))

    def test_no_bundle(self) -> None:
        (self.directory / "file").write_bytes(b"x")
        (self.directory / "other").mkdir()
        (self.directory / "other" / "notes").write_bytes(b"x")
        os.mkfifo(self.directory / "fifo")
        (self.directory / "dangling").symlink_to("nowhere")
        for name in ("missing", "file", "other", "fifo", "dangling", "nul\0"):
            error = self.assertRaises(errors.NoBundle, verify, self.directory / name)
            self.assertEqual(1, error.exit_code)
