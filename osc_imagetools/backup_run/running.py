# SPDX-License-Identifier: Apache-2.0
"""Commands that run for servers, and what becomes of them when this process is interrupted or ends.

Contract: an interrupt is passed on once, so that a command cleans up, and once more where the user gives
that up. Whatever ends the work on some servers, their commands end before it does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from osc_imagetools.backup_run.inventory import RunServer
from osc_imagetools.run.cleanup import FIND_LEFT


class RunningCommands(Protocol):
    """Something that runs commands one after the other."""

    interrupted: int

    def interrupt(self) -> None:
        """Asks what runs to clean up and end."""

    def wait(self) -> None:
        """Until what runs has ended."""


@contextmanager
def ended_with_us(running: Sequence[RunningCommands]) -> Iterator[None]:
    """Whatever ends the block, the commands clean up and end first; a second interrupt would end that too."""
    try:
        yield
    finally:
        for run in running:
            if not run.interrupted:
                run.interrupt()
        for run in running:
            run.wait()


def pass_on(running: Iterable[RunningCommands], give_up: threading.Event) -> None:
    """Hands an interrupt to those that have not heard of it, and a second one when *give_up* is set."""
    for run in running:
        if run.interrupted < 1 + give_up.is_set():
            run.interrupt()


def last_words(servers: Iterable[RunServer]) -> str:
    """What a process that is ended at once says of the servers that it works on."""
    names = "; ".join(f"{server.name} ({server.id})" for server in servers)
    return f"These servers were being backed up: {names}\n{FIND_LEFT}" if names else ""
