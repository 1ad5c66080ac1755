# SPDX-License-Identifier: Apache-2.0
"""The commands as they are typed: exit codes, formats, what is said where."""

import contextlib
import errno
import io
import json
import logging
import os
import pathlib
import re

import fixtures
from openstackclient import shell

from osc_imagetools import errors
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.v1 import base

CODES = {0, 1, 2, 3, 130}


class CommandCase(TestCase):
    def setUp(self):
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(fixtures.EnvironmentVariable("HOME", str(self.dir)))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE"))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLOUD"))
        root = logging.getLogger("")
        self.addCleanup(root.setLevel, root.level)
        self.addCleanup(setattr, root, "handlers", list(root.handlers))

    def run_openstack(self, *words, stdout=io.StringIO):
        out, err = stdout(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = shell.OpenStackShell().run([str(word) for word in words])
            except SystemExit as exc:
                code = int(exc.code or 0)
        self.assertNotIn("Traceback", err.getvalue())
        return code, out.getvalue() if out else "", err.getvalue()

    def bundle(self):
        return samples.make_bundle(self.dir / "web01.bundle")


class TestExitCodes(CommandCase):
    def code(self, *words):
        code, _, _ = self.run_openstack(*words)
        self.assertIn(code, CODES)
        return code

    def test_each(self):
        bundle = self.bundle()
        self.assertEqual(0, self.code("bundle", "verify", bundle))
        self.assertEqual(1, self.code("bundle", "verify", self.dir / "nothing"))
        self.assertEqual(1, self.code("bundle", "show", self.dir / "nothing"))
        self.assertEqual(1, self.code("bundle", "list", self.dir / "nothing"))
        self.assertEqual(2, self.code("bundle", "verify"))
        self.assertEqual(2, self.code("image", "export-full", "--jobs", "0", "x"))
        (bundle / "manifest.json").write_text("{}")
        self.assertEqual(3, self.code("bundle", "verify", bundle))
        self.assertEqual(1, self.code("bundle", "show", bundle))
        for noun in ("image", "volume", "server"):  # nothing was imported
            self.assertEqual(1, self.code(noun, "import-full", bundle))

    def test_contradictions_are_refused_before_any_login(self):
        words = ("--property", "a=1", "--remove-property", "a")
        code, _, err = self.run_openstack("image", "import-full", "x", *words)
        self.assertEqual(2, code)
        self.assertIn("--remove-property a", err)
        code, _, err = self.run_openstack("image", "export-full", "x", "--dry-run", "-f", "shell")
        self.assertEqual(2, code)
        self.assertNotIn("auth", err.lower())

    def test_the_table_in_the_documentation(self):
        root = pathlib.Path(__file__).parents[4]
        text = (root / "doc" / "source" / "reference" / "exit-codes.rst").read_text()
        listed = {int(code) for code in re.findall(r"^   \* - (\d+)$", text, re.MULTILINE)}
        self.assertEqual(CODES, listed)

    def test_every_error_has_one_of_them(self):
        def below(kind):
            yield kind
            for child in kind.__subclasses__():
                yield from below(child)

        for kind in below(errors.ImagetoolsError):
            self.assertIn(kind.exit_code, CODES - {0})


class TestFormats(CommandCase):
    def test_the_same_facts_in_every_format(self):
        bundle = self.bundle()
        _, table, _ = self.run_openstack("bundle", "show", bundle)
        _, text, _ = self.run_openstack("bundle", "show", bundle, "-f", "json")
        shown = json.loads(text)
        self.assertEqual(set(shown), set(re.findall(r"^\| (\w+)", table, re.MULTILINE)) - {"Field"})
        self.assertIsInstance(shown["bytes"], int)
        self.assertIsInstance(shown["not_captured"], list)
        _, value, _ = self.run_openstack("bundle", "show", bundle, "-f", "value", "-c", "bytes")
        self.assertEqual(str(shown["bytes"]), value.strip())

    def test_sizes_for_people(self):
        for size, text in ((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB")):
            self.assertEqual(
                (text, size), (base.Size(size).human_readable(), base.Size(size).machine_readable())
            )
        self.assertEqual(("-", None), (base.Size(None).human_readable(), base.Size(None).machine_readable()))

    def test_nothing_but_the_formatter_writes_to_stdout(self):
        bundle = self.bundle()
        (bundle / "more").write_text("x")
        code, out, _ = self.run_openstack("bundle", "verify", bundle, "-f", "json")
        self.assertEqual(3, code)
        rows = {row["File"]: row["Result"] for row in json.loads(out)}
        self.assertEqual("unlisted", rows["more"])


class TestStdout(CommandCase):
    """What becomes of the result where nobody can or should read it."""

    def test_closed(self):
        """``>&-``: the work is done, and its verdict is right."""
        bundle = self.bundle()
        for words, code in ((("bundle", "show", bundle), 0), (("bundle", "verify", bundle), 0)):
            self.assertEqual((code, "", ""), self.run_openstack(*words, stdout=lambda: None))
        (bundle / "more").write_text("x")
        self.assertEqual((3, "", ""), self.run_openstack("bundle", "verify", bundle, stdout=lambda: None))

    def test_full(self):
        class Full(io.StringIO):
            def write(self, text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        code, _, err = self.run_openstack("bundle", "show", self.bundle(), stdout=Full)
        self.assertEqual(1, code)
        self.assertIn("the result cannot be printed: No space left on device", err)
        self.assertIn("The command has done its work.", err)

    def test_names_are_printable_for_people(self):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        bundle = self.bundle()
        document = json.loads((bundle / "manifest.json").read_text())
        document["resource"]["name"] = "web\x1b[31m\n01"
        samples.reseal(bundle, document)
        for stdout, form, shown in (
            (io.StringIO, "table", "web\\x1b[31m\\n01"),
            (io.StringIO, "value", "web\x1b[31m\n01"),
            (Terminal, "table", "web\\x1b[31m\\n01"),
            (Terminal, "value", "web\\x1b[31m\\n01"),
        ):
            words = ("bundle", "show", bundle, "-f", form, "-c", "name")
            _, out, _ = self.run_openstack(*words, stdout=stdout)
            self.assertIn(shown, out, form)
        _, out, _ = self.run_openstack("bundle", "show", bundle, "-f", "json")
        self.assertEqual("web\x1b[31m\n01", json.loads(out)["name"])


class TestBundleList(CommandCase):
    def rows(self, *words):
        code, out, _ = self.run_openstack("bundle", "list", self.dir, *words, "-f", "json")
        self.assertEqual(0, code)
        return json.loads(out)

    def test_one_row_for_each(self):
        bundle = self.bundle()
        (self.dir / "elsewhere").mkdir()
        broken = samples.make_bundle(self.dir / "elsewhere" / "db\x1b01")
        (broken / "manifest.json").write_text("{}")
        whole = {
            "Bundle": str(bundle),
            "State": "complete",
            "Kind": "image",
            "Name": "web01",
            "Created At": "2026-01-02T03:04:05Z",
            "Size": 24000 + 200 * 1024,
        }
        listed = self.rows()
        self.assertEqual(whole, listed[1])
        self.assertEqual(("broken", None), (listed[0]["State"], listed[0]["Kind"]))
        self.assertEqual(f"{self.dir}/elsewhere/db\\x1b01", listed[0]["Bundle"])
        source = {"ID": samples.IMAGE_ID, "Cloud": "here", "Project ID": "p1"}
        self.assertEqual(whole | source, self.rows("--long")[1])

    def test_none(self):
        self.assertEqual([], self.rows())

    def test_no_directory(self):
        code, out, err = self.run_openstack("bundle", "list", self.dir / "nothing")
        self.assertEqual((1, ""), (code, out))
        self.assertIn(f"{self.dir}/nothing", err)
        self.assertIn("[no-bundle]", err)


class TestErrors(TestCase):
    def test_what_a_terminal_would_obey(self):
        error = errors.ResourceUnusable("volume \x1b[2Jx is\r\nin error", hint="na\u0300ïve\u202e")
        self.assertEqual(
            "volume \\x1b[2Jx is\\r\nin error [resource-unusable]\nna\u0300ïve\\u202e", str(error)
        )

    def test_what_happened_what_is_left_and_what_to_type(self):
        error = errors.CloudError("it broke", hint="try again", left=["volume x"])
        self.assertEqual(
            "it broke [cloud-error]\nThese resources may still exist: volume x\ntry again", str(error)
        )

    def test_references_are_unique_and_kebab_case(self):
        kinds = [k for k in vars(errors).values() if isinstance(k, type)]
        references = [kind.reference for kind in kinds if issubclass(kind, errors.ImagetoolsError)]
        self.assertEqual(len(references), len(set(references)))
        for reference in references:
            self.assertRegex(reference, r"^[a-z]+(-[a-z]+)*$")


class Terminal(io.StringIO):
    """What somebody types; nobody where that is nothing."""

    def isatty(self):
        return bool(self.getvalue())


class TestQuestion(TestCase):
    """Of ``leftover delete``."""

    def ask(self, answer, *runs):
        from osc_imagetools.leftover.inventory import Leftover
        from osc_imagetools.v1.leftover import confirm

        server = Leftover("stopped-server", "s1", "web01", "ACTIVE", "r1", None, frozenset(), False)
        stdin, stderr = Terminal(answer), io.StringIO()
        confirm(stdin, stderr, [server], list(runs))
        return stderr.getvalue()

    def test_it_shows_what_would_be_done_to_what(self):
        self.assertIn("stopped-server s1 web01 (ACTIVE, run r1)", self.ask("y\n"))

    def test_no_is_no_wrong_usage(self):
        for answer in ("\n", "n\n", "later\n"):
            self.assertEqual(1, self.assertRaises(errors.Declined, self.ask, answer).exit_code)

    def test_nobody_to_ask(self):
        error = self.assertRaises(errors.UsageError, self.ask, "", "r1")
        self.assertIn("openstack leftover delete --yes --run r1", str(error))
