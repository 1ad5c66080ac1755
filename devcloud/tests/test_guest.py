# SPDX-License-Identifier: Apache-2.0
"""The guest disk: size, partition table, and the same bytes for the same seed."""

import pathlib
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator import guest  # noqa: E402


class GuestTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, mebibytes: int, seed: int) -> bytes:
        path = self.folder / "disk"
        guest.write_disk(path, mebibytes, seed)
        return path.read_bytes()

    def test_boot_sector(self) -> None:
        sector = guest.boot_sector(16)
        self.assertEqual(512, len(sector))
        self.assertEqual(b"\x55\xaa", sector[510:])
        self.assertLessEqual(len(guest.BOOT_CODE), guest.TABLE_OFFSET)
        for text in (guest.BOOTED.encode(), guest.WROTE.encode(), guest.TEXT):
            self.assertIn(text, sector)

    def test_a_busy_one_differs_in_one_byte(self) -> None:
        idle, busy = guest.boot_sector(16), guest.boot_sector(16, busy=True)
        differ = [n for n in range(512) if idle[n] != busy[n]]
        self.assertEqual([guest.BUSY_OFFSET], differ)
        self.assertEqual((0, 1), (idle[guest.BUSY_OFFSET], busy[guest.BUSY_OFFSET]))

    def test_one_says_what_it_is_told(self) -> None:
        sector = guest.boot_sector(16, says="Kernel panic - not syncing")
        self.assertIn(b"Kernel panic - not syncing\r\n\0", sector)
        silent = guest.boot_sector(16, says="")
        for text in (guest.BOOTED, guest.WROTE, guest.FAILED):
            self.assertNotIn(text.encode(), sector)
            self.assertNotIn(text.encode(), silent)
        code = guest.BOOT_CODE.index(guest.BOOTED.encode())
        self.assertEqual(guest.boot_sector(16)[:code], silent[:code])
        with self.assertRaises(ValueError):
            guest.boot_sector(16, says="x" * (len(guest.BOOTED) + 1))

    def test_partition_ends_where_the_disk_does(self) -> None:
        active, first, count = struct.unpack_from("<B7xII", guest.boot_sector(16), 446)
        self.assertEqual((0x80, guest.MIB // 512), (active, first))
        self.assertEqual(16 * guest.MIB // 512, first + count)

    def test_content(self) -> None:
        disk = self.write(16, 1)
        self.assertEqual(16 * guest.MIB, len(disk))
        self.assertEqual(bytes(guest.MIB - 512), disk[512 : guest.MIB])
        self.assertEqual(bytes(guest.MIB), disk[-guest.MIB :])

    def test_seed(self) -> None:
        self.assertEqual(self.write(3, 1), self.write(3, 1))
        self.assertNotEqual(self.write(3, 1), self.write(3, 2))

    def test_smallest(self) -> None:
        self.assertEqual(2 * guest.MIB, len(self.write(2, 1)))
        with self.assertRaises(ValueError):
            self.write(1, 1)


if __name__ == "__main__":
    unittest.main()
