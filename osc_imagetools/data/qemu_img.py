# SPDX-License-Identifier: Apache-2.0
"""Runs qemu-img: the one place that does, and where QEMU's programs get their limits.

Contract: qemu-img gets an open file and never a path of the caller's, the format of that file, no backing
file, and limits on its memory and CPU time; it ends with this process. What it says is read all the time and
kept up to a bound, so that it never blocks on a full pipe. The caller has inspected the same open file
(:mod:`osc_imagetools.data.disk_format`): nothing outside it can be reached.
Source: https://www.qemu.org/docs/master/tools/qemu-img.html (exit codes of check),
https://www.qemu.org/docs/master/system/qemu-block-drivers.html (json: filenames)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from osc_imagetools import errors
from osc_imagetools.operations.drafts import CONVERTIBLE

PROGRAM = "qemu-img"
MIB = 1024 * 1024
MEMORY = 2048 * MIB  # bytes of address space, and a part of the file's size for tables of its clusters
CPU = 600  # seconds, and the time that the bytes take at SLOWEST
SLOWEST = 4 * MIB  # bytes a second: compressed clusters
MESSAGE = 4096  # bytes of its output that are kept
# By default a VHD has the size that old controllers can address, which is another one.
OPTIONS = {"vhd": ("-o", "force_size=on")}
# What qemu-img check knows; the others are judged by their headers alone.
CHECKED = frozenset({"qcow2", "vmdk", "vhdx", "vhd", "vdi"})
LEAKS, UNSUPPORTED = 3, 63  # exit codes of check with which every byte can be read
# Limits, and SIGKILL when the thread that waits for it is gone; then it becomes qemu-img.
LAUNCHER = """
import ctypes, os, resource, sys
try:
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
except (AttributeError, OSError):
    pass
for name, limit in (("AS", sys.argv[1]), ("CPU", sys.argv[2]), ("CORE", "0")):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (int(limit), int(limit)))
    except ValueError:
        pass
os.execvp(sys.argv[3], sys.argv[3:])
"""

Ended = Callable[[], bool]  # whether qemu-img has ended
Wait = Callable[[Ended], None]  # returns when it has, or raises, which ends it


@dataclass(frozen=True)
class _Outcome:
    """How a run of qemu-img ended; ``said`` is the beginning of its output in one line."""

    code: int
    said: str


def is_installed() -> bool:
    """Whether there is a qemu-img on PATH."""
    return shutil.which(PROGRAM) is not None


def require_installed(what: str) -> None:
    """:raises errors.ResourceUnusable: there is no qemu-img, which *what* needs."""
    if not is_installed():
        raise errors.ResourceUnusable(
            f"{what} needs {PROGRAM}, which is not on PATH",
            hint="Install it: apt-get install qemu-utils, or dnf install qemu-img",
        )


def damage_of(stream: BinaryIO, content_format: str, *, wait: Wait | None = None) -> str | None:
    """Why the data of a disk cannot be read whole, as the end of a sentence; None where it can.

    :param stream: an open regular file, which has been inspected.
    :param content_format: what it is, as Glance calls it.
    :param wait: see :data:`Wait`; by default the end of qemu-img is waited for.
    """
    if content_format not in CHECKED:
        return None
    ended = _run(stream, lambda file: ["check", source_node(file, content_format)], wait)
    if ended.code in (0, LEAKS, UNSUPPORTED):
        return None
    if ended.code == 2:
        return "is cut short or corrupt: parts of its data are not in the file"
    return f"cannot be read whole: {ended.said}"


def convert(
    stream: BinaryIO,
    content_format: str,
    target: Path,
    disk_format: str,
    *,
    label: str,
    wait: Wait | None = None,
) -> None:
    """Writes the same disk into the file *target*, in another format (both as Glance calls them).

    :param stream: an open regular file, which has been inspected, and must not be written to meanwhile.
    :param label: what messages call the disk.
    :param wait: see :data:`Wait`; by default the end of qemu-img is waited for.
    :raises errors.NoSpace: the file system of the target is full.
    :raises errors.ResourceUnusable: qemu-img fails; the target may be there in part.
    :raises errors.TransferError: the source has changed while it was read.
    """
    before = _state(stream)

    def command(file: int) -> list[str]:
        options = ("-O", CONVERTIBLE[disk_format], *OPTIONS.get(disk_format, ()))
        return ["convert", *options, source_node(file, content_format), str(target.absolute())]

    ended = _run(stream, command, wait)
    if ended.code:
        if os.strerror(28) in ended.said:  # ENOSPC
            raise errors.NoSpace(
                f"{target.parent} has no room for {label} as {disk_format}",
                hint="Set TMPDIR to a directory with more room.",
            )
        raise errors.ResourceUnusable(f"{label} cannot be converted to {disk_format}: {ended.said}")
    if _state(stream) != before:
        raise errors.TransferError(f"{label} was changed while it was converted")


def source_node(file: int, content_format: str) -> str:
    """The open file, as it is: no format is guessed, no backing file opened, no lock taken."""
    node = {"driver": "file", "filename": f"/dev/fd/{file}", "locking": "off"}
    return "json:" + json.dumps({"driver": CONVERTIBLE[content_format], "backing": None, "file": node})


def _state(stream: BinaryIO) -> tuple[int, int, int]:
    told = os.fstat(stream.fileno())
    return told.st_size, told.st_mtime_ns, told.st_ino


def _run(stream: BinaryIO, command: Callable[[int], list[str]], wait: Wait | None) -> _Outcome:
    file = stream.fileno()
    with started([PROGRAM, *command(file)], file, stderr=subprocess.STDOUT) as process:
        said = Output(process.stdout)
        if wait is None:
            process.wait()
        else:
            wait(lambda: process.poll() is not None)
    if process.returncode < 0:
        return _Outcome(
            process.returncode, said.text() or f"{PROGRAM} was ended by signal {-process.returncode}"
        )
    return _Outcome(process.returncode, said.text() or f"{PROGRAM} failed ({process.returncode})")


@contextmanager
def started(command: list[str], file: int, *, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program of QEMU's that reads an open file, limited in memory and CPU time, its output in a pipe.

    In a session of its own, which a Ctrl-C on the terminal does not reach; killed at the end.

    :raises errors.ResourceUnusable: it cannot be run.
    """
    allocated = os.fstat(file).st_blocks * 512
    limits = [str(MEMORY + allocated // 4096), str(CPU + allocated // SLOWEST)]
    arguments = [sys.executable, "-I", "-S", "-c", LAUNCHER, *limits, *command]
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=(file,),
            env={**os.environ, "LC_ALL": "C", "MALLOC_ARENA_MAX": "2"},  # 64 MiB of address space each
            start_new_session=True,
        )
    except OSError as exc:
        raise errors.ResourceUnusable(f"{command[0]} cannot be run: {exc.strerror or exc}") from exc
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Output:
    """Reads a pipe to its end in a thread, and keeps its beginning."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._pipe = pipe
        self._kept = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._pipe:
            while piece := self._pipe.read1(64 * 1024):  # type: ignore[attr-defined]
                self._kept += piece[: MESSAGE - len(self._kept)]

    def text(self) -> str:
        """What was said, without the names that the file has here, printable and in one line."""
        self._reader.join()
        lines = [line for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(f"{PROGRAM}: ")] or lines
        text = re.sub(r"'?json:\{.*?\}\}'?", "the disk", " ".join(told[:3]).removeprefix(f"{PROGRAM}: "))
        return "".join(c if c.isprintable() else "?" for c in text)[:300]
