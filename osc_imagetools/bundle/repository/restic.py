# SPDX-License-Identifier: Apache-2.0
"""restic as a process: found, of a version that will do, run to its end.

Contract: restic gets what it must know in its environment (see the module ``address``), never asks anybody
anything, and never outlives a call of this module; when this process is interrupted, restic is interrupted
and waited for, so that it removes its lock.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from osc_imagetools import errors
from osc_imagetools.bundle.repository.address import RepositoryAddress
from osc_imagetools.bundle.repository.failures import Stderr, restic_failure
from osc_imagetools.bundle.repository.guarded_process import GuardedProcess

LOWEST = (0, 14, 0)
INSTALL = "apt-get install restic, or https://restic.readthedocs.io/en/stable/020_installation.html"
MAX_OUTPUT = 256 * 1024 * 1024  # bytes: a list of half a million snapshots
LOG = logging.getLogger(__name__)


@functools.cache
def restic_program() -> str:
    """The path of restic.

    :raises errors.ResticAbsent: it is not on PATH, or cannot be run.
    :raises errors.ResticTooOld: it is older than 0.14.0.
    """
    path = shutil.which("restic")
    if path is None:
        raise errors.ResticAbsent(
            "A repository needs restic, which is not on PATH", hint=f"Install it: {INSTALL}"
        )
    try:
        said = subprocess.run([path, "version"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as exc:
        raise errors.ResticAbsent(
            f"{path} cannot be run: {exc.strerror}", hint=f"Install it: {INSTALL}"
        ) from None
    version = parse_version(said.stdout.decode(errors="replace"))
    if version is None:
        raise errors.ResticAbsent(f"{path} does not say which version of restic it is")
    if version < LOWEST:
        found = ".".join(map(str, version))
        raise errors.ResticTooOld(
            f"{path} is restic {found}; 0.14.0 or newer is needed", hint=f"Install a newer one: {INSTALL}"
        )
    return path


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The version in the output of ``restic version``."""
    match = re.match(r"restic (\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


class Restic:
    """restic for one repository.

    :raises errors.ResticAbsent, errors.ResticTooOld: see :func:`restic_program`.
    """

    def __init__(self, address: RepositoryAddress) -> None:
        self.address = address
        self.program = restic_program()

    def command(self, *words: str) -> list[str]:
        """The command line, which holds no secret."""
        return [self.program, *self.address.flags, *words]

    def environment(self, progress_per_second: float = 0.1) -> dict[str, str]:
        """The environment of a process; *progress_per_second*: how often it tells how far it is."""
        return {**self.address.environment, "RESTIC_PROGRESS_FPS": str(progress_per_second)}

    def failure(self, code: int, said: str, doing: str, left: str | None = None) -> errors.RepositoryError:
        """The error for a restic that failed."""
        return restic_failure(self.address, code, said, doing=doing, left=left)

    def run(
        self,
        *words: str,
        doing: str,
        cwd: Path | None = None,
        tell: Callable[[str], None] | None = None,
        left: str | None = None,
    ) -> bytes:
        """Runs restic to its end: what it wrote to stdout.

        :param doing: for messages: "to list the snapshots".
        :param tell: is given each line of stdout as it comes; then nothing is returned.
        :param left: what a failure leaves behind.
        :raises errors.RepositoryError: it failed; one of the classes below it where the reason is known.
        """
        found = bytearray()
        with self.started(*words, cwd=cwd, progress_per_second=1 if tell else 0.1) as (process, said):
            if tell:
                for line in process.stdout:
                    tell(line.decode(errors="replace").rstrip())
            else:
                while piece := process.stdout.read(65536):
                    found += piece
                    if len(found) > MAX_OUTPUT:
                        raise errors.RepositoryError(f"restic {words[0]} gave more than {MAX_OUTPUT} bytes")
        if process.returncode:
            raise self.failure(process.returncode, said.text, doing, left)
        return bytes(found)

    def json(self, *words: str, doing: str) -> Any:
        """The JSON document that restic writes to stdout.

        :raises errors.RepositoryError: as :meth:`run`, or it is not JSON.
        """
        data = self.run(*words, "--json", doing=doing)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise errors.RepositoryError(f"restic {words[0]} --json did not give JSON") from None

    @contextmanager
    def started(
        self, *words: str, cwd: Path | None = None, progress_per_second: float = 0.1
    ) -> Iterator[tuple[GuardedProcess, Stderr]]:
        """A running restic and what it says on stderr; it has ended at the end of the context, which
        interrupts it where an exception leaves it."""
        process = GuardedProcess(self.command(*words), self.environment(progress_per_second), cwd=cwd)
        said = Stderr(self.retried)
        reader = watch(process.stderr, said)
        try:
            yield process, said
            process.wait()
        finally:
            process.end()
            reader.join()
            process.stdout.close()

    def retried(self, line: str) -> None:
        """Says that restic tries something again, which it does for a quarter of an hour."""
        LOG.warning("restic, repository %s: %s", self.address.label, self.address.redact(line))


def watch(stream: IO[bytes] | None, said: Stderr) -> threading.Thread:
    """A thread that reads a stderr to its end and closes it."""

    def read() -> None:
        assert stream is not None
        with stream:
            for line in stream:
                said.line(line.decode(errors="replace"))

    thread = threading.Thread(target=read, name="restic-stderr", daemon=True)
    thread.start()
    return thread


def own_host() -> str:
    """The name of this machine, as restic writes it into its locks."""
    return os.uname().nodename
