# SPDX-License-Identifier: Apache-2.0
"""One command for one server, as a process of its own: what fails or dies there is one row here.

Contract: the command logs in as the parent did, by its environment; nothing secret is on its command line.
It is interrupted, so that it cleans up, when the parent says so and when the parent dies.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

PR_SET_PDEATHSIG = 1
MAX_LOG = 1024 * 1024  # bytes that are read of what a command says; its result is read whole
LAST_LINE = 4096  # bytes in which the last line is looked for
_REFERENCE = re.compile(r"\[[a-z0-9]+(-[a-z0-9]+)*\]$")
_LEFT = "may still exist: "
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class ChildLogin:
    """How a command logs in: options without secrets, and the environment with them."""

    words: tuple[str, ...]
    environment: Mapping[str, str]

    def in_project(self, project_id: str) -> ChildLogin:
        """The same account in another project."""
        kept = {k: v for k, v in self.environment.items() if k not in ("OS_PROJECT_NAME", "OS_PROJECT_ID")}
        return ChildLogin((*self.words, "--os-project-id", project_id), kept)

    def with_more(self, environment: Mapping[str, str]) -> ChildLogin:
        """The same with more in its environment."""
        return ChildLogin(self.words, {**self.environment, **environment})


class ChildCommand:
    """A running ``openstack`` command."""

    def __init__(self, login: ChildLogin, words: Sequence[str], *, kept_open: Sequence[int] = ()) -> None:
        """Starts it.

        :param kept_open: descriptors that it holds until its end: locks, which outlive the death of this
            process for as long as the command cleans up.
        :raises OSError, subprocess.SubprocessError: it cannot be started.
        """
        self.started = time.monotonic()
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._parent = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "openstackclient.shell", *login.words, *words],
            env=dict(login.environment),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,  # Ctrl-C is for the parent to heed
            pass_fds=kept_open,
            preexec_fn=self._die_with_parent,
        )

    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """Asks it to stop: it removes what it has created; asked twice, it gives that up."""
        if not self.ended():
            self._process.send_signal(signal.SIGINT)

    def said(self) -> str:
        """The last line of its log so far."""
        number = self._err.fileno()
        start = max(0, os.fstat(number).st_size - LAST_LINE)
        lines = os.pread(number, LAST_LINE, start).decode(errors="replace").splitlines()
        # An indented line belongs to the one before it.
        return next((line.strip() for line in reversed(lines) if line[:1].strip()), "")

    def result(self) -> ChildResult:
        """What it gave; waits for its end."""
        code = self._process.wait()
        seconds = time.monotonic() - self.started
        out, err = _text(self._out), _text(self._err, last=MAX_LOG)
        return ChildResult(code, out, err, seconds)

    def _die_with_parent(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if hasattr(_LIBC, "prctl"):
            # SIGHUP: it may come once for each thread of the parent, and the command counts it once.
            _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGHUP, 0, 0, 0)
            if os.getppid() != self._parent:  # it died in between
                os._exit(1)


class ChildResult:
    """What a command gave; ``code`` is negative where a signal ended it."""

    def __init__(self, code: int, out: str, err: str, seconds: float) -> None:
        self.code = code
        self.err = err
        self.seconds = seconds
        self._out = out

    @property
    def report(self) -> dict[str, Any]:
        """The fields that it printed as JSON; empty where it printed none."""
        document = self._document()
        return document if isinstance(document, dict) else {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that it printed as JSON; empty where it printed none."""
        document = self._document()
        return [row for row in document if isinstance(row, dict)] if isinstance(document, list) else []

    def _document(self) -> Any:
        try:
            return json.loads(self._out)
        except ValueError:
            return None

    @property
    def left(self) -> tuple[str, ...]:
        """What it says that it could not remove, in the words of its messages."""
        told = (line.partition(_LEFT)[2].strip() for line in self.err.splitlines())
        return tuple(text for text in told if text)

    @property
    def failure(self) -> str:
        """What it says about its failure, in one line."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        named = [line for line in lines if _REFERENCE.search(line)]
        said = (named or lines or ["it said nothing"])[-1]
        ended = f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"
        return said if named else f"{ended}: {said}"


def _text(stream: IO[bytes], *, last: int | None = None) -> str:
    """What was written, or the *last* bytes of it."""
    with stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0 if last is None else max(0, size - last))
        return stream.read().decode(errors="replace")
