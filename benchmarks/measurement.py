# SPDX-License-Identifier: Apache-2.0
"""What one command takes, and what is to be reached.

It takes no module but those of Python itself, and little memory: a process's peak is never less than
that of the process that started it.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedded_cloud import PROGRAMS


@dataclass(frozen=True)
class Run:
    """What one process, or several in a row, took: elapsed and processor time in seconds, MiB."""

    seconds: float
    processor: float
    peak: float


@dataclass(frozen=True)
class Target:
    """What is to be reached: ``value`` at least, or at most, ``limit``."""

    text: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        word = "at least" if self.at_least else "at most"
        return f"{'met' if self.met else 'MISSED':8}{self.text}: {self.value:.2f} ({word} {self.limit:g})"


def openstack(*words: str) -> list[str]:
    """The command line of the client in the environment of this program."""
    return [str(PROGRAMS / "openstack"), *words]


def run_to_end(command: Sequence[str], environment: Mapping[str, str], log: pathlib.Path) -> Run:
    """Run one command to its end; what it prints is in the file ``log`` until the next one.

    It is ended with this program. If it fails, this program ends with what it printed.
    """
    with log.open("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{command} failed ({process.returncode}):\n{output.read()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
