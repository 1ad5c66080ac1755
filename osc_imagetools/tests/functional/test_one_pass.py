# SPDX-License-Identifier: Apache-2.0
"""Disks are sent and proven in one pass: what is wrong with one is never an image, and nothing stays."""

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

from osc_imagetools.bundle.writer import BundleWriter
from osc_imagetools.cloud import ownership
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.base import MIB, STATE
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
