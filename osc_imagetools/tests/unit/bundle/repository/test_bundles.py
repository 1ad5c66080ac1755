# SPDX-License-Identifier: Apache-2.0
"""Bundles in a real repository: there and back, found, verified, forgotten, refused."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import fixtures

from osc_imagetools import errors
from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.bundle.records import BOOTED, RESTORE_CHECK, BundleRecord, read_records, write_record
from osc_imagetools.bundle.repository import bundle_writer, copy_out, disk_writer, reader, restic
from osc_imagetools.bundle.repository.bundle_writer import RepositoryBundleWriter
from osc_imagetools.bundle.repository.catalog import find_bundle
from osc_imagetools.bundle.repository.copy_in import copy_into_repository, read_source
from osc_imagetools.bundle.repository.copy_out import copy_to_directory
from osc_imagetools.bundle.repository.reader import open_file, read_documents
from osc_imagetools.bundle.repository.stored_records import store_record, stored_records
from osc_imagetools.progress.model import NullProgress
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.bundle.repository.stored import PASSWORD, RepositoryCase, content

SIZE = 24000 + 200 * 1024
OTHER_ID = "8a2e1b7c-0000-4000-8000-000000000002"
FORGED = "8a2e1b7c-0000-4000-8000-00000000000f"
FOUR = tuple((day, samples.IMAGE_ID) for day in (1, 2, 3, 4))
PROOF = BundleRecord(RESTORE_CHECK, "2026-02-01T03:04:05Z", BOOTED, {"seconds": 12})


class TestThereAndBack(RepositoryCase):
    def test_all_of_it(self) -> None:
        bundle, back = self.made(), self.dir / "back"
        write_record(bundle, PROOF)
        told = self.rows(*self.there("bundle", "copy", bundle))
        self.assertEqual(
            ("image", samples.IMAGE_ID, "web01", self.url, 2, SIZE, 0),
            tuple(told[key] for key in ("kind", "id", "name", "copy", "disks", "bytes", "bytes_reused")),
        )
        self.assertGreater(told["bytes_added"], 1000)
        (row,) = self.rows(*self.there("bundle", "list", "--long"))
        self.assertEqual(
            (told["bundle"], "complete", "image", "web01", SIZE, samples.IMAGE_ID, "here", "p1"),
            tuple(row[k] for k in ("Bundle", "State", "Kind", "Name", "Size", "ID", "Cloud", "Project ID")),
        )
        shown = self.rows(*self.there("bundle", "show", "web01"))
        self.assertEqual((told["bundle"], True, SIZE), (shown["bundle"], shown["complete"], shown["bytes"]))
        self.assertIn("restore-check: booted", shown["records"][0])
        out = self.rows(*self.there("bundle", "copy", "web01", "--output", back))
        self.assertEqual((str(back), SIZE, 0), (out["copy"], out["bytes"], out["bytes_reused"]))
        self.assertEqual([PROOF], read_records(back))
        self.assertEqual(content(bundle), content(back))
        self.no_locks()

    def test_verified(self) -> None:
        bundle = self.made()
        self.rows(*self.there("bundle", "copy", bundle))
        here = self.rows("bundle", "verify", bundle)
        self.assertEqual(here, self.rows(*self.there("bundle", "verify", "web01")))
        self.assertEqual({"ok"}, {row["Result"] for row in here})

    def test_twice(self) -> None:
        self.copied()
        before = len(self.snapshots())
        err = self.fails(*self.there("bundle", "copy", self.made()))
        self.assertIn("[output-exists]", err)
        self.assertIn(f"openstack bundle verify {bundle_id(err)} --repository {self.url}", err)
        self.assertEqual(before, len(self.snapshots()))

    def test_dry_runs(self) -> None:
        bundle = self.made()
        steps = self.rows(*self.there("bundle", "copy", bundle, "--dry-run"))
        self.assertEqual(["copy disk", "copy disk", "complete bundle"], [step["Action"] for step in steps])
        self.assertEqual([24000, 200 * 1024, None], [step["Bytes"] for step in steps])
        self.assertEqual([], self.snapshots())
        self.rows(*self.there("bundle", "copy", bundle))
        steps = self.rows(*self.there("bundle", "copy", "web01", "--output", self.dir / "back", "--dry-run"))
        self.assertEqual((3, False), (len(steps), (self.dir / "back").exists()))

    def test_into_a_directory_that_has_something_else(self) -> None:
        self.copied()
        back = self.dir / "back"
        back.mkdir()
        (back / "mine").write_text("x")
        err = self.fails(*self.there("bundle", "copy", "web01", "--output", back))
        self.assertIn("[output-exists]", err)
        self.assertEqual({"mine": b"x"}, content(back))

    def test_a_file_that_came_in_between_is_not_made_part_of_it(self) -> None:
        self.copied()
        back = self.dir / "back"
        has = copy_out._has

        def meanwhile(target: pathlib.Path, *rest: Any) -> bool:
            (back / "metadata" / "more").write_text("x")
            return has(target, *rest)

        self.patch(copy_out, "_has", meanwhile)
        err = self.fails(*self.there("bundle", "copy", "web01", "--output", back))
        self.assertIn("has files that are not of this bundle: metadata/more", err)
        self.assertIn("it goes on from there", err)
        self.assertFalse((back / "manifest.json").exists())
        (back / "metadata" / "more").unlink()
        self.patch(copy_out, "_has", has)
        out = self.rows(*self.there("bundle", "copy", "web01", "--output", back))
        self.assertEqual(SIZE, out["bytes_reused"])

    def test_options_that_contradict_each_other(self) -> None:
        bundle = self.made()
        self.assertIn(
            "--at: only with", self.fails(*self.there("bundle", "copy", bundle, "--at", "2026-01-01"), code=2)
        )


class TestFound(RepositoryCase):
    def test_the_newest_and_the_newest_before(self) -> None:
        ids = self.copied(*FOUR)

        def shown(text: str, *words: str) -> str:
            return str(self.rows(*self.there("bundle", "show", text, *words))["bundle"])

        self.assertEqual([ids[3]] * 2, [shown(text) for text in ("web01", ids[3][:13])])
        self.assertEqual(ids[1], shown(samples.IMAGE_ID, "--at", "2026-01-03"))
        self.assertEqual(ids[0], shown("web01", "--at", "2026-01-01T03:04:05Z"))
        err = self.fails(*self.there("bundle", "show", "web01", "--at", "2026-01-01"))
        self.assertIn("[no-bundle]", err)
        self.assertIn(f"openstack bundle list --repository {self.url}", err)

    def test_a_name_of_two_resources(self) -> None:
        self.copied((2, samples.IMAGE_ID), (2, OTHER_ID))
        err = self.fails(*self.there("bundle", "show", "web01"))
        self.assertIn("[resource-ambiguous]", err)
        for identifier in (OTHER_ID, samples.IMAGE_ID):
            self.assertIn(identifier, err)

    def test_the_beginning_of_two_ids(self) -> None:
        first, second = "8a2e0000-0000-4000-8000-000000000001", "8a2e0000-0000-4000-8000-000000000002"
        for identifier in (first, second):
            tags = f"osc-imagetools,bundle={identifier},kind=image,subject={samples.IMAGE_ID}"
            self.by_restic(
                "backup", "--stdin", "--stdin-filename", "disks/0-vda.raw", "--tag", tags, data=b"x"
            )
        err = self.fails(*self.there("bundle", "show", "8a2e"))
        self.assertIn("8a2e fits several", err)
        self.assertIn(f"{second} (image {samples.IMAGE_ID})", err)


class TestKeeping(RepositoryCase):
    def test_by_rules_records_and_tags(self) -> None:
        made = self.copied(*FOUR)
        (last,) = self.snapshots("--tag", f"bundle={made[0]},complete")
        self.by_restic("tag", "--add", "monthly", last["id"])
        store_record(self.restic, PROOF, bundle_id=made[1], kind="image", subject=samples.IMAGE_ID)
        self.assertEqual([PROOF], stored_records(self.restic, find_bundle(self.restic, made[1])))
        words = self.there("bundle", "forget", "--keep-last", "1", "--keep-tag", "monthly")
        planned = {row["Bundle"]: row["Result"] for row in self.rows(*words, "--dry-run")}
        self.assertEqual("would be removed", planned[made[2]])
        done = {row["Bundle"]: (row["Result"], row["Reason"]) for row in self.rows(*words, "--prune")}
        self.assertEqual(
            {
                made[3]: ("kept", "last, newest complete"),
                made[2]: ("removed", "no rule keeps it"),
                made[1]: ("kept", "newest with a successful restore check"),
                made[0]: ("kept", "tagged monthly"),
            },
            done,
        )
        self.assertEqual(
            {made[0], made[1], made[3]}, {row["Bundle"] for row in self.rows(*self.there("bundle", "list"))}
        )
        self.no_locks()

    def test_what_was_not_finished_goes_where_that_is_wanted(self) -> None:
        tags = f"osc-imagetools,bundle={FORGED},kind=image,subject={samples.IMAGE_ID}"
        self.by_restic("backup", "--stdin", "--stdin-filename", "disks/0-vda.raw", "--tag", tags, data=b"x")
        (row,) = self.rows(*self.there("bundle", "list"))
        self.assertEqual(("incomplete", None, None), (row["State"], row["Size"], row["Name"]))
        (row,) = self.rows(*self.there("bundle", "verify", FORGED), code=3)[:1]
        self.assertIn(row["Result"], ("incomplete", "unlisted"))
        err = self.fails(*self.there("bundle", "copy", FORGED, "--output", self.dir / "back"))
        self.assertIn("It is incomplete.", err)
        self.rows(*self.there("bundle", "forget", "--incomplete"))
        self.assertEqual([], self.snapshots())


class TestRefused(RepositoryCase):
    def test_no_repository_and_another_password(self) -> None:
        self.password.write_text("another")
        self.assertIn("[repository-password]", self.fails(*self.there("bundle", "list")))
        self.password.write_text(PASSWORD)
        shutil.rmtree(self.url)
        err = self.fails(*self.there("bundle", "list"))
        self.assertIn("[repository-absent]", err)
        self.assertIn("restic -r", err)
        self.assertIn("[repository-absent]", self.fails(*self.there("bundle", "copy", self.made())))

    def program(self, text: str | None) -> None:
        """Another restic on PATH, or none."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        if text is not None:
            (folder / "restic").write_text(text)
            (folder / "restic").chmod(0o755)
        restic.restic_program.cache_clear()
        self.useFixture(fixtures.EnvironmentVariable("PATH", str(folder)))

    def test_no_restic_or_one_that_will_not_do(self) -> None:
        for text, reference, said in (
            (None, "restic-absent", "which is not on PATH"),
            ("#!/nowhere\n", "restic-absent", "cannot be run"),
            ("#!/bin/sh\necho something else\n", "restic-absent", "does not say which version"),
            ("#!/bin/sh\necho restic 0.13.1 compiled with go1.18\n", "restic-too-old", "is restic 0.13.1"),
        ):
            self.program(text)
            err = self.fails(*self.there("bundle", "list"))
            self.assertIn(f"[{reference}]", err)
            self.assertIn(said, err)

    def test_an_answer_that_is_no_json(self) -> None:
        self.program('#!/bin/sh\n[ "$1" = version ] && echo restic 0.17.0 || echo "{"\n')
        self.assertIn("did not give JSON", self.fails(*self.there("bundle", "list")))

    def test_more_than_anybody_can_read(self) -> None:
        self.patch(restic, "MAX_OUTPUT", 10)
        self.copied_quietly()
        self.assertIn("gave more than 10 bytes", self.fails(*self.there("bundle", "list")))

    def copied_quietly(self) -> None:
        self.by_restic("backup", "--stdin", "--stdin-filename", "x", "--tag", "osc-imagetools", data=b"x")

    def test_bundles_that_are_not_whole(self) -> None:
        for spoil, said in (
            (lambda b: (b / "disks" / "more").write_text("x"), "disks/more: unlisted"),
            (lambda b: (b / samples.SECOND).unlink(), f"{samples.SECOND}: missing"),
            (lambda b: (b / samples.FIRST).write_bytes(b"x"), f"{samples.FIRST}: size"),
            (lambda b: (b / "metadata" / "link").symlink_to("/etc/passwd"), "metadata/link"),
            (lambda b: (b / "manifest.json").unlink(), "there is no manifest"),
        ):
            bundle = self.made()
            spoil(bundle)
            err = self.fails(*self.there("bundle", "copy", bundle))
            self.assertIn("[bundle-refused]", err)
            self.assertIn(said, err)
            shutil.rmtree(bundle)
        self.assertEqual([], self.snapshots())

    def test_a_disk_of_other_bytes_never_becomes_a_snapshot(self) -> None:
        bundle = self.made()
        data = bytearray((bundle / samples.FIRST).read_bytes())
        data[100] ^= 1
        (bundle / samples.FIRST).chmod(0o600)
        (bundle / samples.FIRST).write_bytes(data)
        err = self.fails(*self.there("bundle", "copy", bundle))
        self.assertIn("[bundle-refused]", err)
        self.assertIn(samples.FIRST, err)
        self.assertNotIn([f"/{samples.FIRST}"], [s["paths"] for s in self.snapshots()])
        self.assertNotIn("complete", [tag for s in self.snapshots() for tag in s["tags"]])
        self.no_locks()


