# SPDX-License-Identifier: Apache-2.0
"""Fetching files from stores of both kinds, without faults."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

import fixtures
import requests_mock
from keystoneauth1 import session
from keystoneauth1.adapter import Adapter

from osc_imagetools import errors
from osc_imagetools.data import passes
from osc_imagetools.data.download import Downloader
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.names import map_path, part_path, record_path
from osc_imagetools.data.stream_count import Growth
from osc_imagetools.progress.model import NullProgress
from osc_imagetools.tests.unit.data.image_server import (
    MIB,
    QUICK,
    Fault,
    Login,
    RecordingTask,
    TransferTestCase,
    random_bytes,
)

DATA = random_bytes(5 * MIB + 4711)
CHUNK = 4 * MIB  # what a stream takes at a time, where there are few of them


class AlwaysMore(fixtures.Fixture):
    """Adds streams as long as there are any to be had, whatever is measured."""

    def _setUp(self) -> None:
        self.useFixture(fixtures.MonkeyPatch(f"{Growth.__module__}.Growth.decide", lambda *_: 1))
        self.useFixture(fixtures.MonkeyPatch(f"{passes.__name__}.TICK", 0.02))


class RangesTest(TransferTestCase):
    """A store that has ranges, as file and Cinder."""

    def test_one_image(self) -> None:
        server = self.serve(DATA)
        progress = RecordingTask()

        fetched = self.fetch(server, progress=progress)

        self.assert_fetched(server, fetched)
        self.assertEqual(
            ("os_hash", len(DATA), 0, 0),
            (fetched.verified, fetched.bytes_fetched, fetched.bytes_reused, fetched.retries),
        )
        self.assertEqual(0o600, stat.S_IMODE(self.target.stat().st_mode))
        self.assertEqual([f"bytes=0-{len(DATA) - 1}"], server.requests)
        self.assertEqual(
            (self.target.name, len(DATA), len(DATA), 1),
            (progress.label, progress.total, progress.shown, progress.ended),
        )

    def test_sizes_around_a_block_and_a_chunk(self) -> None:
        for size in (1, 4095, 4097, MIB - 1, MIB, MIB + 1, 4 * MIB, 4 * MIB + 1):
            server = self.serve(DATA[:size])
            self.target = self.directory / f"{size}.raw"
            self.fetch(server)
            self.assertTrue(self.target.read_bytes() == server.data, size)

    def test_an_adapter_will_do(self) -> None:
        server = self.serve(DATA)
        adapter = Adapter(session.Session(auth=Login(server)), service_type="image")
        downloader = Downloader(
            adapter, jobs=1, progress=NullProgress(), cancelled=self.cancelled, policy=QUICK
        )

        fetched = downloader.fetch(
            server.source(), self.target, algorithms=frozenset({"sha256"}), sparse=False
        )

        self.assertEqual({"sha256", "sha512"}, set(fetched.digests))
        self.assertEqual(hashlib.sha256(DATA).hexdigest(), fetched.digests["sha256"])

    def test_streams_are_added_but_never_more_than_jobs(self) -> None:
        self.useFixture(AlwaysMore())
        server = self.serve(random_bytes(16 * MIB + 5))
        server.rate = 30 * MIB

        fetched = self.fetch(server, jobs=3)

        self.assert_fetched(server, fetched)
        self.assertEqual(3, server.peak)
        self.assertGreater(len(server.requests), 3)
        self.assertEqual(0, fetched.retries)

    def test_whether_ranges_work_is_learnt_once_for_a_store(self) -> None:
        server = self.serve(DATA)
        server.ranges = self.ranges
        downloader = self.downloader(server)
        for name in ("a", "b"):
            downloader.fetch(
                server.source(store="ceph"),
                self.directory / name,
                algorithms=frozenset({"sha512"}),
                sparse=False,
            )
        refused = [] if self.ranges else [f"bytes=0-{len(DATA) - 1}"]
        whole = f"bytes=0-{len(DATA) - 1}" if self.ranges else None
        self.assertEqual([*refused, whole, whole], server.requests)

    def test_redirection(self) -> None:
        server = self.serve(DATA)
        moved = server.url.replace("/v2/", "/moved/")
        self.assert_fetched(server, self.fetch(server, source=server.source(url=moved)))

    def test_several_at_once_share_the_streams(self) -> None:
        server = self.serve(DATA)
        server.rate = 50 * MIB
        downloader = self.downloader(server, jobs=2)
        failures: list[BaseException] = []

        def one(number: int) -> None:
            try:
                downloader.fetch(
                    server.source(),
                    self.directory / str(number),
                    algorithms=frozenset({"sha512"}),
                    sparse=False,
                )
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

        self.assertEqual([], failures)
        for number in range(5):
            self.assertTrue((self.directory / str(number)).read_bytes() == DATA, number)
        self.assertEqual(2, server.peak)

    def test_a_stream_gives_way_to_a_file_that_has_none(self) -> None:
        self.useFixture(AlwaysMore())
        server, small = self.serve(random_bytes(5 * CHUNK)), self.serve(DATA[:MIB])
        jobs = 1 + self.ranges
        downloader = self.downloader(server, jobs=jobs)
        waiting, fetched = threading.Event(), threading.Event()
        self.addCleanup(fetched.set)
        self.addCleanup(waiting.set)
        before: list[int] = []  # bytes of the large file that were sent before the small one was asked for

        def hold(offset: int) -> None:
            """No chunk is complete before the small file waits, and with ranges only two are before it is
            here: a stream that takes a third is held in it.
            """
            if self.ranges and offset >= jobs * CHUNK:
                fetched.wait(60)
            elif offset % CHUNK == CHUNK - MIB:
                waiting.wait(60)

        def one(name: str, source: DownloadSource) -> None:
            downloader.fetch(source, self.directory / name, algorithms=frozenset({"sha512"}), sparse=False)

        server.passing = hold
        small.before = lambda number: before.append(server.sent)
        first = threading.Thread(target=one, args=("large", server.source()))
        second = threading.Thread(target=one, args=("small", small.source()))
        first.start()
        self.wait_until(lambda: server.sent and server.peak == jobs)  # a refused range sends nothing
        second.start()
        self.wait_until(downloader._shared.slots.wanted)
        waiting.set()
        if self.ranges:
            second.join(30)
            self.assertFalse(second.is_alive())
            self.assertTrue(first.is_alive())
            fetched.set()
        first.join(30)
        second.join(30)
        if not self.ranges:  # the only stream of a file is its own to the end
            self.assertGreaterEqual(before[0], len(server.data))
        for name, data in (("large", server.data), ("small", small.data)):
            self.assertTrue((self.directory / name).read_bytes() == data, name)

    def test_zeros_become_holes(self) -> None:
        data = bytearray(8 * MIB + 100)
        data[0:10] = b"bootloader"
        data[3 * MIB + 4096 : 3 * MIB + 8192] = random_bytes(4096)
        data[-1] = 1
        server = self.serve(bytes(data))

        fetched = self.fetch(server, sparse=True)

        self.assert_fetched(server, fetched)
        self.assertLessEqual(self.target.stat().st_blocks * 512, 64 * 1024)

    def test_zeros_only_and_not_sparse(self) -> None:
        server = self.serve(bytes(2 * MIB + 17))
        self.assert_fetched(server, self.fetch(server, sparse=True))
        self.assertEqual(0, self.target.stat().st_blocks)

        self.target = self.directory / "1-vdb.qcow2"
        self.fetch(server, sparse=False)
        self.assertGreaterEqual(self.target.stat().st_blocks * 512, 2 * MIB)

    def test_a_umask_changes_nothing(self) -> None:
        before = os.umask(0o377)
        self.addCleanup(os.umask, before)
        self.fetch(self.serve(DATA))
        self.assertEqual(0o600, stat.S_IMODE(self.target.stat().st_mode))

    def test_work_files_are_all_there_are(self) -> None:
        server = self.serve(DATA)
        server.faults.extend([None] if not self.ranges else [])
        server.faults.append(Fault(after=3 * MIB))
        server.always = Fault(status=503)
        self.assertRaises(errors.TransferError, self.fetch, server)
        names = {path(self.target).name for path in (part_path, map_path, record_path)}
        self.assertEqual(set(), self.names() - names)
        server.always = None
        self.fetch(server)
        self.assertEqual({self.target.name}, self.names() - names)

    def test_content_that_is_not_accepted_is_not_kept(self) -> None:
        server = self.serve(DATA)
        seen: list[bytes] = []

        def refuse(path: Path) -> None:
            seen.append(path.read_bytes())
            raise errors.UnsafeDisk("it has a backing file")

        self.assertRaises(
            errors.UnsafeDisk,
            self.downloader(server).fetch,
            server.source(),
            self.target,
            algorithms=frozenset({"sha512"}),
            sparse=False,
            accept=refuse,
        )
        self.assertTrue(seen == [DATA])
        self.assertEqual(set(), self.names())


class OneStreamTest(RangesTest):
    """A store that answers 400 to a range, as RBD."""

    ranges = False

    def test_one_image(self) -> None:
        server = self.serve(DATA)
        fetched = self.fetch(server)
        self.assert_fetched(server, fetched)
        self.assertEqual([f"bytes=0-{len(DATA) - 1}", None], server.requests)
        self.assertEqual((len(DATA), 0), (fetched.bytes_fetched, fetched.retries))

    def test_streams_are_added_but_never_more_than_jobs(self) -> None:
        self.useFixture(AlwaysMore())
        server = self.serve(DATA)
        server.rate = 30 * MIB
        self.assert_fetched(server, self.fetch(server, jobs=3))
        self.assertEqual(1, server.peak)


class WhatGlanceLeavesOutTest(TransferTestCase):
    """Images without hashes, or without a size."""

    def test_checksum_only(self) -> None:
        server = self.serve(DATA)
        source = server.source(hash_algo=None, hash_value=None)
        fetched = self.fetch(server, source=source)
        self.assert_fetched(server, fetched)
        self.assertEqual("checksum", fetched.verified)
        wrong = server.source(hash_algo=None, hash_value=None, checksum="0" * 32)
        self.target = self.directory / "wrong"
        self.assertRaises(errors.HashMismatch, self.fetch, server, source=wrong)

    def test_an_algorithm_that_nobody_knows(self) -> None:
        server = self.serve(DATA)
        fetched = self.fetch(server, source=server.source(hash_algo="sha-next"))
        self.assertEqual("checksum", fetched.verified)
        self.assertRaises(
            errors.TransferError,
            self.downloader(server).fetch,
            server.source(),
            self.directory / "x",
            algorithms=frozenset({"sha-next"}),
            sparse=False,
        )

    def test_no_hash_at_all(self) -> None:
        server = self.serve(DATA)
        source = server.source(hash_algo=None, hash_value=None, checksum=None)
        fetched = self.fetch(server, source=source)
        self.assert_fetched(server, fetched)
        self.assertEqual("none", fetched.verified)

    def test_hashes_in_capitals(self) -> None:
        server = self.serve(DATA)
        source = server.source()
        shouted = server.source(hash_algo="SHA512", hash_value=str(source.hash_value).upper())
        self.assert_fetched(server, self.fetch(server, source=shouted))

    def test_no_size(self) -> None:
        for chunked in (False, True):
            for size in (len(DATA), 4 * MIB, 5):
                server = self.serve(DATA[:size])
                server.chunked = chunked
                self.target = self.directory / f"{chunked}-{size}"
                progress = RecordingTask()
                fetched = self.fetch(server, source=server.source(size=None), progress=progress)
                self.assertEqual((size, [None]), (fetched.size, server.requests))
                self.assertTrue(self.target.read_bytes() == server.data)
                self.assertEqual(size, progress.shown)
                self.assertEqual(None if chunked else size, progress.total)

    def test_no_content_length(self) -> None:
        self.ranges = False
        server = self.serve(DATA)
        server.chunked = True
        self.assert_fetched(server, self.fetch(server))

    def test_more_data_than_there_should_be(self) -> None:
        self.ranges = False
        server = self.serve(DATA)
        server.chunked = True
        source = server.source(size=len(DATA) - 1)
        self.assertRaises(errors.TransferError, self.fetch, server, source=source)
        self.assertNotIn(self.target.name, self.names())

    def test_zero_bytes_are_refused_without_asking(self) -> None:
        server = self.serve(b"")
        error = self.assertRaises(errors.TransferError, self.fetch, server)
        self.assertIn("0 bytes", str(error))
        self.assertEqual([], server.requests)

    def test_a_mocked_response_has_no_socket(self) -> None:
        url = "http://image.test/file"
        with requests_mock.Mocker() as http:
            http.get(url, content=DATA[:100])
            server = self.serve(DATA[:100])
            fetched = self.fetch(server, source=server.source(url=url))
        self.assert_fetched(server, fetched)
