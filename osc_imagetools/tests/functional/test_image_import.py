# SPDX-License-Identifier: Apache-2.0
"""Round trips: out of one project, into another, and compared there."""

import hashlib
import json
import os
import random
import signal
import subprocess
from typing import Any

from osc_imagetools.cloud import ownership
from osc_imagetools.tests.functional import base, proxy, storage
from osc_imagetools.tests.functional.base import MIB

OTHER = "devcloud-other"
# Glance refuses characters beyond the basic plane.
VALUES = [
    "",
    " ",
    "ünïcödé ✓ \u05d0",
    "quote \" and ' and \\",
    "line one\nline two\ttab",
    "x" * 255,
    json.dumps({"key": ["a", None, 1.5]}),
    "None",
    "true",
    "%s {0} $HOME",
]


class ImportCase(base.TestCase):
    def import_full(self, *words: Any, cloud: str = OTHER, code: int = 0) -> dict[str, Any]:
        """``image import-full`` of the test's bundle: the report; what it makes is removed."""
        bundle = self.dir / "bundle"
        result = self.openstack("image", "import-full", bundle, "-f", "json", *words, cloud=cloud, code=code)
        if not result.out:
            return {"error": result.err}
        self.addCleanup(self.remove_image, result.json["id"], cloud)
        return result.json  # type: ignore[no-any-return]

    def document(self, image_id: str, cloud: str = OTHER) -> dict[str, Any]:
        answer = self.connection(cloud).image.get(f"/images/{image_id}")
        return answer.json()  # type: ignore[no-any-return]

    def data_hash(self, image_id: str, cloud: str = OTHER) -> str:
        response = self.connection(cloud).image.get(f"/images/{image_id}/file", stream=True)
        digest = hashlib.sha512()
        for block in response.iter_content(MIB):
            digest.update(block)
        return digest.hexdigest()

    def names_of(self, cloud: str = OTHER) -> set[str]:
        return {image.id for image in self.connection(cloud).image.images()}


class TestRoundTrip(ImportCase):
    def test_bytes_and_metadata(self):
        dice = random.Random(self.name)
        properties: dict[str, Any] = {f"key_{n}": dice.choice(VALUES) for n in range(40)}
        properties |= {f"value_{n}": value for n, value in enumerate(VALUES)}
        data = self.random_file(5 * MIB + 321)
        source = self.image(
            data,
            tags=["b", "a", "ünï"],
            min_disk=1,
            min_ram=64,
            os_hidden=True,
            protected=True,
            **properties,
        )
        self.export(source)
        report = self.import_full()
        self.assertEqual([], report["differences"])
        self.assertEqual([], report["not_replayed"])
        made, was = self.document(report["id"]), self.document(source, "devcloud-demo")
        changing = {"id", "owner", "self", "file", "created_at", "updated_at", "direct_url"}
        self.assertEqual(
            {k: v for k, v in was.items() if k not in {*changing, "tags"}},
            {k: v for k, v in made.items() if k not in {*changing, "tags"}},
        )
        self.assertEqual(sorted(was["tags"]), sorted(made["tags"]))
        self.assertEqual(hashlib.sha512(data.read_bytes()).hexdigest(), self.data_hash(report["id"]))

    def test_128_properties(self):
        properties: dict[str, Any] = {f"key_{n}": str(n) for n in range(128)}
        source = self.image(b"x" * 4096, **properties)
        self.export(source)
        report = self.import_full()
        self.assertEqual([], report["differences"])
        self.assertEqual("127", self.document(report["id"])["key_127"])

    def test_members(self):
        projects = [str(self.connection(c).current_project_id) for c in (OTHER, "devcloud-small")]
        source = self.image(b"x" * 4096, visibility="shared", members=projects)
        self.export(source)
        report = self.import_full(cloud="devcloud-demo")
        self.assertEqual([], report["differences"])
        glance = self.connection("devcloud-demo").image
        members = glance.get(f"/images/{report['id']}/members").json()["members"]
        self.assertEqual(sorted(projects), sorted(m["member_id"] for m in members))

    def test_a_member_that_is_no_project_is_told(self):
        source = self.image(b"x" * 4096, visibility="shared", members=["nosuchproject"])
        self.export(source)
        report = self.import_full(cloud="devcloud-admin")
        self.assertEqual([], report["differences"])
        self.assertIn("member nosuchproject: there is no such project", report["not_replayed"][0])

    def test_what_the_cloud_refuses_is_a_difference_and_told(self):
        source = self.image(b"x" * 4096, cloud="devcloud-demo-admin", visibility="public")
        self.openstack(
            "image",
            "export-full",
            source,
            "--output",
            self.dir / "bundle",
            cloud="devcloud-demo-admin",
        )
        report = self.import_full(code=3)
        self.assertEqual(1, len(report["differences"]), str(report))
        self.assertIn("visibility", report["differences"][0])
        self.assertIn("visibility", report["not_replayed"][0])

    def test_what_is_asked_for_wins(self):
        self.export(self.image(b"x" * 4096, keep="1", change="2", drop="3"))
        report = self.import_full(
            *("--name", "renamed", "--property", "change=x=y", "--property", "more=1"),
            *("--remove-property", "drop", "--visibility", "community", "--store", storage.NO_RANGES),
        )
        self.assertEqual([], report["differences"])
        made = self.document(report["id"])
        expected = {"keep": "1", "change": "x=y", "more": "1", "visibility": "community"}
        expected |= {"name": "renamed", "stores": storage.NO_RANGES}
        self.assertEqual(expected, {key: made.get(key) for key in expected})
        self.assertNotIn("drop", made)

    def test_to_another_project(self):
        owner = self.connection(OTHER).current_project_id
        self.export(self.image(b"x" * 4096))
        report = self.import_full("--project", base.project("other"), cloud="devcloud-admin")
        self.assertEqual(owner, self.document(report["id"])["owner"])

    def test_converted_before(self):
        data = self.random_file(3 * MIB)
        self.export(self.image(data))
        report = self.import_full("--disk-format", "qcow2")
        self.assertEqual([], report["differences"])
        self.assertEqual("qcow2", self.document(report["id"])["disk_format"])
        copy = self.dir / "copy.qcow2"
        self.openstack("image", "save", "--file", copy, report["id"], cloud=OTHER)
        command = ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", str(copy), str(data)]
        compared = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(0, compared.returncode, compared.stdout + compared.stderr)

    def test_a_dry_run_makes_nothing(self):
        self.export(self.image(b"x" * 4096))
        before = self.names_of()
        rows = self.openstack(
            "image", "import-full", self.dir / "bundle", "--dry-run", "-f", "json", cloud=OTHER
        ).json
        self.assertEqual(["create image", "verify", "set metadata"], [row["Action"] for row in rows])
        self.assertEqual(before, self.names_of())