class TestHostile(RepositoryCase):
    """What claims to be a bundle, stored by restic alone."""

    def store(
        self, document: Any, *, disks: bool = True, spoil: Callable[[bytes], bytes] = lambda data: data
    ) -> str:
        path = samples.make_bundle(self.dir / "forged")
        samples.reseal(path, document if isinstance(document, bytes) else format_manifest(document))
        tags = ["--tag", f"osc-imagetools,bundle={FORGED},kind=image,subject={samples.IMAGE_ID}"]
        for file in (samples.FIRST, samples.SECOND) if disks else ():
            words = ("backup", "-q", "--stdin", "--stdin-filename", file, *tags)
            data = (path / file).read_bytes()
            self.by_restic(*words, data=spoil(data) if file == samples.FIRST else data)
        shutil.rmtree(path / "disks")
        words = ("-r", self.url, "--password-file", str(self.password), "backup", "-q", *tags)
        subprocess.run(["restic", *words, "--tag", "complete", "."], cwd=path, check=True)
        return FORGED

    def manifest(self, **changes: Any) -> dict[str, Any]:
        path = samples.make_bundle(self.dir / "model")
        document = samples.load(path)
        shutil.rmtree(path)
        return {**document, "bundle_id": FORGED, **changes}

    def refused(self, identifier: str) -> str:
        """It is listed as broken, verified as bad, and nothing of it is copied."""
        self.assertEqual({"broken"}, {row["State"] for row in self.rows(*self.there("bundle", "list"))})
        findings = self.rows(*self.there("bundle", "verify", identifier), code=3)
        self.assertNotEqual({"ok"}, {row["Result"] for row in findings})
        out = self.dir / "out"
        err = self.fails(*self.there("bundle", "copy", identifier, "--output", out))
        self.assertIn("[bundle-refused]", err)
        self.assertFalse(out.exists())
        return err

    def test_broken_json(self) -> None:
        self.refused(self.store(b'{"a": 1, "a": 2}'))
        self.fails(*self.there("bundle", "show", FORGED))

    def test_the_manifest_of_another(self) -> None:
        err = self.refused(self.store(self.manifest(bundle_id=OTHER_ID)))
        self.assertIn(f"tagged as bundle {FORGED}, its manifest is that of {OTHER_ID}", err)

    def test_of_another_resource(self) -> None:
        err = self.refused(self.store(self.manifest(resource={"id": OTHER_ID, "name": "x"})))
        self.assertIn("its manifest says otherwise", err)

    def test_disks_that_are_not_there(self) -> None:
        err = self.refused(self.store(self.manifest(), disks=False))
        self.assertIn(f"There is no snapshot of {samples.FIRST}", err)

    def test_a_disk_of_other_bytes(self) -> None:
        for spoil, result, said in (
            (lambda data: data[:-1] + b"!", "changed", "Its sha512 is not the one in the manifest"),
            (lambda data: data[:-1], "size", "It has 23999 bytes, the manifest says 24000"),
        ):
            identifier = self.store(self.manifest(), spoil=spoil)
            findings = self.rows(*self.there("bundle", "verify", identifier), code=3)
            self.assertIn((samples.FIRST, result), [(row["File"], row["Result"]) for row in findings])
            out = self.dir / "out"
            err = self.fails(*self.there("bundle", "copy", identifier, "--output", out))
            self.assertIn(f"{samples.FIRST} in the repository is not what its manifest says: {said}", err)
            self.assertFalse((out / samples.FIRST).exists())
            self.assertFalse((out / "manifest.json").exists())
            for folder in (self.dir / "forged", pathlib.Path(self.url), out):
                shutil.rmtree(folder, ignore_errors=True)
            self.new_repository("repository")

    def test_what_restic_cannot_read(self) -> None:
        """The packs of the disks, which restic compresses to next to nothing, or those of all else."""
        for small, code in ((True, 3), (False, 1)):
            self.copied()
            for file in (pathlib.Path(self.url) / "data").rglob("*"):
                if file.is_file() and (file.stat().st_size < 300) is small:
                    file.chmod(0o600)
                    file.write_bytes(bytes(file.stat().st_size))
            found, out, err = self.run_openstack(*self.there("bundle", "verify", "web01"), "-f", "value")
            self.assertEqual(code, found, err)
            if small:
                for disk in (samples.FIRST, samples.SECOND):
                    self.assertIn(f"{disk} unreadable restic cannot read it", out)
                self.assertIn("manifest.json ok", out)
            else:
                self.assertIn("[repository-failed]", err)
                self.assertIn(f"restic -r {self.url} check", err)

    def test_more_than_a_bundle_has(self) -> None:
        self.copied()
        snapshot = find_bundle(self.restic, "web01").stored.last
        assert snapshot is not None
        for name, value, said in (
            ("MAX_FILES", 1, "has more files, or larger ones"),
            ("MAX_TOTAL", 3000, "have more than 3000 bytes"),
        ):
            with fixtures.MonkeyPatch(f"{reader.__name__}.{name}", value):
                error = self.assertRaises(errors.BundleRefused, read_documents, self.restic, snapshot.id)
            self.assertIn(said, error.message)
        self.no_locks()


