# SPDX-License-Identifier: Apache-2.0
"""Exports into a repository and imports out of it: the same bytes, and no half of a disk whatever happens."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time
import types
import uuid
from typing import Any

import fixtures
import openstack

from osc_imagetools.bundle.repository.address import repository_address
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.resuming import export_bundle_id
from osc_imagetools.data.image_source import ImageAccess
from osc_imagetools.data.retry import RetryPolicy
from osc_imagetools.tests.functional import base, proxy, storage
from osc_imagetools.tests.functional.base import GIB, MIB
from osc_imagetools.tests.functional.proxy import Fault
from osc_imagetools.tests.functional.repository import RepositoryCase, SshServer, restics, until
from osc_imagetools.tests.functional.servers import ServerCase
from osc_imagetools.tests.unit.bundle import samples

DEMO, OTHER = "devcloud-demo", "devcloud-other"
SIZE = 24 * MIB + 4711
DISK = "disks/0-image.raw"
SEED = int(os.environ.get("OSC_IMAGETOOLS_SEED", "1"))
KILLS = int(os.environ.get("OSC_IMAGETOOLS_KILLS", "2"))
STORES = (storage.RANGES, storage.NO_RANGES)


class RepositoryCloudCase(RepositoryCase):
    """Commands with a repository and a cloud."""

    def place(self) -> tuple[str, ...]:
        return ("--repository", self.url, "--password-file", str(self.password))

    def with_cloud(self, *words: Any, cloud: str = DEMO) -> dict[str, Any]:
        """The report of a command."""
        return self.openstack(*words, *self.place(), "-f", "json", cloud=cloud).json  # type: ignore[no-any-return]

    def fails(self, *words: Any, cloud: str = DEMO) -> str:
        """What a command that fails says."""
        return self.openstack(*words, *self.place(), cloud=cloud, code=1).err

    def stored_disk(self, bundle: str, file: str) -> pathlib.Path:
        """A file of the bytes that restic alone gives for a disk."""
        found = [s["id"] for s in self.snapshots("--tag", f"bundle={bundle}") if s["paths"] == [f"/{file}"]]
        path = self.dir / pathlib.Path(file).name
        with path.open("wb") as target:
            command = ["restic", "-r", self.url, "--password-file", str(self.password), "dump", found[-1]]
            subprocess.run([*command, f"/{file}"], check=True, stdout=target)
        return path

    def image_digest(self, image: str, cloud: str) -> str:
        return str(self.connection(cloud).image.get_image(image).hash_value)

    def sound(self) -> None:
        self.restic("check", "--read-data")
        self.no_locks()


class ImageIntoRepository(RepositoryCloudCase):
    def test_there_and_back(self) -> None:
        data = self.random_file(SIZE)
        image = self.image(data, os_distro="guest", tags=["one"])
        report = self.with_cloud("image", "export-full", image)
        self.assertEqual(
            (SIZE, SIZE, 0, "os_hash"),
            tuple(report[key] for key in ("bytes", "bytes_fetched", "bytes_reused", "verified")),
        )
        self.assertTrue(self.stored_disk(report["bundle"], DISK).read_bytes() == data.read_bytes())
        self.in_repository("bundle", "verify", report["bundle"])
        self.sound()
        back = self.dir / "back"
        self.in_repository("bundle", "copy", report["bundle"], "--output", back)
        self.sums_hold(back)
        self.assertEqual(report["bundle"], json.loads((back / "manifest.json").read_text())["bundle_id"])
        found = self.with_cloud("image", "import-full", self.name, "--name", f"{self.name}-back", cloud=OTHER)
        self.addCleanup(self.remove_image, found["id"], OTHER)
        self.assertEqual([], found["differences"])
        self.assertEqual(hashlib.sha512(data.read_bytes()).hexdigest(), self.image_digest(found["id"], OTHER))
        self.sound()

    def test_converted_on_the_way_back(self) -> None:
        data = self.random_file(SIZE)
        source = self.dir / "source.qcow2"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", data, source], check=True)
        image = self.image(source, disk_format="qcow2")
        report = self.with_cloud("image", "export-full", image)
        words = ("image", "import-full", report["bundle"], "--disk-format", "raw")
        found = self.with_cloud(*words, cloud=OTHER)
        self.addCleanup(self.remove_image, found["id"], OTHER)
        content = data.read_bytes()
        content += bytes(-len(content) % 512)  # qemu-img rounds a disk up to whole sectors
        self.assertEqual(hashlib.sha512(content).hexdigest(), self.image_digest(found["id"], OTHER))

    def test_options_that_contradict_each_other(self) -> None:
        words = ("image", "export-full", "any", "--output", "x", *self.place())
        self.assertIn("[usage]", self.openstack(*words, code=2).err)
        words = ("image", "export-full", "any", "--password-file", str(self.password))
        self.assertIn("[usage]", self.openstack(*words, code=2).err)

    def test_a_dry_run_stores_nothing(self) -> None:
        image = self.image(self.random_file(MIB))
        self.openstack("image", "export-full", image, "--dry-run", *self.place())
        self.assertEqual([], self.snapshots())

    def test_refused_when_the_repository_has_other_bytes(self) -> None:
        """A bundle whose disk was replaced by another one: nothing of it becomes an image."""
        image = self.image(self.random_file(MIB))
        bundle = self.with_cloud("image", "export-full", image)["bundle"]
        other = self.random_file(MIB, "other", seed=5)
        tags = f"osc-imagetools,bundle={bundle},kind=image,subject={image}"
        command = ["restic", "-r", self.url, "--password-file", str(self.password), "backup", "--stdin"]
        with other.open("rb") as stream:
            words = ["--stdin-filename", DISK, "--tag", tags]
            subprocess.run([*command, *words], check=True, stdin=stream, stdout=subprocess.DEVNULL)
        before = {i.id for i in self.connection(OTHER).image.images()}
        error = self.fails("image", "import-full", bundle, cloud=OTHER)
        self.assertIn("[hash-mismatch]", error)
        self.assertIn(f"openstack bundle verify {bundle} --repository {self.url}", error)
        self.assertEqual(before, {i.id for i in self.connection(OTHER).image.images()})

    def test_refused_when_a_disk_refers_to_a_file(self) -> None:
        """Its hash is right, but what it has in the place of raw bytes names a file of the cloud's hosts."""
        image = self.image(self.random_file(MIB))
        bundle = self.with_cloud("image", "export-full", image)["bundle"]
        here = self.dir / "hostile"
        self.in_repository("bundle", "copy", bundle, "--output", here)
        data = samples.qcow2(backing=512)
        (here / DISK).write_bytes(data)
        document = {**samples.load(here), "bundle_id": str(uuid.uuid4())}
        digest = {**document["disks"][0]["hash"], "value": hashlib.sha512(data).hexdigest()}
        document["disks"][0].update(size=len(data), virtual_size=len(data), hash=digest)
        samples.reseal(here, document)
        hostile = self.copy_in(here)["bundle"]
        self.in_repository("bundle", "verify", hostile, code=3)
        before = {i.id for i in self.connection(OTHER).image.images()}
        error = self.fails("image", "import-full", hostile, cloud=OTHER)
        self.assertIn("[bundle-refused]", error)
        self.assertRegex(error, f"{DISK}: (unsafe|format)")
        self.assertEqual(before, {i.id for i in self.connection(OTHER).image.images()})


