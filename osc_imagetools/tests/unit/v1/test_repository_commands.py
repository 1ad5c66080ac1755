# SPDX-License-Identifier: Apache-2.0
"""Exports into a repository and imports out of it, as they are typed."""

from __future__ import annotations

import uuid
from typing import Any

import fixtures

from osc_imagetools import errors
from osc_imagetools.bundle.repository.catalog import find_bundle
from osc_imagetools.bundle.repository.resuming import export_bundle_id
from osc_imagetools.export import repository_store
from osc_imagetools.run.effects import images
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.bundle.repository.stored import RepositoryCase

DATA = b"the root disk" * 1000
ROOT = samples.qcow2(virtual_size=1 << 30)


class TestExport(RepositoryCase):
    def test_an_image(self) -> None:
        image = self.served.add_image(DATA, os_distro="debian")
        told = self.rows(*self.there("image", "export-full", "web01"))
        self.assertEqual(
            ("image", image["id"], len(DATA), len(DATA), 0, "os_hash"),
            tuple(told[k] for k in ("kind", "id", "bytes", "bytes_fetched", "bytes_reused", "verified")),
        )
        found = find_bundle(self.restic, image["id"])
        self.assertEqual((told["bundle"], "complete"), (found.id, found.state))
        self.assertEqual({"os_distro": "debian"}, found.manifest["replayable"]["properties"])
        self.assertEqual([], self.served.changes())
        self.no_locks()

    def test_the_same_again_is_another_bundle(self) -> None:
        self.served.add_image(DATA)
        ids = {self.rows(*self.there("image", "export-full", "web01"))["bundle"] for _ in range(2)}
        self.assertEqual(2, len(ids))

    def cut_off(self) -> None:
        """An export that ends when its disks are stored and its manifest is not."""

        def cut(*args: Any) -> None:
            raise errors.RepositoryError("the backend is away")

        with fixtures.MonkeyPatch(f"{repository_store.__name__}._RepositoryBundle.finish", cut):
            err = self.fails(*self.there("image", "export-full", "web01"))
        self.assertIn("the backend is away", err)

    def test_one_that_was_cut_off_goes_on(self) -> None:
        """Its disks are read back from the repository and not fetched again."""
        self.served.add_image(DATA)
        self.cut_off()
        (row,) = self.rows(*self.there("bundle", "list"))
        self.assertEqual("incomplete", row["State"])
        told = self.rows(*self.there("image", "export-full", "web01"))
        self.assertEqual(
            (row["Bundle"], 0, len(DATA)), (told["bundle"], told["bytes_fetched"], told["bytes_reused"])
        )

    def test_what_was_stored_of_other_bytes_is_fetched_again(self) -> None:
        image = self.served.add_image(DATA)
        self.cut_off()
        changed = DATA[:-1] + b"!"
        self.served._fill(image["id"], changed)
        told = self.rows(*self.there("image", "export-full", "web01"))
        self.assertEqual((len(DATA), 0), (told["bytes_fetched"], told["bytes_reused"]))
        verified = self.rows(*self.there("bundle", "verify", told["bundle"]))
        self.assertEqual({"ok"}, {row["Result"] for row in verified})

    def test_no_two_exports_write_one_bundle(self) -> None:
        image = self.served.add_image(DATA)
        self.cut_off()
        (row,) = self.rows(*self.there("bundle", "list"))
        begun = (row["Bundle"], False)
        with export_bundle_id(self.restic, "image", image["id"]) as first:
            self.assertEqual(begun, first)
            with export_bundle_id(self.restic, "image", image["id"]) as (second, new):
                self.assertEqual((True, True), (new, second != row["Bundle"]))
        with export_bundle_id(self.restic, "image", image["id"]) as again:
            self.assertEqual(begun, again)

    def test_bytes_that_are_not_what_the_cloud_promises(self) -> None:
        """Fetched once more, then given up; nothing of it is kept."""
        image = self.served.add_image(DATA)
        self.served.data[image["id"]] = DATA[:-1] + b"!"
        err = self.fails(*self.there("image", "export-full", "web01"))
        self.assertIn("[hash-mismatch]", err)
        self.assertIn("fetched 2 times, and nothing of it was kept", err)
        self.assertEqual([], self.snapshots())
        self.no_locks()

    def test_a_disk_that_is_unsafe_is_not_stored(self) -> None:
        image = self.served.add_image(samples.qcow2(backing=512), disk_format="qcow2", virtual_size=64 << 20)
        err = self.fails(*self.there("image", "export-full", image["id"]))
        self.assertIn("backing file", err)
        self.assertEqual([], self.snapshots())

    def test_a_server(self) -> None:
        volume = self.served.add_volume(ROOT, name="root", status="in-use", bootable="true")
        attached = [{"id": volume["id"], "delete_on_termination": False}]
        self.served.add_server(**{"os-extended-volumes:volumes_attached": attached})
        told = self.rows(*self.there("server", "export-full", "web01"))
        self.assertEqual(("server", 1, len(ROOT)), (told["kind"], told["disks"], told["bytes"]))
        self.assertEqual(([], {}), (journaled_runs(), self.served.images))


