# SPDX-License-Identifier: Apache-2.0
import contextlib
import hashlib
import json
import os
import subprocess
import sys

import fixtures
import testtools

from osc_imagetools import errors
from osc_imagetools.cloud import ownership
from osc_imagetools.run import identity, journal
from osc_imagetools.run.identity import Run
from osc_imagetools.run.journal import Journal, JournalEntry, RunLocation, journaled_runs
from osc_imagetools.tests.unit.base import TestCase

PLACE = RunLocation("http://identity.test/v3", "RegionOne", "p1")


class TestJournal(TestCase):
    def pending(self):
        return [run.pending for run in journaled_runs()]

    def test_a_run_that_makes_nothing_has_none(self):
        Journal(Run("test"), PLACE).close()
        self.assertEqual([], journaled_runs())
        self.assertEqual([], list(self.state.iterdir()))

    def test_what_is_made_is_there_before_it_is_made(self):
        run = Run("volume export-full v1")
        kept = Journal(run, PLACE)
        volume = kept.make("volume", "osc-v", None)
        self.assertEqual([(JournalEntry("volume", "osc-v", None),)], self.pending())
        kept.made(volume, "v1")
        image = kept.make("image", "osc-i", "i1")
        (found,) = journaled_runs()
        self.assertEqual((run, PLACE, True), (found.run, found.place, found.alive))
        self.assertEqual(
            (JournalEntry("volume", "osc-v", "v1"), JournalEntry("image", "osc-i", "i1")), found.pending
        )
        kept.settled(volume)
        self.assertEqual([(JournalEntry("image", "osc-i", "i1"),)], self.pending())
        kept.settled(image)
        kept.close()
        self.assertEqual([], journaled_runs())

    def test_a_newer_version_hides_nothing(self):
        kept = Journal(Run("test"), PLACE)
        kept.make("volume", "osc-v", "v1")
        kept.close()
        (run,) = journaled_runs()
        lines = [json.loads(line) for line in run.path.read_text().splitlines()]
        self.assertEqual(1, lines[0]["version"])
        lines[0]["version"] = 2
        lines[0]["run"]["host"] = "h"
        lines[0]["place"]["cloud"] = "c"
        del lines[0]["run"]["since"]
        new = [{"event": "make", "entry": 2, "kind": "share", "name": "s", "id": "s1", "weight": 5}]
        new += [{"event": "moved", "entry": 2}, {"event": "made", "entry": 9, "id": "x"}, {"weight": 1}]
        run.path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *new]))
        (found,) = journaled_runs()
        self.assertEqual((run.run.id, PLACE), (found.run.id, found.place))
        self.assertEqual(
            (JournalEntry("volume", "osc-v", "v1"), JournalEntry("share", "s", "s1")), found.pending
        )

    def test_a_header_that_cannot_be_written_leaves_no_file(self):
        kept = Journal(Run("test"), PLACE)
        real = os.write

        def full(number, data):
            real(number, data[:10])
            raise OSError(28, "No space left on device")

        with fixtures.MonkeyPatch("os.write", full):
            self.assertRaises(errors.JournalUnwritable, kept.make, "volume", "osc-v", None)
        self.assertEqual([], list(journal.directory().iterdir()))
        kept.make("image", "osc-i", "i1")  # there is room again: a whole journal
        self.assertEqual([(JournalEntry("image", "osc-i", "i1"),)], self.pending())

    def test_what_is_left_stays_on_record(self):
        kept = Journal(Run("test"), PLACE)
        kept.make("volume", "osc-v", None)
        self.assertEqual([True], [run.alive for run in journaled_runs()])
        kept.close()
        self.assertEqual([(JournalEntry("volume", "osc-v", None),)], self.pending())
        self.assertEqual([False], [run.alive for run in journaled_runs()])  # though this process lives

    def test_a_full_disk_leaves_nothing_of_the_users_on_record(self):
        """What is handed over must not be listed, whatever could not be noted of it."""
        kept = Journal(Run("test"), PLACE)
        volume = kept.make("volume", "mine", None)
        image = kept.make("image", "osc-i", "i1")
        real = os.write

        def full(file, data):
            return real(file, data[: len(data) // 2])

        with fixtures.MonkeyPatch("os.write", full):
            kept.made(volume, "v1")
            kept.settled(volume)
            self.assertRaises(errors.JournalUnwritable, kept.make, "volume", "another", None)
        kept.made(image, "i2")
        found = (JournalEntry("volume", "mine", None), JournalEntry("image", "osc-i", "i2"))
        self.assertEqual([found], self.pending())  # every line is whole
        kept.close()
        self.assertEqual([(JournalEntry("image", "osc-i", "i2"),)], self.pending())
        self.assertEqual([False], [run.alive for run in journaled_runs()])

    def test_a_line_that_was_cut_off(self):
        kept = Journal(Run("test"), PLACE)
        kept.make("volume", "osc-v", None)
        (file,) = journal.directory().iterdir()
        whole = file.read_text()
        for length in range(len(whole)):
            file.write_text(whole[:length])
            for found in journaled_runs():
                self.assertIn(found.pending, ((), (JournalEntry("volume", "osc-v", None),)))

    def test_nothing_is_made_that_cannot_be_written_down(self):
        (self.state / "osc-imagetools").write_text("in the way")
        error = self.assertRaises(
            errors.JournalUnwritable, Journal(Run("test"), PLACE).make, "volume", "v", None
        )
        self.assertIn("XDG_STATE_HOME", str(error))

    def test_it_is_private(self):
        Journal(Run("test"), PLACE).make("volume", "osc-v", None)
        (file,) = journal.directory().iterdir()
        self.assertEqual(0o600, file.stat().st_mode & 0o777)
        self.assertEqual(0o700, file.parent.stat().st_mode & 0o777)

    def test_it_knows_what_is_no_journal(self):
        journal.directory().mkdir(parents=True)
        for number, text in enumerate(("", "{}", "[1]", json.dumps({"event": "begin"}), "\0")):
            (journal.directory() / f"{number}.jsonl").write_text(text)
        self.assertEqual([], journaled_runs())


class TestMarks(testtools.TestCase):
    def test_this_process_lives(self):
        self.assertIs(True, identity.is_alive(identity.this_process()))

    def test_a_process_that_has_ended(self):
        say = "from osc_imagetools.run import identity; print(identity.this_process())"
        done = subprocess.run([sys.executable, "-c", say], check=True, capture_output=True, text=True)
        self.assertIs(False, identity.is_alive(done.stdout.strip()))

    def test_a_number_that_was_given_again(self):
        machine, pid, start = identity.this_process().split(".")
        self.assertIs(False, identity.is_alive(f"{machine}.{pid}.{int(start) - 1}"))

    def test_a_process_that_was_killed_and_not_waited_for(self):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, identity.this_process().encode())
            os._exit(0)
        process = os.read(read, 100).decode()
        self.addCleanup(os.waitpid, child, 0)
        os.close(write)
        self.assertEqual(b"", os.read(read, 1))  # it is ending
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # and has ended, but nobody has collected it
        self.assertIs(False, identity.is_alive(process))

    def test_a_process_that_may_not_be_looked_at(self):
        """/proc with hidepid: there is one of this number, and nobody says which."""
        with fixtures.MonkeyPatch("osc_imagetools.run.identity._start_time", lambda stat: "1"):
            process = identity.this_process()
        read = identity._read

        def hidden(path):
            return "" if path.endswith("/stat") else read(path)

        with fixtures.MonkeyPatch("osc_imagetools.run.identity._read", hidden):
            self.assertIsNone(identity.is_alive(process))
            machine, _, start = process.split(".")
            self.assertIs(False, identity.is_alive(f"{machine}.{2**22 + 1}.{start}"))

    def test_another_machine(self):
        _, rest = identity.this_process().split(".", 1)
        for process in (f"0123456789ab.{rest}", "", None, "x", "..."):
            self.assertIsNone(identity.is_alive(process))

    def test_a_system_without_proc_is_never_certain(self):
        """Neither of itself, nor of a number that no process has, nor of the marks of others."""
        known = identity.this_process()
        read = fixtures.MonkeyPatch("osc_imagetools.run.identity._read", lambda path: "")
        link = fixtures.MonkeyPatch("os.readlink", self.no_such_file)
        with read, link:
            here = identity.this_process()
            self.assertEqual(f"unknown.{os.getpid()}.unknown", here)
            nobody = f"unknown.{2**22 + 1}.unknown"
            # Before, all machines of this kind had one and the same mark, a hash of nothing.
            same = f"{hashlib.sha256(b' ').hexdigest()[:12]}.{2**22 + 1}."
            for process in (here, nobody, same, known):
                self.assertIsNone(identity.is_alive(process), process)
        for process in (here, nobody, same):
            self.assertIsNone(identity.is_alive(process), process)

    def test_half_of_what_tells_machines_apart_is_none(self):
        """The kernel's boot without the namespace, as where /proc/self/ns is missing, or the reverse."""
        for missing in ("boot", "namespace"):
            with contextlib.ExitStack() as stack:
                if missing == "boot":
                    read = identity._read
                    kept = lambda path, read=read: "" if path.endswith("boot_id") else read(path)  # noqa: E731
                    stack.enter_context(fixtures.MonkeyPatch("osc_imagetools.run.identity._read", kept))
                else:
                    stack.enter_context(fixtures.MonkeyPatch("os.readlink", self.no_such_file))
                self.assertIsNone(identity.is_alive(identity.this_process()), missing)

    def no_such_file(self, path):
        raise FileNotFoundError(path)

    def test_a_process_that_did_not_know_its_own_start(self):
        machine, pid, _ = identity.this_process().split(".")
        for start in ("", "unknown"):
            self.assertIsNone(identity.is_alive(f"{machine}.{pid}.{start}"))

    def test_the_run_is_in_every_name(self):
        run = Run("test")
        name = run.name("image of 0-vda")
        self.assertEqual(run.id, ownership.run_of_name(name))
        self.assertEqual(run.id, ownership.run_of_name(f"snapshot for {name}"))
        for other in (
            "web01",
            "osc-imagetools-",
            f"osc-imagetools-{run.id}",
            f"xosc-imagetools-{run.id}-a",
            None,
        ):
            self.assertIsNone(ownership.run_of_name(other))
