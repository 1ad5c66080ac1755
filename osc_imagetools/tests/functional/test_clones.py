# SPDX-License-Identifier: Apache-2.0
"""Where storage makes clones, an image or snapshot cannot be deleted before the volumes made of it.

These tests pass on every storage; on Ceph RBD they fail where a command forgets that.
"""

from __future__ import annotations

import pathlib
import signal
from typing import Any

import fixtures

from osc_imagetools.cloud import ownership
from osc_imagetools.run.effects import servers, waits
from osc_imagetools.tests.functional import base, storage
from osc_imagetools.tests.functional.base import MIB
from osc_imagetools.tests.functional.test_leftover import LeftoverCase


class CloneCase(LeftoverCase):
    def raw_bundle(self) -> pathlib.Path:
        """The bundle of a volume with raw data, which is in ``self.data``."""
        self.data = self.random_file(6 * MIB)
        volume = self.volume(image_id=self.image(self.data))
        words = ("volume", "export-full", volume, "--disk-format", "raw", "--output", self.dir / "bundle")
        self.openstack(*words)
        return self.dir / "bundle"

    def images(self) -> set[str]:
        connection = self.connection()
        return {image.id for image in connection.image.images(owner=connection.current_project_id)}

    def stands_alone(self, volume_id: str, content: pathlib.Path) -> None:
        """A volume has this data, and needs no image."""
        self.same_volume(volume_id, content)
        if storage.CEPH:
            self.assertIsNone(storage.parent(volume_id))


class TestIndependent(CloneCase):
    """What an import creates needs no temporary image any more when the command has ended."""

    def test_a_volume_of_raw_data(self) -> None:
        bundle = self.raw_bundle()
        before, known = self.images(), self.ids("devcloud-demo")
        words = ("volume", "import-full", bundle, "--name", f"{self.name}-again", "-f", "json")
        report = self.openstack(*words).json
        self.addCleanup(self.remove_volume, report["id"])
        self.assertEqual(([], []), (report["differences"], report["not_replayed"]))
        self.stands_alone(report["id"], self.data)
        self.assertEqual((before, []), (self.images(), self.leftover()))
        self.assertEqual({report["id"]}, self.ids("devcloud-demo") - known)

    def test_a_server_from_volumes_and_the_disk_of_a_server_of_an_image(self) -> None:
        disk = self.guest_disk()
        image = self.image(disk, hw_disk_bus="virtio")
        server_id = self.create_server(imageRef=image, flavor="tiny-1g")
        report = self.export_server(server_id)
        # Nova's own snapshot on RBD has no hash when it becomes active, and gets one later.
        self.assertEqual("os_hash", report["verified"])
        self.written_by_guest(disk)
        before = self.images()
        words = ("--boot-from", "volume", "--flavor", "tiny", "--name", f"{self.name}-again")
        made = self.import_server(*words)
        (volume,) = self.devices(made["id"]).values()
        self.stands_alone(volume, disk)
        self.assertEqual((before, []), (self.images(), self.leftover()))


class TestKilledImport(CloneCase):
    def test_a_volume_goes_before_the_image_that_it_is_a_clone_of(self) -> None:
        bundle = self.raw_bundle()
        before = self.ids("devcloud-demo")
        words = ("volume", "import-full", str(bundle), "--name", f"{self.name}-again")
        step = "SIGKILL=answered: block-storage POST /volumes"
        process = base.start_killed(self.dir / "steps", step, *words, cloud="devcloud-demo")
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(-signal.SIGKILL, process.returncode, err)
        cinder = self.connection().block_storage
        (volume,) = [v for v in cinder.volumes() if ownership.RUN in v.metadata]
        self.wait(lambda: cinder.get_volume(volume.id).status, "available")
        plan = self.openstack("leftover", "delete", "--dry-run", "-f", "json").json
        self.assertEqual(["delete volume", "delete image"], [row["Action"] for row in plan])
        self.assertEqual(["deleted"] * 2, [row["Result"] for row in self.delete()])
        self.assertEqual((before, []), (self.ids("devcloud-demo"), self.leftover()))


class TestLineage(CloneCase):
    def fates(self, noun: str, resource: str) -> dict[str, Any]:
        rows = self.openstack(*noun.split(), "lineage", resource, "--long", "-f", "json").json
        return {row["ID"]: row["If Deleted"] for row in rows}

    def test_what_prevents_the_deletion_of_an_image(self) -> None:
        """The command says "if", for no API tells what is a clone; the cloud knows."""
        glance = self.connection().image
        for form, refused in (("raw", storage.CEPH), ("qcow2", False)):
            image = self.image(self.qcow2() if form == "qcow2" else self.random_file(MIB), disk_format=form)
            volume = self.volume(image_id=image)
            fate = self.fates("image", image)[volume]
            if refused:
                self.assertIn("prevents the deletion if", fate)
            elif form == "qcow2":
                self.assertIsNone(fate)
            self.assertEqual(409 if refused else 204, glance.delete(f"/images/{image}").status_code)

    def qcow2(self) -> pathlib.Path:
        path = self.dir / "small.qcow2"
        storage.qemu_img("create", "-q", "-f", "qcow2", str(path), "1M")
        return path


class TestAbandoned(CloneCase):
    """An image that no service works on any more is not waited for: it never becomes active."""

    def test_a_queued_image_of_an_idle_server(self) -> None:
        server_id = self.create_server(imageRef=self.image(self.guest_disk()), flavor="tiny-1g")
        before = self.images()

        def refused_location(context: Any, server: str, body: dict[str, Any], *args: Any, **kw: Any) -> Any:
            """What is left of createImage where Glance refuses what Nova wrote into the store."""
            name = body["createImage"]["name"]
            document = {"name": name, "disk_format": "raw", "container_format": "bare"}
            made = context.cloud.post("image", "/images", what="image", json=document)
            return {"image_id": made["id"]}

        self.useFixture(fixtures.MonkeyPatch(f"{servers.__name__}.server_action", refused_location))
        self.useFixture(fixtures.MonkeyPatch(f"{waits.__name__}.ABANDONED", 3.0))
        words = ("server", "export-full", server_id, "--output", self.dir / "bundle")
        failed = self.openstack(*words, code=1)
        self.assertIn("is still queued, and the server is no longer being captured", failed.err)
        self.assertEqual((before, []), (self.images(), self.leftover()))
