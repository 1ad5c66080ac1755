# SPDX-License-Identifier: Apache-2.0
"""The user's own check of a restored copy: a program whose exit code is the verdict.

Contract: runs one program without a shell and without arguments. What it prints goes to stderr. It is told
by its environment what to look at; it inherits the rest of ours, so that it can log in as we did.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping

from osc_imagetools import errors
from osc_imagetools.restore_check.observe import BootObservation
from osc_imagetools.run.assignment import LEASE
from osc_imagetools.run.context import RunContext

POLL = 0.2  # seconds
GRACE = 10  # seconds that a program gets to end
# Linux refuses a variable of 128 KiB (MAX_ARG_STRLEN).
LONGEST = 64 * 1024


def find_program(path: str) -> str:
    """The absolute path of a program.

    :raises errors.UsageError: it is not there, or cannot be run.
    """
    found = shutil.which(path)
    if found is None:
        raise errors.UsageError(
            f"--check {path}: there is no such program, or it may not be executed",
            hint=f"chmod +x {path}",
        )
    return os.path.abspath(found)


def check_environment(
    context: RunContext, name: str, server_id: str, seen: BootObservation
) -> dict[str, str]:
    """What a program learns of the copy: its ID, its addresses, its console, its cloud."""
    addresses = (seen.server.document.get("addresses") or {}) if seen.server else {}
    origin = context.cloud.origin
    console = seen.console.replace("\0", "").encode()[-LONGEST:].decode(errors="ignore")
    told = {
        "OSC_IMAGETOOLS_SERVER_ID": server_id,
        "OSC_IMAGETOOLS_SERVER_NAME": name,
        "OSC_IMAGETOOLS_ADDRESSES": " ".join(_addresses(addresses)),
        "OSC_IMAGETOOLS_CONSOLE": console,
        "OSC_IMAGETOOLS_BOOT": "booted" if seen.booted else "not-proven",
        "OS_CLOUD": origin.cloud,
        "OSC_IMAGETOOLS_PROJECT_ID": origin.project_id,
        "OSC_IMAGETOOLS_REGION": origin.region,
    }
    return {key: value for key, value in told.items() if value is not None}


def _addresses(networks: Mapping[str, list[Mapping[str, object]]]) -> list[str]:
    return [str(address["addr"]) for listed in networks.values() for address in listed]


def run_check(context: RunContext, program: str, environment: Mapping[str, str]) -> int:
    """The exit code of a program; -1 to -64 where a signal ended it.

    :raises errors.UsageError: it cannot be started; :raises errors.Cancelled: interrupted.
    """
    # The lease of this command is not the program's, which does not have its descriptor.
    environment = {k: v for k, v in os.environ.items() if k != LEASE} | dict(environment)
    try:
        process = subprocess.Popen(
            [program], env=environment, stdin=subprocess.DEVNULL, stdout=2,
            start_new_session=True,
        )  # fmt: skip
    except OSError as exc:
        raise errors.UsageError(f"--check {program}: it cannot be run: {exc.strerror or exc}") from exc
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(POLL)
            context.deadline.check()
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            process.kill()
            process.wait()