class TestRefused(ImportCase):
    def refused(self, *words, code, text):
        before = self.names_of()
        result = self.openstack("image", "import-full", self.dir / "bundle", *words, cloud=OTHER, code=code)
        self.assertIn(text, result.err)
        self.assertEqual(before, self.names_of())
        self.assertEqual("", result.out)

    def test_nothing_of_a_bundle_that_is_not_whole_is_sent(self):
        self.export(self.image(self.random_file(MIB)))
        disk = self.dir / "bundle" / "disks" / "0-image.raw"
        whole = disk.read_bytes()
        disk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        self.refused(code=1, text="disks/0-image.raw")
        disk.write_bytes(whole)
        link = self.dir / "bundle" / "disks" / "1-x.raw"
        link.symlink_to("/etc/passwd")
        self.refused(code=1, text="1-x.raw")

    def test_a_disk_with_a_backing_file_is_named(self):
        self.export(self.image(b"x" * 4096))
        bundle = self.dir / "bundle"
        disk = bundle / "disks" / "0-image.raw"
        disk.unlink()
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw"]
        subprocess.run([*command, str(disk), "1M"], check=True)
        manifest = json.loads((bundle / "manifest.json").read_text())
        digest = hashlib.sha512(disk.read_bytes()).hexdigest()
        manifest["disks"][0].update(size=disk.stat().st_size, content_format="qcow2")
        manifest["disks"][0]["hash"]["value"] = digest
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        subprocess.run("sha512sum manifest.json */* > SHA512SUMS", shell=True, cwd=bundle, check=True)
        self.refused(code=1, text="backing file")

    def test_options_that_contradict_each_other(self):
        self.export(self.image(b"x" * 4096))
        words = ("--property", "a=1", "--remove-property", "a", "--property", "status=x")
        self.refused(*words, code=2, text="--property status")

    def test_an_unknown_store_and_a_structure_that_is_none(self):
        self.export(self.image(b"x" * 4096))
        self.refused("--store", "nowhere", code=1, text=storage.NO_RANGES)
        self.refused("--as-volumes", code=2, text="holds its data itself")

    def test_an_upload_that_breaks_leaves_nothing(self):
        data = self.dir / "zeros"
        data.touch()
        os.truncate(data, 128 * MIB)
        self.export(self.image(data))
        slow = self.useFixture(proxy.GlanceProxy(self.dir, OTHER))
        slow.upload_rate = 2 * MIB  # a minute, and it is over when the client goes away
        process = base.start_openstack("image", "import-full", str(self.dir / "bundle"), cloud=proxy.CLOUD)
        self.addCleanup(process.kill)
        glance = self.connection(OTHER).image
        query = {"tag": ownership.TAG}
        self.assertTrue(slow.uploading.wait(base.PATIENCE))
        self.assertEqual(1, len(glance.get("/images", params=query).json()["images"]))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(130, process.returncode, err)
        self.assertEqual([], glance.get("/images", params=query).json()["images"])

    def test_a_full_store_leaves_nothing_and_can_be_tried_again(self):
        self.export(self.image(self.random_file(4 * MIB)))
        store = next(reversed(storage.FOLDERS))
        folder = storage.STATE / storage.FOLDERS[store]
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
        try:
            self.refused("--store", store, code=1, text="[transfer-failed]")
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        report = self.import_full("--store", store)
        self.assertEqual([], report["differences"])


