# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import threading

import fixtures

from osc_imagetools import errors
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.cleanup import Cleanup, clean_up_after
from osc_imagetools.run.deadline import Deadline
from osc_imagetools.run.identity import Run
from osc_imagetools.run.interrupts import GRACE, SIGNALS, interrupts_set
from osc_imagetools.run.lanes import run_lanes
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.tests.unit.progress.test_progress import Notes


class TestUndo(TestCase):
    def setUp(self):
        super().setUp()
        self.undo, self.removed = Cleanup(), []

    def register(self, what, error=None):
        def remove():
            if error:
                raise error
            self.removed.append(what)

        return self.undo.register(what, remove)

    def test_last_made_first_removed_each_once(self):
        first, _ = self.register("volume"), self.register("image")
        self.assertEqual((), self.undo.unwind())
        self.assertEqual(["image", "volume"], self.removed)
        first.run()
        self.assertEqual((), self.undo.unwind())
        self.assertEqual(["image", "volume"], self.removed)

    def test_what_is_urgent_comes_before_all_else(self):
        self.undo.register("server", lambda: self.removed.append("server"), urgent=True)
        self.register("image")
        self.assertEqual((), self.undo.unwind())
        self.assertEqual(["server", "image"], self.removed)

    def test_what_is_left_alone_is_not_settled(self):
        entry = self.undo.register("volume", self.fail, self.fail)
        entry.leave()
        self.assertEqual((), self.undo.unwind())

    def test_even_an_error_of_our_own_making_does_not_stop_the_rest(self):
        self.register("snapshot")
        self.register("volume", KeyError("volume"))
        self.assertEqual(("volume ('volume')",), self.undo.unwind())
        self.assertEqual(["snapshot"], self.removed)

    def test_what_an_interrupt_cuts_short_is_told(self):
        self.register("volume", KeyboardInterrupt())
        self.assertRaises(KeyboardInterrupt, clean_up_after, self.undo, errors.CloudError("x"))
        self.assertEqual(["volume"], [entry.what for entry in self.undo.pending()])

    def test_the_error_learns_what_is_left(self):
        self.register("volume", errors.CloudError("it is stuck"))
        error = errors.CloudError("it broke")
        clean_up_after(self.undo, error)
        self.assertEqual(("volume (it is stuck)",), error.left)

    def test_what_was_never_made_is_neither_removed_nor_told(self):
        settled = []
        self.undo.register("image", self.fail, lambda: settled.append("image"), exists=lambda: False)
        self.undo.register("volume", lambda: self.removed.append("volume"))
        self.assertNotIn("image", self.undo.last_words())
        self.assertEqual((), self.undo.unwind())
        self.assertEqual((["volume"], ["image"]), (self.removed, settled))
        self.assertEqual("", self.undo.last_words())

    def test_each_removal_is_shown(self):
        notes = Notes()
        self.register("volume", errors.CloudError("it is stuck"))
        self.undo.register("image", self.fail, exists=lambda: False)
        self.register("snapshot")
        clean_up_after(self.undo, errors.CloudError("it broke"), Progress(notes))
        self.assertEqual(["snapshot", "volume"], [step.name for step in notes.steps])
        self.assertEqual([False, True], [step.failed for step in notes.over])

    def test_nothing_more_is_removed_once_the_user_does_not_want_to_wait(self):
        cancelled = threading.Event()
        undo = Cleanup(cancelled=cancelled)
        undo.register("volume", lambda: self.fail("not removed"))
        undo.register("never made", lambda: self.fail("not there"), exists=lambda: False)
        undo.register("image", cancelled.set)
        self.assertEqual(("volume",), undo.unwind())

    def test_a_failure_is_listed_and_does_not_stop_the_rest(self):
        self.register("snapshot")
        self.register("volume", errors.CloudError("it is stuck"))
        self.register("image")
        self.assertEqual(("volume (it is stuck)",), self.undo.unwind())
        self.assertEqual(["image", "snapshot"], self.removed)
        self.assertEqual(["volume"], [entry.what for entry in self.undo.pending()])


class TestLanes(TestCase):
    def test_results_in_order(self):
        lanes = [lambda i=i: i for i in range(5)]
        self.assertEqual([0, 1, 2, 3, 4], run_lanes(lanes, width=2, cancelled=threading.Event()))

    def test_a_failure_stops_the_others_and_is_the_one_that_is_raised(self):
        cancelled, began = threading.Event(), threading.Event()

        def long():
            began.set()
            self.assertTrue(cancelled.wait(10))
            raise errors.Cancelled("interrupted")

        def fails():
            began.wait(10)
            raise errors.NoSpace("full")

        never = []
        lanes = [long, fails, *[lambda: never.append(1)] * 3]
        self.assertRaises(errors.NoSpace, run_lanes, lanes, width=2, cancelled=cancelled)

    def test_nothing_begins_once_it_is_cancelled(self):
        cancelled, ran = threading.Event(), []
        cancelled.set()
        lanes = [lambda: ran.append(1)]
        self.assertRaises(errors.Cancelled, run_lanes, lanes, width=1, cancelled=cancelled)
        self.assertEqual([], ran)


