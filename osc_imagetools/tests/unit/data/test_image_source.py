# SPDX-License-Identifier: Apache-2.0
"""An image as one ordered stream: each byte once, whatever breaks; nothing ends that is not proven."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import testtools
from keystoneauth1 import session

from osc_imagetools import errors
from osc_imagetools.data.disk_stream import DiskStream
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.image_source import ImageAccess, ImageSource
from osc_imagetools.progress.model import Account
from osc_imagetools.tests.unit.data.image_server import (
    MIB,
    QUICK,
    Fault,
    ImageServer,
    Login,
    RecordingTask,
    random_bytes,
)

DATA = random_bytes(5 * MIB + 4711, seed=6)
SIZE = len(DATA)
MIDDLE = 2 * MIB + 100_000
UNKNOWN = {"hash_algo": None, "hash_value": None, "checksum": None}


class _SourceCase(testtools.TestCase):
    ranges = True

    def setUp(self) -> None:
        super().setUp()
        self.cancelled = threading.Event()
        self.task = RecordingTask()
        self.account = Account(self.task)
        self.server = self.useFixture(ImageServer(DATA, ranges=self.ranges))

    def source(self, described: DownloadSource | None = None) -> ImageSource:
        auth = Login(self.server)
        access = ImageAccess.of(session.Session(auth=auth), QUICK)
        return ImageSource(access, described or self.server.source(), self.account, frozenset({"sha512"}))

    def receive(self, source: ImageSource) -> tuple[bytes, dict[str, str]]:
        """What comes, and its hashes; ``self.came`` has what came before an error."""
        self.came = b""
        with source.open(self.cancelled) as reader:
            stream = DiskStream(
                source,
                reader,
                algorithms=source.algorithms,
                cancelled=self.cancelled,
                advance=self.account.accepted,
            )
            try:
                for block in stream:
                    self.came += block
                return self.came, stream.digests()
            finally:
                stream.close()

    def whole(self, **described: Any) -> ImageSource:
        """All of it arrives: the source."""
        source = self.source(self.server.source(**described))
        data, digests = self.receive(source)
        self.assertTrue(data == self.server.data, "the bytes differ")
        self.assertEqual(hashlib.sha512(self.server.data).hexdigest(), digests["sha512"])
        return source

    def refused(self, error: type[Exception], **described: Any) -> Exception:
        """It fails, and the end of the data never came."""
        found = self.assertRaises(error, self.whole, **described)
        self.assertLess(len(self.came), SIZE)
        return found


class WithRanges(_SourceCase):
    def test_in_one_request(self) -> None:
        self.whole()
        self.assertEqual([None], self.server.requests)
        self.assertEqual((SIZE, SIZE, 0), (self.task.shown, self.account.fetched, self.account.retries))

    def check_broken(self, how: str) -> None:
        self.server.faults.append(Fault(after=MIDDLE, how=how))
        self.whole()
        self.assertEqual((1, SIZE), (self.account.retries, self.task.shown))
        first, again = self.server.requests[:2]
        self.assertIsNone(first)
        if self.ranges:
            self.assertLessEqual(self.account.fetched, SIZE)
            place = int(str(again)[len("bytes=") :].partition("-")[0])
            self.assertTrue(0 < place <= MIDDLE, place)
        else:
            self.assertIsNone(self.server.requests[-1])
            self.assertGreater(self.account.fetched, SIZE)

    def test_reset(self) -> None:
        self.check_broken("reset")

    def test_cut_off(self) -> None:
        self.check_broken("end")

    def test_silence(self) -> None:
        self.check_broken("stall")

    def test_broken_again_and_again(self) -> None:
        self.server.faults.extend(Fault(after=n * 700_000, how="end") for n in (1, 1, 1, 1, 1))
        if not self.ranges:
            self.server.faults.clear()
            self.server.faults.append(Fault(after=700_000, how="end"))
            self.server.faults.append(None)  # the range that is refused
            self.server.faults.extend(Fault(after=n * 700_000, how="end") for n in (2, 3, 4, 5))
        self.whole()
        self.assertEqual(5, self.account.retries)

    def test_statuses_that_pass(self) -> None:
        self.server.faults.extend(Fault(status) for status in (503, 500, 429))
        self.whole()
        self.assertEqual(3, self.account.retries)

    def test_gives_up(self) -> None:
        self.server.always = Fault(503)
        error = self.refused(errors.TransferError)
        self.assertIn("given up after 4 tries", str(error))

    def test_shorter_answers_than_asked_for(self) -> None:
        self.server.faults.append(Fault(after=MIDDLE, how="end"))
        self.server.longest = 300_000
        self.whole()
        self.assertEqual(1, self.account.retries)

    def test_an_expired_token(self) -> None:
        self.server.faults.append(Fault(401))
        self.whole()
        self.assertEqual(1, self.account.retries)

    def test_a_wrong_byte(self) -> None:
        for place in (0, MIDDLE, SIZE - 1):
            self.server.faults.append(Fault(after=place, how="flip"))
            error = self.refused(errors.HashMismatch)
            self.assertIn("but the cloud says sha512:", str(error))

    def test_another_size(self) -> None:
        error = self.refused(errors.TransferError, size=SIZE + 1)
        self.assertIn("it has changed", str(error))

    def test_more_than_there_should_be(self) -> None:
        self.server.chunked = True
        self.assertRaises(errors.TransferError, self.whole, size=SIZE - 10)

    def test_without_a_length(self) -> None:
        self.server.chunked = True
        self.whole()

    def test_of_unknown_size(self) -> None:
        self.whole(size=None)
        self.assertEqual(SIZE, self.account.fetched)

    def test_no_data(self) -> None:
        self.assertIn("0 bytes", str(self.refused(errors.TransferError, size=0)))
        self.server.data = b""
        self.assertIn("sends no data", str(self.refused(errors.TransferError, size=SIZE)))
        self.assertIn("sends no data", str(self.refused(errors.TransferError, size=None)))

    def test_cancelled_in_a_silence(self) -> None:
        self.server.faults.append(Fault(after=MIDDLE, how="stall"))
        self.server.passing = lambda offset: self.cancelled.set() if offset >= MIB else None
        self.refused(errors.Cancelled)
        self.assertEqual(1, len(self.server.requests))


class WithoutRanges(WithRanges):
    ranges = False


class LateProof(_SourceCase):
    """The cloud promises a hash only when all has come."""

    def later(self, **promised: Any) -> DownloadSource:
        coming = iter([{"hash_coming": True}, promised])
        return self.server.source(
            **UNKNOWN, hash_coming=True, reread=lambda: self.server.source(**{**UNKNOWN, **next(coming)})
        )

    def proven_by(self, source: ImageSource) -> str | None:
        self.receive(source)
        self.assertTrue(self.came == DATA)
        return source.proof.kind if source.proof else None

    def test_none(self) -> None:
        self.assertIsNone(self.proven_by(self.source(self.server.source(**UNKNOWN))))

    def test_right(self) -> None:
        value = hashlib.sha512(DATA).hexdigest()
        source = self.source(self.later(hash_algo="sha512", hash_value=value))
        self.assertEqual("os_hash", self.proven_by(source))
        self.assertEqual(1, len(self.server.requests))

    def test_wrong(self) -> None:
        source = self.source(self.later(hash_algo="sha512", hash_value="0" * 128))
        self.assertRaises(errors.HashMismatch, self.receive, source)
        self.assertLess(len(self.came), SIZE)

    def test_of_another_algorithm_it_is_read_again(self) -> None:
        value = hashlib.sha256(DATA).hexdigest()
        source = self.source(self.later(hash_algo="sha256", hash_value=value))
        self.assertEqual("os_hash", self.proven_by(source))
        self.assertEqual(2, len(self.server.requests))

    def test_of_another_algorithm_and_wrong(self) -> None:
        source = self.source(self.later(hash_algo="sha256", hash_value="0" * 64))
        self.assertRaises(errors.HashMismatch, self.receive, source)
        self.assertLess(len(self.came), SIZE)

    def test_what_came_first_was_not_what_is_proven(self) -> None:
        value = hashlib.sha256(DATA).hexdigest()
        source = self.source(self.later(hash_algo="sha256", hash_value=value))
        self.server.faults.append(Fault(after=MIDDLE, how="flip"))
        self.assertRaises(errors.HashMismatch, self.receive, source)
        self.assertLess(len(self.came), SIZE)

    def test_it_has_changed_meanwhile(self) -> None:
        source = self.source(self.later(size=SIZE + 1))
        self.assertIn("it has changed", str(self.assertRaises(errors.TransferError, self.receive, source)))
