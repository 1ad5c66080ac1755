# SPDX-License-Identifier: Apache-2.0
"""Resources of every name and state that the services allow: found, copied, or refused with advice."""

import os
import pathlib
import subprocess
import uuid

from osc_imagetools.tests.functional.base import MIB, ROOT, TestCase
from osc_imagetools.tests.functional.servers import ServerCase

NAMES = (
    "ubuntu:22.04",
    "web01 2026-11-27T07:30:00",
    "2026-11-27T07:30:00Z",
    "in:a,b",
    "eq:x",
    'say "hi"',
    "'quoted'",
    "100%",
    "<b>x</b> &amp;",
    "a+b*c?(d)[e]{f}^$|\\.",
    "-lead",
    ".lead",
    "two  spaces",
    "a/file",
    "detail",
    "5",
    "名前",
    "שלום",
    "A" * 255,
)


class TestNames(TestCase):
    """A name means the resource that has it."""

    def plan(self, noun: str, name: str) -> str:
        return self.openstack(*noun.split(), "export-full", "--dry-run", "--", name).out

    def test_of_an_image(self) -> None:
        glance = self.connection().image
        image_id = self.image(b"data", name=self.name)
        kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        for name in NAMES:
            patch = [{"op": "replace", "path": "/name", "value": name}]
            answer = glance.patch(f"/images/{image_id}", json=patch, headers=kind)
            self.assertEqual(200, answer.status_code, answer.text)
            self.assertIn(image_id, self.plan("image", name))

    def test_of_a_volume_and_a_snapshot(self) -> None:
        cinder = self.connection().block_storage
        volume_id = self.volume(size=1)
        snapshot = cinder.create_snapshot(volume_id=volume_id, name=self.name)
        self.addCleanup(self.wait, lambda: cinder.find_snapshot(snapshot.id), None)
        self.addCleanup(cinder.delete_snapshot, snapshot.id)
        self.wait(lambda: cinder.get_snapshot(snapshot.id).status, "available")
        for name in ("detail", "'quoted'", "名前: 5%"):
            for path, key, identifier in (
                ("/volumes", "volume", volume_id),
                ("/snapshots", "snapshot", snapshot.id),
            ):
                answer = cinder.put(f"{path}/{identifier}", json={key: {"name": name}})
                self.assertEqual(200, answer.status_code, answer.text)
            self.assertIn(volume_id, self.plan("volume", name))
            self.assertIn(snapshot.id, self.plan("volume snapshot", name))

    def test_one_that_was_shared_and_not_accepted(self) -> None:
        project = self.connection().session.get_project_id()
        name = f"{self.name}:shared"
        image_id = self.image(
            b"data", name=name, cloud="devcloud-other", visibility="shared", members=[project]
        )
        self.assertIn(image_id, self.plan("image", name))
        self.openstack("image", "export-full", "--dry-run", name, cloud="devcloud-admin")
        own = self.image(b"data", name=name)  # it wins over what others share
        self.assertIn(own, self.plan("image", name))


class TestStates(TestCase):
    """What cannot be read by everybody, or not at all."""

    def test_a_deactivated_image(self) -> None:
        image_id = self.image(b"data" * 1000)
        admin = self.connection("devcloud-demo-admin").image
        answer = admin.post(f"/images/{image_id}/actions/deactivate")
        self.assertEqual(204, answer.status_code, answer.text)
        refused = self.openstack("image", "export-full", image_id, code=1)
        self.assertIn("only an administrator can read its data", refused.err)
        self.assertNotIn("--activate", refused.err)
        self.export(image_id, cloud="devcloud-demo-admin")
        (disk,) = (self.dir / "bundle" / "disks").iterdir()
        self.assertEqual(b"data" * 1000, disk.read_bytes())
        self.assertEqual("deactivated", admin.get(f"/images/{image_id}").json()["status"])

    def test_a_queued_image(self) -> None:
        refused = self.openstack("image", "export-full", self.image(None), code=1)
        self.assertIn("wait until it is active", refused.err)


class TestDamaged(TestCase):
    """Bytes that are right and no disk: kept as they are, and never converted."""

    def damaged(self, corrupt: bool) -> pathlib.Path:
        raw, path = self.random_file(8 * MIB), self.dir / f"{uuid.uuid4().hex}.qcow2"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
        if corrupt:
            with path.open("r+b") as file:
                file.seek(79)
                file.write(b"\x02")
        else:
            os.truncate(path, path.stat().st_size - 2 * MIB)
        return path

    def test_it_is_exported_and_nothing_reads_it(self) -> None:
        for corrupt in (False, True):
            path = self.damaged(corrupt)
            image_id = self.image(path, disk_format="qcow2")
            output = self.dir / f"bundle-{corrupt}"
            self.openstack("image", "export-full", image_id, "--output", output)
            (disk,) = (output / "disks").iterdir()
            self.assertEqual(path.read_bytes(), disk.read_bytes())
            verified = self.openstack("bundle", "verify", output, cloud=None, code=3)
            self.assertIn("damaged", verified.out)
            before = {image.id for image in self.connection().image.images()}
            for words in (
                ("image", "import-full", output, "--disk-format", "raw"),
                ("image", "convert", image_id, "--to", "image", "--disk-format", "raw"),
            ):
                refused = self.openstack(*words, code=1)
                self.assertIn("marked corrupt" if corrupt else "cut short", refused.err)
            self.assertEqual(before, {image.id for image in self.connection().image.images()})
            self.assertEqual([], self.openstack("leftover", "list", "-f", "json").json)

    def test_an_odd_size_is_rounded_up(self) -> None:
        data = self.random_file(1000001)
        self.export(self.image(data))
        words = ("--disk-format", "qcow2", "--name", f"{self.name}-back", "-f", "json")
        made = self.openstack("image", "import-full", self.dir / "bundle", *words).json
        self.addCleanup(self.remove_image, made["id"])
        image = self.connection().image.get(f"/images/{made['id']}").json()
        self.assertEqual(("qcow2", 1000448), (image["disk_format"], image["virtual_size"]))

    def test_what_the_beginning_of_the_data_tells(self) -> None:
        path = self.dir / "luks.qcow2"
        secret = self.dir / "secret"
        secret.write_text("secret")
        qemu_img = str(ROOT / "devcloud" / "wrappers" / "qemu-img")  # tries again where QEMU gives up
        command = [qemu_img, "create", "-q", "--object", f"secret,id=s,file={secret}", "-f", "qcow2"]
        command += ["-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", str(path), "4M"]
        subprocess.run(command, check=True)
        image_id = self.image(path, disk_format="qcow2")
        for words in (("--to", "image", "--disk-format", "raw"), ("--to", "volume")):
            refused = self.openstack("image", "convert", image_id, *words, code=1)
            self.assertIn(f"{self.name} ({image_id}) is encrypted (qcow2)", refused.err)


class TestServerNames(ServerCase):
    def test_letters_outside_ascii(self) -> None:
        """Nova shows a host name for it that it refuses in a request."""
        name = f"Wéb 名前 {self.name}"
        image_id = self.image(self.guest_disk())
        server_id = self.create_server(name=name, flavor="tiny-1g", imageRef=image_id)
        host = self.document(server_id)["OS-EXT-SRV-ATTR:hostname"]
        self.assertIn("é", host)
        self.export_server(server_id)
        self.remove_server(server_id)
        back = self.import_server()
        after = self.document(back["id"])
        self.assertEqual((name, host), (after["name"], after["OS-EXT-SRV-ATTR:hostname"]))
