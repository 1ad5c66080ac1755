# SPDX-License-Identifier: Apache-2.0
"""The sink: what stands in the directory at any moment, and who may write into it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures

from osc_imagetools import errors
from osc_imagetools.bundle import claim
from osc_imagetools.bundle.reader import open_bundle
from osc_imagetools.bundle.verification import verify
from osc_imagetools.bundle.writer import BundleWriter
from osc_imagetools.data.names import record_path
from osc_imagetools.tests.unit.bundle import samples


def everything(path: Path) -> list[str]:
    """All paths below a directory, hidden ones too."""
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


BUNDLE = [
    "SHA512SUMS",
    "disks",
    "disks/0-vda.raw",
    "disks/1-vdb.qcow2",
    "manifest.json",
    "metadata",
    "metadata/image.json",
]


class Finish(samples.TestCase):
    """A bundle that is complete."""

    def test_is_whole_and_private(self) -> None:
        before = os.umask(0o777)
        try:
            with samples.open_writer(self.path) as writer:
                target = writer.disk_path("disks/0-vda.raw")
                writer.add_document("image", {"id": "x"})
                os.umask(before)
                document = samples.fill(writer)
                os.umask(0o777)
                writer.finish(document)
        finally:
            os.umask(before)
        self.assertEqual(self.path / "disks" / "0-vda.raw", target)
        self.assertEqual(BUNDLE, everything(self.path))
        for path in (self.path, *self.path.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            self.assertEqual(0o700 if path.is_dir() else 0o600, mode, str(path))
        self.assertEqual({"ok"}, {finding.result for finding in verify(self.path)})

    def test_coreutils_check_it(self) -> None:
        samples.make_bundle(self.path)
        done = subprocess.run(
            ["sha512sum", "--strict", "-c", "SHA512SUMS"],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=True,
        )
        expected = [p for p in BUNDLE if (self.path / p).is_file() and p != "SHA512SUMS"]
        self.assertEqual([f"{path}: OK" for path in expected], done.stdout.splitlines())
        self.assertEqual("", done.stderr)

    def test_other_algorithms(self) -> None:
        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer)
            document["hash_algorithm"] = "sha256"
            for disk in document["disks"]:
                data = (self.path / disk["file"]).read_bytes()
                digest = hashlib.sha256(data).hexdigest()
                disk["hash"] = {"algorithm": "sha256", "value": digest}
            writer.finish(document)
        subprocess.run(["sha256sum", "--status", "-c", "SHA256SUMS"], cwd=self.path, check=True)
        self.assertEqual({"ok"}, {finding.result for finding in verify(self.path)})

    def test_documents_are_canonical(self) -> None:
        with samples.open_writer(self.path) as writer:
            writer.add_document("image", {"b": 1, "a": ["é", None]})
            data = (self.path / "metadata" / "image.json").read_bytes()
            self.assertEqual('{\n  "a": [\n    "é",\n    null\n  ],\n  "b": 1\n}\n'.encode(), data)

    def test_manifest_lists_the_documents(self) -> None:
        samples.make_bundle(self.path)
        (entry,) = samples.load(self.path)["files"]
        self.assertEqual("metadata/image.json", entry["path"])
        self.assertEqual((self.path / "metadata/image.json").stat().st_size, entry["size"])

    def test_the_same_source_gives_the_same_bytes(self) -> None:
        for name in ("one", "other"):
            samples.make_bundle(self.directory / name)
        for path in (p for p in BUNDLE if "." in p or p == "SHA512SUMS"):
            one, other = (self.directory / name / path for name in ("one", "other"))
            self.assertEqual(one.read_bytes(), other.read_bytes(), path)

    def test_a_manifest_that_is_not_valid(self) -> None:
        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer)
            document["kind"] = "router"
            del document["source"]
            text = self.fails(errors.ImagetoolsError, writer.finish, document)
        self.assertIn("/kind: 'router'", text)
        self.assertIn("'source' is a required property", text)
        self.assertNotIn("manifest.json", everything(self.path))
        samples.make_bundle(self.path)

    def test_a_manifest_that_no_reader_would_accept(self) -> None:
        deep: dict[str, object] = {}
        for _ in range(40):
            deep = {"x": deep}
        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer) | {"observed": deep}
            text = self.fails(errors.ImagetoolsError, writer.finish, document)
        self.assertIn("deeper than 32", text)

    def test_no_algorithm(self) -> None:
        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer)
            del document["hash_algorithm"]
            text = self.fails(errors.ImagetoolsError, writer.finish, document)
        self.assertIn("'hash_algorithm' is a required property", text)

    def test_a_disk_that_was_changed_meanwhile(self) -> None:
        for change, told in (
            (lambda p: p.unlink(), "and is missing now"),
            (lambda p: p.write_bytes(b"x"), "and has 1"),
        ):
            with samples.open_writer(self.path) as writer:
                document = samples.fill(writer)
                change(self.path / samples.FIRST)
                self.assertIn(told, self.fails(errors.ImagetoolsError, writer.finish, document))
            self.assertNotIn("manifest.json", everything(self.path))

    def test_somebody_elses_file(self) -> None:
        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer)
            (self.path / "disks" / "mine").write_bytes(b"x")
            text = self.fails(errors.OutputExists, writer.finish, document)
        self.assertIn("disks/mine", text)
        (self.path / "disks" / "mine").unlink()
        samples.make_bundle(self.path)

    def test_parts_and_what_is_stale_go(self) -> None:
        with samples.open_writer(self.path) as writer:
            writer.disk_path("disks/9-old.raw").write_bytes(b"old")
            writer.add_document("old", {})
        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer)
            for name in (".0-vda.raw.part", ".0-vda.raw.part.map", ".done"):
                (self.path / "disks" / name).write_bytes(b"x")
            (self.path / "metadata" / ".export.image.json.tmp").write_bytes(b"x")
            writer.finish(document)
        self.assertEqual(BUNDLE, everything(self.path))

    def test_names_that_no_bundle_can_have(self) -> None:
        with samples.open_writer(self.path) as writer:
            for file in ("disks/../x", "/x", "metadata/x", "disks/.x", "x", "disks/a/b"):
                text = self.fails(errors.ImagetoolsError, writer.disk_path, file)
                self.assertNotIn("None", text)
            for name in ("../x", "a/b", ".x", "x" * 300, "a\nb"):
                self.assertRaises(errors.ImagetoolsError, writer.add_document, name, {})
        self.assertEqual([], everything(self.directory))

    def test_from_several_threads(self) -> None:
        with samples.open_writer(self.path) as writer:
            names = [f"n{number}" for number in range(16)]
            threads = [
                threading.Thread(target=writer.add_document, args=(name, {"name": name})) for name in names
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            writer.finish(samples.fill(writer))
        self.assertEqual(17, len(samples.load(self.path)["files"]))
        self.assertEqual({"ok"}, {finding.result for finding in verify(self.path)})


class Open(samples.TestCase):
    """Who may write where."""

    def test_what_exists_is_left_alone(self) -> None:
        (self.directory / "file").write_bytes(b"x")
        (self.directory / "foreign").mkdir()
        (self.directory / "foreign" / "notes.txt").write_bytes(b"x")
        (self.directory / "disks-only" / "disks").mkdir(parents=True)
        (self.directory / "real").mkdir()
        (self.directory / "link").symlink_to("real")
        (self.directory / "dangling").symlink_to("nowhere")
        samples.make_bundle(self.directory / "complete")
        before = everything(self.directory)
        for name, told in (
            ("file", "is not a directory"),
            ("foreign", "notes.txt"),
            ("disks-only", "disks"),
            ("link", "is a symbolic link"),
            ("dangling", "is a symbolic link"),
            ("complete", "openstack bundle verify"),
        ):
            text = self.fails(errors.OutputExists, samples.open_writer, self.directory / name)
            self.assertIn(told, text)
            self.assertIn("--output", text)
        self.assertEqual(before, everything(self.directory))

    def test_links_in_an_export_are_refused(self) -> None:
        for name, target in (
            ("disks", "/tmp"),
            (".export.json", "/etc/passwd"),
            (".export.lock", "/etc/passwd"),
            ("disks/0-vda.raw", "/etc/passwd"),
        ):
            path = self.directory / name.replace("/", "-")
            with samples.open_writer(path) as writer:
                samples.fill(writer)
            link = path / name
            shutil.rmtree(link) if link.is_dir() else link.unlink()
            link.symlink_to(target)
            self.assertIn(name, self.fails(errors.OutputExists, samples.open_writer, path))

    def test_work_files_that_are_no_files(self) -> None:
        for make in (os.mkdir, os.mkfifo):
            path = self.directory / make.__name__
            path.mkdir()
            make(path / ".export.lock")
            self.assertRaises(errors.OutputExists, samples.open_writer, path)

    def test_an_empty_directory_is_taken_and_given_back(self) -> None:
        self.path.mkdir(mode=0o755)
        self.path.chmod(0o755)
        with samples.open_writer(self.path):
            self.assertEqual(0o700, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual(0o755, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual([], everything(self.path))

    def test_what_cannot_be_made(self) -> None:
        text = self.fails(errors.ImagetoolsError, samples.open_writer, self.path / "deeper")
        self.assertIn(f"mkdir -p {self.path}", text)

    def test_no_room(self) -> None:
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch("os.write", side_effect=full):
            self.assertRaises(errors.NoSpace, samples.open_writer, self.path)
        self.assertEqual([], everything(self.directory))
        samples.make_bundle(self.path)

    def test_another_source(self) -> None:
        with samples.open_writer(self.path) as writer:
            samples.fill(writer)
        before = everything(self.path)
        for identifier, kind in (("other", "image"), (samples.IMAGE_ID, "server")):
            other = (self.path, identifier, kind, "web02")
            text = self.fails(errors.OutputExists, samples.open_writer, *other)
            self.assertIn(f"image web01 ({samples.IMAGE_ID})", text)
            self.assertIn("--output", text)
        self.assertEqual(before, everything(self.path))

    def test_something_else_of_the_same_name_starts_over(self) -> None:
        with samples.open_writer(self.path) as writer:
            samples.fill(writer)
        log = self.useFixture(fixtures.FakeLogger("osc_imagetools"))
        with samples.open_writer(self.path, "other") as writer:
            self.assertIn("starting over", log.output)
            self.assertIn(samples.IMAGE_ID, log.output)
            writer.finish(samples.fill(writer))
        self.assertEqual([], [f for f in verify(self.path) if f.result != "ok"])

    def test_without_a_name_nothing_is_the_same_but_the_id(self) -> None:
        with samples.open_writer(self.path, name="") as writer:
            samples.fill(writer)
        self.fails(errors.OutputExists, samples.open_writer, self.path, "other", "image", "")

    def test_a_state_that_is_not_understood(self) -> None:
        for state in (b"", b"{", b"[]", b'{"format": "osc-imagetools-export"}'):
            with samples.open_writer(self.path) as writer:
                samples.fill(writer)
            good = (self.path / ".export.json").read_bytes()
            (self.path / ".export.json").write_bytes(state)
            text = self.fails(errors.OutputExists, samples.open_writer, self.path)
            self.assertIn("of an unknown resource", text)
            newer = json.loads(good) | {"format_version": 2}
            (self.path / ".export.json").write_text(json.dumps(newer))
            self.assertRaises(errors.OutputExists, samples.open_writer, self.path)
            (self.path / ".export.json").write_bytes(good)
        samples.make_bundle(self.path)


class Abandon(samples.TestCase):
    """An export that ends early."""

    def test_nothing_fetched_leaves_nothing(self) -> None:
        with samples.open_writer(self.path) as writer:
            writer.disk_path("disks/0-vda.raw")
            writer.add_document("image", {})
        self.assertEqual([], everything(self.directory))

    def test_what_was_fetched_stays(self) -> None:
        with samples.open_writer(self.path) as writer:
            writer.disk_path("disks/0-vda.raw")
            (self.path / "disks" / ".0-vda.raw.part").write_bytes(b"half")
        self.assertEqual(b"half", (self.path / "disks" / ".0-vda.raw.part").read_bytes())
        with samples.open_writer(self.path) as writer:
            self.assertEqual(b"half", (self.path / "disks" / ".0-vda.raw.part").read_bytes())
            writer.finish(samples.fill(writer))
        self.assertEqual(BUNDLE, everything(self.path))

    def test_somebody_elses_file_stays(self) -> None:
        with samples.open_writer(self.path):
            (self.path / "notes.txt").write_bytes(b"x")
        self.assertIn("notes.txt", everything(self.path))

    def test_is_repeatable_and_harmless_after_the_end(self) -> None:
        with samples.open_writer(self.path) as writer:
            writer.finish(samples.fill(writer))
            writer.abandon()
        writer.abandon()
        self.assertEqual(BUNDLE, everything(self.path))


class Lock(samples.TestCase):
    """One export at a time."""

    def test_another_process_is_named(self) -> None:
        program = (
            "import sys, time\n"
            "from osc_imagetools.tests.unit.bundle import samples\n"
            "from pathlib import Path\n"
            "w = samples.open_writer(Path(sys.argv[1]))\n"
            "print('locked', flush=True)\n"
            "sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            self.assertEqual("locked\n", other.stdout.readline())
            text = self.fails(errors.BundleBusy, samples.open_writer, self.path)
            self.assertIn(f"process {other.pid}", text)
            other.kill()
        samples.make_bundle(self.path)

    def test_the_lock_is_let_go(self) -> None:
        writer = samples.open_writer(self.path)
        self.assertIn(f"process {os.getpid()}", self.fails(errors.BundleBusy, samples.open_writer, self.path))
        writer.abandon()
        samples.make_bundle(self.path)

    def test_who_waited_while_the_bundle_was_finished(self) -> None:
        """The lock file is opened before it becomes the manifest, and locked after."""
        writer = samples.open_writer(self.path)
        document = samples.fill(writer)
        real = fcntl.flock

        def late(descriptor: int, operation: int) -> None:
            if document:
                writer.finish(dict(document))
                document.clear()
            real(descriptor, operation)

        with mock.patch("fcntl.flock", late):
            self.assertRaises(errors.OutputExists, samples.open_writer, self.path)
        self.assertEqual(BUNDLE, everything(self.path))
        self.assertEqual({"ok"}, {finding.result for finding in verify(self.path)})

    def just_before_the_lock(self, act: Callable[[], object]) -> Any:
        """*act* happens when another process has looked at the directory, and is about to lock it."""
        real = claim._lock

        def late(path: Path) -> int | None:
            act()
            return real(path)

        return mock.patch("osc_imagetools.bundle.claim._lock", late)

    def test_who_comes_when_the_bundle_has_just_been_finished(self) -> None:
        writer = samples.open_writer(self.path)
        document = samples.fill(writer)
        with self.just_before_the_lock(lambda: writer.finish(document)):
            self.assertRaises(errors.OutputExists, samples.open_writer, self.path)
        self.assertEqual(BUNDLE, everything(self.path))

    def test_who_comes_when_an_empty_output_has_just_been_removed(self) -> None:
        first = samples.open_writer(self.path)
        with self.just_before_the_lock(first.abandon):
            samples.make_bundle(self.path)
        self.assertEqual(BUNDLE, everything(self.path))

    def test_who_waited_while_an_empty_output_was_removed(self) -> None:
        first = samples.open_writer(self.path)
        real = fcntl.flock

        def late(descriptor: int, operation: int) -> None:
            first.abandon()
            real(descriptor, operation)

        with mock.patch("fcntl.flock", late), samples.open_writer(self.path) as writer:
            writer.finish(samples.fill(writer))
        self.assertEqual(BUNDLE, everything(self.path))


class Order(samples.TestCase):
    """What is on the disk when."""

    def test_synced_before_it_has_its_name_and_the_name_after(self) -> None:
        events: list[tuple[str, str]] = []

        def target(descriptor: int) -> str:
            return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

        def record(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                what = target(args[0]) if name == "fsync" else Path(args[-1]).name
                events.append((name, what))
                return real(*args)

            return call

        with samples.open_writer(self.path) as writer:
            document = samples.fill(writer)
            with (
                mock.patch("os.fsync", record("fsync", os.fsync)),
                mock.patch("os.replace", record("rename", os.replace)),
                mock.patch("os.rename", record("rename", os.rename)),
                mock.patch("os.unlink", record("unlink", os.unlink)),
            ):
                writer.finish(document)
        self.assertEqual(
            [
                ("fsync", "disks"),
                ("fsync", "metadata"),
                ("fsync", ".export.SHA512SUMS.tmp"),
                ("rename", "SHA512SUMS"),
                ("fsync", "web01.bundle"),
                ("fsync", ".export.lock"),
                ("unlink", ".export.json"),
                ("fsync", "web01.bundle"),
                ("rename", "manifest.json"),
                ("fsync", "web01.bundle"),
            ],
            [event for event in events if event != ("unlink", ".export.SHA512SUMS.tmp")],
        )


class Killed(BaseException):
    """The process ended here."""


@contextmanager
def killed_after(steps: int) -> Iterator[list[str]]:
    """Ends the process, so to speak, before the step of this number that changes the file system."""
    taken: list[str] = []

    def step(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(taken) >= steps:
                raise Killed(name)
            taken.append(name)
            return real(*args, **kwargs)

        return call

    names = ["mkdir", "chmod", "fchmod", "fsync", "replace", "rename", "unlink", "write"]
    names += ["ftruncate", "rmdir"]
    patches = [mock.patch(f"os.{name}", step(name, getattr(os, name))) for name in names]
    for patch in patches:
        patch.start()
    try:
        yield taken
    finally:
        for patch in patches:
            patch.stop()


class Crash(samples.TestCase):
    """kill -9, or a power cut, between any two steps."""

    def attempt(self, path: Path, steps: int) -> bool:
        """One export that dies; True when it came to its end before."""
        with killed_after(steps):
            try:
                writer = samples.open_writer(path)
            except Killed:
                return False
            try:
                writer.finish(samples.fill(writer))
            except Killed:
                os.close(writer._held._lock)  # as the system does for the dead
                return False
        return True

    def every_third(self, first: int) -> None:
        """Dies at every third step; never a manifest before its time, and always to be gone on with."""
        steps = first
        while not self.attempt(path := self.directory / str(steps), steps):
            if (path / "manifest.json").exists():
                self.assertEqual({"ok"}, {finding.result for finding in verify(path)})
            else:
                if (path / "disks").is_dir():  # whoever lists it learns what it is of
                    self.assertEqual("image", open_bundle(path).summary()["kind"])
                samples.make_bundle(path)
                self.assertEqual(BUNDLE, everything(path))
                self.assertEqual({"ok"}, {finding.result for finding in verify(path)})
            steps += 3
        self.assertGreater(steps, 30)

    def test_a_disk_that_nothing_proves_any_more_is_fetched_again(self) -> None:
        for steps, kept in (("never", True), ("last", False)):
            path = self.directory / steps
            with samples.open_writer(path) as writer:
                document = samples.fill(writer)
                disk = path / document["disks"][0]["file"]
                record_path(disk).touch()
                if steps == "last":
                    refused = mock.Mock(side_effect=[None, errors.Cancelled("x")])
                    self.assertRaises(errors.Cancelled, writer.finish, document, refused)
            self.assertTrue(disk.exists())
            with samples.open_writer(path):
                self.assertEqual(kept, disk.exists())

    def test_at_steps_0_3_6(self) -> None:
        self.every_third(0)

    def test_at_steps_1_4_7(self) -> None:
        self.every_third(1)

    def test_at_steps_2_5_8(self) -> None:
        self.every_third(2)

    def test_dies_again_and_again(self) -> None:
        for steps in range(1, 1000):
            if self.attempt(self.path, steps):
                break
            if (self.path / "manifest.json").exists():
                break
        self.assertEqual(BUNDLE, everything(self.path))
        self.assertEqual({"ok"}, {finding.result for finding in verify(self.path)})

    def test_a_failure_at_any_step_is_ours_and_leaves_the_lock_free(self) -> None:
        self.useFixture(fixtures.FakeLogger())
        for steps in range(0, 200, 5):
            path = self.directory / str(steps)
            broken = mock.patch(f"{__name__}.Killed", lambda _: OSError(errno.EIO, "I/O error"))
            with killed_after(steps) as taken, broken:
                try:
                    with samples.open_writer(path) as writer:
                        writer.finish(samples.fill(writer))
                except errors.ImagetoolsError:
                    pass
                except OSError:
                    continue  # in what stands for the transfer here
                else:
                    break
            self.assertEqual(steps, len(taken))
            if not (path / "manifest.json").exists():
                samples.make_bundle(path)
            self.assertEqual({"ok"}, {finding.result for finding in verify(path)})


class Identity(samples.TestCase):
    """What is told of an export, and what makes it the same."""

    def test_a_new_name_is_the_same_source(self) -> None:
        with samples.open_writer(self.path) as writer:
            samples.fill(writer)
        renamed = {"id": samples.IMAGE_ID, "name": "web02"}
        with BundleWriter.open(self.path, kind="image", identity=renamed) as writer:
            writer.finish(samples.fill(writer))
        self.assertEqual(BUNDLE, everything(self.path))
