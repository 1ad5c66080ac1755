# SPDX-License-Identifier: Apache-2.0
"""What breaks on the way: a proxy between the command and the real Glance, and a disk that fills up."""

import contextlib
import functools
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import fixtures

from osc_imagetools.data.download import Downloader
from osc_imagetools.data.retry import RetryPolicy
from osc_imagetools.tests.functional import base, proxy, storage
from osc_imagetools.tests.functional.base import MIB
from osc_imagetools.tests.functional.proxy import CLOUD, Fault

SIZE = 40 * MIB + 12345  # more than all buffers, and a last block that is short
STALL = 1.0  # seconds of silence that are borne
QUICK = RetryPolicy(
    patience=0.0, first_wait=0.02, longest_wait=0.1, longest_retry_after=5.0, read_timeout=STALL
)
STORES = (storage.RANGES, storage.NO_RANGES)  # with ranges, and without
PAGE = 4096
DISK = pathlib.Path("disks", "0-image.raw")


class FaultCase(base.TestCase):
    """Images of the same bytes on both kinds of store, behind a proxy."""

    data: pathlib.Path
    content: bytes
    images: dict[str, str]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        shared = cls.shared()
        cls.data = shared.random_file(SIZE)
        cls.content = cls.data.read_bytes()
        cls.images = {store: shared.image(cls.data, store=store) for store in STORES}

    def setUp(self):
        super().setUp()
        self.admin = self.connection("devcloud-admin")
        self.proxy = self.useFixture(proxy.GlanceProxy(self.dir))
        downloader = functools.partial(Downloader, policy=QUICK)
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.export.directory_store.Downloader", downloader))

    def both(self) -> Iterator[str]:
        """The stores; for each, the proxy has forgotten what was before."""
        for store in STORES:
            self.proxy.reset()
            yield store

    def fetch(self, store: str, output: pathlib.Path | None = None, *words: str) -> dict[str, Any]:
        """Exports through the proxy and compares every byte: the report."""
        output = output or self.dir / store
        words = ("image", "export-full", self.images[store], "--output", str(output), "-f", "json", *words)
        report: dict[str, Any] = self.openstack(*words, cloud=CLOUD).json
        self.assertTrue((output / DISK).read_bytes() == self.content, "the bytes differ")
        self.openstack("bundle", "verify", output, cloud=None)
        self.assertEqual(sorted(p.name for p in output.rglob(".*")), [], "work files are left")
        return report

    def fails(self, store: str, *texts: str, output: pathlib.Path | None = None) -> str:
        """Exports and fails; nothing has a final name then."""
        output = output or self.dir / store
        words = ("image", "export-full", self.images[store], "--output", output)
        result = self.openstack(*words, cloud=CLOUD, code=1)
        for text in texts:
            self.assertIn(text, result.err)
        self.assertEqual("", result.out)
        found = [p for p in output.rglob("*") if p.is_file()]
        self.assertEqual([], [p for p in found if not p.name.startswith(".")])
        return result.err

    def revoke(self, token: str) -> None:
        """A token is worth nothing any more.

        For minutes Glance believes in one that it has seen: so it gets another one, which was revoked too.
        """
        other = str(self.connection().authorize())
        for each in (token, other):
            answer = self.admin.identity.delete("/auth/tokens", headers={"X-Subject-Token": each})
            self.assertEqual(204, answer.status_code)
        self.proxy.tokens[token] = other

    def statuses(self) -> list[int]:
        """What the requests for data were answered with, without refused ranges."""
        return [answer.status for answer in self.proxy.answers if answer.status != 400]

    def survived(self, store: str, *faults: Fault) -> dict[str, Any]:
        """Exports with these faults, one after the other: each is met, and counted once."""
        self.proxy.faults.extend(faults)
        report = self.fetch(store)
        self.assertFalse(self.proxy.faults, "there was no answer for a fault")
        self.assertEqual(len(faults), report["retries"])
        self.assertEqual("os_hash", report["verified"])
        return report

    def nothing_twice(self, store: str, report: dict[str, Any]) -> None:
        """With ranges, what has come is not asked for again; all answers but the last one were cut."""
        again = report["bytes_fetched"] - SIZE
        if store == "file":
            self.assertLessEqual(again, 0)  # what was sent and lost was not received
            firsts = [a.first for a in self.proxy.answers if a.status == 206]
            self.assertEqual(sorted(set(firsts)), firsts)
        else:
            self.assertGreater(again, 0)


