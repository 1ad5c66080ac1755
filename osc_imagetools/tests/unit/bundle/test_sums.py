# SPDX-License-Identifier: Apache-2.0
"""The file of sums."""

from __future__ import annotations

import testtools

from osc_imagetools.bundle import sums

A, B = "a" * 64, "b" * 64


class SumsFile(testtools.TestCase):
    """sums.format_sums and sums.parse_sums."""

    def test_written_and_read(self) -> None:
        digests = {"manifest.json": B, "disks/0 x.raw": A}
        data = sums.format_sums(digests)
        self.assertEqual(f"{A}  disks/0 x.raw\n{B}  manifest.json\n".encode(), data)
        self.assertEqual(sums.Sums(digests, ()), sums.parse_sums(data, "sha256"))

    def test_binary_marks_and_capitals(self) -> None:
        found = sums.parse_sums(f"{A.upper()} *disks/x".encode(), "sha256")
        self.assertEqual(sums.Sums({"disks/x": A}, ()), found)

    def test_every_problem_is_found(self) -> None:
        lines = [
            f"{A}  disks/x",
            f"{A}  ../x",
            f"{A}  disks/x",
            f"{A[:-1]}  disks/y",
            f"\\{A}  disks/a\\nb",
            "",
            f"{A}  /etc/passwd",
            f"{B}  disks/\x1b[2J",
        ]
        found = sums.parse_sums("\n".join(lines).encode(), "sha256")
        self.assertEqual({"disks/x": A}, found.digests)
        self.assertEqual(
            (
                "Line 2: the path ../x points outside the bundle.",
                "Line 3: disks/x is listed twice.",
                "Line 4 is not a sha256 hash and a name.",
                "Line 5 is not a sha256 hash and a name.",
                "Line 6 is not a sha256 hash and a name.",
                "Line 7: the path /etc/passwd is absolute.",
                r"Line 8: the path disks/\x1b[2J has unprintable characters.",
            ),
            found.problems,
        )

    def test_no_text(self) -> None:
        self.assertEqual(("It is not UTF-8 at byte 0.",), sums.parse_sums(b"\xff", "sha256").problems)
