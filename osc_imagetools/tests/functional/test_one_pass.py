# SPDX-License-Identifier: Apache-2.0
"""Disks are sent and proven in one pass: what is wrong with one is never an image, and nothing stays."""

import contextlib
import functools
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fixtures

from osc_imagetools.bundle.writer import BundleWriter
from osc_imagetools.cloud import ownership
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.base import MIB, STATE
from osc_imagetools.tests.functional.cloud_proxy import CLOUD, CloudProxy, Seen
from osc_imagetools.tests.functional.processes import descendants, program
from osc_imagetools.tests.functional.test_image_import import OTHER, ImportCase


class TestThreeDisks(ImportCase):
    """The bundle of an image of 0 bytes with three disks behind it, put together from an ordinary one."""

    def setUp(self) -> None:
        super().setUp()
        first = self.dir / "first"
        self.openstack("image", "export-full", self.image(self.random_file(MIB)), "--output", first)
        manifest = json.loads((first / "manifest.json").read_text())
        (template,) = manifest["disks"]
        self.disks = [self.dir / "bundle" / "disks" / f"{n}-vd{'abc'[n]}.raw" for n in range(3)]
        disks = []
        with BundleWriter.open(self.dir / "bundle", kind="image", identity={"id": self.name}) as writer:
            for number, disk in enumerate(self.disks):
                file = f"disks/{disk.name}"
                data = self.random_file(4 * MIB + number).read_bytes()
                writer.disk_path(file).write_bytes(data)
                disks.append(
                    {
                        **template,
                        "index": number,
                        "name": f"vd{'abc'[number]}",
                        "device": f"/dev/vd{'abc'[number]}",
                        "boot_index": 0 if number == 0 else None,
                        "role": "data" if number else "boot",
                        "file": file,
                        "size": len(data),
                        "virtual_size": len(data),
                        "hash": {"algorithm": "sha512", "value": hashlib.sha512(data).hexdigest()},
                    }
                )
            writer.finish({k: v for k, v in manifest.items() if k != "files"} | {"disks": disks})

    def ours(self) -> dict[str, int | None]:
        """The sizes of all images that runs in the project have ever created, removed ones too, by ID."""
        with contextlib.closing(
            sqlite3.connect(f"file:{STATE}/databases/glance.sqlite?mode=ro", uri=True)
        ) as db:
            statement = "SELECT id, size FROM images WHERE owner = ? AND name LIKE 'osc-imagetools-%'"
            return dict(db.execute(statement, (self.connection(OTHER).current_project_id,)))

    def test_one_wrong_byte_anywhere(self) -> None:
        """At the start, in the middle, in the last block of the second disk."""
        wrong = self.disks[1]
        whole = wrong.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            before, names = self.ours(), self.names_of()
            data = bytearray(whole)
            data[place] ^= 1
            wrong.write_bytes(data)
            error = self.import_full("--jobs", "3", code=1)["error"]
            self.assertIn("[hash-mismatch]", error)
            self.assertIn(f"disks/{wrong.name}", error)
            self.assertIn("openstack bundle verify", error)
            self.assertEqual(names, self.names_of())
            created = {i: size for i, size in self.ours().items() if i not in before}
            self.assertEqual(3, len(created))
            # Glance sets the size when the data is complete: the wrong disk's image never has one.
            self.assertIn(None, created.values())
            self.assertNotIn(len(whole), list(created.values()))
        wrong.write_bytes(whole)
        report = self.import_full("--jobs", "3")
        for line in report["mapped"][1:]:
            self.addCleanup(self.remove_image, line.rpartition("(")[2].rstrip(")"), OTHER)
        self.assertEqual((3, []), (report["disks"], report["differences"]))

    def test_a_file_of_another_length(self) -> None:
        before = self.names_of()
        for change in (-1, 1):
            size = self.disks[2].stat().st_size
            os.truncate(self.disks[2], size + change)
            error = self.import_full(code=1)["error"]
            self.assertIn("disks/2-vdc.raw: size", error)
            os.truncate(self.disks[2], size)
        self.assertEqual(before, self.names_of())

    def test_killed_in_the_middle(self) -> None:
        """Nothing that it leaves is active, and leftover delete removes it."""
        zeros = self.disks[0]
        os.truncate(zeros, 512 * MIB)
        manifest = json.loads((self.dir / "bundle" / "manifest.json").read_text())
        digest = hashlib.sha512(zeros.read_bytes()).hexdigest()
        manifest["disks"][0].update(size=512 * MIB, virtual_size=512 * MIB)
        manifest["disks"][0]["hash"]["value"] = digest
        self.rewrite(manifest)
        before = self.names_of()
        process = base.start_openstack("image", "import-full", str(self.dir / "bundle"), cloud=OTHER)
        glance = self.connection(OTHER).image
        query = {"tag": ownership.TAG, "status": "saving"}
        self.wait(lambda: bool(glance.get("/images", params=query).json()["images"]), True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = glance.get("/images", params={"tag": ownership.TAG}).json()["images"]
        self.assertIn(None, [image["size"] for image in left])
        self.openstack("leftover", "delete", "--yes", cloud=OTHER)
        self.assertEqual(before, self.names_of())

    def rewrite(self, manifest: dict[str, object]) -> None:
        """Gives the bundle another manifest, and sums that agree with it."""
        folder = self.dir / "bundle"
        (folder / "manifest.json").write_text(json.dumps(manifest))
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        files.remove("SHA512SUMS")
        sums = subprocess.run(["sha512sum", *files], cwd=folder, check=True, capture_output=True)
        Path(folder / "SHA512SUMS").write_bytes(sums.stdout)


class TestHeld(base.TestCase):
    """An upload is held in its middle by a proxy, while something happens to what is sent."""

    def setUp(self) -> None:
        super().setUp()
        self.temporary = self.dir / "temporary"
        self.temporary.mkdir()
        self.useFixture(fixtures.EnvironmentVariable("TMPDIR", str(self.temporary)))
        self.proxy = self.useFixture(CloudProxy(self.dir))

    def held(self, happens: Callable[[subprocess.Popen[str]], object], *words: Any) -> tuple[int, str]:
        """Runs a command; the exit code, and what it says."""
        sending, release = threading.Event(), threading.Event()
        self.addCleanup(release.set)

        def hold(seen: Seen) -> None:
            if seen.method == "PUT" and seen.path.endswith("/file"):
                sending.set()
                release.wait(base.PATIENCE)

        self.proxy.on_request = hold
        process = base.start_openstack(*map(str, words), cloud=CLOUD)
        self.assertTrue(sending.wait(base.PATIENCE))
        happens(process)
        release.set()
        _, told = process.communicate(timeout=base.PATIENCE)
        self.proxy.on_request = lambda seen: None
        self.assertNotIn("Traceback", told)
        return process.returncode, told

    def images(self) -> set[tuple[str, str]]:
        return {(image.id, image.status) for image in self.connection().image.images()}

    def test_a_file_that_shrinks_or_grows_while_it_is_sent(self) -> None:
        size = 48 * MIB
        image = self.image(self.random_file(size))
        self.openstack("image", "export-full", image, "--output", self.dir / "bundle")
        (disk,) = (self.dir / "bundle" / "disks").iterdir()
        whole, before = disk.read_bytes(), self.images()
        for other in (size - MIB, size + MIB):
            words = ("image", "import-full", self.dir / "bundle", "--name", f"{self.name}-{other}")
            code, told = self.held(functools.partial(self.truncate, disk, other), *words)
            self.assertEqual(1, code, told)
            self.assertIn(f"disks/{disk.name}", told)
            self.assertEqual(before, self.images())
            disk.write_bytes(whole)

    def qcow2(self) -> tuple[str, Path]:
        """An image of a qcow2, and its raw content."""
        content = self.random_file(48 * MIB)
        disk = self.dir / "disk.qcow2"
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", content, disk], check=True)
        return self.image(disk, disk_format="qcow2"), content

    def convert(self, image: str, happens: Callable[[subprocess.Popen[str]], object]) -> tuple[int, str]:
        words = ("image", "convert", image, "--to", "image", "--disk-format", "raw", "--name", self.name)
        return self.held(happens, *words)

    def test_the_reader_is_killed_in_the_middle_of_a_conversion(self) -> None:
        image, _ = self.qcow2()
        before = self.images()
        for name in ("qemu-nbd", "nbdcopy"):
            code, told = self.convert(image, functools.partial(self.kill, name))
            self.assertEqual(1, code, told)
            self.assertIn(f"image {self.name}", told)
            self.assertEqual(before, self.images())
            self.assertEqual([], self.left_behind())

    def test_a_conversion_is_killed_in_the_middle(self) -> None:
        image, content = self.qcow2()
        before = self.images()
        readers: list[int] = []

        def kill(process: subprocess.Popen[str]) -> None:
            readers.append(self.started(process, "qemu-nbd"))
            process.kill()

        code, _ = self.convert(image, kill)
        self.assertEqual(-signal.SIGKILL, code)
        self.wait(lambda: Path(f"/proc/{readers[0]}/cmdline").exists(), False)
        new = self.images() - before
        self.assertEqual(1, len(new))
        self.assertNotIn("active", {status for _, status in new})
        self.openstack("leftover", "delete", "--yes", cloud=CLOUD)
        self.assertEqual(before, self.images())
        self.assertEqual([], self.left_behind())
        code, told = self.convert(image, lambda process: None)
        self.assertEqual(0, code, told)
        ((made, _),) = self.images() - before
        self.addCleanup(self.remove_image, made)
        data = self.connection().image.download_image(made).content
        self.assertEqual(hashlib.sha512(content.read_bytes()).digest(), hashlib.sha512(data).digest())

    def left_behind(self) -> list[str]:
        """What our commands have in the temporary folder."""
        return [path.name for path in self.temporary.rglob("*")]

    def truncate(self, disk: Path, size: int, process: subprocess.Popen[str]) -> None:
        self.assertIsNone(process.poll())
        os.truncate(disk, size)

    def kill(self, name: str, process: subprocess.Popen[str]) -> None:
        os.kill(self.started(process, name), signal.SIGKILL)

    def started(self, process: subprocess.Popen[str], name: str) -> int:
        """The PID of a program that a command has started, or is about to."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = [pid for pid in descendants(process.pid) if program(pid) == name]
            return bool(found) or process.poll() is not None

        self.wait(is_there, True)
        (pid,) = found
        return pid