class TestInterrupted(RepositoryCase):
    def test_a_copy_into_it_stops_and_goes_on(self) -> None:
        bundle, cancelled = self.made(), threading.Event()
        source = read_source(bundle)
        write = disk_writer.RepositoryFileWriter.write

        def interrupt(writer: Any, data: bytes) -> None:
            write(writer, data)
            cancelled.set()

        def copy(cancelled: threading.Event) -> Any:
            progress = NullProgress()
            return copy_into_repository(source, self.restic, jobs=1, progress=progress, cancelled=cancelled)

        with fixtures.MonkeyPatch(f"{disk_writer.__name__}.RepositoryFileWriter.write", interrupt):
            self.assertRaises(errors.Cancelled, copy, cancelled)
        self.no_locks()
        self.assertEqual([], [s for s in self.snapshots() if "complete" in s["tags"]])
        result = copy(threading.Event())
        self.assertEqual(2, len(result.disks))
        self.assertEqual("complete", find_bundle(self.restic, "web01").state)

    def test_what_was_stored_before_is_read_back_and_not_stored_again(self) -> None:
        bundle = self.made()
        copy_in = self.there("bundle", "copy", bundle, "--jobs", "1")
        finish = RepositoryBundleWriter.finish

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise errors.RepositoryError("the backend is away")

        self.patch(RepositoryBundleWriter, "finish", refuse)
        self.assertIn("the backend is away", self.fails(*copy_in))
        self.patch(RepositoryBundleWriter, "finish", finish)
        told = self.rows(*copy_in)
        self.assertEqual((SIZE, 0), (told["bytes_reused"], told["bytes_added"]))

    def test_a_copy_out_of_it_stops_and_leaves_no_disk(self) -> None:
        self.copied()
        found, out, cancelled = find_bundle(self.restic, "web01"), self.dir / "out", threading.Event()
        cancelled.set()
        self.assertRaises(
            errors.Cancelled, copy_to_directory, found, self.restic, out, jobs=2,
            progress=NullProgress(), cancelled=cancelled,
        )  # fmt: skip
        self.assertFalse(out.exists())

    def test_a_disk_that_somebody_removed_meanwhile(self) -> None:
        bundle = self.made()
        copy = disk_writer.RepositoryFileWriter.finish

        def removed(writer: Any) -> Any:
            stored = copy(writer)
            if writer.path == samples.FIRST:
                for file in (pathlib.Path(self.url) / "snapshots").iterdir():
                    file.unlink()
            return stored

        self.patch(disk_writer.RepositoryFileWriter, "finish", removed)
        err = self.fails(*self.there("bundle", "copy", bundle, "--jobs", "1"))
        self.assertIn(f"Somebody has removed {samples.FIRST} from the repository", err)

    def test_a_file_is_there_only_when_its_writer_says_so(self) -> None:
        with disk_writer.RepositoryFileWriter(self.restic, "x", ()) as writer:
            writer.write(b"half")
        self.assertEqual([], self.snapshots())
        with disk_writer.RepositoryFileWriter(self.restic, "x", ()) as writer:
            writer.write(b"all of it")
            stored = writer.finish()
        (snapshot,) = self.snapshots()
        self.assertEqual(9, stored.size)
        self.assertTrue(snapshot["id"].startswith(stored.snapshot))
        with open_file(self.restic, stored.snapshot, "x") as file:
            self.assertEqual(b"all of it", b"".join(file.pieces()))
        self.no_locks()

    def test_a_restic_that_dies_while_it_is_fed(self) -> None:
        shutil.rmtree(self.url)
        writer = disk_writer.RepositoryFileWriter(self.restic, "x", ())
        writer.started.wait()
        error = self.assertRaises(errors.RepositoryAbsent, feed, writer)
        self.assertIn("restic -r", str(error.hint))


