# SPDX-License-Identifier: Apache-2.0
"""The script of ``openstack complete --shell bash-values``, run by bash as it runs it."""

from __future__ import annotations

import importlib.metadata
import io
import shlex
import subprocess

from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.v1.completion import CompleteBashValues

DATA = [
    ("image", "convert export_full"),
    ("image_convert", "--to --disk-format --name"),
    ("volume", "convert"),
]
# bash-completion's own function, which does the same for words without a colon.
STUB = """
_get_comp_words_by_ref() {
  words=("${COMP_WORDS[@]}")
  cur="${COMP_WORDS[COMP_CWORD]}"
  prev="${COMP_WORDS[COMP_CWORD-1]}"
}
"""


class TestValues(TestCase):
    def setUp(self):
        super().setUp()
        self.out = io.StringIO()
        CompleteBashValues("openstack", self.out).write("image volume", DATA)

    def offered(self, *typed: str) -> list[str]:
        """What is offered for the last word."""
        words = " ".join(map(shlex.quote, ("openstack", *typed)))
        script = f"""{STUB}{self.out.getvalue()}
COMP_WORDS=({words}); COMP_CWORD={len(typed)}
_openstack
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd="/")
        self.assertEqual("", run.stderr)
        return run.stdout.split()

    def test_the_values_of_an_option(self):
        self.assertEqual(["image", "volume", "snapshot"], self.offered("image", "convert", "--to", ""))
        self.assertEqual(["snapshot"], self.offered("image", "convert", "--to", "s"))
        self.assertEqual(["image", "volume"], self.offered("volume", "snapshot", "convert", "--to", ""))
        self.assertEqual(["raw"], self.offered("server", "export-full", "--disk-format", "ra"))
        self.assertEqual(["backup-dead"], self.offered("server", "backup-check", "--explain", "backup-d"))

    def test_behind_an_argument_or_another_option(self):
        self.assertEqual(["volume"], self.offered("image", "convert", "web01", "--to", "v"))
        self.assertEqual(["vmdk"], self.offered("image", "convert", "--to", "image", "--disk-format", "vm"))

    def test_behind_an_equals_sign(self):
        self.assertEqual(["image", "volume", "snapshot"], self.offered("image", "convert", "--to", "="))
        self.assertEqual(["volume"], self.offered("image", "convert", "--to", "=", "v"))

    def test_anything_else_is_as_without(self):
        self.assertEqual(["image"], self.offered("im"))
        self.assertEqual(["--disk-format"], self.offered("image", "convert", "--d"))
        self.assertNotIn("image", self.offered("image", "convert", "--name", ""))

    def test_the_client_finds_it(self):
        (found,) = importlib.metadata.entry_points(group="cliff.formatter.completion", name="bash-values")
        self.assertIs(CompleteBashValues, found.load())
