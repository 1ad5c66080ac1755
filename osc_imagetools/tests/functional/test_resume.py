# SPDX-License-Identifier: Apache-2.0
"""Exports that are killed, and go on: by the same command into the same output."""

import os
import pathlib
import random
import subprocess
import threading
import time
from typing import Any

from osc_imagetools.data.blockmap import BLOCK
from osc_imagetools.data.names import part_path
from osc_imagetools.tests.functional import base, proxy, storage
from osc_imagetools.tests.functional.base import MIB
from osc_imagetools.tests.functional.proxy import CLOUD

SIZE = 32 * MIB + 12345
KILLS = int(os.environ.get("OSC_IMAGETOOLS_KILLS", "6"))  # on each kind of store
SEED = int(os.environ.get("OSC_IMAGETOOLS_SEED", "1"))
DISK = pathlib.Path("disks", "0-image.raw")
# What a kill can lose of what was written: one write, of which nobody has noted yet that it was done.
LOST = 4 * MIB
PATIENCE = 60


class ResumeCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.data = self.random_file(SIZE)
        self.content = self.data.read_bytes()
        self.proxy = self.useFixture(proxy.GlanceProxy(self.dir))
        self.output = self.dir / "bundle"

    def words(self, image: str) -> tuple[str, ...]:
        return "image", "export-full", image, "--output", str(self.output), "-f", "json"

    def start(self, image: str) -> subprocess.Popen[str]:
        """The exporter in a process of its own."""
        process = base.start_openstack(*self.words(image), cloud=CLOUD)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def kill_when(self, image: str, sent: int, delay: float = 0.0) -> int:
        """Runs the exporter and kills it ``delay`` seconds after so many bytes of data were sent.

        Returns how many had been sent by then.
        """
        moment = threading.Event()
        self.proxy.at(sent, moment.set)
        process = self.start(image)
        end = time.monotonic() + PATIENCE
        while not moment.wait(0.02) and self.proxy.sent < sent and process.poll() is None:
            self.assertLess(time.monotonic(), end, "the exporter does nothing")
        time.sleep(delay)
        process.kill()
        _, err = process.communicate()
        self.assertIn(process.returncode, (0, -9), err)
        return self.proxy.sent

    def complete(self) -> int:
        """Bytes in whole blocks that are on disk, as they are in the source."""
        for path in (self.output / DISK, part_path(self.output / DISK)):
            if path.exists():
                found = path.read_bytes()
                blocks = range(0, SIZE, BLOCK)
                same = [at for at in blocks if found[at : at + BLOCK] == self.content[at : at + BLOCK]]
                return sum(min(BLOCK, SIZE - at) for at in same)
        return 0

    def resume(self, image: str) -> dict[str, Any]:
        """The same command again, undisturbed: the report."""
        self.proxy.reset()
        report: dict[str, Any] = self.openstack(*self.words(image), cloud=CLOUD).json
        self.whole()
        return report

    def whole(self) -> None:
        """The bundle is complete, and every byte of its disk is the source's."""
        self.assertTrue((self.output / DISK).read_bytes() == self.content, "the bytes differ")
        self.openstack("bundle", "verify", self.output, cloud=None)
        self.assertEqual([], [p.name for p in self.output.rglob(".*")], "work files are left")