class TestImport(RepositoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(images, "FIRST_WAIT", 0.001)

    def test_an_image(self) -> None:
        self.served.add_image(DATA, os_distro="debian")
        self.rows(*self.there("image", "export-full", "web01"))
        self.serve()
        told = self.rows(*self.there("image", "import-full", "web01"))
        made = self.served.images[told["id"]]
        self.assertEqual(([], "debian"), (told["differences"], made["os_distro"]))
        self.assertEqual(DATA, self.served.data[told["id"]])
        self.no_locks()

    def test_converted_by_way_of_a_temporary_file(self) -> None:
        raw = bytes(1 << 20) + b"x" * 512
        self.served.add_image(raw)
        self.rows(*self.there("image", "export-full", "web01"))
        self.serve()
        self.useFixture(fixtures.EnvironmentVariable("TMPDIR", str(self.dir)))
        before = set(self.dir.iterdir())
        told = self.rows(*self.there("image", "import-full", "web01", "--disk-format", "qcow2"))
        self.assertEqual(b"QFI\xfb", self.served.data[told["id"]][:4])
        self.assertEqual(([], before), (told["differences"], set(self.dir.iterdir())))

    def test_a_volume(self) -> None:
        self.served.add_volume(ROOT, name="data01", metadata={"owner": "ops"})
        self.rows(*self.there("volume", "export-full", "data01"))
        self.serve()
        told = self.rows(*self.there("volume", "import-full", "data01"))
        self.assertEqual(ROOT, self.served.disks[told["id"]])
        self.assertEqual({"owner": "ops"}, self.served.volumes[told["id"]]["metadata"])

    def test_what_is_not_there(self) -> None:
        err = self.fails(*self.there("image", "import-full", "web01"))
        self.assertIn("[no-bundle]", err)
        self.assertEqual([], self.served.changes())

    def test_one_that_was_not_finished(self) -> None:
        tags = f"osc-imagetools,bundle={uuid.uuid4()},kind=image,subject={samples.IMAGE_ID}"
        words = ("backup", "--stdin", "--stdin-filename", "disks/0-vda.raw", "--tag", tags)
        self.by_restic(*words, data=b"x")
        (row,) = self.rows(*self.there("bundle", "list"))
        err = self.fails(*self.there("image", "import-full", row["Bundle"]))
        self.assertIn("It is incomplete.", err)
        self.assertEqual([], self.served.changes())

    def test_a_disk_of_other_bytes_never_becomes_an_image(self) -> None:
        """Whoever can write to the repository can store another disk in its place."""
        self.served.add_image(DATA)
        bundle = self.rows(*self.there("image", "export-full", "web01"))["bundle"]
        found = find_bundle(self.restic, bundle)
        ((file, old),) = found.stored.disks.items()
        self.by_restic("forget", old.id)
        words = ["backup", "--stdin", "--stdin-filename", file, "--tag", ",".join(sorted(old.tags))]
        self.by_restic(*words, data=DATA[:-1] + b"!")
        self.serve()
        err = self.fails(*self.there("image", "import-full", bundle))
        self.assertIn("[hash-mismatch]", err)
        self.assertIn(f"openstack bundle verify {bundle} --repository {self.url}", err)
        self.assertEqual(({}, {}), (self.served.images, self.served.data))
        self.no_locks()
