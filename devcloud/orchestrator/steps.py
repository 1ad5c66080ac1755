# SPDX-License-Identifier: Apache-2.0
"""One line on standard output for each step, and one way to fail.

Contract: whatever goes wrong in a way that the user should read ends in ``Failure``; its
text is the message, with the end of the log that tells why.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
import typing

_START = time.monotonic()


class Failure(Exception):
    """Something did not work; the text says what, and why as far as is known."""


def say(text: str) -> None:
    """Print one line, with the time since the program started."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)


def tail(log: pathlib.Path, lines: int = 25) -> str:
    """The end of a log."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"({log}: {error.strerror})"
    return f"--- the end of {log}:\n" + "\n".join(text.splitlines()[-lines:])


def run_logged(
    command: typing.Sequence[str | pathlib.Path],
    log: pathlib.Path,
    environment: typing.Mapping[str, str] | None = None,
) -> None:
    """Run one command to its end; everything that it prints is added to the log."""
    with log.open("ab") as output:
        output.write(f"+ {' '.join(map(str, command))}\n".encode())
        output.flush()
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                check=False,
            ).returncode
        except OSError as error:
            raise Failure(f"{command[0]}: {error.strerror}") from error
    if code:
        program = " ".join(map(str, command[:3]))
        raise Failure(f"{program} ... ended with code {code}\n{tail(log)}")


def main_with_failures(main: typing.Callable[[], int]) -> typing.NoReturn:
    """Run ``main`` and exit with its code; a ``Failure`` is told on standard error."""
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"devcloud: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