class TestServerImage(ImportCase):
    """A bundle of an image of 0 bytes with two disks behind it."""

    def setUp(self):
        super().setUp()
        self.boot, self.data = self.guest_disk(), self.random_file(6 * MIB)
        image = self.image(self.boot, os_distro="guest")
        volumes = [self.volume(image_id=i) for i in (image, self.image(self.data))]
        cinder = self.connection().block_storage
        snapshots = [cinder.create_snapshot(volume_id=v, name=self.name) for v in volumes]
        for snapshot in snapshots:
            self.wait(lambda s=snapshot: cinder.get_snapshot(s.id).status, "available")
        entries = [
            {
                "source_type": "snapshot",
                "destination_type": "volume",
                "snapshot_id": snapshot.id,
                "device_name": f"/dev/vd{'ab'[number]}",
                "boot_index": 0 if number == 0 else None,
                "volume_size": 1,
            }
            for number, snapshot in enumerate(snapshots)
        ]
        self.source = self.image(
            b"",
            os_distro="guest",
            bdm_v2="True",
            root_device_name="/dev/vda",
            block_device_mapping=json.dumps(entries),
        )
        self.export(self.source)

    def boots(self, **server):
        nova = self.connection(OTHER).compute
        flavor = nova.find_flavor("tiny-1g", ignore_missing=False).id
        made = nova.create_server(name=self.name, flavor_id=flavor, networks="none", **server)
        self.addCleanup(self.remove_server, made.id, OTHER)
        self.wait(lambda: nova.get_server(made.id).status, "ACTIVE")
        self.wait(lambda: "GUEST-BOOTED" in str(nova.get_server_console_output(made.id)), True)

    def test_each_disk_becomes_an_image_and_the_first_boots(self):
        report = self.import_full()
        self.assertEqual([], report["differences"])
        self.assertEqual(2, report["disks"])
        for line in report["mapped"]:
            name = line.rsplit("image ", 1)[1].rpartition(" (")[0]
            found = [i for i in self.connection(OTHER).image.images() if i.name == name]
            self.assertEqual(1, len(found), line)
            self.addCleanup(self.remove_image, found[0].id, OTHER)
            copy = self.dir / f"{found[0].id}.qcow2"
            self.openstack("image", "save", "--file", copy, found[0].id, cloud=OTHER)
            self.same_disk(copy, self.data if name.endswith("vdb") else self.boot)
        made = self.document(report["id"])
        self.assertEqual(("guest", self.name), (made["os_distro"], made["name"]))
        self.assertNotIn("block_device_mapping", made)
        self.boots(image_id=report["id"])

    def test_the_structure_as_it_was(self):
        report = self.import_full("--as-volumes")
        self.assertEqual([], report["differences"])
        made = self.document(report["id"])
        self.assertEqual(0, made["size"])
        cinder = self.connection(OTHER).block_storage
        entries = json.loads(made["block_device_mapping"])
        self.assertEqual([0, None], [entry["boot_index"] for entry in entries])
        for entry in entries:
            snapshot = cinder.get_snapshot(entry["snapshot_id"])
            self.assertEqual("available", snapshot.status)
            self.assertEqual({}, snapshot.metadata)
            volume = cinder.get_volume(snapshot.volume_id)
            self.addCleanup(self.remove_volume, volume.id, OTHER)
            self.assertEqual((self.name, {}), (volume.name, volume.metadata))
            inherited = volume.volume_image_metadata or {}
            self.assertEqual([], [key for key in inherited if ownership.MARK in key])
            copy = self.volume(snapshot_id=snapshot.id, cloud=OTHER)
            inherited = cinder.get_volume(copy).volume_image_metadata or {}
            self.assertEqual([], [key for key in inherited if ownership.MARK in key])
        self.openstack(
            "image",
            "export-full",
            report["id"],
            "--output",
            self.dir / "again",
            "--disk-format",
            "raw",
            cloud=OTHER,
        )
        self.same_disk(self.dir / "again" / "disks" / "0-vda.raw", self.boot)
        self.same_disk(self.dir / "again" / "disks" / "1-vdb.raw", self.data)

    def test_an_interrupt_in_the_middle_leaves_nothing(self):
        before = self.everything()
        bundle = str(self.dir / "bundle")
        step = "answered: block-storage POST /volumes"
        words = ("image", "import-full", bundle, "--as-volumes")
        process = base.start_killed(self.dir / "steps", f"SIGTERM={step}", *words, cloud=OTHER)
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertIn(step, (self.dir / "steps").read_text().splitlines())
        self.assertEqual(130, process.returncode, err)
        self.assertEqual(before, self.everything())

    def everything(self):
        connection = self.connection(OTHER)
        storage = connection.block_storage
        lists = (connection.image.images(), storage.volumes(), storage.snapshots())
        return [sorted(resource.id for resource in found) for found in lists]

    def test_in_the_region_without_block_storage(self):
        cloud = "devcloud-novolume-other"
        error = self.import_full("--as-volumes", cloud=cloud, code=1)["error"]
        self.assertIn("[service-absent]", error)
        self.assertTrue(os.path.exists(self.dir / "bundle" / "manifest.json"))
