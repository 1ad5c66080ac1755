# SPDX-License-Identifier: Apache-2.0
"""Runs ``openstack`` as a process on a terminal of its own, and gives what the terminal got."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import Any

PROGRAM = "import sys; from openstackclient import shell; sys.exit(shell.main(sys.argv[1:]))"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(*words: Any, columns: int = 80, cloud: str = "devcloud-demo", **environment: str) -> str:
    """Both stdout and stderr, with the control sequences; lines end with a line feed."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--os-cloud", cloud, *map(str, words)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
    )
    os.close(terminal)
    parts = []
    try:
        while part := os.read(control, 65536):
            parts.append(part)
    except OSError:  # the last process has closed it
        pass
    finally:
        os.close(control)
    process.wait()
    return b"".join(parts).decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    """The text without colours."""
    return COLOUR.sub("", text)
