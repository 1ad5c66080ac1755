# SPDX-License-Identifier: Apache-2.0
"""The unfinished file: its blocks, its holes and what is remembered of it."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fixtures
import testtools
from hypothesis import given, settings
from hypothesis import strategies as st

from osc_imagetools.data import blockfile, blockmap
from osc_imagetools.data.blockfile import PAGE, BlockFile, data_runs
from osc_imagetools.data.blockmap import BlockMap, MapUnusable
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.part import Part
from osc_imagetools.tests.unit.data.image_server import MIB, random_bytes

QUICKLY = settings(max_examples=60, deadline=None)


def source(size: int, value: str = "ab") -> DownloadSource:
    return DownloadSource("http://a/1", "image x", size, "sha512", value, None)


@contextmanager
def directory() -> Iterator[Path]:
    """One for each example."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class BlockMapTest(testtools.TestCase):
    @QUICKLY
    @given(
        st.integers(1, 40),
        st.lists(st.tuples(st.sampled_from(["written", "durable", "again", "reboot"]), st.integers(0, 39))),
    )
    def test_what_is_remembered(self, count: int, steps: list[tuple[str, int]]) -> None:
        """Against a model: written outlives the process, durable the machine."""
        model = [0] * count
        described = source(count * MIB - 17)
        with directory() as where, tempfile.NamedTemporaryFile() as boot:
            path = where / "map"
            boot_id = fixtures.MonkeyPatch(f"{blockmap.__name__}._BOOT_ID", Path(boot.name))
            with boot_id:
                boots = 0
                Path(boot.name).write_text(f"{boots}x")
                blocks = BlockMap.create(path, described)
                for step, number in steps:
                    block = number % count
                    if step == "written":
                        blocks.written(block)
                        model[block] = 1
                    elif step == "durable":
                        if model[block]:
                            blocks.durable([block])
                            model[block] = 2
                    else:
                        blocks.close()
                        if step == "reboot":
                            # The map itself is not told of a new boot: only the first one counts.
                            boots = 1
                            Path(boot.name).write_text("other")
                        if boots:
                            model = [state if state == 2 else 0 for state in model]
                        blocks = BlockMap.load(path, described)
                    self.assertEqual([bool(state) for state in model], [bool(x) for x in blocks.snapshot()])
                self.assertEqual(model.count(0), blocks.count_missing())
                blocks.close()

    @QUICKLY
    @given(st.binary(max_size=40), st.integers(0, 1100))
    def test_a_damaged_map_is_refused_or_right(self, damage: bytes, at: int) -> None:
        described = source(3 * MIB)
        with directory() as where:
            path = where / "map"
            BlockMap.create(path, described).close()
            content = bytearray(path.read_bytes())
            content[at : at + len(damage)] = damage
            path.write_bytes(content)
            try:
                blocks = BlockMap.load(path, described)
            except MapUnusable:
                return
            self.assertEqual(3, len(blocks.snapshot()))
            blocks.close()

    def test_another_source(self) -> None:
        with directory() as where:
            BlockMap.create(where / "map", source(MIB)).close()
            for other in (source(MIB + 1), source(MIB, "cd")):
                self.assertRaises(MapUnusable, BlockMap.load, where / "map", other)

    def test_nothing_is_believed_of_a_system_that_does_not_name_its_boots(self) -> None:
        with directory() as where:
            self.useFixture(fixtures.MonkeyPatch(f"{blockmap.__name__}._BOOT_ID", where / "none"))
            blocks = BlockMap.create(where / "map", source(2 * MIB))
            blocks.written(0)
            blocks.written(1)
            blocks.durable([1])
            blocks.close()
            self.assertEqual(b"\0\2", BlockMap.load(where / "map", source(2 * MIB)).snapshot())


class DataRunsTest(testtools.TestCase):
    @QUICKLY
    @given(
        st.lists(st.sampled_from([b"\0", b"x", b"first", b"last"]), max_size=9),
        st.integers(0, PAGE),
        st.booleans(),
    )
    def test_exactly_the_pages_that_hold_something(self, pages: list[bytes], tail: int, zero: bool) -> None:
        shapes = {
            b"\0": bytes(PAGE),
            b"x": b"x" * PAGE,
            b"first": b"1" + bytes(PAGE - 1),
            b"last": bytes(PAGE - 1) + b"1",
        }
        data = b"".join(shapes[page] for page in pages) + (bytes(tail) if zero else b"t" * tail)
        copy = bytearray(len(data))
        runs = list(data_runs(memoryview(data)))
        for begin, end in runs:
            copy[begin:end] = data[begin:end]
            self.assertEqual(0, begin % PAGE)
        self.assertTrue(copy == data)
        holding = [n for n in range(0, len(data), PAGE) if data[n : n + PAGE].strip(b"\0")]
        self.assertEqual(holding, [n for begin, end in runs for n in range(begin, end, PAGE)])
        self.assertTrue(all(a[1] < b[0] for a, b in itertools.pairwise(runs)))


class BlockFileTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.useFixture(fixtures.TempDir()).path) / "x"

    @QUICKLY
    @given(st.data())
    def test_over_what_was_there(self, data: st.DataObject) -> None:
        """Zeros are zeros afterwards, whatever was in their place; one page is enough to tell."""
        pages = st.lists(st.sampled_from([bytes(PAGE), b"o" * PAGE]), min_size=1, max_size=6)
        old = b"".join(data.draw(pages))
        new = b"".join(data.draw(pages)) + data.draw(st.sampled_from([b"", b"tail", bytes(9)]))
        with directory() as where:
            (where / "x").write_bytes(old)
            file = BlockFile(where / "x", sparse=True)
            file.resize(max(len(old), len(new)))
            file.write(0, memoryview(new), over=True)
            file.resize(len(new))
            file.close()
            self.assertTrue((where / "x").read_bytes() == new)

    def test_where_direct_writes_do_not_work(self) -> None:
        """As on a file system that opens for direct writes and then refuses them."""
        real = os.pwrite
        refused: list[int] = []

        def pwrite(number: int, data: bytes, offset: int) -> int:
            if os.get_blocking(number) and os.readlink(f"/proc/self/fd/{number}") == str(self.path):
                flags = int(Path(f"/proc/self/fdinfo/{number}").read_text().split()[3], 8)
                if flags & os.O_DIRECT:
                    refused.append(offset)
                    raise OSError(22, "Invalid argument")
            return real(number, data, offset)

        self.useFixture(fixtures.MonkeyPatch("os.pwrite", pwrite))
        file = BlockFile(self.path, sparse=False)
        self.addCleanup(file.close)
        data = random_bytes(2 * MIB)
        for at in (0, MIB):
            file.write(at, memoryview(data)[at : at + MIB], over=False)
        self.assertTrue(self.path.read_bytes() == data)
        self.assertLessEqual(len(refused), 1)

    def take_away(self, *names: str) -> None:
        for name in names:
            self.addCleanup(setattr, os, name, getattr(os, name))
            delattr(os, name)

    def test_where_a_system_has_less(self) -> None:
        """What Linux has and others have not: the file is the same, and is still synced."""
        self.take_away("O_DIRECT", "preadv", "posix_fadvise", "fdatasync")
        synced: list[int] = []
        self.useFixture(fixtures.MonkeyPatch("os.fsync", synced.append))
        file = BlockFile(self.path, sparse=True)
        self.addCleanup(file.close)
        data = random_bytes(MIB) + bytes(2 * MIB) + b"the end"
        for at in range(0, len(data), MIB):
            file.write(at, memoryview(data)[at : at + MIB], over=False)
        file.expect_read(0, len(data))
        into = bytearray(len(data) + 10)
        self.assertEqual(len(data), file.read(0, into))
        self.assertTrue(into[: len(data)] == data)
        self.assertLess(self.path.stat().st_blocks * 512, 2 * MIB)
        file.sync()
        self.assertEqual([file._file.fileno()], synced)

    def test_a_sync_goes_through_the_disks_own_cache_where_it_must_be_asked_for(self) -> None:
        """As on macOS: F_FULLFSYNC, or fsync on a file system that does not know it."""
        asked: list[tuple[int, int]] = []
        synced: list[int] = []

        def fcntl(number: int, command: int) -> int:
            asked.append((number, command))
            if len(asked) > 1:
                raise OSError(45, "Operation not supported")
            return 0

        self.take_away("fdatasync")
        self.useFixture(fixtures.MonkeyPatch("os.fsync", synced.append))
        self.useFixture(fixtures.MonkeyPatch("fcntl.F_FULLFSYNC", 51))
        self.useFixture(fixtures.MonkeyPatch("fcntl.fcntl", fcntl))
        file = BlockFile(self.path, sparse=True)
        self.addCleanup(file.close)
        number = file._file.fileno()
        file.sync()
        self.assertEqual(([(number, 51)], []), (asked, synced))
        file.sync()
        self.assertEqual(([(number, 51)] * 2, [number]), (asked, synced))

    def test_where_direct_writes_are_slow(self) -> None:
        self.useFixture(fixtures.MonkeyPatch(f"{blockfile.__name__}._SLOW", 1 << 60))
        self.useFixture(fixtures.MonkeyPatch(f"{blockfile.__name__}._TRIAL", MIB))
        file = BlockFile(self.path, sparse=False)
        self.addCleanup(file.close)
        data = random_bytes(4 * MIB + 5)
        for at in range(0, len(data), MIB):
            file.write(at, memoryview(data)[at : at + MIB], over=False)
        self.assertFalse(file._direct_works)
        self.assertTrue(self.path.read_bytes() == data)

    def test_a_write_that_takes_less_than_given(self) -> None:
        """As before a disk is full, or on a network file system."""
        real = os.pwrite
        self.useFixture(
            fixtures.MonkeyPatch("os.pwrite", lambda f, d, o: real(f, d[: max(len(d) // 2, 1)], o))
        )
        file = BlockFile(self.path, sparse=False)
        self.addCleanup(file.close)
        data = random_bytes(64 * 1024 + 3)
        file.write(0, memoryview(data), over=False)
        self.assertTrue(self.path.read_bytes() == data)


class PartTest(testtools.TestCase):
    def test_what_remains(self) -> None:
        target = Path(self.useFixture(fixtures.TempDir()).path) / "x"
        part = Part(source(3 * MIB + 5), target, sparse=False)
        self.addCleanup(part.close)
        self.assertEqual(3 * MIB + 5, part.remaining)
        part.write(3 * MIB, memoryview(b"tail!"))
        self.assertEqual(3 * MIB, part.remaining)
        part.write(0, memoryview(random_bytes(2 * MIB)))
        self.assertEqual((MIB, 3 * MIB), (part.remaining, part.unsynced()))
        part.sync()
        self.assertEqual(0, part.unsynced())
        self.assertEqual(b"\2\2\0\2", part.snapshot())
