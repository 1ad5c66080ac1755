# SPDX-License-Identifier: Apache-2.0
"""Every command in the region without block storage, as doc/source/user/without-block-storage.json says.

An entry's words follow the command; {out} is a path where nothing is, {name} a name for what is made, and the
others are what :meth:`TestOutcomes.setUpClass` makes.
"""

import json
import pathlib
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import fixtures
import openstack

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.zookeeper import ZooKeeper
from osc_imagetools.tests.unit.bundle import samples

TABLE = json.loads((base.ROOT / "doc/source/user/without-block-storage.json").read_text())
HERE = "devcloud-novolume"


class TestOutcomes(base.TestCase):
    made: dict[str, str]
    case: base.TestCase

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls.case = cls.shared()
        entry = {"source_type": "snapshot", "destination_type": "volume", "snapshot_id": str(uuid.uuid4())}
        mapping = json.dumps([{**entry, "device_name": "/dev/vda", "boot_index": 0}])
        image = case.image(case.guest_disk())
        cls.made = {
            "image": image,
            "empty": case.image(b"", bdm_v2="True", block_device_mapping=mapping),
            "server": cls.server_with_volume(case, image),
            "volume": "some-volume",
            "snapshot": "some-snapshot",
            "bundle": str(case.dir / "image.bundle"),
            "mapped": str(cls.mapped(case.dir / "mapped.bundle")),
            "server_bundle": str(case.dir / "server.bundle"),
            "jobboard": case.useFixture(ZooKeeper(case.dir)).url,
            **cls.repository(case.dir),
        }
        case.openstack("image", "export-full", image, "--output", cls.made["bundle"], cloud=HERE)
        words = ("--disk", "vda", "--output", cls.made["server_bundle"])
        case.openstack("server", "export-full", cls.made["server"], *words, cloud=HERE)

    @classmethod
    def repository(cls, path: pathlib.Path) -> dict[str, str]:
        """An empty restic repository, and the file with its password."""
        repository, password = path / "repository", path / "password"
        password.write_text("secret")
        command = ["restic", "--repo", str(repository), "--password-file", str(password), "init"]
        subprocess.run(command, check=True, capture_output=True)
        return {"repository": str(repository), "password": str(password)}

    @classmethod
    def server_with_volume(cls, case, image):
        """A server that boots from a local disk and has a volume too."""
        nova = case.connection().compute
        disks = [
            {"uuid": image, "source_type": "image", "destination_type": "local", "boot_index": 0},
            {"uuid": case.volume(), "source_type": "volume", "destination_type": "volume", "boot_index": -1},
        ]
        flavor = nova.find_flavor("tiny-1g", ignore_missing=False).id
        server = nova.create_server(
            name=case.name, flavor_id=flavor, image_id=image, networks="none", block_device_mapping=disks
        )
        case.addCleanup(case.remove_server, server.id)
        case.wait(lambda: nova.get_server(server.id).status, "ACTIVE")
        return server.id

    @classmethod
    def mapped(cls, path: pathlib.Path) -> pathlib.Path:
        """A bundle whose disks come out of volumes."""
        manifest = samples.load(samples.make_bundle(path))
        for disk in manifest["disks"]:
            disk["role"] = "data" if disk["index"] else "boot"
        samples.reseal(path, manifest)
        return path

    def words(self, entry, out):
        words = [
            word.format(out=out, name=self.name, project=base.project("other"), **self.made)
            for word in entry["words"].split()
        ]
        return entry["command"].split() + words

    def run_entry(self, entry, cloud):
        out = self.dir / uuid.uuid4().hex
        return base.run_openstack(*self.words(entry, out), cloud=cloud), out

    def run_beside(self, entry, cloud):
        """The same in a process of its own."""
        out = self.dir / uuid.uuid4().hex
        process = base.start_openstack(*self.words(entry, out), cloud=cloud)
        printed, told = process.communicate(timeout=base.PATIENCE)
        return base.Result(process.returncode, printed, told), out

    def everything(self):
        connection = self.connection("devcloud-demo")
        storage = connection.block_storage
        lists = (
            connection.image.images(),
            storage.volumes(),
            storage.snapshots(),
            connection.compute.servers(),
        )
        return [sorted(resource.id for resource in found) for found in lists]

    def of(self, *outcomes):
        entries = [entry for entry in TABLE if entry["outcome"] in outcomes]
        self.assertNotEqual([], entries)
        return entries

    def test_what_works(self):
        self.addCleanup(self.remove_copies)
        for entry in self.of("works", "told"):
            result, _ = self.run_entry(entry, HERE)
            self.assertEqual(0, result.code, f"{entry}: {result.err}")
            told = "has no block storage" in result.err + result.out
            self.assertEqual(entry["outcome"] == "told", told, f"{entry}: {result.err}")

    def remove_copies(self):
        for image in list(self.connection("devcloud-demo").image.images(name=self.name)):
            self.remove_image(image.id)

    def test_what_is_refused_has_no_effect(self):
        before = self.everything()
        for entry in self.of("refused"):
            result, out = self.run_entry(entry, HERE)
            self.assertEqual((1, ""), (result.code, result.out), f"{entry}: {result.err}")
            self.assertIn("[service-absent]", result.err)
            self.assertIn("NoVolume has no block storage", result.err)
            self.assertFalse(out.exists(), entry)
        self.assertEqual(before, self.everything())

    def test_a_service_that_is_down_is_an_error_and_no_absence(self):
        cloud = openstack.connect(cloud="devcloud-demo").config
        settings = {
            "auth": dict(cloud.get_auth_args()),
            "region_name": "RegionOne",
            "block_storage_endpoint_override": "http://127.0.0.1:9/v3",
        }
        config = self.dir / "clouds.json"
        config.write_text(json.dumps({"clouds": {"down": settings}}))
        with fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(config)):
            entries = self.of("refused")
            # Each waits for the service for some seconds, so some of them wait together.
            with ThreadPoolExecutor(max_workers=4) as pool:
                results = list(pool.map(lambda entry: self.run_beside(entry, "down"), entries))
            for entry, (result, out) in zip(entries, results, strict=True):
                self.assertEqual((1, ""), (result.code, result.out), f"{entry}: {result.err}")
                self.assertIn("[service-unreachable]", result.err, str(entry))
                self.assertFalse(out.exists(), entry)