class TestOneStream(FaultCase):
    def test_connection_reset(self):
        for store in self.both():
            faults = [Fault(after=count, end="reset") for count in (70_001, 9 * MIB + 1, 17 * MIB)]
            report = self.survived(store, *faults)
            self.nothing_twice(store, report)

    def test_truncated_body(self):
        for store in self.both():
            faults = [Fault(after=count) for count in (100_000, 9 * MIB + 1, 17 * MIB)]
            report = self.survived(store, *faults)
            self.nothing_twice(store, report)

    def test_statuses_that_pass(self):
        cut = Fault(after=9 * MIB)
        for store in self.both():
            self.survived(store, *map(Fault, (500, 502)), cut, *map(Fault, (503, 504)))
            success = 206 if store == "file" else 200
            statuses = self.statuses()
            self.assertEqual([500, 502, 503, 504], [s for s in statuses if s != success])
            self.assertEqual([500, 502, success], statuses[:3])

    def test_stall(self):
        for store in self.both():
            began = time.monotonic()
            report = self.survived(store, Fault(after=9 * MIB + 1, end="stall"))
            self.assertGreaterEqual(time.monotonic() - began, STALL)
            self.nothing_twice(store, report)

    def test_stall_before_the_first_byte(self):
        for store in self.both():
            self.survived(store, Fault(after=0, end="stall"))

    def test_too_many_requests(self):
        for store in self.both():
            self.survived(store, Fault(429, (("Retry-After", "1"),)))
            refused, after = (a for a in self.proxy.answers if a.status != 400)
            self.assertEqual(429, refused.status)
            self.assertGreaterEqual(after.began - refused.began, 1)

    def test_token_refused_once(self):
        for store in self.both():
            self.survived(store, Fault(401), Fault(after=9 * MIB), Fault(401))
            tokens = [answer.token for answer in self.proxy.answers if answer.status != 400]
            self.assertEqual(3, len(set(tokens)), "a token was used again that had been refused")

    def test_token_revoked_in_the_middle(self):
        for store in self.both():
            self.proxy.faults.append(Fault(after=9 * MIB, hook=lambda answer: self.revoke(answer.token)))
            report = self.fetch(store)
            success = 206 if store == "file" else 200
            # More streams may be opened when the machine is slow: then more answers follow.
            statuses = self.statuses()
            self.assertEqual([success, 401], statuses[:2], "it is Glance that says 401")
            self.assertEqual({success}, set(statuses[2:]))
            before, _, *after = (a.token for a in self.proxy.answers if a.status != 400)
            self.assertNotIn(before, after)
            self.assertEqual(2, report["retries"])

    def test_every_login_refused(self):
        for store in self.both():
            self.proxy.always = Fault(401)
            self.fails(store, "[forbidden]")
            self.assertEqual(3, len(self.statuses()))

    def test_a_flipped_bit_once(self):
        for store in self.both():
            self.proxy.flips[17 * MIB + 3] = 1
            report = self.fetch(store)
            self.assertEqual((1, 2 * SIZE), (report["retries"], report["bytes_fetched"]))
            self.assertEqual(0, report["bytes_reused"])

    def test_a_flipped_bit_each_time(self):
        for store in self.both():
            self.proxy.flips[17 * MIB + 3] = 9
            self.fails(store, "[hash-mismatch]")
            self.assertEqual(2 * SIZE, self.proxy.sent, "it is fetched twice, and no more")
            parts = [p for p in (self.dir / store).rglob("*") if "image" in p.name]
            self.assertEqual([], parts, "what does not verify is kept")
            self.proxy.flips.clear()
            self.assertEqual((SIZE, 0), self.counts(self.fetch(store)))

    def test_an_outage_that_lasts(self):
        for store in self.both():
            self.proxy.faults.append(Fault(after=9 * MIB))
            self.proxy.always = Fault(503)
            error = self.fails(store, "[transfer-failed]", "503", "Run the same command again")
            self.assertIn(f"{QUICK.attempts} tries", error)
            self.assertEqual(QUICK.attempts, self.statuses().count(503) + 1)
            self.proxy.always = None
            fetched, reused = self.counts(self.fetch(store))
            self.assertGreaterEqual(reused, 8 * MIB)
            self.assertEqual(SIZE - reused if store == "file" else SIZE, fetched)

    @staticmethod
    def counts(report: dict[str, Any]) -> tuple[int, int]:
        return report["bytes_fetched"], report["bytes_reused"]