class FaultsIntoRepository(RepositoryCloudCase):
    """Behind a proxy that breaks what a network can break."""

    def setUp(self) -> None:
        super().setUp()
        self.data = self.random_file(SIZE)
        self.proxy = self.useFixture(proxy.GlanceProxy(self.dir))

    def export_through(self, image: str) -> dict[str, Any]:
        return self.with_cloud("image", "export-full", image, cloud=proxy.CLOUD)

    def test_broken_connections(self) -> None:
        for store in STORES:
            image = self.image(self.data, store=store)
            self.proxy.reset()
            self.proxy.faults.extend([Fault(after=7 * MIB, end="reset"), Fault(after=3 * MIB), Fault(503)])
            report = self.export_through(image)
            self.assertEqual((3, "os_hash"), (report["retries"], report["verified"]))
            again = report["bytes_fetched"] > SIZE
            self.assertEqual(store == storage.NO_RANGES, again, str(report))
            self.assertTrue(
                self.stored_disk(report["bundle"], DISK).read_bytes() == self.data.read_bytes(), store
            )
        self.sound()

    def test_wrong_bytes_or_too_few_leave_no_snapshot(self) -> None:
        image = self.image(self.data)
        for place in (0, SIZE // 2, SIZE - 1):
            self.proxy.flips[place] = 9
            error = self.fails("image", "export-full", image, cloud=proxy.CLOUD)
            self.assertIn("[hash-mismatch]", error)
            self.assertEqual([], self.snapshots())
            self.proxy.flips.clear()
        self.proxy.faults.append(Fault(after=MIB, end="reset"))
        self.proxy.always = Fault(503)  # as long as it is tried
        policy = RetryPolicy(attempts=3, patience=1, first_wait=0.05)
        access = types.SimpleNamespace(of=functools.partial(ImageAccess.of, policy=policy))
        with fixtures.MonkeyPatch("osc_imagetools.export.repository_store.ImageAccess", access):
            error = self.fails("image", "export-full", image, cloud=proxy.CLOUD)
        self.assertRegex(error, r"503 Service Unavailable; given up after \d+ tries in a row \[transfer-")
        self.assertEqual([], self.snapshots())
        self.no_locks()
        self.proxy.always = None
        self.proxy.flips[SIZE - 1] = 1  # the second time it is right
        self.assertEqual(1, self.export_through(image)["retries"])
        self.sound()

    def test_killed_and_run_again(self) -> None:
        """Where it is killed in the middle of a disk, the disk is not there; the next run completes it."""
        image = self.image(self.data)
        for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
            self.proxy.reset()
            self.proxy.rate = 2 * MIB
            words = ("image", "export-full", image, *self.place())
            process = base.start_openstack(*words, cloud=proxy.CLOUD)
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            until(lambda p=process: self.proxy.sent > 6 * MIB or p.poll() is not None, base.PATIENCE)
            self.assertIsNone(process.poll(), "it ended too early")
            process.send_signal(number)
            self.assertEqual(code, process.wait())
            until(lambda: not self.restic("list", "locks", "--no-lock"), base.PATIENCE)
            self.assertEqual([], self.snapshots())
            self.restic("check")
        self.proxy.rate = None
        self.export_through(image)
        self.sound()

    def test_goes_on_with_what_it_began(self) -> None:
        """As if it was killed after the disk and before the manifest: restic alone removes the manifest."""
        image = self.image(self.data)
        first = self.export_through(image)
        self.restic("forget", *(s["id"] for s in self.snapshots("--tag", "complete")))
        self.assertEqual(["incomplete"], [b["State"] for b in self.rows("bundle", "list")])
        self.proxy.reset()
        again = self.export_through(image)
        self.assertEqual(
            (first["bundle"], 0, SIZE), tuple(again[k] for k in ("bundle", "bytes_fetched", "bytes_reused"))
        )
        self.assertEqual(0, self.proxy.sent)
        self.in_repository("bundle", "verify", again["bundle"])
        third = self.export_through(image)  # a complete one is left alone
        self.assertNotEqual(first["bundle"], third["bundle"])
        self.assertEqual(SIZE, third["bytes_fetched"])
        self.sound()

    def test_only_one_process_goes_on_with_a_bundle(self) -> None:
        image = self.image(self.data)
        first = self.export_through(image)["bundle"]
        self.restic("forget", *(s["id"] for s in self.snapshots("--tag", "complete")))
        restic = Restic(repository_address(self.url, environment=os.environ, password_file=self.password))
        with export_bundle_id(restic, "image", image) as found:
            self.assertEqual((first, False), found)
            self.assertNotEqual(first, self.export_through(image)["bundle"])

    def test_forget_during_an_export(self) -> None:
        """It removes nothing as long as the export runs, and is told by whom the repository is locked."""
        image = self.image(self.data)
        self.with_cloud("image", "export-full", image)
        self.with_cloud("image", "export-full", image)
        self.proxy.rate = 2 * MIB
        words = ("image", "export-full", image, "-f", "json", *self.place())
        process = base.start_openstack(*words, cloud=proxy.CLOUD)
        self.addCleanup(process.kill)
        until(lambda: self.proxy.sent > MIB or process.poll() is not None, base.PATIENCE)
        # Longer than restic 0.14 takes where it meets a lock that goes: it tries for 45 s to read it.
        self.proxy.rate = MIB // 8
        before = len(self.snapshots())
        for rule in ("--keep-last", "1"), ("--incomplete",):
            error = self.in_repository("bundle", "forget", *rule, "--prune", code=1).err
            self.assertIn("[repository-locked]", error)
            self.assertRegex(error, r"locked by PID \d+ on ")
        self.assertLessEqual(before, len(self.snapshots()))
        self.proxy.rate = None
        out, error = process.communicate()
        self.assertEqual(0, process.returncode, error)
        self.in_repository("bundle", "verify", json.loads(out)["bundle"])
        self.in_repository("bundle", "forget", "--keep-last", "1", "--prune")
        self.assertEqual([json.loads(out)["bundle"]], [row["Bundle"] for row in self.rows("bundle", "list")])
        self.sound()

    def test_several_at_once(self) -> None:
        images = [self.image(self.data, store=store) for store in STORES]
        self.proxy.rate = 8 * MIB
        processes = []
        for image in (*images, images[0]):
            words = ("image", "export-full", image, "-f", "json", *self.place())
            processes.append(base.start_openstack(*words, cloud=proxy.CLOUD))
            self.addCleanup(processes[-1].kill)
        said = [process.communicate() for process in processes]
        self.assertEqual([0, 0, 0], [process.returncode for process in processes], str(said))
        bundles = {json.loads(out)["bundle"] for out, _ in said}
        self.assertEqual(3, len(bundles))
        for bundle in bundles:
            self.in_repository("bundle", "verify", bundle)
        self.sound()


class ImportCutOff(RepositoryCloudCase):
    """Killed at any moment of an import: the repository is sound, and the next run completes."""

    def setUp(self) -> None:
        super().setUp()
        self.data = self.random_file(SIZE)
        self.bundle = self.with_cloud("image", "export-full", self.image(self.data))["bundle"]
        self.proxy = self.useFixture(proxy.GlanceProxy(self.dir, OTHER))
        self.before = self.images()

    def images(self) -> set[str]:
        with openstack.connect(cloud=OTHER) as connection:
            return {image.id for image in connection.image.images(owner=connection.current_project_id)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        words = ("image", "import-full", self.bundle, "--name", self.name, *words, *self.place())
        process = base.start_openstack(*words, cloud=proxy.CLOUD)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def completes(self) -> None:
        """The same import again; what it makes has the bytes."""
        words = ("image", "import-full", self.bundle, "--name", self.name)
        found = self.with_cloud(*words, cloud=proxy.CLOUD)
        self.addCleanup(self.remove_image, found["id"], OTHER)
        self.assertEqual([], found["differences"])
        digest = hashlib.sha512(self.data.read_bytes()).hexdigest()
        self.assertEqual(digest, self.image_digest(found["id"], OTHER))
        self.assertEqual({found["id"]}, self.images() - self.before)

    def test_killed_at_random_moments(self) -> None:
        dice = random.Random(SEED)
        self.proxy.upload_rate = 8 * MIB
        killed = 0
        for number in range(KILLS):
            self.proxy.uploading.clear()
            process = self.start()
            # Half of them while restic reads for the upload, the others at any moment before.
            if number % 2 == 0:
                until(lambda p=process: self.proxy.uploading.is_set() or p.poll() is not None, base.PATIENCE)
                time.sleep(dice.uniform(0, SIZE / self.proxy.upload_rate))
            else:
                time.sleep(dice.uniform(1, 4))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
            until(lambda: not restics(self.url), base.PATIENCE)
            self.no_locks()
            self.restic("check")
            self.openstack("leftover", "delete", "--yes", cloud=OTHER)
            for image in self.images() - self.before if process.returncode == 0 else ():
                self.remove_image(image, OTHER)
            self.assertEqual(self.before, self.images())
        self.assertLess(0, killed)
        self.proxy.upload_rate = None
        self.completes()
        self.sound()

    def test_interrupted(self) -> None:
        self.proxy.upload_rate = 4 * MIB
        process = self.start()
        until(lambda: self.proxy.uploading.is_set() or process.poll() is not None, base.PATIENCE)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
        self.assertEqual(130, process.returncode, error)
        self.assertNotIn("Traceback", error)
        self.no_locks()
        self.assertEqual(self.before, self.images())


class StorageFails(RepositoryCloudCase):
    """What is at fault is where the repository lies."""

    def test_cut_off_in_the_middle(self) -> None:
        """Of an export and of an import, over SSH."""
        server = self.useFixture(SshServer(self.dir / "ssh"))
        path = self.url
        self.url = server.url(pathlib.Path(path))
        image = self.image(self.random_file(SIZE))
        source = self.useFixture(proxy.GlanceProxy(self.dir))
        source.rate = 2 * MIB
        error = self.cut_off(server, lambda: source.sent > 4 * MIB, "image", "export-full", image)
        self.assertIn("to store disks/0-image.raw", error)
        server.start()
        source.rate = None
        bundle = self.with_cloud("image", "export-full", image, cloud=proxy.CLOUD)["bundle"]
        before = {i.id for i in self.connection().image.images()}
        source.upload_rate = 2 * MIB
        error = self.cut_off(server, source.uploading.is_set, "image", "import-full", bundle)
        self.assertIn("to read disks/0-image.raw", error)
        self.assertEqual(before, {i.id for i in self.connection().image.images()})
        self.url = path
        self.in_repository("bundle", "verify", bundle)
        self.in_repository("bundle", "forget", "--keep-last", "1", "--prune")  # takes our dead locks away
        self.sound()

    def cut_off(self, server: SshServer, moment: Any, *words: str) -> str:
        process = base.start_openstack(*words, *self.place(), cloud=proxy.CLOUD)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        until(lambda: moment() or process.poll() is not None, base.PATIENCE)
        server.stop()
        _, error = process.communicate()
        self.assertEqual(1, process.returncode, error)
        self.assertIn("[repository-failed]", error)
        self.assertNotIn("Traceback", error)
        return error

    def test_full_and_then_not(self) -> None:
        """Not there, of another password, full: what the export of a volume needs in the cloud goes, and the
        next run completes."""
        small = self.dir / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(small)], check=True)
        data = self.random_file(40 * MIB)
        volume = self.volume(image_id=self.image(data))
        self.url = str(small / "repository")
        self.assertIn("[repository-absent]", self.fails("volume", "export-full", volume))
        self.new_repository(self.url)
        password, self.password = self.password, self.random_file(20, "another")
        self.assertIn("[repository-password]", self.fails("volume", "export-full", volume))
        self.password = password
        error = self.fails("volume", "export-full", volume)
        self.assertIn("[repository-full]", error)
        self.assertIn("openstack bundle forget --repository", error)
        self.assertEqual([], self.openstack("leftover", "list", "-f", "json").json)
        self.assertEqual([], self.snapshots())
        subprocess.run(["mount", "-o", "remount,size=96m", str(small)], check=True)
        report = self.with_cloud("volume", "export-full", volume, "--disk-format", "raw")
        self.in_repository("bundle", "verify", report["bundle"])
        found = self.with_cloud("volume", "import-full", report["bundle"], "--name", f"{self.name}-back")
        self.addCleanup(self.remove_volume, found["id"])
        self.assertEqual([], found["differences"])
        os.truncate(data, GIB)
        self.assertEqual("", storage.differs(storage.volume_disk(found["id"]), "raw", data))
        self.sound()


