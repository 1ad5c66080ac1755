# SPDX-License-Identifier: Apache-2.0
"""Whole servers: exported, deleted, imported; in the same project, another one, another region."""

import base64
import pathlib
import shutil
import struct
import subprocess
from typing import Any

from osc_imagetools.tests.functional import storage
from osc_imagetools.tests.functional.base import GIB, MIB
from osc_imagetools.tests.functional.servers import BOOTED, ServerCase

RING_SECTOR, RING_SECTORS, SECTOR = 32768, 256, 512  # of a busy guest: devcloud/guest.s


class TestVolumeBooted(ServerCase):
    """A server that boots from a volume and has a second one, with everything a server can have."""

    def make(self) -> tuple[str, pathlib.Path, pathlib.Path]:
        boot, data, boot_image, data_image = self.two_disks()
        root = self.volume(image_id=boot_image, name=f"{self.name}-root", metadata={"owner": "me"})
        more = self.volume(image_id=data_image, name=f"{self.name}-data", volume_type="second")
        connection = self.connection()
        network = connection.network.find_network("private", ignore_missing=False)
        group = connection.network.create_security_group(name=f"{self.name}-web", description="web")
        self.addCleanup(connection.network.delete_security_group, group.id)
        connection.network.create_security_group_rule(
            security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=80,
            port_range_max=80,
        )  # fmt: skip
        key = connection.compute.create_keypair(name=self.name)
        self.addCleanup(connection.compute.delete_keypair, key.name)
        server_id = self.create_server(
            block_device_mapping_v2=[
                self.on_volume(root, boot=True, tag="boot"),
                self.on_volume(more, delete_on_termination=True),
            ],
            networks=[{"uuid": network.id, "tag": "lan"}],
            security_groups=[{"name": group.name}],
            key_name=key.name,
            metadata={"role": "web"},
            tags=["backup", "web"],
            description="a web server",
        )
        return server_id, boot, data

    def test_out_and_back(self) -> None:
        server_id, boot, data = self.make()
        before, devices = self.document(server_id), self.devices(server_id)
        resources = self.everything()
        report = self.export_server(server_id)
        self.assertEqual(
            ("server", 2, "crash", "os_hash", []),
            tuple(report[k] for k in ("kind", "disks", "consistency", "verified", "not_captured")),
        )
        self.assertEqual(resources, self.everything())
        bundle = self.dir / "bundle"
        self.openstack("bundle", "verify", bundle, cloud=None)
        self.sums_hold(bundle)
        self.same_disk(bundle / "disks" / "0-vda.qcow2", boot)
        self.same_disk(bundle / "disks" / "1-vdb.qcow2", data)
        self.manifest_tells(server_id, devices)

        self.remove_with_volumes(server_id)
        back = self.import_server("--keep-addresses")
        self.same_volume(self.devices(back["id"])["/dev/vda"], boot)
        self.same_volume(self.devices(back["id"])["/dev/vdb"], data)
        after = self.document(back["id"])
        same = ("name", "description", "metadata", "tags", "key_name", "addresses", "security_groups")
        for key in (*same, "OS-EXT-SRV-ATTR:hostname", "flavor"):
            self.assertEqual(before[key], after[key], key)
        self.volumes_are_the_same(back["id"])
        self.assertIn(BOOTED, self.console(back["id"]))
        self.hands_no_mark_on(back["id"])
        self.assertEqual([], self.openstack("leftover", "list", "-f", "json").json)

        other = self.to_the_other_project(boot, data)
        self.assertIn("key pair", "".join(other["not_replayed"]))

    def manifest_tells(self, server_id: str, devices: dict[str, str]) -> None:
        manifest = self.manifest()
        facts = manifest["replayable"]
        self.assertEqual([0, -1], [d["boot_index"] for d in manifest["disks"]])
        self.assertEqual(["boot", "data"], [d["role"] for d in manifest["disks"]])
        volumes = {d["device"]: d["observed"]["volume_id"] for d in manifest["disks"]}
        self.assertEqual(devices, volumes)
        self.assertEqual(["/dev/vda", "/dev/vdb"], list(volumes))
        self.assertEqual(2, len(manifest["consistency"]["snapshots"]))
        self.assertEqual("virtio", manifest["disks"][0]["replayable"]["block_device"]["disk_bus"])
        (group,) = facts["security_groups"]
        self.assertIn(80, [rule["port_range_min"] for rule in group["rules"]])
        (port,) = facts["ports"]
        self.assertEqual(("private", "lan"), (port["network"], port["tag"]))
        subnet = self.connection().network.find_subnet("private", ignore_missing=False)
        self.assertEqual(subnet.cidr, port["fixed_ips"][0]["cidr"])
        self.assertIn("ssh-", facts["key_pair"]["public_key"])
        self.assertIn("user data", facts["unreadable"])
        self.assertEqual("tiny", facts["flavor"]["name"])

    def volumes_are_the_same(self, server_id: str) -> None:
        cinder = self.connection().block_storage
        found = {}
        for device, volume_id in self.devices(server_id).items():
            found[device] = cinder.get(f"/volumes/{volume_id}").json()["volume"]
        root, data = found["/dev/vda"], found["/dev/vdb"]
        self.assertEqual((f"{self.name}-root", {"owner": "me"}), (root["name"], root["metadata"]))
        self.assertEqual((f"{self.name}-data", "second"), (data["name"], data["volume_type"]))
        self.assertEqual(("true", "guest"), (root["bootable"], root["volume_image_metadata"]["os_distro"]))
        answer = self.connection().compute.get(f"/servers/{server_id}", microversion="2.3").json()
        kept = {
            v["id"]: v["delete_on_termination"]
            for v in answer["server"]["os-extended-volumes:volumes_attached"]
        }
        self.assertEqual((False, True), (kept[root["id"]], kept[data["id"]]))

    def to_the_other_project(self, boot: pathlib.Path, data: pathlib.Path) -> dict[str, Any]:
        cloud = "devcloud-other"
        before = self.everything(cloud)
        refused = self.openstack("server", "import-full", self.dir / "bundle", cloud=cloud, code=1)
        self.assertIn("security group", refused.err)
        self.assertIn("default", refused.err)
        self.assertEqual(before, self.everything(cloud))
        words = ("--security-group", "default", "--volume-type", "second=__DEFAULT__", "--name", "elsewhere")
        report = self.import_server(*words, cloud=cloud)
        devices = self.devices(report["id"], cloud)
        self.same_volume(devices["/dev/vda"], boot)
        self.same_volume(devices["/dev/vdb"], data)
        self.assertIn("private", self.document(report["id"], cloud)["addresses"])
        self.assertIn("volume type second -> __DEFAULT__", "".join(report["mapped"]))
        return report


