# SPDX-License-Identifier: Apache-2.0
"""Processes: ours are recognised, others never, and ours can be ended."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator import processes, steps  # noqa: E402


class ProcessTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.process = processes.Process(
            "some", pathlib.Path(folder.name), pathlib.Path(folder.name)
        )
        self.addCleanup(lambda: self.process.signal(signal.SIGKILL))

    def launch(self, script: str) -> int:
        self.process.launch(["/bin/sh", "-c", script], {"PATH": os.environ["PATH"]})
        pid = self.process.pid()
        assert pid is not None
        return pid

    def test_nothing_is_ours_without_a_pid_file(self) -> None:
        self.assertIsNone(self.process.pid())
        for text in ("", "1\n", "not a pid\n"):
            self.process.pid_file.write_text(text)
            self.assertIsNone(self.process.pid())

    def test_a_recycled_pid_is_not_ours(self) -> None:
        other = subprocess.Popen(["sleep", "60"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        started = processes.start_time(other.pid)
        self.process.pid_file.write_text(f"{other.pid} {started}\n")
        self.assertEqual(other.pid, self.process.pid())
        self.process.pid_file.write_text(f"{other.pid} {int(started or 0) - 1}\n")
        self.assertIsNone(self.process.pid())
        processes.end([self.process])
        self.assertIsNone(other.poll())

    def test_a_process_that_has_ended_is_not_ours(self) -> None:
        pid = self.launch("exec sleep 60")
        os.kill(pid, signal.SIGKILL)
        processes.end([self.process])
        self.assertIsNone(self.process.pid())
        with self.assertRaises(steps.Failure):
            self.process.require_alive()

    def test_no_terminal_can_take_hold_of_a_process(self) -> None:
        pid = self.launch("exec sleep 60")
        self.assertNotEqual(pid, os.getsid(pid))
        self.assertNotEqual(os.getsid(0), os.getsid(pid))

    def test_a_program_that_is_not_there_has_ended(self) -> None:
        self.process.launch(["/no/such/program"], {})
        with self.assertRaisesRegex(steps.Failure, "some has ended"):
            for _ in range(100):
                self.process.require_alive()
                time.sleep(0.02)

    def test_launch_leaves_alone_what_runs(self) -> None:
        self.assertEqual(self.launch("exec sleep 60"), self.launch("exec sleep 60"))

    def test_end(self) -> None:
        self.launch("exec sleep 60")
        processes.end([self.process])
        self.assertIsNone(self.process.pid())
        self.assertFalse(self.process.pid_file.exists())

    def test_end_by_force(self) -> None:
        self.launch("trap '' TERM; while :; do sleep 0.1; done")
        processes.end([self.process], grace=0.3)
        self.assertIsNone(self.process.pid())

    def test_a_port_that_is_taken_is_told(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with self.assertRaisesRegex(steps.Failure, "some cannot have port"):
                self.process.launch(["true"], {}, [taken.getsockname()])

    def guests_of_one_with_open(self, program: str, file: pathlib.Path) -> list[int]:
        """What is found when a program of this name has one file open."""
        state = self.process.run / "state"
        for path in (state / "instances", file.parent):
            path.mkdir(parents=True, exist_ok=True)
        link = self.process.run / program
        link.symlink_to("/bin/sh")
        script = f"exec 7>{file}; touch {file}.open; while :; do sleep 0.1; done"
        self.process.launch([link, "-c", script], {"PATH": os.environ["PATH"]})
        while not pathlib.Path(f"{file}.open").exists():
            self.process.require_alive()
            time.sleep(0.02)
        return processes.guests(state)

    def test_a_qemu_with_our_console_log_is_our_guest(self) -> None:
        log = self.process.run / "state" / "instances" / "console.log"
        found = self.guests_of_one_with_open("qemu-system-x86_64", log)
        self.assertEqual([self.process.pid()], found)

    def test_a_qemu_with_files_elsewhere_is_not_our_guest(self) -> None:
        other = self.process.run / "state-2" / "console.log"
        self.assertEqual([], self.guests_of_one_with_open("qemu-system-x86_64", other))

    def test_another_program_with_our_files_is_not_our_guest(self) -> None:
        log = self.process.run / "state" / "instances" / "console.log"
        self.assertEqual([], self.guests_of_one_with_open("less", log))


if __name__ == "__main__":
    unittest.main()
