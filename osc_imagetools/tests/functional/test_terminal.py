# SPDX-License-Identifier: Apache-2.0
"""What people see on a terminal: recordings of an export, an import, a conversion and a check of a fleet."""

from __future__ import annotations

import re
import tempfile
from typing import Any

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.base import MIB
from osc_imagetools.tests.functional.terminal import Recording, on_terminal, recorded

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PIECE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")  # how one begins


class TestTerminal(base.TestCase):
    def on_screen(self, *words: Any, columns: int = 80, code: int = 0, **more: Any) -> Recording:
        """A recording of a command; no ID on it is broken, and nothing of a control sequence is left."""
        seen = recorded(*words, columns=columns, **more)
        self.assertEqual(code, seen.code, "\n".join(seen.lines))
        for line in seen.lines:
            self.assertEqual(len(PIECE.findall(line)), len(UUID.findall(line)), line)
            self.assertNotRegex(line, r"\[[0-9;?]+[a-zA-Z]|\[(red|bold|/)")
        return seen

    def steps(self, seen: Recording, *texts: str) -> None:
        """These steps were shown, in this order, each on a line; nothing of them is left at the end."""
        at = 0
        for text in texts:
            first = next(
                (n for n, frame in enumerate(seen.frames) if any(text in line for line in frame)), -1
            )
            self.assertGreaterEqual(first, at, f"{text}: {seen.frames[:: max(1, len(seen.frames) // 9)]}")
            at = first
        for line in seen.lines:
            self.assertNotRegex(line, r", then |, \d+ s$")

    def disk(self) -> str:
        """A volume with known bytes."""
        return self.volume(image_id=self.image(self.random_file(8 * MIB)))

    def test_an_export_and_an_import(self) -> None:
        volume, bundle = self.disk(), self.dir / "b"
        seen = self.on_screen("volume", "export-full", volume, "--output", bundle)
        self.steps(seen, "snapshot", "volume from snapshot", "upload inside the cloud")
        self.assertNotEqual([], seen.shown(", then fetch"))
        self.assertRegex(
            " ".join(seen.lines[-4:]),
            r"Exported volume \S+ to .*: 1 disk, .* in .* verified against the cloud",
        )
        seen = self.on_screen("bundle", "verify", bundle)
        self.assertRegex(" ".join(seen.lines[-2:]), r"Verified \S+: \d+ files in \d+ s, all intact\.")
        seen = self.on_screen("volume", "import-full", bundle, "--name", self.name, columns=60)
        (made,) = {line.split()[3] for line in seen.lines if line.startswith("| id ")}
        self.addCleanup(self.remove_volume, made)
        self.steps(seen, "volume from image")
        self.assertRegex(
            " ".join(seen.lines[-4:]), r"Imported volume .*: 1 disk, .*; read\s+back, it is as in"
        )

    def test_a_conversion(self) -> None:
        volume = self.disk()
        seen = self.on_screen("volume", "convert", volume, "--to", "image", "--name", self.name)
        (made,) = {line.split()[3] for line in seen.lines if line.startswith("| id ")}
        self.addCleanup(self.remove_image, made)
        self.steps(seen, "upload inside the cloud")
        self.assertRegex(
            " ".join(seen.lines[-4:]), rf"Converted volume .* to image {self.name} .*, inside\s+the\s+cloud; "
        )

    def test_the_check_of_a_fleet(self) -> None:
        self.server([self.disk()])
        seen = self.on_screen("server", "backup-check", "--all", "--fail-on", "never")
        table = [line for line in seen.lines if line.startswith(("|", "+"))]
        self.assertEqual({len(table[0])}, {len(line) for line in table})
        self.assertTrue([line for line in table if " no-backup " in line], seen.lines)
        self.assertNotEqual([], seen.shown("servers  "))  # how many have been read
        self.assertNotEqual([], seen.shown("servers judged"))
        self.assertIn("Next:", seen.lines)

    def test_the_result_is_the_same_with_and_without(self) -> None:
        self.image(self.random_file(MIB), name=self.name)
        bundle = self.dir / "b"
        self.openstack("image", "export-full", self.name, "--output", bundle)
        words = ("bundle", "verify", bundle, "-f", "json")
        without = self.openstack(*words, cloud=None).out
        with tempfile.TemporaryFile() as stdout:
            self.on_screen(*words, stdout=stdout.fileno())
            stdout.seek(0)
            self.assertEqual(without, stdout.read().decode())

    def test_a_terminal_that_cannot_move_its_cursor(self) -> None:
        self.image(self.random_file(MIB), name=self.name)
        text = on_terminal("image", "export-full", self.name, "--output", self.dir / "b", TERM="dumb")
        self.assertNotIn("\x1b", text)
        self.assertIn(f"image {self.name}: read from the cloud\n", text)
        self.assertIn("fetch\n", text)

    def test_the_explanation_of_a_reason(self) -> None:
        seen = self.on_screen("server", "backup-check", "--explain", "backup-dead")
        self.assertIn("backup-dead", seen.lines[0])
        self.assertTrue([line for line in seen.lines if '"openstack image list"' in line], seen.lines)