class SignalCase(TestCase):
    def setUp(self):
        super().setUp()
        for number in SIGNALS:  # whoever started the tests may ignore one of them (nohup)
            self.addCleanup(signal.signal, number, signal.signal(number, signal.default_int_handler))


class TestInterrupts(SignalCase):
    def test_each_signal_stops_the_lanes_and_the_handler_is_put_back(self):
        for number in SIGNALS:
            cancelled = threading.Event()

            def lane(number=number, cancelled=cancelled):
                os.kill(os.getpid(), number)
                Deadline(cancelled).until("volume", lambda: False)

            before = signal.getsignal(number)
            with interrupts_set(cancelled):
                self.assertRaises(errors.Cancelled, run_lanes, [lane], width=1, cancelled=cancelled)
            self.assertIs(before, signal.getsignal(number))

    def test_the_third_signal_is_no_longer_held_back(self):
        work, clean_up = threading.Event(), threading.Event()
        work.set()  # a lane has failed: that is no signal
        with interrupts_set(work, clean_up):
            os.kill(os.getpid(), signal.SIGINT)
            self.assertFalse(clean_up.is_set())
            os.kill(os.getpid(), signal.SIGTERM)
            self.assertTrue(clean_up.is_set())
            self.assertRaises(KeyboardInterrupt, os.kill, os.getpid(), signal.SIGINT)

    def test_a_parent_dies_once_however_often_that_is_told(self):
        work, clean_up = threading.Event(), threading.Event()
        with interrupts_set(work, clean_up):
            for _ in range(5):
                os.kill(os.getpid(), signal.SIGHUP)
            self.assertTrue(work.is_set())
        self.assertFalse(clean_up.is_set())  # the listener has ended: it has heard of all

    def test_what_is_ignored_stays_ignored(self):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        event = threading.Event()
        with interrupts_set(event):
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertFalse(event.is_set())


HANGING = """
import os, signal, socket, sys, threading
from osc_imagetools.run.cleanup import Cleanup
from osc_imagetools.run.interrupts import interrupts_set
from osc_imagetools.run.lanes import run_lanes

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
work, clean_up, cleanup = threading.Event(), threading.Event(), Cleanup()
for name in ("volume 1", "image 2"):
    cleanup.register(name, lambda: None)
cleanup.register("image 3", lambda: None, exists=lambda: False)
blocked = threading.Barrier(3)
sockets = [socket.socketpair() for _ in range(2)]

def lane(pair):
    blocked.wait()
    pair[0].recv(1)

def interrupt():
    blocked.wait()
    os.kill(os.getpid(), signal.SIGINT)
    work.wait()
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=interrupt, daemon=True).start()
with interrupts_set(work, clean_up, last_words=cleanup.last_words):
    run_lanes([lambda pair=pair: lane(pair) for pair in sockets], width=2, cancelled=work)
"""


class TestHanging(SignalCase):
    def test_the_second_signal_ends_the_process_whatever_hangs(self):
        command = [sys.executable, "-c", HANGING]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        self.assertEqual(130, done.returncode, done.stderr)
        self.assertIn("These resources may still exist: image 2; volume 1\n", done.stderr)
        self.assertNotIn("image 3", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_within_two_seconds(self):
        self.assertLess(GRACE, 2)

    def test_a_process_that_ends_by_itself_is_left_alone(self):
        work, clean_up = threading.Event(), threading.Event()
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.run.interrupts.GRACE", 0.01))
        ended = threading.Event()
        self.useFixture(
            fixtures.MonkeyPatch("osc_imagetools.run.interrupts.end_process", lambda words: ended.set())
        )
        with interrupts_set(work, clean_up):
            self.interrupt_twice()
            self.assertTrue(ended.wait(10))
        ended.clear()
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.run.interrupts.GRACE", 3600.0))
        with interrupts_set(work, clean_up):
            self.interrupt_twice()
        waiting = [thread for thread in threading.enumerate() if thread.name == "end"]
        for thread in waiting:
            thread.join(60)
        self.assertEqual([], [thread for thread in waiting if thread.is_alive()])
        self.assertFalse(ended.is_set())

    def interrupt_twice(self):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)


class TestDeadline(TestCase):
    def test_until_reached(self):
        answers = iter([False, False, True])
        Deadline().until("volume", lambda: next(answers))
        self.assertEqual([], list(answers))

    def test_timeout_names_what_was_waited_for(self):
        error = self.assertRaises(errors.WaitTimeout, Deadline(timeout=0.01).until, "volume x", lambda: False)
        self.assertIn("volume x", str(error))

    def test_cancelled(self):
        patience = Deadline()
        patience.cancelled.set()
        self.assertRaises(errors.Cancelled, patience.until, "volume", lambda: True)


class TestRun(TestCase):
    def test_names_and_marks_fit_into_what_the_services_take(self):
        run = Run("image export-full " + "x" * 300)
        self.assertEqual(f"osc-imagetools-{run.id}-volume-of-0-vda", run.name("volume of 0-vda"))
        self.assertTrue(len(run.name("x" * 300)) <= 255)
        self.assertEqual(set(), {v for v in run.marks().values() if len(v) > 255})
        self.assertNotEqual(run.id, Run("x").id)
