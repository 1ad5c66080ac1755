# SPDX-License-Identifier: Apache-2.0
"""Runs ``openstack`` as a process on a terminal of its own, and gives what the terminal got, or showed."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyte

PROGRAM = "import sys; from openstackclient import shell; sys.exit(shell.main(sys.argv[1:]))"
LINES = 50
REDRAWN = re.compile(r"(?=\r\x1b\[)")  # before a line is drawn anew: a frame may be gone with the same write


def on_terminal(*words: Any, columns: int = 80, cloud: str = "devcloud-demo", **environment: str) -> str:
    """Both stdout and stderr, with the control sequences; lines end with a line feed."""
    process, control = _started(cloud, words, columns, environment)
    text = b"".join(_output(control)).decode()
    process.wait()
    return text.replace("\r\n", "\n")


@dataclass
class Recording:
    """What a terminal showed: each of its screens, and all lines that were on it at the end."""

    code: int
    frames: list[list[str]]
    lines: list[str]

    def shown(self, text: str) -> list[str]:
        """All lines of all screens that have this text in them."""
        return [line for frame in self.frames for line in frame if text in line]


def recorded(
    *words: Any, columns: int = 80, cloud: str = "devcloud-demo", stdout: int | None = None
) -> Recording:
    """The command on a terminal, whose screens are recorded; *stdout* goes elsewhere if that is given."""
    process, control = _started(cloud, words, columns, {}, stdout=stdout)
    screen = pyte.HistoryScreen(columns, LINES, history=10000, ratio=0.5)
    feed, decoder = pyte.Stream(screen), codecs.getincrementaldecoder("utf-8")()
    frames: list[list[str]] = []
    for part in _output(control):
        for piece in REDRAWN.split(decoder.decode(part)):
            feed.feed(piece)
            frame = [line.rstrip() for line in screen.display]
            if not frames or frames[-1] != frame:
                frames.append(frame)
    above = ["".join(line[n].data for n in range(columns)).rstrip() for line in screen.history.top]
    lines = [*above, *frames[-1]] if frames else []
    return Recording(process.wait(), frames, [line for line in lines if line])


def _started(
    cloud: str, words: Any, columns: int, environment: dict[str, str], stdout: int | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """The process, and our end of its terminal."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--os-cloud", cloud, *map(str, words)],
        stdin=terminal,
        stdout=terminal if stdout is None else stdout,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
    )
    os.close(terminal)
    return process, control


def _output(control: int) -> Iterator[bytes]:
    """All that the terminal gets, until the last process has closed it."""
    try:
        while part := os.read(control, 65536):
            yield part
    except OSError:
        pass
    finally:
        os.close(control)