class TestPointer(ServerCase):
    """A server that was made from an image of 0 bytes: Nova shows the image, and the disk is a volume."""

    def test_its_disk_is_in_the_bundle(self) -> None:
        disk = self.guest_disk()
        root = self.volume(image_id=self.image(disk))
        first = self.create_server(block_device_mapping_v2=[self.on_volume(root, boot=True)])
        pointer = self.server_image(first)
        cinder = self.connection().block_storage
        self.wait(lambda: [s.status for s in cinder.snapshots(volume_id=root)], ["available"])
        server_id = self.create_server(imageRef=pointer)
        made = self.devices(server_id)["/dev/vda"]
        self.addCleanup(self.remove_volume, made)
        self.addCleanup(self.remove_server, server_id)
        self.assertEqual(pointer, self.document(server_id)["image"]["id"])
        before = self.everything()
        self.assertEqual(1, self.export_server(server_id)["disks"])
        self.assertEqual("volume", self.manifest()["replayable"]["boot_from"])
        self.written_by_guest(disk)
        self.same_disk(self.dir / "bundle" / "disks" / "0-vda.qcow2", disk)
        self.assertEqual(before, self.everything())


class TestImageBooted(ServerCase):
    """A server that boots from an image, with a volume: stopped for the copy, restored in three ways."""

    def test_out_and_back(self) -> None:
        boot, data, boot_image, data_image = self.two_disks()
        more = self.volume(image_id=data_image)
        mapping = [
            {
                "uuid": boot_image,
                "source_type": "image",
                "destination_type": "local",
                "boot_index": 0,
                "delete_on_termination": True,
            },
            self.on_volume(more),
        ]
        server_id = self.create_server(
            flavor="tiny-extra", imageRef=boot_image, block_device_mapping_v2=mapping
        )
        before = self.everything()
        report = self.export_server(server_id, "--stop", "--jobs", "1")
        self.assertEqual("stopped", report["consistency"])
        self.assertEqual(["ephemeral: ephemeral", "swap: swap"], report["not_captured"])
        self.assertEqual("ACTIVE", self.document(server_id)["status"])
        self.assertEqual(before, self.everything())
        disks = {d["name"]: self.dir / "bundle" / d["file"] for d in self.manifest()["disks"]}
        self.same_disk(disks["vda"], boot)
        device = next(iter(self.devices(server_id)))
        self.same_disk(disks[device.rpartition("/")[2]], data)

        self.remove_with_volumes(server_id)
        back = self.import_server()
        self.assertEqual("image", self.manifest()["replayable"]["boot_from"])
        self.assertTrue(self.document(back["id"])["image"])
        self.same_volume(self.devices(back["id"])[device], data)
        self.hands_no_mark_on(back["id"])

        nova = self.connection("devcloud-other").compute
        key = nova.create_keypair(name=self.name)
        self.addCleanup(nova.delete_keypair, key.name)
        user_data = self.dir / "user-data"
        user_data.write_bytes(b"#cloud-config\n")
        words = ("--boot-from", "volume", "--flavor", "tiny", "--key-name", key.name)
        other = self.import_server(*words, "--user-data", user_data, cloud="devcloud-other")
        self.assertEqual(key.name, self.document(other["id"], "devcloud-other")["key_name"])
        told = self.document(other["id"], "devcloud-admin")["OS-EXT-SRV-ATTR:user_data"]
        self.assertEqual(user_data.read_bytes(), base64.b64decode(told))
        root, second = sorted(self.devices(other["id"], "devcloud-other").items())
        self.same_volume(root[1], boot)
        self.same_volume(second[1], data)

    def test_only_one_disk(self) -> None:
        _, data, boot_image, data_image = self.two_disks()
        more = self.volume(image_id=data_image)
        server_id = self.create_server(
            flavor="tiny-1g",
            imageRef=boot_image,
            block_device_mapping_v2=[
                {
                    "uuid": boot_image,
                    "source_type": "image",
                    "destination_type": "local",
                    "boot_index": 0,
                },
                self.on_volume(more),
            ],
        )
        report = self.export_server(server_id, "--disk", "vdb")
        self.assertEqual(["vda: not-selected"], report["not_captured"])
        self.same_disk(self.dir / "bundle" / "disks" / "0-vdb.qcow2", data)
        words = ("volume", "import-full", self.dir / "bundle", "--disk", "vdb", "--size", 2, "-f", "json")
        options = ("--non-bootable", "--name", f"{self.name}-again")
        made = self.openstack(*words, *options, cloud="devcloud-other").json
        self.addCleanup(self.remove_volume, made["id"], "devcloud-other")
        volume = self.connection("devcloud-other").block_storage.get_volume(made["id"])
        self.assertFalse(volume.is_bootable)
        with data.open("r+b") as file:
            file.truncate(2 * GIB)
        self.same_volume(made["id"], data)
        unknown = self.openstack("server", "export-full", server_id, "--disk", "vdz", code=2)
        self.assertIn("vda, vdb", unknown.err)
        refused = self.openstack("server", "import-full", self.dir / "bundle", code=2)
        self.assertIn("no disk to boot from", refused.err)


