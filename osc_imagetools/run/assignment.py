# SPDX-License-Identifier: Apache-2.0
"""What the process that has started this command assigns to it: the ID of its run, and a lease.

Contract: both go by the environment. :data:`RUN_ID` is the ID of the first run of this process, so that
whoever has started it knows beforehand how its resources are marked. :data:`LEASE` is the number of an open
file that holds the moment until which the command may work; whoever has started it puts that moment off for
as long as it has the right to let it work. A lease that cannot be read is over.

The moment is one of a clock that all processes of a machine share, that nobody can set, and that goes on
while the machine sleeps.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from typing import IO

from osc_imagetools import errors

LOG = logging.getLogger(__name__)
RUN_ID = "OSC_IMAGETOOLS_RUN_ID"
LEASE = "OSC_IMAGETOOLS_LEASE"
POLL = 0.5  # seconds
LOST = "the worker that started this command has lost its session with the jobboard"
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has the first one
_MOMENT = struct.Struct("=d")
_VALID = re.compile(r"[0-9a-f]{12}")


def lease_clock() -> float:
    """Seconds of the clock of all leases."""
    return time.clock_gettime(_CLOCK)


def new_run_id() -> str:
    """An ID that no other run has."""
    return uuid.uuid4().hex[:12]


def run_id() -> str:
    """The ID of a run that begins: the assigned one for the first, new ones for all others."""
    assigned = os.environ.pop(RUN_ID, "")
    return assigned if _VALID.fullmatch(assigned) else new_run_id()


class RunLease:
    """Until when commands may work, for the process that grants it and, by *descriptor*, for the commands."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def over(self) -> bool:
        """Whether the moment has passed."""
        try:
            (until,) = _MOMENT.unpack(os.pread(self.descriptor, _MOMENT.size, 0))
        except (OSError, struct.error):
            return True
        return bool(lease_clock() >= until)

    def extend(self, until: float) -> None:
        """Puts the moment off, in seconds of :func:`lease_clock`."""
        os.pwrite(self.descriptor, _MOMENT.pack(until), 0)


def new_lease() -> tuple[RunLease, IO[bytes]]:
    """A lease that is over until it is extended, and its file, which whoever grants it closes."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    return RunLease(file.fileno()), file


def assigned_lease() -> RunLease | None:
    """The lease of this command; None where it has none, and may work as long as it likes."""
    number = os.environ.get(LEASE)
    if number is None:
        return None
    return RunLease(int(number) if number.isdigit() else -1)


def check_lease() -> None:
    """Before a command publishes what it has made.

    :raises errors.Cancelled: its lease is over; another one may be at the same work.
    """
    lease = assigned_lease()
    if lease is not None and lease.over():
        raise errors.Cancelled(LOST)


@contextlib.contextmanager
def lease_heeded(stop: threading.Event) -> Iterator[None]:
    """Within it, *stop* is set when the lease of this command is over."""
    lease = assigned_lease()
    if lease is None:
        yield
        return
    ended = threading.Event()

    def watch(lease: RunLease) -> None:
        while not ended.wait(POLL):
            if lease.over():
                LOG.error("%s: it stops", LOST)
                stop.set()
                return

    watcher = threading.Thread(target=watch, args=(lease,), name="lease", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