class TestKilled(ResumeCase):
    def killed(self, store: str, rate: int) -> None:
        """Kills at KILLS moments: before, during and after the data; often two in a row."""
        dice = random.Random(f"{SEED} {store}")
        image = self.image(self.data, store=store)
        self.output = self.dir / "first"
        for number in range(KILLS):
            self.proxy.reset()
            self.proxy.rate = rate
            # Each part of the way gets its share; one of them is what comes after the data.
            part = (number + dice.random()) / KILLS * 1.2
            told = f"seed {SEED}, {store}, kill {number} at {part:.3f}"
            before = self.complete() if self.output.exists() else 0
            left = SIZE - before if store == "file" else SIZE
            sent = self.kill_when(image, int(min(part, 1) * left) - 1, delay=max(part - 1, 0) / 2)
            if (self.output / "manifest.json").exists():
                self.whole()
            elif dice.random() < 0.3:
                continue  # killed once more
            else:
                self.resumed(store, image, sent, told)
            self.output = self.dir / f"after-{number}"
        if self.output.exists():
            self.resumed(store, image, 0, f"seed {SEED}, {store}, the last one")

    def resumed(self, store: str, image: str, sent: int, told: str) -> None:
        """Resumes, and counts what was fetched again."""
        complete = self.complete()
        finished = (self.output / DISK).exists()
        report = self.resume(image)
        fetched, reused = report["bytes_fetched"], report["bytes_reused"]
        told += f": {sent} sent, {complete} complete, {fetched} fetched, {reused} reused"
        self.assertEqual(self.proxy.sent, fetched, told)
        self.assertEqual(0, report["retries"], told)
        self.assertGreaterEqual(reused, complete - LOST, told)
        self.assertLessEqual(reused, complete, told)
        if sent > 24 * MIB:
            self.assertGreater(reused, 0, told)
        if finished:
            self.assertEqual((0, SIZE), (fetched, reused), told)
        elif store == "file":
            self.assertEqual(SIZE, fetched + reused, told)
        else:
            self.assertEqual(SIZE, fetched, told)

    def test_with_ranges(self):
        self.killed(storage.RANGES, rate=8 * MIB)
        self.assertEqual([], [a.status for a in self.proxy.answers if a.status != 206])

    def test_without_ranges(self):
        self.killed(storage.NO_RANGES, rate=16 * MIB)

    def test_the_part_was_changed_meanwhile(self):
        """What is on disk from before is not trusted."""
        for store in (storage.RANGES, storage.NO_RANGES):
            self.output = self.dir / store
            image = self.image(self.data, store=store)
            self.proxy.reset()
            self.proxy.rate = 16 * MIB
            self.kill_when(image, 20 * MIB)
            complete = self.complete()
            with part_path(self.output / DISK).open("r+b") as part:
                part.seek(1000)
                part.write(b"CHANGED")
            self.assertEqual(complete - BLOCK, self.complete(), "the first block was complete")
            report = self.resume(image)
            # With ranges, the wrong hash tells in the end, and all is fetched; without, the comparison does.
            self.assertEqual(1 if store == "file" else 0, report["retries"])
            self.assertLess(report["bytes_reused"], complete)


class TestOneOutput(ResumeCase):
    def test_a_second_export_while_one_runs(self):
        image = self.image(self.data)
        begun, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)

        def hold() -> None:
            begun.set()
            go_on.wait(PATIENCE)

        self.proxy.at(8 * MIB, hold)
        first = self.start(image)
        self.assertTrue(begun.wait(PATIENCE))
        before = sorted(self.output.rglob("*"))
        for _ in range(2):
            second = self.openstack(*self.words(image), cloud=CLOUD, code=1)
            self.assertIn("[bundle-busy]", second.err)
            self.assertIn(f"process {first.pid}", second.err)
        self.assertEqual(before, sorted(self.output.rglob("*")))
        go_on.set()
        _, err = first.communicate()
        self.assertEqual(0, first.returncode, err)
        self.whole()

    def test_a_dead_process_holds_nothing(self):
        image = self.image(self.data)
        for _ in range(2):
            self.proxy.reset()
            self.proxy.rate = 16 * MIB
            self.kill_when(image, 3 * MIB)
            self.assertTrue((self.output / ".export.lock").exists())
        self.resume(image)

    def test_another_image_of_the_same_name(self):
        old = self.image(self.data)
        self.proxy.rate = 16 * MIB
        self.kill_when(self.name, 8 * MIB)
        self.remove_image(old)
        other = self.random_file(SIZE, "other", seed=7)
        new = self.image(other)
        self.proxy.reset()
        result = self.openstack(*self.words(self.name), cloud=CLOUD)
        for text in (old, new, "starting over"):
            self.assertIn(text, result.err)
        self.assertEqual(0, result.json["bytes_reused"])
        disk = self.output / "disks" / "0-image.raw"
        self.assertEqual(other.read_bytes(), disk.read_bytes())
        self.openstack("bundle", "verify", self.output, cloud=None)

    def test_another_image_into_the_same_output(self):
        self.proxy.rate = 16 * MIB
        self.kill_when(self.image(self.data), 8 * MIB)
        other = self.image(b"x" * 4096, name=f"{self.name}-other")
        before = {p: p.read_bytes() for p in self.output.rglob("*") if p.is_file()}
        self.proxy.reset()
        refused = self.openstack(*self.words(other), cloud=CLOUD, code=1)
        self.assertIn("[output-exists]", refused.err)
        self.assertEqual(0, self.proxy.sent)
        self.assertEqual(before, {p: p.read_bytes() for p in self.output.rglob("*") if p.is_file()})
