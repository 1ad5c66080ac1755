# SPDX-License-Identifier: Apache-2.0
"""What a step that fails leaves of the others: records of a copy, removals in batches, the last snapshot."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_run.destination import BundleRepository
from osc_imagetools.bundle.records import write_record
from osc_imagetools.bundle.repository import catalog, copy_in, copy_out, forgetting, locks, reader
from osc_imagetools.bundle.repository.bundle_writer import RepositoryBundleWriter
from osc_imagetools.bundle.repository.catalog import RepositoryBundle, list_repository
from osc_imagetools.bundle.repository.stored_records import store_record
from osc_imagetools.export.repository_store import RepositoryStore
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.bundle.repository.stored import PASSWORD, RepositoryCase
from osc_imagetools.tests.unit.bundle.repository.test_bundles import FOUR, OTHER_ID, PROOF

AWAY = errors.RepositoryError("the backend is away")


class TestRecords(RepositoryCase):
    def test_one_that_cannot_be_stored_fails_no_copy(self) -> None:
        bundle = self.made()
        write_record(bundle, PROOF)
        self.patch(copy_in, "store_record", mock.Mock(side_effect=AWAY))
        log = self.useFixture(fixtures.FakeLogger("osc_imagetools"))
        told = self.rows(*self.there("bundle", "copy", bundle))
        self.assertIn(f"The records of bundle {told['bundle']} were not all copied", log.output)
        (row,) = self.rows(*self.there("bundle", "list"))
        self.assertEqual("complete", row["State"])

    def test_one_that_cannot_be_read_fails_no_copy(self) -> None:
        (made,) = self.copied()
        store_record(self.restic, PROOF, bundle_id=made, kind="image", subject=samples.IMAGE_ID)
        self.patch(copy_out, "stored_records", mock.Mock(side_effect=AWAY))
        log = self.useFixture(fixtures.FakeLogger("osc_imagetools"))
        told = self.rows(*self.there("bundle", "copy", made, "--output", self.dir / "back"))
        self.assertEqual(str(self.dir / "back"), told["copy"])
        self.assertIn(f"The records of bundle {made} were not all copied", log.output)


class TestRemoval(RepositoryCase):
    def fails_to_remove(self, bundles: list[RepositoryBundle]) -> errors.RepositoryError:
        return self.assertRaises(errors.RepositoryError, forgetting.remove_stored, self.restic, bundles)

    def test_nothing_is_left_where_the_repository_was_not_opened(self) -> None:
        self.copied(*FOUR)
        bundles = list_repository(self.restic)
        self.password.write_text("another")
        error = self.fails_to_remove(bundles)
        self.assertEqual(("repository-password", ()), (error.reference, error.left))
        self.password.write_text(PASSWORD)
        shutil.rmtree(self.url)
        error = self.fails_to_remove(bundles)
        self.assertEqual(("repository-absent", ()), (error.reference, error.left))

    def test_what_is_left_where_a_part_was_removed(self) -> None:
        self.copied(*FOUR)
        bundles = list_repository(self.restic)
        run, batches = self.restic.run, []

        def fail(*words: str, **more: Any) -> bytes:
            batches.append(words)
            if len(batches) > 1:
                raise errors.RepositoryPassword("another password", left=(more["left"],))
            return run(*words, **more)

        self.patch(self.restic, "run", fail)
        self.assertIn("incomplete now", "".join(self.fails_to_remove(bundles).left))
        self.assertEqual([], [s for s in self.snapshots() if "complete" in s["tags"]])
        self.assertEqual(8, len(self.snapshots()))


class TestManifests(RepositoryCase):
    def test_they_are_read_without_a_lock(self) -> None:
        made = self.copied(*FOUR)
        shutil.rmtree(f"{self.url}/locks")
        Path(self.url, "locks").touch()  # no lock can be made
        self.assertEqual(made, [row["Bundle"] for row in self.rows(*self.there("bundle", "list"))])

    def test_one_that_cannot_be_read_is_read_again_with_a_lock(self) -> None:
        """Which tells whether somebody is removing it."""
        self.copied()
        started = mock.Mock(wraps=self.restic.started)
        self.patch(self.restic, "started", started)
        error = self.assertRaises(errors.RepositoryError, reader.read_file, self.restic, "0" * 64, "x")
        self.assertIn("to read x", error.message)
        self.assertEqual(
            [("dump", "--no-lock", "0" * 64, "/x"), ("dump", "0" * 64, "/x")],
            [call.args for call in started.call_args_list],
        )


class TestLockOfAnother(RepositoryCase):
    def test_it_is_waited_for_and_told_once(self) -> None:
        self.patch(locks, "PAUSE", 0.01)
        log = self.useFixture(fixtures.FakeLogger(locks.__name__))
        locked = errors.RepositoryLocked("The repository is locked by PID 7 on db1")
        attempt = mock.Mock(side_effect=[locked, locked, locked, "done"])
        self.assertEqual("done", locks.patiently(self.restic, attempt, 600))
        self.assertEqual("The repository is locked by PID 7 on db1; waiting for up to 600 s\n", log.output)


class TestOneServer(RepositoryCase):
    def test_the_manifests_of_others_are_not_read(self) -> None:
        made = self.copied((1, samples.IMAGE_ID), (2, OTHER_ID))
        repository = BundleRepository(self.restic)
        read = mock.Mock(wraps=reader.read_file)
        self.patch(catalog, "read_file", read)
        self.assertEqual([made[1]], [copy.path for copy in repository.copies(OTHER_ID)])
        self.assertEqual(1, read.call_count)
        self.assertEqual(made, [copy.path for copy in repository.copies()])


class TestPublication(RepositoryCase):
    def test_it_is_asked_last(self) -> None:
        """When nothing but the last snapshot is to come: a lease may end during all that is before."""
        done: list[str] = []

        def refuse() -> None:
            done.append("asked")
            raise errors.Cancelled("the session is lost")

        @contextmanager
        def folder() -> Iterator[Path]:
            done.append("folder")
            with tempfile.TemporaryDirectory(dir=self.dir) as path:
                yield Path(path)

        with RepositoryBundleWriter(
            self.restic,
            bundle_id=OTHER_ID,
            kind="image",
            subject=samples.IMAGE_ID,
            cancelled=threading.Event(),
        ) as writer:
            self.assertRaises(errors.Cancelled, writer.finish, {"manifest.json": b"{}"}, [], folder, refuse)
        self.assertEqual(["folder", "asked"], done)
        self.assertEqual([], self.snapshots())

    def test_a_temporary_folder_that_is_none_is_told_before_the_first_disk(self) -> None:
        subject = mock.Mock(kind="image", id=samples.IMAGE_ID)
        with RepositoryStore(self.restic).open(subject) as bundle:
            self.useFixture(fixtures.EnvironmentVariable("TMPDIR", str(self.dir / "none")))
            error = self.assertRaises(errors.ResourceUnusable, bundle.begin, mock.Mock())
        self.assertIn(f"TMPDIR is {self.dir / 'none'}", error.message)
        self.no_locks()
