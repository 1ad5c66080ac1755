# SPDX-License-Identifier: Apache-2.0
"""restic as a process below its guard (see the module ``guard``).

Contract: restic never outlives this process and never half succeeds for its death: when this process ends,
however it ends, restic is interrupted and removes its lock.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from osc_imagetools.bundle.repository import guard

PIPE = 1024 * 1024  # bytes of its input that are on their way
POLL = 0.2  # seconds between two looks at a cancellation
GRACE = guard.BEGIN + guard.GRACE + 5  # seconds for the guard to end restic


class GuardedProcess:
    """A running restic. Its ``stdout`` and ``stderr`` are the caller's to read and to close.

    ``begun``: whether it has written something, which the caller sets.

    :param fed: restic reads what is written to the descriptor ``data``, which never blocks; otherwise its
        input is empty.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        fed: bool = False,
        cwd: Path | None = None,
    ) -> None:
        self.begun = False
        self._lock = threading.Lock()
        guarded, self._control = os.pipe()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        reader, self.data = os.pipe() if fed else (-1, -1)
        if fed:
            os.set_blocking(self.data, False)
            with suppress(OSError):  # this user may have as many large pipes as are allowed
                fcntl.fcntl(self.data, fcntl.F_SETPIPE_SZ, PIPE)
        theirs = (guarded, out, reader, self.data)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, *map(str, theirs), *command],
                env=environment,
                cwd=cwd,
                pass_fds=[descriptor for descriptor in (*theirs, err) if descriptor >= 0],
                stdin=subprocess.DEVNULL,
                stdout=out_end,
                stderr=err_end,
                start_new_session=True,  # Ctrl-C is for this process to heed
            )
        except BaseException:
            for descriptor in (self.data, self._control, out, err):
                _close(descriptor)
            raise
        finally:
            for descriptor in (reader, guarded, out_end, err_end):
                _close(descriptor)
        self.stdout = os.fdopen(out, "rb")
        self.stderr = os.fdopen(err, "rb")

    @property
    def returncode(self) -> int | None:
        """The exit code of restic; None while it runs."""
        return self._process.poll()

    def wait(self, cancelled: threading.Event | None = None) -> int:
        """Waits until restic has ended: its exit code.

        :param cancelled: when it is set, restic is interrupted.
        """
        while True:
            try:
                code = self._process.wait(None if cancelled is None else POLL)
            except subprocess.TimeoutExpired:
                if cancelled and cancelled.is_set():
                    self.end()
                continue
            self.interrupt()  # nobody is there any more
            return code

    def end_input(self) -> None:
        """Tells restic that its input ends here."""
        with suppress(BrokenPipeError):  # it has ended: its exit code says why
            os.write(self._control, guard.FINISH)
        self.close_input()

    def close_input(self) -> None:
        """Lets go of the input, which does not end as long as the guard has it as well."""
        data, self.data = self.data, -1
        _close(data)

    def interrupt(self) -> None:
        """Ends restic, and waits for nothing. May be called from any thread and more than once."""
        with self._lock:
            control, self._control = self._control, -1
        if self.begun and control >= 0:
            with suppress(BrokenPipeError):  # it has ended
                os.write(control, guard.BEGUN)
        _close(control)

    def end(self) -> None:
        """Ends restic, unless it has ended, and waits for that."""
        self.interrupt()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kills the guard, and restic with it."""
        if self.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
