# SPDX-License-Identifier: Apache-2.0
"""What one command takes, what is to be reached, and how it is told.

It takes no module but those of Python itself, and little memory: a process's peak is never less than
that of the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from embedded_cloud import PROGRAMS

PACKAGES = ("osc-imagetools", "python-openstackclient", "openstacksdk")
TICK = 0.05  # seconds between two looks at a process


@dataclass(frozen=True)
class Run:
    """What one process, or several in a row, took.

    Elapsed and processor time in seconds; memory, and the most that a folder took on its disk, in MiB.
    """

    seconds: float
    processor: float
    peak: float
    space: float = 0


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


def run_to_end(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: pathlib.Path,
    *,
    folder: pathlib.Path | None = None,
    look: Callable[[int], None] = lambda process: None,
) -> Run:
    """Run one command to its end; what it prints is in the file ``log`` until the next one.

    It is ended with this program. If it fails, this program ends with what it printed.

    :param folder: where it runs; here, if there is none.
    :param look: is called with its process ID again and again, while it runs.
    """
    with log.open("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            with _looking(process.pid, look):
                _, status, usage = os.wait4(process.pid, 0)
                seconds = time.perf_counter() - started
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{command} failed ({process.returncode}):\n{output.read()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def disk_use(folder: pathlib.Path) -> int:
    """Bytes that the files below a folder take on the disk; open ones without a name do not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


@contextlib.contextmanager
def _looking(process: int, look: Callable[[int], None]) -> Iterator[None]:
    """Calls *look* with the process again and again, in a thread of its own."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(TICK):
            look(process)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def add_cloud_options(parser: argparse.ArgumentParser, *, rounds: int, cloud: str = "devcloud-demo") -> None:
    """Which cloud, and how often; the arguments are the defaults."""
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"runs of each command (default: {rounds})"
    )
    parser.add_argument("--cloud", default=cloud, help=f"default: {cloud}")


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Where the figures go, and what a missed target does."""
    parser.add_argument("--json", type=pathlib.Path, metavar="<file>", help="write all figures there")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")


def report(
    arguments: argparse.Namespace,
    show: Callable[[], None],
    targets: Sequence[Target],
    figures: Mapping[str, Any],
    *more: str,
) -> int:
    """Tells what was measured where; the exit code.

    :param show: prints the figures, which ``figures`` has for the file.
    :param more: packages whose versions matter besides ``PACKAGES``.
    """
    versions = {name: importlib.metadata.version(name) for name in (*PACKAGES, *more)}
    where = f"{os.cpu_count()} processors, Python {platform.python_version()}"
    print(where, *(f"{name} {version}" for name, version in versions.items()), sep=", ", end="\n\n")
    show()
    if arguments.json:
        document = {
            "command": sys.argv,
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "packages": versions,
            **figures,
            "targets": [asdict(target) | {"met": target.met} for target in targets],
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    missed = [target for target in targets if not target.met]
    return 1 if arguments.check and missed else 0


def exit_with(main: Callable[[], int]) -> None:
    """Runs a benchmark to its end; SIGTERM ends it as SIGINT does, so that it cleans up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