class ServerIntoRepository(RepositoryCloudCase, ServerCase):
    def test_two_volumes_there_and_back(self) -> None:
        boot, data, boot_image, data_image = self.two_disks()
        volumes = [self.volume(image_id=image) for image in (boot_image, data_image)]
        mapping = [self.on_volume(volumes[0], boot=True), self.on_volume(volumes[1])]
        server = self.create_server(block_device_mapping_v2=mapping)
        before = self.everything()
        report = self.export_side_by_side(server)
        self.assertEqual(before, self.everything())
        self.assertEqual((2, "os_hash"), (report["disks"], report["verified"]))
        listed = self.rows("bundle", "list")
        self.assertEqual([(report["bundle"], "complete")], [(b["Bundle"], b["State"]) for b in listed])
        self.in_repository("bundle", "verify", self.name)
        files = sorted(s["paths"][0][1:] for s in self.snapshots() if s["paths"][0].startswith("/disks/"))
        for file, content in zip(files, (boot, data), strict=True):
            self.same_disk(self.stored_disk(report["bundle"], file), content)
        words = ("server", "backup-check", server, *self.place(), "--max-age", "1h", "-f", "json")
        reasons = {row["Reason"] for row in self.openstack(*words).json}
        self.assertEqual(set(), reasons & {"no-backup", "backup-too-old"})
        self.remove_with_volumes(server)
        self.import_killed(report["bundle"])
        words = ("server", "import-full", report["bundle"], "--wait", "--jobs", "2")
        found = self.with_cloud(*words)
        self.addCleanup(self.remove_imported, found, DEMO)
        self.assertEqual([], found["differences"])
        self.await_guest(found["id"])
        self.same_volume(self.devices(found["id"])["/dev/vda"], boot)
        self.same_volume(self.devices(found["id"])["/dev/vdb"], data)
        self.sound()

    def export_side_by_side(self, server: str) -> dict[str, Any]:
        """Exports two disks; the first one dawdles until restic stores the other one as well."""
        source = self.useFixture(proxy.GlanceProxy(self.dir))
        source.rate = MIB // 4
        words = ("server", "export-full", server, "--jobs", "2", "-f", "json", *self.place())
        process = base.start_openstack(*words, cloud=proxy.CLOUD)
        self.addCleanup(process.kill)
        stored: set[str] = set()

        def both() -> bool:
            lines = [line for line in restics(self.url) if "restic backup" in line and "guard.py" not in line]
            stored.clear()
            stored.update(name for line in lines for name in re.findall(r"disks/\S+", line))
            return len(stored) == 2

        until(lambda: both() or process.poll() is not None, base.PATIENCE)
        self.assertEqual(2, len(stored), "one after the other")
        source.rate = None
        out, error = process.communicate()
        self.assertEqual(0, process.returncode, error)
        return json.loads(out)  # type: ignore[no-any-return]

    def import_killed(self, bundle: str) -> None:
        """At random steps: what is left in the cloud is found and removed, and the repository is sound."""
        dice, before = random.Random(SEED), self.everything()
        words = ("server", "import-full", bundle, "--wait", *self.place())
        for number in sorted(dice.sample(range(2, 12), 2)):
            steps = self.dir / f"steps-{number}"
            process = base.start_killed(steps, str(number), *words, cloud=DEMO)
            _, error = process.communicate()
            self.assertEqual(-signal.SIGKILL, process.returncode, error)
            told = f"seed {SEED}, killed at step {number}, {steps.read_text().splitlines()[-1]}"
            until(lambda: not restics(self.url), base.PATIENCE)
            self.no_locks()
            self.restic("check")
            self.openstack("leftover", "delete", "--yes")
            self.assertEqual(before, self.everything(), told)
