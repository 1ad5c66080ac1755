# SPDX-License-Identifier: Apache-2.0
"""Whatever is on disk already and in whatever order the rest comes: the hash gets all bytes, in order."""

from __future__ import annotations

import hashlib
import random
import tempfile
import threading
from pathlib import Path

import testtools
from hypothesis import given, settings
from hypothesis import strategies as st

from osc_imagetools.data.assembly import Assembly, Over
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.limits import Buffers
from osc_imagetools.data.names import part_path
from osc_imagetools.data.part import Part
from osc_imagetools.progress.model import Account, NullProgress
from osc_imagetools.tests.unit.data.image_server import MIB, random_bytes

LONGEST = 14 * MIB
DATA = random_bytes(LONGEST, seed=9)


class AssemblyTest(testtools.TestCase):
    @settings(max_examples=8, deadline=None)
    @given(
        blocks=st.integers(1, 12),
        tail=st.integers(1, MIB),
        stored=st.sets(st.integers(0, 12)),
        streams=st.integers(1, 4),
        seed=st.integers(0, 2**32),
    )
    def test_in_ranges(self, blocks: int, tail: int, stored: set[int], streams: int, seed: int) -> None:
        data = memoryview(DATA)[: (blocks - 1) * MIB + tail]
        self.check(data, {n for n in stored if n < blocks}, streams, seed, whole=False)

    @settings(max_examples=8, deadline=None)
    @given(
        blocks=st.integers(1, 12),
        tail=st.integers(1, MIB),
        stored=st.sets(st.integers(0, 12)),
        seed=st.integers(0, 2**32),
    )
    def test_whole(self, blocks: int, tail: int, stored: set[int], seed: int) -> None:
        data = memoryview(DATA)[: (blocks - 1) * MIB + tail]
        self.check(data, {n for n in stored if n < blocks}, 1, seed, whole=True)

    def check(self, data: memoryview, stored: set[int], streams: int, seed: int, *, whole: bool) -> None:
        with tempfile.TemporaryDirectory() as name:
            target = Path(name) / "x"
            source = DownloadSource("http://a", "x", len(data), "sha512", "ab", None)
            part = Part(source, target, sparse=False)
            for block in stored:
                part.write(block * MIB, data[block * MIB : (block + 1) * MIB])
            account = Account(NullProgress().task("x", None))
            assembly = Assembly(part, Buffers(16), account, size=len(data), whole=whole)
            digest, failures = hashlib.sha512(), []

            def guarded(work: object, *arguments: object) -> None:
                try:
                    work(*arguments)  # type: ignore[operator]
                except BaseException as failure:
                    failures.append(failure)
                    assembly.fail(failure)

            def stream(number: int) -> None:
                dice = random.Random(seed + number)
                while (chunk := assembly.take()) is not None:
                    while chunk.filled < chunk.length:
                        count = dice.randint(1, chunk.length - chunk.filled)
                        at = chunk.position
                        chunk.buffer[chunk.filled : chunk.filled + count] = data[at : at + count]
                        assembly.received(chunk, count)

            def hash_all() -> None:
                for piece in assembly.pieces():
                    digest.update(piece)

            works = [(hash_all,), (assembly.write_out,), *((stream, n) for n in range(streams))]
            threads = [threading.Thread(target=guarded, args=work) for work in works]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assembly.close()
            part.close()
            self.assertEqual([], failures)
            self.assertEqual(hashlib.sha512(data).hexdigest(), digest.hexdigest())
            self.assertTrue(part_path(target).read_bytes() == data)
            kept = sum(len(data[n * MIB : (n + 1) * MIB]) for n in stored)
            self.assertEqual(kept, account.reused)

    def test_streams_run_ahead_of_a_hash_that_reads_back(self) -> None:
        """More than all buffers can be fetched while the hash is busy with what was here."""
        with tempfile.TemporaryDirectory() as name:
            size = 150 * MIB
            source = DownloadSource("http://a", "x", size, "sha512", "ab", None)
            part = Part(source, Path(name) / "x", sparse=True)
            zeros = memoryview(bytes(MIB))
            for block in range(100):
                part.write(block * MIB, zeros)
            assembly = Assembly(
                part, Buffers(4), Account(NullProgress().task("x", None)), size=size, whole=False
            )
            writer = threading.Thread(target=assembly.write_out)
            writer.start()
            taken = 0
            while (chunk := assembly.take()) is not None:
                assembly.received(chunk, chunk.length)
                taken += chunk.length
            writer.join(5)
            self.assertEqual(50 * MIB, taken)
            self.assertEqual(size, sum(len(piece) for piece in assembly.pieces()))
            assembly.close()
            part.close()

    def test_what_has_come_is_written_when_all_is_over(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            source = DownloadSource("http://a", "x", 5 * MIB, "sha512", "ab", None)
            part = Part(source, Path(name) / "x", sparse=False)
            assembly = Assembly(
                part, Buffers(4), Account(NullProgress().task("x", None)), size=5 * MIB, whole=False
            )
            chunk = assembly.take()
            assert chunk is not None
            assembly.received(chunk, 2 * MIB + 9)
            assembly.fail(ValueError("no"))
            self.assertRaises(Over, assembly.write_out)
            self.assertRaises(Over, assembly.received, chunk, 1)
            self.assertRaises(Over, assembly.take)
            self.assertRaises(ValueError, assembly.result)
            self.assertEqual(b"\1\1\0\0\0", part.snapshot())
            assembly.close()
            part.close()
