# SPDX-License-Identifier: Apache-2.0
"""Runs restic so that it ends in good order when whoever needs it dies.

restic takes the end of its input for the end of the file. If the process that feeds it were its only writer,
the death of that process (SIGKILL, out of memory) would leave a snapshot of half a disk. And restic dies of
writing a line or a disk that nobody can read any more, and leaves its lock. So this small program, a process
of its own, holds the writing end of restic's input and the reading end of its output open as well. It closes
the input only when it reads the byte ``e`` from its control pipe; when the control pipe ends, it interrupts
restic, which then makes no snapshot unless all of its input has come, and removes its lock. A restic that has
just made its lock does not know it yet: it looks for 0.2 s whether others have made one too. So it is not
interrupted before it has written something, or somebody has read that and says so with the byte ``b``, or
``BEGIN`` seconds have passed since it was started.
Source: cmd/restic/lock.go and internal/restic/lock.go of restic 0.14.

Contract: the standard library only and nothing of this package, for it is started by its path:
``guard.py <control fd> <output fd> <input reading fd> <input writing fd> <restic> <argument>...``; the input
is -1 where restic reads nothing. It gives restic's exit code, or 128 plus the number of the signal that ended
restic.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

FINISH, BEGUN = b"e", b"b"
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
POLL = 0.05  # seconds between two looks at whether restic has ended
BEGIN = 5  # seconds for restic to begin
GRACE = 30  # seconds for restic to remove its lock before it is killed
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Runs restic to its end; see the module."""
    control, output, reader, writer = (int(word) for word in argv[1:5])
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the one who feeds restic decides when it ends
    begun_by = time.monotonic() + BEGIN
    child = _start(argv[5:], control, reader, writer)
    _close(reader)
    status, word = _first_of(child, control), b""
    if status is None and (word := os.read(control, 1)) == FINISH:
        _close(writer)
        status = _first_of(child, control)
        word = b"" if status is not None else os.read(control, 1)
    if status is None and word != BEGUN:
        status = _first_words(child, output, begun_by)
    if status is None:
        status = _interrupt(child, output)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _start(command: list[str], control: int, reader: int, writer: int) -> int:
    """The process ID of restic, which is killed if this process is."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()
    # Held back, or an interrupt that comes at once would meet a child that still ignores it, and be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return child
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if hasattr(libc, "prctl"):
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died in between
                os._exit(127)
        if reader >= 0:
            os.dup2(reader, 0)
        for descriptor in {control, reader, writer} - {0}:
            _close(descriptor)
        os.execvp(command[0], command)
    except OSError as exc:
        os.write(2, f"{command[0]}: {exc.strerror}\n".encode())
    os._exit(127)


def _first_of(child: int, control: int) -> int | None:
    """The status of restic if it ends first; None if there is something to read from the control pipe."""
    watched = [control]
    with suppress(AttributeError, OSError):  # an older kernel: then it is looked at now and again
        watched.append(os.pidfd_open(child))
    while True:
        ready, _, _ = select.select(watched, [], [], POLL)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if control in ready:
            return None


def _first_words(child: int, output: int, end: float) -> int | None:
    """The status of restic if it ends before it has written something that nobody has read, and before the
    monotonic time *end*; otherwise None."""
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if select.select([output], [], [], POLL)[0]:
            break
    return None


def _interrupt(child: int, output: int) -> int:
    """Ends restic while its input is still open, and returns its status."""
    os.kill(child, signal.SIGINT)
    # Opened anew, so that it does not wait whoever else reads; restic may wait for somebody to read.
    drain = -1
    with suppress(OSError):
        drain = os.open(f"/proc/self/fd/{output}", os.O_RDONLY | os.O_NONBLOCK)
    end = time.monotonic() + GRACE
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if not (drain >= 0 and _drained(drain)):
            time.sleep(POLL)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _drained(drain: int) -> bool:
    """Whether there was something to read."""
    try:
        return bool(os.read(drain, 1 << 20))
    except OSError:
        return False


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