class TestParallelRanges(FaultCase):
    def test_faults_in_several_streams(self):
        self.proxy.rate = 6 * MIB
        faults = [
            Fault(after=MIB + 1, end="reset"),
            Fault(after=MIB - 1),
            Fault(503),
            Fault(after=2 * MIB, end="stall"),
            Fault(500),
            Fault(after=1, end="reset"),
        ]
        # The first answer is all there is until the hash has waited long enough for more streams.
        self.proxy.faults.extend([None, *faults])
        report = self.fetch("file")
        self.assertFalse(self.proxy.faults, "there was no answer for a fault")
        self.assertGreater(self.proxy.most_at_once, 1)
        self.assertLessEqual(self.proxy.most_at_once, 4)
        self.assertEqual(len(faults), report["retries"])

    def test_a_token_revoked_under_several_streams(self):
        self.proxy.rate = 6 * MIB
        self.proxy.at(14 * MIB, lambda: self.revoke(self.proxy.answers[0].token))
        self.fetch("file")
        self.assertGreater(self.proxy.most_at_once, 1)
        self.assertIn(401, self.statuses())
        tokens = {answer.token for answer in self.proxy.answers}
        self.assertEqual(2, len(tokens), "one new login is enough for all")

    def test_a_bit_flipped_in_one_of_them(self):
        self.proxy.rate = 12 * MIB
        self.proxy.flips[SIZE - 1] = 1
        self.proxy.at(SIZE, lambda: setattr(self.proxy, "rate", None))
        report = self.fetch("file")
        self.assertGreater(self.proxy.most_at_once, 1)
        self.assertEqual(1, report["retries"])


class TestNoSpace(FaultCase):
    """A small file system of the test's own; mounting one takes root."""

    def small_disk(self, size: int) -> pathlib.Path:
        """An empty file system with room for ``size`` bytes."""
        path = self.dir / f"disk-{size}"
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(path)], check=True)
        return path

    @staticmethod
    def fill(path: pathlib.Path) -> None:
        """Leaves no byte free."""
        with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(PAGE))

    def missing(self, error: str) -> tuple[int, int]:
        """The bytes needed and missing, as the error tells them."""
        found = re.search(r"(\d+) bytes are still .* (\d+) are free, (\d+) bytes are missing", error)
        assert found, error
        needed, free, missing = map(int, found.groups())
        self.assertEqual(needed - free, missing)
        return needed, missing

    def test_found_before_it_starts(self):
        disk = self.small_disk(24 * MIB)
        for store in self.both():
            needed, missing = self.missing(self.fails(store, "[no-space]", output=disk / store))
            self.assertEqual(SIZE, needed)
            # All that is missing: with so much more room it goes.
            self.assertTrue(SIZE - 24 * MIB <= missing <= SIZE - 23 * MIB, missing)
            self.assertEqual(0, self.proxy.sent, "data was fetched for which there is no room")
            self.assertFalse((disk / store).exists())

    def test_full_already(self):
        disk = self.small_disk(MIB)
        self.fill(disk / "filler")
        self.fails("file", "[no-space]", output=disk / "bundle")
        self.assertFalse((disk / "bundle").exists())

    def test_filled_up_in_the_middle_and_resumed(self):
        for store in self.both():
            disk = self.small_disk(48 * MIB + STORES.index(store) * PAGE)
            filler = disk / "filler"
            self.proxy.at(SIZE // 2, functools.partial(self.fill, filler))
            error = self.fails(store, "[no-space]", "run the same command again", output=disk / "bundle")
            needed, missing = self.missing(error)
            self.assertTrue(SIZE // 4 < missing <= needed < SIZE, error)
            filler.unlink()
            report = self.fetch(store, disk / "bundle")
            self.assertGreaterEqual(report["bytes_reused"], SIZE - needed)
            self.assertLess(report["bytes_reused"], SIZE)
            fetched = SIZE - report["bytes_reused"] if store == "file" else SIZE
            self.assertEqual(fetched, report["bytes_fetched"])
