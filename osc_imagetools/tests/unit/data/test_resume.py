# SPDX-License-Identifier: Apache-2.0
"""A later run goes on where an earlier one stopped, and believes nothing that it cannot prove."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from osc_imagetools import errors
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.names import map_path, part_path, record_path
from osc_imagetools.tests.unit.data.image_server import (
    MIB,
    Fault,
    ImageServer,
    RecordingTask,
    TransferTestCase,
    random_bytes,
)

DATA = random_bytes(9 * MIB + 4711, seed=3)
SIZE = len(DATA)
# What a process that is going to be killed runs.
VICTIM = """
import sys, threading
from pathlib import Path
from keystoneauth1 import session, token_endpoint
from osc_imagetools.data.download import Downloader
from osc_imagetools.progress.model import NullProgress
from osc_imagetools.data.download_source import DownloadSource
url, size, value, target = sys.argv[1:]
auth = token_endpoint.Token(url, "token-0")
downloader = Downloader(
    session.Session(auth=auth), jobs=2, progress=NullProgress(), cancelled=threading.Event()
)
source = DownloadSource(url, "image", int(size), "sha512", value, None)
downloader.fetch(source, Path(target), algorithms=frozenset({"sha512"}), sparse=False)
"""


class _Resume(TransferTestCase):
    data = DATA

    def interrupted(self, server: ImageServer, after: int) -> None:
        """A run that ends when so many bytes have come."""
        if not self.ranges:
            server.faults.append(None)
        server.faults.append(Fault(after=after))
        server.faults.extend(Fault(status=503) for _ in range(4))
        self.assertRaises(errors.TransferError, self.fetch, server)
        server.faults.clear()
        self.assertEqual({f".{self.target.name}.part", f".{self.target.name}.part.map"}, self.names())
        server.sent = 0
        server.requests.clear()


class RangesTest(_Resume):
    """With ranges: only what is missing is fetched."""

    def test_the_rest(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        progress = RecordingTask()

        fetched = self.fetch(server, progress=progress)

        self.assert_fetched(server, fetched)
        self.assertEqual((6 * MIB, 0), (fetched.bytes_reused, fetched.retries))
        self.assertEqual(SIZE, progress.shown)
        self.check_network(server, fetched.bytes_fetched, SIZE - 6 * MIB)

    def check_network(self, server: ImageServer, fetched: int, missing: int) -> None:
        self.assertEqual((missing, missing), (fetched, server.sent))

    def test_holes_in_the_middle(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 7 * MIB + 100)
        with map_path(self.target).open("r+b") as file:
            file.seek(-10, os.SEEK_END)
            file.write(bytes((1, 0, 2, 0, 0, 1, 1, 0, 0, 0)))

        fetched = self.fetch(server)

        self.assert_fetched(server, fetched)
        self.assertEqual(4 * MIB, fetched.bytes_reused)
        self.check_network(server, fetched.bytes_fetched, SIZE - 4 * MIB)

    def test_bytes_that_changed_on_disk_are_found(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        with part_path(self.target).open("r+b") as file:
            file.seek(2 * MIB + 5)
            file.write(b"wrong")
        fetched = self.fetch(server)
        self.assert_fetched(server, fetched)
        self.check_healed(server, fetched.bytes_reused, fetched.bytes_fetched)

    def check_healed(self, server: ImageServer, reused: int, fetched: int) -> None:
        """The hash is wrong; nobody knows where; all comes again."""
        self.assertEqual((0, 2 * SIZE - 6 * MIB), (reused, fetched))
        self.assertIn("starting over", self.log.output)

    def test_sparse_over_what_was_left(self) -> None:
        data = DATA[: 2 * MIB] + bytes(4 * MIB) + DATA[: MIB + 12]
        server = self.serve(data)
        self.interrupted(server, 5 * MIB + 100)
        with part_path(self.target).open("r+b") as file:  # written by the earlier run, not noted
            file.seek(3 * MIB)
            file.write(DATA[:MIB])
        with map_path(self.target).open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(bytes((1, 1, 1, 0, 0, 0, 0, 0)))
        fetched = self.fetch(server, sparse=True)
        self.assert_fetched(server, fetched)
        self.assertEqual(0, fetched.retries)

    def test_everything_was_there_but_the_name(self) -> None:
        server = self.serve(DATA)
        self.fetch(server)
        self.target.rename(part_path(self.target))
        record_path(self.target).unlink()
        header = {
            "format": "osc-imagetools-part",
            "version": 1,
            "block": MIB,
            "size": SIZE,
            "proof": f"sha512:{server.source().hash_value}",
            "boot": "another",
        }
        map_path(self.target).write_bytes(json.dumps(header).encode().ljust(1024) + b"\x02" * 10)
        server.requests.clear()
        server.sent = 0

        fetched = self.fetch(server)

        self.assert_fetched(server, fetched)
        self.assertEqual(SIZE, fetched.bytes_reused)
        self.check_network(server, fetched.bytes_fetched, 0)

    def check_starts_over(self, server: ImageServer, source: DownloadSource, why: str) -> None:
        progress = RecordingTask()
        fetched = self.fetch(server, source=source, progress=progress)
        self.assert_fetched(server, fetched)
        self.assertEqual((0, SIZE), (fetched.bytes_reused, fetched.bytes_fetched))
        self.assertIn(why, "".join(progress.messages))
        self.assertIn(why, self.log.output)

    def test_another_source(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        server.data = random_bytes(SIZE, seed=4)
        self.check_starts_over(server, server.source(), "source has changed")

    def test_another_hash_of_the_same(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        source = server.source(hash_algo=None, hash_value=None)
        self.check_starts_over(server, source, "source has changed")

    def test_a_source_without_hash(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        source = server.source(hash_algo=None, hash_value=None, checksum=None)
        self.check_starts_over(server, source, "no hash that could prove it")

    def test_a_record_that_is_lost_or_damaged(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        map_path(self.target).unlink()
        self.check_starts_over(server, server.source(), "no record")

        self.target = self.directory / "b"
        part_path(self.target).write_bytes(b"x" * 100)
        map_path(self.target).write_bytes(b"{")
        fetched = self.fetch(server)
        self.assertTrue(self.target.read_bytes() == DATA)
        self.assertEqual(0, fetched.bytes_reused)

    def test_a_part_of_another_length(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        os.truncate(part_path(self.target), 5 * MIB)
        self.check_starts_over(server, server.source(), "another length")

    def test_a_link_is_not_followed(self) -> None:
        server = self.serve(DATA)
        precious = self.directory / "precious"
        precious.write_bytes(b"mine")
        for path in (part_path(self.target), map_path(self.target)):
            path.symlink_to(precious)
            error = self.assertRaises(errors.TransferError, self.fetch, server)
            self.assertIn("not a file", str(error))
            path.unlink()
        self.assertEqual(b"mine", precious.read_bytes())


class OneStreamTest(RangesTest):
    """Without ranges: all comes again, and only what differs is written."""

    ranges = False

    def check_network(self, server: ImageServer, fetched: int, missing: int) -> None:
        if missing:
            self.assertEqual((SIZE, SIZE), (fetched, server.sent))
        else:
            self.assertEqual(0, fetched)

    def check_healed(self, server: ImageServer, reused: int, fetched: int) -> None:
        """The block that differs is seen at once."""
        self.assertEqual((5 * MIB, SIZE), (reused, fetched))

    def test_what_is_here_is_not_written_again(self) -> None:
        server = self.serve(DATA)
        self.interrupted(server, 6 * MIB + 100)
        before = part_path(self.target).stat().st_ino
        self.fetch(server)
        self.assertEqual(before, self.target.stat().st_ino)


class KilledTest(TransferTestCase):
    """kill -9, at moments that are always the same."""

    moments: ClassVar[list[int]] = [random.Random(7).randrange(SIZE) for _ in range(4)]

    def check(self, moment: int) -> None:
        server = self.serve(DATA)
        server.rate = 60 * MIB
        source = server.source()
        arguments = [server.url, str(SIZE), str(source.hash_value), str(self.target)]
        victim = subprocess.Popen([sys.executable, "-c", VICTIM, *arguments], cwd=Path(__file__).parents[4])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        self.wait_until(lambda: server.sent >= moment or victim.poll() is not None)
        victim.send_signal(signal.SIGKILL)
        self.assertEqual(-signal.SIGKILL, victim.wait())
        self.assertNotIn(self.target.name, self.names())
        self.wait_until(lambda: not server.active)
        server.rate = None
        server.sent = 0

        fetched = self.fetch(server)

        self.assert_fetched(server, fetched)
        self.assertEqual(0, fetched.retries)
        if self.ranges:
            self.assertEqual(SIZE - fetched.bytes_reused, fetched.bytes_fetched)
            # Lost: what was in the network, in a read of at most 1 MiB, and a block not complete.
            self.assertGreaterEqual(fetched.bytes_reused, moment - 7 * MIB)
        else:
            self.assertEqual(SIZE, fetched.bytes_fetched)

    def test_early(self) -> None:
        self.check(min(self.moments))

    def test_late(self) -> None:
        self.check(max(self.moments))

    def test_in_between(self) -> None:
        self.check(self.moments[1])


class KilledOneStreamTest(KilledTest):
    """The same without ranges."""

    ranges = False


class FinishedTest(TransferTestCase):
    """A file that an earlier run has finished, in a bundle that is not complete."""

    def test_kept_without_a_request(self) -> None:
        server = self.serve(DATA)
        self.fetch(server)
        server.requests.clear()
        progress = RecordingTask()
        fetched = self.fetch(server, progress=progress)
        self.assert_fetched(server, fetched)
        self.assertEqual([], server.requests)
        self.assertEqual(
            (0, SIZE, "os_hash"), (fetched.bytes_fetched, fetched.bytes_reused, fetched.verified)
        )
        self.assertEqual((SIZE, 1), (progress.shown, progress.ended))

    def test_changed_since(self) -> None:
        server = self.serve(DATA)
        for change in (lambda: self.target.write_bytes(b"?" * SIZE), lambda: os.truncate(self.target, 9)):
            self.fetch(server)
            change()
            fetched = self.fetch(server)
            self.assert_fetched(server, fetched)
            self.assertEqual((0, SIZE), (fetched.bytes_reused, fetched.bytes_fetched))

    def test_another_source(self) -> None:
        server = self.serve(DATA)
        self.fetch(server)
        server.data = random_bytes(SIZE, seed=4)
        fetched = self.fetch(server)
        self.assert_fetched(server, fetched)
        self.assertIn("source has changed", self.log.output)

    def test_without_hash_it_comes_again(self) -> None:
        server = self.serve(DATA)
        source = server.source(hash_algo=None, hash_value=None, checksum=None)
        self.fetch(server, source=source)
        fetched = self.fetch(server, source=source)
        self.assert_fetched(server, fetched)
        self.assertEqual(SIZE, fetched.bytes_fetched)

    def later(self, server: ImageServer, *answers: Mapping[str, object]) -> DownloadSource:
        """A source without hash, of which Glance says these things one after the other."""
        nothing = {"hash_algo": None, "hash_value": None, "checksum": None}
        told = iter(answers)
        return server.source(**nothing, reread=lambda: server.source(**{**nothing, **next(told)}))

    def test_a_hash_that_comes_late_is_waited_for_and_proves_the_data(self) -> None:
        server = self.serve(DATA)
        promised = {key: getattr(server.source(), key) for key in ("hash_algo", "hash_value")}
        coming = {"hash_algo": "sha512", "hash_coming": True}
        fetched = self.fetch(server, source=self.later(server, coming, coming, promised))
        self.assert_fetched(server, fetched)
        self.assertEqual("os_hash", fetched.verified)

    def test_a_late_hash_of_another_algorithm(self) -> None:
        server = self.serve(DATA)
        late = {"hash_algo": "sha256", "hash_value": hashlib.sha256(DATA).hexdigest()}
        fetched = self.fetch(server, source=self.later(server, late))
        self.assertEqual("os_hash", fetched.verified)

    def test_a_late_hash_that_is_another_one(self) -> None:
        server = self.serve(DATA)
        late = {"hash_algo": "sha512", "hash_value": "0" * 128}
        source = self.later(server, late)
        self.assertRaises(errors.HashMismatch, self.fetch, server, source=source)
        self.assertEqual(set(), self.names())

    def test_no_hash_for_as_long_as_it_is_waited_for(self) -> None:
        server = self.serve(DATA)
        coming = {"hash_algo": "sha512", "hash_coming": True}
        fetched = self.fetch(server, source=self.later(server, *[coming] * 1000))
        self.assertEqual("none", fetched.verified)

    def test_a_download_without_hash_is_resumed(self) -> None:
        server = self.serve(DATA)
        server.always = Fault(status=503)
        server.faults = deque([Fault(after=2 * MIB + 5), *[Fault(status=503)] * 40])
        self.assertRaises(errors.TransferError, self.fetch, server, source=self.later(server))
        server.always = None
        server.faults.clear()
        promised = {key: getattr(server.source(), key) for key in ("hash_algo", "hash_value")}
        fetched = self.fetch(server, source=self.later(server, promised))
        self.assert_fetched(server, fetched)
        self.assertLess(0, fetched.bytes_reused)
        self.assertEqual("os_hash", fetched.verified)

    def test_foreign_files_are_left_alone(self) -> None:
        server = self.serve(DATA)
        record = record_path(self.target)
        for content in (None, b"", b"[]", b'{"format": 1}', b"[" * 5000):
            self.target.write_bytes(b"mine")
            if content is not None:
                record.write_bytes(content)
            error = self.assertRaises(errors.TransferError, self.fetch, server)
            self.assertIn("exists", str(error))
            self.assertEqual(b"mine", self.target.read_bytes())
        record.unlink()
        record.symlink_to(self.target)
        self.assertRaises(errors.TransferError, self.fetch, server)
        self.target.unlink()
        self.target.mkdir()
        self.assertRaises(errors.TransferError, self.fetch, server)

    def test_cancelled_while_hashing(self) -> None:
        server = self.serve(DATA)
        self.fetch(server)
        self.cancelled.set()
        self.assertRaises(errors.Cancelled, self.fetch, server)
        self.assertTrue(self.target.read_bytes() == DATA)
