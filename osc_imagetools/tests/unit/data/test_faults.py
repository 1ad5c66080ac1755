# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong: the bytes are right in the end, or there is no file."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import fixtures
from keystoneauth1 import exceptions as keystone

from osc_imagetools import errors
from osc_imagetools.data import limits
from osc_imagetools.tests.unit.data.image_server import (
    MIB,
    QUICK,
    Fault,
    ImageServer,
    Login,
    RecordingTask,
    TransferTestCase,
    random_bytes,
)
from osc_imagetools.tests.unit.data.test_download import AlwaysMore

DATA = random_bytes(5 * MIB + 4711, seed=2)
SIZE = len(DATA)
MIDDLE = 2 * MIB + 100_000


class _Faults(TransferTestCase):
    def first(self, server: ImageServer, *faults: Fault | None) -> None:
        """Let the first answers with data be these."""
        if not self.ranges:
            server.faults.append(None)  # the refusal of the range
        server.faults.extend(faults)


class RangesTest(_Faults):
    """With ranges: only the rest is asked for."""

    def check_broken(self, how: str) -> None:
        server = self.serve(DATA)
        self.first(server, Fault(after=MIDDLE, how=how))
        progress = RecordingTask()

        fetched = self.fetch(server, progress=progress)

        self.assert_fetched(server, fetched)
        self.assertEqual((1, SIZE), (fetched.retries, progress.shown))
        if self.ranges:
            self.assertLessEqual(fetched.bytes_fetched, SIZE)
            again = int(str(server.requests[1])[len("bytes=") :].partition("-")[0])
            lost = MIDDLE if how == "reset" else MIB  # what was not read yet goes with a reset
            self.assertTrue(MIDDLE - lost <= again <= MIDDLE, again)
        else:
            self.assertEqual([None, None], server.requests[1:])
            self.assertGreater(fetched.bytes_fetched, SIZE)

    def test_reset(self) -> None:
        self.check_broken("reset")

    def test_truncated(self) -> None:
        self.check_broken("end")

    def test_stall(self) -> None:
        self.check_broken("stall")

    def test_broken_at_many_places(self) -> None:
        server = self.serve(DATA)
        self.first(server, *(Fault(after=n * 700_000, how="end") for n in (1, 2, 3, 4, 5)))
        if self.ranges:
            server.faults.clear()
            server.faults.extend(Fault(after=700_000, how="end") for _ in range(5))
        fetched = self.fetch(server)
        self.assert_fetched(server, fetched)
        self.assertEqual(5, fetched.retries)

    def test_statuses_that_pass(self) -> None:
        for status in (500, 502, 503, 504, 408):
            server = self.serve(DATA)
            self.first(server, Fault(status=status), Fault(after=MIDDLE), Fault(status=status))
            self.target = self.directory / str(status)
            fetched = self.fetch(server)
            self.assertEqual(3, fetched.retries, str(status))
            self.assertTrue(self.target.read_bytes() == DATA, status)

    def test_too_many_requests(self) -> None:
        server = self.serve(DATA)
        self.first(server, Fault(status=429, headers={"Retry-After": "3600"}))
        fetched = self.fetch(server)  # the policy bounds the hour
        self.assert_fetched(server, fetched)
        self.assertEqual(1, fetched.retries)

    def test_the_token_expires(self) -> None:
        server = self.serve(DATA)
        login = Login(server)
        login.current = "expired"
        fetched = self.fetch(server, login=login)
        self.assert_fetched(server, fetched)
        self.assertEqual((1, 1), (login.logins, fetched.retries))

    def test_no_token_is_accepted(self) -> None:
        server = self.serve(DATA)
        server.always = Fault(status=401)
        login = Login(server)
        error = self.assertRaises(errors.Forbidden, self.fetch, server, login=login)
        self.assertIn("401", str(error))
        self.assertLessEqual(login.logins, 3)

    def test_a_token_that_cannot_be_renewed(self) -> None:
        server = self.serve(DATA)
        server.always = Fault(status=401)
        login = Login(server, renewable=False)
        self.assertRaises(errors.Forbidden, self.fetch, server, login=login)
        self.assertEqual(1, len(server.requests))

    def test_the_identity_service_fails(self) -> None:
        server = self.serve(DATA)
        login = _FailingLogin(server, keystone.ServiceUnavailable())
        fetched = self.fetch(server, login=login)
        self.assert_fetched(server, fetched)
        self.assertEqual(1, fetched.retries)
        login = _FailingLogin(server, keystone.Unauthorized())
        self.target = self.directory / "other"
        self.assertRaises(errors.Forbidden, self.fetch, server, login=login)
        login = _FailingLogin(server, keystone.AuthPluginException("no"))
        self.assertRaises(errors.TransferError, self.fetch, server, login=login)

    def test_statuses_that_do_not_pass(self) -> None:
        cases = (
            (403, errors.Forbidden),
            (404, errors.ResourceNotFound),
            (410, errors.ResourceNotFound),
            (204, errors.TransferError),
            (409, errors.TransferError),
            (505, errors.TransferError),
        )
        for status, expected in cases:
            server = self.serve(DATA)
            page = b"" if status == 204 else b"<html><title>x</title><p>the   policy says no</html>"
            server.always = Fault(status=status, body=page)
            error = self.assertRaises(expected, self.fetch, server)
            self.assertIs(expected, type(error), str(status))
            self.assertIn("web01", str(error))
            if page:
                self.assertIn(f"{status} ", str(error))
                self.assertIn("the policy says no", str(error))
            self.assertEqual(1, len(server.requests), str(status))
            self.assertEqual(set(), self.names())

    def test_a_body_of_no_bytes(self) -> None:
        server = self.serve(DATA)
        self.first(server, Fault(status=200), Fault(status=200))
        error = self.assertRaises(errors.TransferError, self.fetch, server)
        self.assertIn("no data", str(error))
        self.assertEqual(set(), self.names())

    def test_given_up_after_failures_in_a_row(self) -> None:
        server = self.serve(DATA)
        self.first(server)
        server.always = Fault(status=503)
        error = self.assertRaises(errors.TransferError, self.fetch, server)
        self.assertIn("503", str(error))
        self.assertIn("4 tries", str(error))
        self.assertIn("continues", str(error.hint))
        self.assertEqual(QUICK.attempts + (not self.ranges), len(server.requests))

    def test_nobody_listens(self) -> None:
        server = self.serve(DATA)
        source = server.source(url="http://127.0.0.1:9/v2/images/1/file")
        error = self.assertRaises(errors.TransferError, self.fetch, server, source=source)
        self.assertIn("4 tries", str(error))

    def test_a_wrong_byte_once(self) -> None:
        server = self.serve(DATA)
        self.first(server, Fault(after=MIDDLE, how="flip"))
        progress = RecordingTask()

        fetched = self.fetch(server, progress=progress)

        self.assert_fetched(server, fetched)
        self.assertEqual((1, 2 * SIZE), (fetched.retries, fetched.bytes_fetched))
        self.assertEqual((SIZE, 0), (progress.shown, fetched.bytes_reused))
        self.assertIn("starting over", "".join(progress.messages))

    def test_a_wrong_byte_always(self) -> None:
        server = self.serve(DATA)
        wrong = server.source(hash_value="ab" * 64)
        error = self.assertRaises(errors.HashMismatch, self.fetch, server, source=wrong)
        self.assertIn("ab" * 64, str(error))
        self.assertEqual(set(), self.names())
        self.assertEqual(2 * SIZE, server.sent)

    def test_the_size_has_changed(self) -> None:
        server = self.serve(DATA)
        source = server.source(size=SIZE + 1)
        error = self.assertRaises(errors.TransferError, self.fetch, server, source=source)
        self.assertIn(f"{SIZE} bytes now, not {SIZE + 1}", str(error))

    def test_compressed_on_the_way(self) -> None:
        server = self.serve(DATA)
        server.always = Fault(status=200, headers={"Content-Encoding": "gzip"}, body=b"x")
        error = self.assertRaises(errors.TransferError, self.fetch, server)
        self.assertIn("compressed", str(error))

    def test_cancelled_while_nothing_comes(self) -> None:
        self.check_cancelled(Fault(after=MIDDLE, how="stall"), self.fetched_so_far)

    def test_cancelled_between_two_tries(self) -> None:
        self.check_cancelled(Fault(status=503, headers={"Retry-After": "60"}), self.answered)

    def fetched_so_far(self, server: ImageServer) -> None:
        """Waits until all that the server sent before it stalled must be in the file."""
        self.assertTrue(server.stalled.wait(60))
        time.sleep(0.5)

    def answered(self, server: ImageServer) -> None:
        """Waits until the server has refused the request."""
        before = time.monotonic()
        while len(server.requests) < 2 and time.monotonic() < before + 60:
            time.sleep(0.01)
        time.sleep(0.1)

    def check_cancelled(self, fault: Fault, until: Callable[[ImageServer], None]) -> None:
        server = self.serve(DATA)
        self.first(server)
        server.always = fault
        policy = type(QUICK)(read_timeout=30.0, longest_retry_after=60.0)
        began = []

        def cancel() -> None:
            until(server)
            began.append(time.monotonic())
            self.cancelled.set()

        threading.Thread(target=cancel, daemon=True).start()

        self.assertRaises(errors.Cancelled, self.fetch, server, policy=policy)

        self.assertLess(time.monotonic() - began[0], 15)  # half of what it would have waited for
        self.assertNotIn(self.target.name, self.names())
        server.always = None
        self.cancelled.clear()
        fetched = self.fetch(server)
        self.assert_fetched(server, fetched)
        if fault.how == "stall":
            self.assertIn(fetched.bytes_reused, (MIB, 2 * MIB))

    def test_cancelled_before_the_headers_come(self) -> None:
        server = self.serve(DATA)

        def hold(number: int) -> None:
            self.cancelled.set()
            server.released.wait(60)

        server.before = hold
        began = time.monotonic()
        policy = type(QUICK)(read_timeout=30.0)
        self.assertRaises(errors.Cancelled, self.fetch, server, policy=policy)
        self.assertLess(time.monotonic() - began, 15)

    def test_cancelled_while_waiting_for_a_stream(self) -> None:
        server = self.serve(DATA)
        downloader = self.downloader(server, jobs=1, policy=type(QUICK)(read_timeout=300.0))
        self.first(server)
        server.always = Fault(after=0, how="stall")
        results: list[BaseException] = []

        def one(name: str) -> None:
            try:
                downloader.fetch(
                    server.source(),
                    self.directory / name,
                    algorithms=frozenset({"sha512"}),
                    sparse=False,
                )
            except errors.ImagetoolsError as error:
                results.append(error)

        threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in "ab"]
        for thread in threads:
            thread.start()
        self.wait_until(lambda: len(server.requests) >= (1 if self.ranges else 2))
        self.cancelled.set()
        for thread in threads:
            thread.join(60)
        self.assertEqual([errors.Cancelled] * 2, [type(result) for result in results])

    def test_no_space_is_seen_before(self) -> None:
        server = self.serve(DATA)
        self.useFixture(_Free(MIB))
        error = self.assertRaises(errors.NoSpace, self.fetch, server)
        self.assertIn(f"{SIZE - MIB} bytes are missing", str(error))
        self.assertEqual([], server.requests)
        self.assertEqual(set(), self.names())

    def test_no_space_is_survived(self) -> None:
        server = self.serve(DATA)
        # One write is of a whole chunk, where the disk is slower than the network: it must have fitted.
        disk = self.useFixture(_Full(limits._LARGEST + MIB // 2))
        error = self.assertRaises(errors.NoSpace, self.fetch, server, jobs=1)  # so that a block is whole
        self.assertIn("bytes are missing", str(error))
        self.assertIn("Make room", str(error.hint))
        self.assertNotIn(self.target.name, self.names())
        disk.left = 1000 * MIB

        fetched = self.fetch(server)

        self.assert_fetched(server, fetched)
        self.assertGreaterEqual(fetched.bytes_reused, MIB)

    def test_a_disk_that_fails(self) -> None:
        server = self.serve(DATA)
        self.useFixture(_Full(3 * MIB, errno.EIO))
        error = self.assertRaises(errors.TransferError, self.fetch, server)
        self.assertNotIsInstance(error, errors.NoSpace)
        self.assertIn(os.strerror(errno.EIO), str(error))

    def test_no_directory(self) -> None:
        self.target = self.directory / "missing" / "x"
        error = self.assertRaises(errors.TransferError, self.fetch, self.serve(DATA))
        self.assertIn(os.strerror(errno.ENOENT), str(error))


class OneStreamTest(RangesTest):
    """Without ranges: all of it comes again, and what was here is passed over."""

    ranges = False


class OddRangesTest(_Faults):
    """Servers and proxies that answer a range with something else."""

    def check(self, *faults: Fault | None, always: Fault | None = None) -> ImageServer:
        server = self.serve(DATA)
        server.faults.extend(faults)
        server.always = always
        fetched = self.fetch(server)
        self.assert_fetched(server, fetched)
        self.assertEqual(0, fetched.retries)
        return server

    def test_ignored(self) -> None:
        server = self.check(always=Fault(plain=True))
        self.assertEqual([f"bytes=0-{SIZE - 1}", None], server.requests)

    def test_not_satisfiable(self) -> None:
        server = self.check(Fault(status=416))
        self.assertIsNone(server.requests[-1])

    def test_odd_headers(self) -> None:
        for value in ("", "bytes 1-100/5247591", f"bytes 0-{SIZE - 1}/*", "octets", "bytes 0-0/0"):
            self.target = self.directory / f"x{len(value)}"
            server = self.serve(DATA)
            server.faults.append(Fault(range=value))
            fetched = self.fetch(server)
            self.assertEqual(0, fetched.retries)
            self.assertTrue(self.target.read_bytes() == DATA, value)
            self.assertIsNone(server.requests[-1])

    def test_lost_on_the_way(self) -> None:
        for fault in (Fault(status=400), Fault(plain=True), Fault(range="bytes 0-1/2")):
            server = self.serve(DATA)
            server.faults.append(Fault(after=MIDDLE))
            server.faults.append(fault)
            fetched = self.fetch(server)
            self.assert_fetched(server, fetched)
            self.assertEqual(1, fetched.retries)
            self.assertIsNone(server.requests[-1])
            self.assertGreaterEqual(fetched.bytes_reused, MIB)
            self.target = self.directory / "next"
            for name in self.names():
                (self.directory / name).unlink()

    def test_lost_on_the_way_and_zeros(self) -> None:
        """A block that was wrong is made zero again, although zeros are not written."""
        right = DATA[:MIB] + bytes(3 * MIB) + DATA[:100]
        server = self.serve(right)
        source = server.source()
        server.data = DATA[: 2 * MIB] + right[2 * MIB :]
        server.faults.extend([Fault(after=3 * MIB + 9), Fault(status=400)])
        server.before = lambda number: setattr(server, "data", right) if number > 1 else None

        fetched = self.fetch(server, sparse=True, source=source)

        self.assert_fetched(server, fetched)
        self.assertIn(fetched.bytes_reused, (0, MIB, 2 * MIB))
        self.assertLessEqual(self.target.stat().st_blocks * 512, 2 * MIB + 64 * 1024)

    def test_shorter_than_asked_for(self) -> None:
        """Legal: a part of the range, rightly labelled."""
        server = self.serve(DATA)
        server.longest = MIB + 77
        fetched = self.fetch(server)
        self.assert_fetched(server, fetched)
        self.assertEqual((SIZE, 0), (fetched.bytes_fetched, fetched.retries))
        self.assertEqual(6, len(server.requests))

    def test_faults_on_many_streams(self) -> None:
        self.useFixture(AlwaysMore())
        data = random_bytes(16 * MIB + 9, seed=5)
        server = self.serve(data)
        server.rate = 40 * MIB
        hows = ("end", "reset", "end", "reset")
        server.faults.extend(Fault(after=(n + 1) * 300_000, how=how) for n, how in enumerate(hows))
        server.faults.extend([Fault(status=503), None, Fault(status=429), Fault(status=500)])
        # It may be one stream that meets all of them.
        fetched = self.fetch(server, policy=dataclasses.replace(QUICK, attempts=8))
        self.assert_fetched(server, fetched)
        self.assertEqual(7, fetched.retries)
        self.assertLessEqual(server.peak, 4)


class _FailingLogin(Login):
    """The identity service fails once."""

    def __init__(self, server: ImageServer, failure: Exception) -> None:
        super().__init__(server)
        self.failure: Exception | None = failure

    def get_token(self, session: Any, **kwargs: Any) -> str | None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return super().get_token(session, **kwargs)


class _Free(fixtures.Fixture):
    """A file system that has so many bytes free."""

    def __init__(self, free: int) -> None:
        self.free = free

    def _setUp(self) -> None:
        real = os.statvfs

        def statvfs(path: Any) -> Any:
            values = list(real(path))
            values[0], values[1], values[4] = 1, 1, self.free
            return os.statvfs_result(values)

        self.useFixture(fixtures.MonkeyPatch("os.statvfs", statvfs))


class _Full(fixtures.Fixture):
    """A file system that takes so many bytes more; statvfs does not know."""

    def __init__(self, left: int, number: int = errno.ENOSPC) -> None:
        self.left = left
        self.number = number

    def _setUp(self) -> None:
        real = os.pwrite

        def pwrite(file: int, data: Any, offset: int) -> int:
            if len(data) > self.left:
                raise OSError(self.number, os.strerror(self.number))
            self.left -= len(data)
            return real(file, data, offset)

        self.useFixture(fixtures.MonkeyPatch("os.pwrite", pwrite))
