# SPDX-License-Identifier: Apache-2.0
"""Steps and how they are presented: in words, in the log, on a terminal of any width."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import Any

import fixtures
import pyte
import testtools
from rich.console import Console

from osc_imagetools.progress import display, step_words, terminal
from osc_imagetools.progress.log import LogPresenter
from osc_imagetools.progress.model import Progress, Step

MIB = 1 << 20


class Notes:
    """Notes what is presented."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.over: list[Step] = []

    def began(self, step: Step) -> None:
        self.steps.append(step)

    def ended(self, step: Step) -> None:
        self.over.append(step)


class TestModel(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.notes = Notes()
        self.progress = Progress(self.notes)

    def test_a_transfer_is_told_to_the_step_of_its_thread(self) -> None:
        with self.progress.step("0-vda", "fetch", then="remove image") as step:
            task = self.progress.task("0-vda.qcow2", None)
            task.set_total(10)
            task.advance(7)
            task.advance(-3)
            task.done()
            self.assertEqual(([step], []), (self.notes.steps, self.notes.over))
        self.assertEqual((10, 4, [step]), (step.total, step.moved, self.notes.over))

    def test_each_thread_has_its_own(self) -> None:
        def lane(name: str) -> None:
            with self.progress.step(name, "fetch") as step:
                self.progress.told(name)
                self.assertEqual(name, step.detail)

        threads = [threading.Thread(target=lane, args=(str(n),)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({"0", "1", "2", "3"}, {step.detail for step in self.notes.steps})

    def test_outside_of_a_step_a_transfer_has_a_line(self) -> None:
        task = self.progress.task("verify web01.bundle", 5)
        task.advance(5)
        task.done()
        (step,) = self.notes.over
        self.assertEqual(("verify web01.bundle", 5), (step.line, step.moved))

    def test_a_failure_is_one(self) -> None:
        with self.assertRaisesRegex(ValueError, "x"), self.progress.step("a", "fetch"):
            raise ValueError("x")
        self.assertTrue(self.notes.over[0].failed)

    def test_how_long_it_took_the_last_time(self) -> None:
        with self.progress.step("a", "snapshot"):
            pass
        with self.progress.step("b", "snapshot") as step:
            self.assertIsNotNone(step.last)

    def test_counts(self) -> None:
        for number in (1000, 2000):
            self.progress.count("servers", number)
        (step,) = self.notes.steps
        self.assertEqual((2000, "2,000"), (step.moved, step_words.state(step, None)))


class TestWords(testtools.TestCase):
    def said(self, rate: float | None = None, began: float = 0.0, **fields: Any) -> str:
        moved = fields.pop("moved", 0)
        step = Step("0-vda", fields.pop("name", "fetch"), **fields)
        step.moved, step.ended = moved, step.began + began
        return step_words.state(step, rate)

    def test_a_transfer(self) -> None:
        text = self.said(118.0 * MIB, moved=34 * MIB, total=100 * MIB, then="remove image")
        self.assertEqual("fetch 34 % of 100.0 MiB, 118.0 MiB/s, 1 s left, then remove image", text)

    def test_a_wait(self) -> None:
        self.assertEqual("snapshot 45%, 5 s, then fetch", self.wait("45%", 5, then="fetch"))
        self.assertIn("took 40 s the last time", self.wait("creating", 30, last=40.0))

    def wait(self, detail: str, seconds: float, **fields: Any) -> str:
        step = Step("0-vda", "snapshot", **fields)
        step.detail, step.ended = detail, step.began + seconds
        return step_words.state(step, None)


class TestLog(testtools.TestCase):
    def test_a_line_at_the_beginning_in_between_and_at_the_end(self) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        with LogPresenter(every=0.05) as presenter:
            progress = Progress(presenter)
            with progress.step("0-vda", "snapshot", then="fetch"):
                progress.told("45%")
                seen = threading.Event()
                for _ in range(200):
                    if log.output.count("\n") >= 2:
                        break
                    seen.wait(0.05)
        first, between, *_, last = log.output.splitlines()
        self.assertEqual("0-vda: snapshot", first)
        self.assertTrue(between.startswith("0-vda: snapshot 45%"), between)
        self.assertTrue(last.startswith("0-vda: snapshot: done after"), last)


class TestDisplay(testtools.TestCase):
    def shown(self, stream: Any) -> list[Step]:
        self.useFixture(fixtures.MonkeyPatch("sys.stderr", stream))
        with display.shown_progress() as progress, progress.step("0-vda", "fetch") as step:
            return [step]

    def test_without_a_terminal_nothing_is_written(self) -> None:
        stream = io.StringIO()
        self.shown(stream)
        self.assertEqual("", stream.getvalue())

    def test_closed(self) -> None:
        self.shown(None)

    def test_a_terminal_that_cannot_move_its_cursor(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable("TERM", "dumb"))
        stream = Terminal()
        self.shown(stream)
        self.assertEqual("0-vda: fetch\n", stream.getvalue())

    def test_rich_is_for_a_terminal_only(self) -> None:
        """It takes a fifth of a second to load."""
        import subprocess

        code = (
            "import sys; from osc_imagetools.progress import display\nwith display.shown_progress(): pass\n"
        )
        code += "print(any(name.split('.')[0] == 'rich' for name in sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual("False\n", done.stdout)


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


class TestTerminal(testtools.TestCase):
    """What the screen of a real terminal shows."""

    def screen(self, width: int, steps: Any, **environment: str) -> list[str]:
        stream = Terminal()
        console = Console(
            file=stream, force_terminal=True, width=width, height=10, _environ=environment, highlight=False
        )
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.progress.terminal.in_foreground", lambda: True))
        screen = pyte.Screen(width, 10)
        feed = pyte.Stream(screen)
        with terminal.TerminalPresenter(console) as presenter:
            steps(Progress(presenter), presenter)
            presenter._live.refresh()
            feed.feed(stream.getvalue().replace("\n", "\r\n"))
            lines = [line.rstrip() for line in screen.display]
        feed.feed(stream.getvalue()[0:0])
        self.output = stream.getvalue()
        return [line for line in lines if line]

    def two_disks(self, progress: Progress, presenter: Any) -> None:
        disks = [progress.step(f"{n}-vd{'ab'[n]}.qcow2", "fetch", then="remove image") for n in range(2)]
        for number, disk in enumerate(disks):
            disk.__enter__()
            task = progress.task("", 100 * MIB)
            task.advance((34 + number) * MIB)

    def test_a_line_for_each_disk(self) -> None:
        first, second = self.screen(80, self.two_disks)
        self.assertEqual("0-vda.qcow2  fetch 34 % of 100.0 MiB, 0 s, then remove image", first)
        self.assertTrue(second.startswith("1-vdb.qcow2  fetch 35 %"), second)

    def test_narrow(self) -> None:
        lines = self.screen(40, self.two_disks)
        self.assertEqual(2, len(lines))
        self.assertTrue(all(len(line) <= 40 for line in lines), lines)

    def test_no_colour(self) -> None:
        self.screen(80, self.two_disks, NO_COLOR="1")
        self.assertNotIn("\x1b[3", self.output)

    def test_nothing_is_left(self) -> None:
        self.screen(80, self.two_disks)
        screen = pyte.Screen(80, 10)
        pyte.Stream(screen).feed(self.output.replace("\n", "\r\n"))
        self.assertEqual([], [line for line in screen.display if line.strip()])

    def test_in_the_background(self) -> None:
        def steps(progress: Progress, presenter: Any) -> None:
            self.useFixture(
                fixtures.MonkeyPatch("osc_imagetools.progress.terminal.in_foreground", lambda: False)
            )
            self.two_disks(progress, presenter)

        self.assertEqual([], self.screen(80, steps))

    def test_after_a_pause_old_speeds_are_forgotten(self) -> None:
        clock = [1000.0]
        self.useFixture(
            fixtures.MonkeyPatch("osc_imagetools.progress.terminal.time.monotonic", lambda: clock[0])
        )

        def steps(progress: Progress, presenter: Any) -> None:
            step = Step("a", "fetch", total=1000 * MIB, presenter=presenter)
            presenter.began(step)
            for _ in range(4):
                presenter._render()
                clock[0] += 1
                step.moved += 10 * MIB
            self.assertEqual(10 * MIB, presenter._rate(step, clock[0]))
            clock[0] += 3600  # stopped by Ctrl-Z, and continued
            presenter._render()
            self.assertIsNone(presenter._rate(step, clock[0]))
            clock[0] += 1
            step.moved += 20 * MIB
            self.assertEqual(20 * MIB, presenter._rate(step, clock[0]))

        self.screen(80, steps)

    def test_many(self) -> None:
        def steps(progress: Progress, presenter: Any) -> None:
            for number in range(30):
                progress.task(f"disk {number}", 10)

        lines = self.screen(80, steps)
        self.assertEqual("... and 23 more", lines[-1])