def feed(writer: disk_writer.RepositoryFileWriter) -> None:
    while True:
        writer.write(bytes(65536))


class TestLocks(RepositoryCase):
    def leave_lock(self) -> None:
        """A lock that a killed restic has left."""
        words = ["restic", "-r", self.url, "--password-file", str(self.password)]
        command = [*words, "backup", "--stdin", "--stdin-filename", "x"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            while not any((pathlib.Path(self.url) / "locks").iterdir()):
                self.assertIsNone(process.poll())
                time.sleep(0.01)
            process.kill()

    def test_of_our_own_dead_process(self) -> None:
        self.copied(*FOUR)
        self.leave_lock()
        rows = self.rows(*self.there("bundle", "forget", "--keep-last", "1"))
        self.assertEqual({"kept", "removed"}, {row["Result"] for row in rows})
        self.no_locks()

    def test_of_a_living_process(self) -> None:
        self.copied(*FOUR)
        with disk_writer.RepositoryHold(self.restic, threading.Event()):
            err = self.fails(*self.there("bundle", "forget", "--keep-last", "1"))
        self.assertIn("[repository-locked]", err)
        self.assertEqual(4, len(self.rows(*self.there("bundle", "list"))))

    def test_a_copy_waits_for_a_removal_only_so_long(self) -> None:
        self.patch(bundle_writer, "LOCK_PATIENCE", -1.0)
        self.patch(
            disk_writer.RepositoryFileWriter,
            "failure",
            lambda writer: writer.abort() or errors.RepositoryLocked("the repository is locked by PID 1"),
        )
        self.patch(disk_writer.RepositoryFileWriter, "running", False)
        self.assertIn("locked by PID 1", self.fails(*self.there("bundle", "copy", self.made())))


class TestSpace(RepositoryCase):
    def test_zeros_become_holes(self) -> None:
        zeros = bytes(8 << 20)
        path = samples.with_disk(self.dir / "sparse", b"x" * 4096 + zeros + b"y" * 100)
        self.rows(*self.there("bundle", "copy", path))
        out = self.dir / "out"
        self.rows(*self.there("bundle", "copy", samples.IMAGE_ID, "--output", out))
        self.assertEqual((path / samples.FIRST).read_bytes(), (out / samples.FIRST).read_bytes())
        self.assertLess(os.stat(out / samples.FIRST).st_blocks * 512, 1 << 20)


def bundle_id(text: str) -> str:
    """The ID in a message."""
    return text.split("Bundle ")[1].split()[0]
