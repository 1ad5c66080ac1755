# SPDX-License-Identifier: Apache-2.0
"""The default table of every list in narrow terminals: whatever a person copies from it is whole."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import re
import types
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import fixtures

from osc_imagetools.backup_check.reasons import REASONS, Severity
from osc_imagetools.progress import words
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.v1 import base
from osc_imagetools.v1.backup_check import Rank
from osc_imagetools.v1.lineage import COLUMNS as LINEAGE

SERVER, VOLUME, IMAGE = (
    "5a9f0c6e-3b1d-4f58-9f57-1e0a7c2d4b63",
    "0d1e4c1f-9f0b-4d5e-8a55-d2b1d9b7c3f0",
    "b4a8f0f2-7a64-4f9a-8a0c-3f3b0f0e9d71",
)
PROJECT = "6e1e4c1f9f0b4d5e8a55d2b1d9b7c3f0"
PATH = "/srv/backup/2026-10/web01.bundle"
RUN = "20261001T040506Z-3f9c2a"
NAME = "osc-imagetools-20261001T040506Z-3f9c2a-volume-vdb"
SENTENCE = (
    f"image web01-backup ({IMAGE}) has 0 bytes and leads nowhere: snapshot {VOLUME} of volume db-data is gone"
)
TOLD = base.Age("2026-10-01T04:05:06Z")
SHARED = ("added", "a user of the project has to accept it; the image was private")
ACCEPT = f"openstack image set --accept {IMAGE}"
FIELDS = {
    "bundle": PATH,
    "id": SERVER,
    "name": "web01",
    "bytes": base.Size(3 << 30),
    "not_captured": base.Texts([f"ephemeral disk: {SENTENCE}", "swap disk: it is worth nothing"]),
    "hash_algorithm": "sha512",
}


def tree_row(kind: str, identifier: str, parent: str | None) -> tuple[Any, ...]:
    mapping = ("from", "mapping", "holds no data any more and cannot boot")
    size = base.Size(1 << 30)
    return (1, kind, identifier, f"{kind} of web01", "available", size, parent, False, *mapping)


# By the name of the command: its columns, and one row or more. Those that show one resource have FIELDS.
LISTS: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
    "bundle list": (
        ("Bundle", "State", "Kind", "Name", "Created At", "Size"),
        [(PATH, "complete", "server", "web01", TOLD, base.Size(7 << 30))],
    ),
    "bundle forget": (
        ("Bundle", "Kind", "Name", "Created At", "Size", "Result", "Reason"),
        [
            (VOLUME, "server", "web01", TOLD, base.Size(7 << 30), "would be removed", "no rule keeps it"),
            (PATH, "server", "web01", TOLD, base.Size(7 << 30), "kept", "last, daily, newest complete"),
        ],
    ),
    "bundle verify": (
        ("File", "Result", "Detail"),
        [("disks/vda.qcow2", "damaged", f"the hash is {'0' * 16} and not {'1' * 16}, from byte 1048576 on")],
    ),
    "leftover list": (
        ("Type", "ID", "Name", "Status", "Run", "Created At"),
        [("volume", VOLUME, NAME, "available", RUN, TOLD), ("stopped-server", SERVER, "w", "x", RUN, TOLD)],
    ),
    "leftover delete": (
        ("Type", "ID", "Name", "Result"),
        [("volume", VOLUME, NAME, f"failed: {SENTENCE}")],
    ),
    "server backup-check": (
        ("Server", "Severity", "Reason", "Message", "ID", "Project", "Action"),
        [
            (
                "web01",
                Rank(reason.severity),
                code,
                SENTENCE,
                SERVER,
                PROJECT,
                f"openstack server show {SERVER}",
            )
            for code, reason in REASONS.items()
        ],
    ),
    "server backup-check --summary": (
        (
            *("Server", "ID", "Project", "Severity", "Findings", "Boot Source", "Disks", "Newest Backup"),
            "Newest Proof",
        ),
        [
            (
                "web01",
                SERVER,
                PROJECT,
                Rank(Severity.critical),
                base.Texts(["backup-dead", "consistency-freeze-requested"]),
                "volume",
                2,
                TOLD,
                TOLD,
            )
        ],
    ),
    "server backup-run": (
        ("Server", "Result", "Bundle", "Bytes", "Seconds", "Detail", "ID", "Project", "Host"),
        [
            (
                "web01",
                "exported",
                PATH,
                base.Size(7 << 30),
                61.5,
                "old bundles removed: 1",
                SERVER,
                PROJECT,
                "h",
            ),
            ("web02", "failed", None, base.Size(None), None, SENTENCE, SERVER, PROJECT, "h"),
        ],
    ),
    "image share": (
        ("Project", "Result", "Detail", "Name", "Action"),
        [(PROJECT, *SHARED, "other", ACCEPT)],
    ),
    "image unshare": (("Project", "Result", "Detail", "Name", "Action"), [(PROJECT, *SHARED, "other", "")]),
    "image share-check": (
        ("Project", "Visible", "Listed", "Downloadable", "Bootable", "Reason", "Name", "Action"),
        [(PROJECT, True, False, None, False, f"not listed: pending; {SENTENCE}", "other", ACCEPT)],
    ),
    **{
        f"{kind} lineage": (LINEAGE, [tree_row("snapshot", VOLUME, IMAGE), tree_row("image", IMAGE, None)])
        for kind in ("image", "volume", "volume snapshot", "server")
    },
}
LISTS["server backup-worker"] = LISTS["server backup-run"]
# What the lists show without --long: the table of the user's guide to the commands.
DEFAULT = {
    "server backup-check": ("Server", "Severity", "Reason", "Message"),
    "server backup-run": ("Server", "Result", "Bundle", "Bytes", "Seconds", "Detail"),
    "server backup-worker": ("Server", "Result", "Bundle", "Bytes", "Seconds", "Detail"),
    "image share": ("Project", "Result", "Detail"),
    "image unshare": ("Project", "Result", "Detail"),
    "image share-check": ("Project", "Visible", "Listed", "Downloadable", "Bootable", "Reason"),
    **{
        f"{kind} lineage": ("Depth", "Type", "ID", "Name", "Status", "Size", "Parent", "Broken")
        for kind in ("image", "volume", "volume snapshot", "server")
    },
}
SUMMARY = "Exported server web01"
STEPS = [
    f"openstack server export-full {SERVER}",
    f"openstack image delete {IMAGE}",
    "openstack a",
    "openstack b",
]


def commands() -> dict[str, Any]:
    """Our commands by name."""
    entry_points = importlib.metadata.entry_points(group="openstack.imagetools.v1")
    return {e.name.replace("_", " "): e.load() for e in entry_points}


class TableCase(TestCase):
    def shown(self, name: str, *words: str) -> str:
        """What a command prints that has found the sample."""
        kind = commands()[name.removesuffix(" --summary")]
        app: Any = types.SimpleNamespace(stdout=io.StringIO(), stderr=io.StringIO())
        command = kind(app, None)
        arguments = self.parsed(command, name, words)
        sample: tuple[Any, Any]
        if issubclass(kind, base.Lister):
            sample = LISTS[name]
            command.tree = ()
        else:
            sample = tuple(FIELDS), tuple(FIELDS.values())
        command.summary = SUMMARY if "export-full" in name else ""
        command.tally = mock.Mock(next_steps=lambda severity: STEPS)
        command.formatter = command._formatter_plugins[arguments.formatter].obj
        command.produce_output(arguments, *sample)
        return str(app.stdout.getvalue())

    def parsed(self, command: Any, name: str, words: tuple[str, ...]) -> Any:
        parser = command.get_parser(name)
        positional = ["x" for action in parser._get_positional_actions() if action.nargs != "*"]
        needed = {"--project": "p", "--to": "image", "--jobboard": "zookeeper://zk1"}
        known = parser._option_string_actions
        options = [word for o, v in needed.items() if o in known and known[o].required for word in (o, v)]
        summary = ["--summary"] if name.endswith(" --summary") else []
        arguments: Any = parser.parse_args([*positional, *options, *summary, *words])
        return arguments


class TestWholeTables(TableCase):
    def test_every_list_has_a_sample(self):
        lists = {name for name, kind in commands().items() if issubclass(kind, base.Lister)}
        self.assertEqual(lists, {name for name in LISTS if not name.endswith(" --summary")})

    def test_columns_at_a_glance(self):
        for name, (names, _) in LISTS.items():
            out = self.shown(name, "-f", "csv")
            header = tuple(out.splitlines()[0].replace('"', "").split(","))
            self.assertEqual(DEFAULT.get(name, names), header, name)
            if names != header:
                self.assertEqual(
                    names,
                    tuple(
                        self.shown(name, "-f", "csv", "--long")
                        .split("\n")[0]
                        .strip()
                        .replace('"', "")
                        .split(",")
                    ),
                )

    def test_a_plan_has_all_its_columns(self):
        plan = ("Step", "Action", "Resource", "Temporary", "Bytes")
        sample = {"image share": (plan, [(1, "add member", "image web01", False, base.Size(0))])}
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.LISTS", sample))
        header = self.shown("image share", "--dry-run", "-f", "csv").splitlines()[0]
        self.assertEqual(plan, tuple(header.replace('"', "").split(",")))

    def test_nothing_that_is_copied_is_broken(self):
        for name in [*LISTS, *commands()]:
            values: list[object] = list(FIELDS.values())
            if name in LISTS:
                names, rows = LISTS[name]
                default = DEFAULT.get(name, names)
                values = [v for row in rows for n, v in zip(names, row, strict=True) if n in default]
            for width in (80, 110):
                out = self.shown(name, "--max-width", str(width))
                self.assertEqual([], [line for line in out.splitlines() if len(line) > width], name)
                for value in values:
                    for word in copied(value):
                        self.assertIn(word, out, f"{name} in {width} columns")

    def test_commands_of_the_long_table(self):
        out = self.shown("server backup-check", "--max-width", "80", "--long")
        self.assertEqual(len(REASONS), out.count(f"| openstack server show {SERVER} "))

    def test_without_a_terminal_a_table_is_as_wide_as_it_is(self):
        (first, *_) = self.shown("server backup-check --summary").splitlines()
        self.assertGreater(len(first), 110)


def copied(value: Any) -> list[str]:
    """What somebody may copy of a value: all of a name or a path, the IDs of a sentence."""
    text = value.human_readable() if hasattr(value, "human_readable") else str(value)
    if " " in text:
        return re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)
    return text.split("\n")


class TestWidth(TableCase):
    def test_a_path_that_is_too_long_sticks_out_alone(self):
        path = "/" + "x" * 100
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.FIELDS", {**FIELDS, "bundle": path}))
        lines = self.shown("server export-full", "--max-width", "80").splitlines()
        (long,) = [line for line in lines if len(line) > 80]
        self.assertIn(path, long)

    def test_sizes_are_aligned_to_the_right(self):
        sizes = [("a", base.Size(1)), ("b", base.Size(1000))]
        sample = {"bundle list": (("Bundle", "Size"), sizes)}
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.LISTS", sample))
        self.assertIn("|    1 B |", self.shown("bundle list"))

    def test_wide_characters_take_two_places(self):
        sample = {"bundle list": (("Bundle", "Name"), [("名" * 45, "x" * 10)])}
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.LISTS", sample))
        out = self.shown("bundle list", "--max-width", "80")
        self.assertIn("名" * 45, out)
        self.assertIn("| Name   |", out)  # a record of fields

    def test_nothing_found(self):
        sample: dict[str, Any] = {"leftover list": (("Type", "ID"), [])}
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.LISTS", sample))
        self.assertEqual("\n", self.shown("leftover list", "--max-width", "80"))


class TestAges(TestCase):
    def test_as_people_say_them(self):
        minute, hour, day = 60, 3600, 86400
        for seconds, text in (
            (5, "5 s ago"),
            (3 * minute, "3 min ago"),
            (119 * minute, "119 min ago"),
            (3 * hour, "3 h ago"),
            (400 * day, "400 d ago"),
            (-5, "just now"),
            (-5 * day, "in the future"),
        ):
            self.assertEqual(text, words.ago(seconds))

    def test_in_the_forms_of_all_services(self):
        then = datetime.now(UTC) - timedelta(hours=3, minutes=1)
        for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%f"):
            text = then.strftime(form)
            self.assertEqual(
                ("3 h ago", text), (base.Age(text).human_readable(), base.Age(text).machine_readable())
            )
        self.assertEqual(("-", None), (base.Age(None).human_readable(), base.Age(None).machine_readable()))
        self.assertEqual("some day", base.Age("some day").human_readable())


class TestNextSteps(TableCase):
    def told(
        self,
        *words: str,
        name: str = "server backup-check",
        terminal: bool = True,
        handler: int = logging.WARNING,
    ) -> str:
        class Stream(io.StringIO):
            def isatty(self) -> bool:
                return terminal

        err = Stream()
        self.useFixture(fixtures.MonkeyPatch("sys.stderr", err))
        self.useFixture(fixtures.MonkeyPatch("sys.stdout", Stream()))
        console = logging.StreamHandler(io.StringIO())
        console.setLevel(handler)
        logging.getLogger().addHandler(console)
        self.addCleanup(logging.getLogger().removeHandler, console)
        self.shown(name, *words)
        return err.getvalue()

    def test_the_summary_of_a_long_run_on_a_terminal(self):
        for form in ((), ("-f", "json")):
            self.assertEqual(f"{SUMMARY}\n", self.told(*form, name="server export-full"))

    def test_no_name_of_the_summary_is_broken(self):
        text = f"Exported server web01 to {PATH}: 2 disks, volume web01-root ({VOLUME}) and others."
        self.useFixture(fixtures.MonkeyPatch(f"{__name__}.SUMMARY", text))
        self.useFixture(fixtures.EnvironmentVariable("COLUMNS", "60"))
        told = self.told(name="server export-full")
        self.assertEqual(text, " ".join(told.split("\n")).strip())
        self.assertLessEqual(max(map(len, told.splitlines())), 60)
        for whole in (PATH, VOLUME):
            self.assertIn(whole, told)

    def test_the_summary_of_a_long_run_in_the_log(self):
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.assertEqual("", self.told(name="server export-full", terminal=False))
        self.assertEqual(f"{SUMMARY}\n", log.output)

    def test_at_most_three_each_on_a_line(self):
        self.assertEqual(["Next:", *STEPS[:3]], self.told().splitlines())

    def test_not_in_other_formats(self):
        for form in ("json", "yaml", "csv", "value"):
            self.assertEqual("", self.told("-f", form))

    def test_not_without_a_terminal(self):
        self.assertEqual("", self.told(terminal=False))

    def test_not_with_quiet(self):
        self.useFixture(fixtures.MonkeyPatch("logging.root.handlers", []))
        self.assertEqual("", self.told(handler=logging.ERROR))
