# SPDX-License-Identifier: Apache-2.0
"""The identity of a run: its ID, its purpose, the process that it is, and the marks of what it creates.

Contract: changes nothing; reads only what the system says of processes.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from osc_imagetools.cloud.ownership import MARK, PREFIX, PROCESS, PURPOSE, RUN, SINCE, now
from osc_imagetools.run.assignment import new_run_id

# What stands in a mark in the place of what the system does not say.
UNKNOWN = "unknown"


def this_process() -> str:
    """Tells this process from any other on any machine: ``<machine>.<pid>.<start time>``.

    The machine is a hash of the boot and of the process namespace: neither a name nor an address. Where the
    system does not say them, it is ``unknown``, and nobody will ever be told that this process is over.
    """
    start = _start_time(_read("/proc/self/stat"))
    return f"{_machine() or UNKNOWN}.{os.getpid()}.{start or UNKNOWN}"


def is_alive(process: str | None) -> bool | None:
    """Whether the process with this mark lives; None where nobody here can tell.

    False is certain: what such a process has made may be deleted. So everything that is not known, because it
    was another machine or because this one has no /proc (macOS, FreeBSD), is None.
    """
    machine, _, rest = (process or "").partition(".")
    pid, _, start = rest.partition(".")
    if machine != _machine() or not pid.isdigit() or not start.isdigit():
        return None
    told = _read(f"/proc/{pid}/stat")
    return _start_time(told) == start if told else _may_be_there(int(pid))


@dataclass(frozen=True)
class Run:
    """One run of a command that makes resources."""

    purpose: str  # "image export-full web01"
    id: str = field(default_factory=new_run_id)
    since: str = field(default_factory=now)
    process: str = field(default_factory=this_process)

    def name(self, role: str) -> str:
        """The name of a temporary resource: ``osc-imagetools-<run>-<role>``, at most 255 characters."""
        return f"{PREFIX}-{self.id}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', role)}"[:255]

    def marks(self) -> dict[str, str]:
        """The metadata of a temporary resource; values of at most 255 characters."""
        return {
            MARK: "temporary",
            RUN: self.id,
            PURPOSE: self.purpose[:255],
            SINCE: self.since,
            PROCESS: self.process,
        }

    def tags(self) -> list[str]:
        """The same as tags of an image, each of at most 255 characters."""
        return [f"{key}={value}"[:255] for key, value in self.marks().items()]


def _machine() -> str | None:
    """Tells this boot of this machine, and this process namespace in it, from all others; None where the
    system does not say both: the numbers of processes then mean nothing to anybody else.
    """
    boot = _read("/proc/sys/kernel/random/boot_id")
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12] if boot else None


def _start_time(stat: str) -> str:
    """When a process began, in ticks since the boot; empty where it is only a corpse.

    :param stat: of /proc/pid/stat, as in proc(5): fields 3 (state) and 22 (starttime), behind the name in
        brackets.
    """
    fields = stat.rpartition(")")[2].split()
    return "" if len(fields) < 20 or fields[0] in "ZX" else fields[19]


def _may_be_there(pid: int) -> bool | None:
    """False if there is no such process; None if there is one that this user may not look at (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