class TestWithoutBlockStorage(ServerCase):
    def test_a_server_of_volumes_comes_back_from_an_image(self) -> None:
        boot, data, boot_image, data_image = self.two_disks()
        root, more = self.volume(image_id=boot_image), self.volume(image_id=data_image)
        server_id = self.create_server(
            block_device_mapping_v2=[self.on_volume(root, boot=True), self.on_volume(more)]
        )
        cloud = "devcloud-novolume"
        absent = self.openstack(
            "server", "export-full", server_id, "--output", self.dir / "none", cloud=cloud, code=1
        )
        self.assertIn("[service-absent]", absent.err)
        self.export_server(server_id)
        self.remove_with_volumes(server_id)
        before = self.everything(cloud)
        bundle = self.dir / "bundle"
        for words, texts in (
            ((), ("[service-absent]", "--boot-from image")),
            (("--boot-from", "image"), ("no root disk of its own", "tiny-1g")),
        ):
            refused = self.openstack("server", "import-full", bundle, *words, cloud=cloud, code=1)
            for text in texts:
                self.assertIn(text, refused.err)
        self.assertEqual(before, self.everything(cloud))
        report = self.import_server("--boot-from", "image", "--flavor", "tiny-1g", cloud=cloud)
        self.assertIn("no block storage", "".join(report["not_replayed"]))
        glance = self.connection().image
        found = {
            line.split(":")[0]: line.rpartition("(")[2].rstrip(")")
            for line in report["mapped"]
            if ": image " in line
        }
        for disk, content in (("disks/0-vda.qcow2", boot), ("disks/1-vdb.qcow2", data)):
            fetched = self.dir / f"fetched-{pathlib.Path(disk).name}"
            with glance.get(f"/images/{found[disk]}/file", stream=True) as answer, fetched.open("wb") as file:
                shutil.copyfileobj(answer.raw, file)
            self.same_disk(fetched, content)


class TestInUse(ServerCase):
    """A volume whose guest never stops writing."""

    def test_the_copy_is_of_one_moment(self) -> None:
        disk = self.dir / "busy"
        self.make_guest(disk, 17, "--busy")
        root = self.volume(image_id=self.image(disk, hw_disk_bus="virtio"))
        server_id = self.create_server(block_device_mapping_v2=[self.on_volume(root, boot=True)])
        self.wait(lambda: min(self.ring(storage.volume_disk(root))) > 0, True)
        output = self.dir / "bundle"
        words = ("volume", "export-full", root, "--disk-format", "raw", "--output", output, "-f", "json")
        self.assertEqual("crash", self.openstack(*words).json["consistency"])
        numbers = self.ring(str(output / "disks" / "0-volume.raw"))
        newest = max(numbers)
        # In the order of the sectors: those up to the newest one, and those of the round before.
        first = newest - newest % RING_SECTORS
        expected = [
            first + n if first + n <= newest else first + n - RING_SECTORS for n in range(RING_SECTORS)
        ]
        self.assertEqual(expected, numbers)
        self.assertEqual("ACTIVE", self.document(server_id)["status"])
        cinder = self.connection().block_storage
        self.assertEqual([], list(cinder.snapshots(volume_id=root)))

    def ring(self, disk: str) -> list[int]:
        """The number in each sector of the ring, in a raw disk."""
        data = storage.read(disk, RING_SECTOR * SECTOR, RING_SECTORS * SECTOR)
        return [struct.unpack_from("<I", data, n * SECTOR + 16)[0] for n in range(len(data) // SECTOR)] or [0]


class TestVolume(ServerCase):
    def test_a_volume_and_a_snapshot_out_and_back(self) -> None:
        data = self.random_file(8 * MIB)
        image = self.image(data, os_distro="none", os_version="1")
        volume = self.volume(image_id=image, metadata={"a": "b"}, description="mine", volume_type="second")
        cinder = self.connection().block_storage
        snapshot = cinder.create_snapshot(volume_id=volume, name=f"{self.name}-snapshot")
        self.wait(lambda: cinder.get_snapshot(snapshot.id).status, "available")
        before = self.everything()
        for kind, words in (
            ("volume", ("volume", "export-full", self.name)),
            ("snapshot", ("volume", "snapshot", "export-full", snapshot.name)),
        ):
            bundle = self.dir / kind
            report = self.openstack(*words, "--output", bundle, "-f", "json").json
            self.assertEqual((kind, 1, "os_hash"), (report["kind"], report["disks"], report["verified"]))
            self.same_disk(bundle / "disks" / "0-volume.qcow2", data)
            self.assertEqual(before, self.everything())
        dry = self.openstack("volume", "import-full", self.dir / "volume", "--dry-run", "-f", "json").json
        steps = ["create image", "create volume", "verify", "delete image", "set metadata"]
        self.assertEqual(steps, [r["Action"] for r in dry][-5:])
        self.assertEqual(before, self.everything())
        made = self.openstack("volume", "import-full", self.dir / "volume", "-f", "json").json
        self.addCleanup(self.remove_volume, made["id"])
        self.assertEqual(([], []), (made["differences"], made["not_replayed"]))
        self.same_volume(made["id"], data)
        was, now = (cinder.get(f"/volumes/{v}").json()["volume"] for v in (volume, made["id"]))
        for key in ("name", "description", "metadata", "size", "bootable", "volume_type"):
            self.assertEqual(was[key], now[key], key)
        for key in ("os_distro", "os_version"):
            self.assertEqual(was["volume_image_metadata"][key], now["volume_image_metadata"][key])
        refused = self.openstack(
            *(
                "volume",
                "import-full",
                self.dir / "snapshot",
                "--type",
                "none",
                "--availability-zone",
                "moon",
            ),
            code=1,
        )
        for text in ("volume type 'none'", "zone 'moon'", "[not-possible]"):
            self.assertIn(text, refused.err)

    def test_encrypted(self) -> None:
        volume = self.volume(volume_type="luks")
        output = self.dir / "bundle"
        words = ("volume", "export-full", volume, "--output", output)
        refused = self.openstack(*words, code=1)
        self.assertIn("--allow-encrypted", refused.err)
        self.assertFalse(output.exists())
        done = self.openstack(*words, "--allow-encrypted", "-f", "json")
        self.assertIn("00000000-0000-0000-0000-000000000000", done.err)  # the key that the copy needs
        (disk,) = self.manifest()["disks"]
        self.assertEqual(("raw", "luks"), (disk["disk_format"], disk["content_format"]))
        key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"  # of the embedded cloud
        secret = f"secret,id=key,data={key}"
        image = f"driver=luks,key-secret=key,file.driver=file,file.filename={output / disk['file']}"
        opened = subprocess.run(
            ["qemu-img", "info", "--object", secret, "--image-opts", image], capture_output=True, text=True
        )
        self.assertEqual(0, opened.returncode, opened.stderr)
        again = self.openstack("volume", "import-full", output, code=1)
        self.assertIn("encrypted a second time", again.err)
