# SPDX-License-Identifier: Apache-2.0
"""How a resource that a run makes is told to be ours: by its name and by metadata with the id of the run.

Contract: changes nothing; reads only what the system says of processes. Volumes, snapshots and servers
carry the metadata; an image that Cinder makes from a temporary volume gets it as image properties in the
moment it is made, because Cinder copies the volume's image metadata to it (cinder/volume/api.py,
copy_volume_to_image); a snapshot that Nova makes for a server image has the image's name in its own
(nova/compute/api.py, snapshot_volume_backed). So there is no moment at which a temporary resource exists
without its mark.

Properties of an image go on and on: to the volumes and servers that are made of it, and to their images. So
an image that will be the user's bears its marks as tags, which nothing inherits; and properties alone,
without a name of ours, make no image ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PREFIX = "osc-imagetools"
MARK = "osc_imagetools"  # "temporary" on everything of ours that may go
RUN = "osc_imagetools_run"
PURPOSE = "osc_imagetools_purpose"
SINCE = "osc_imagetools_since"
PROCESS = "osc_imagetools_process"
# On a server of the user's that a run has stopped and will start again: the id of the run.
STOPPED = "osc_imagetools_stopped"
TAG = f"{MARK}=temporary"
NAMED = re.compile(rf"\b{PREFIX}-([0-9a-f]{{12}})-")


def now() -> str:
    """The time in UTC as RFC 3339 with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def this_process() -> str:
    """Tells this process from any other on any machine: ``<machine>.<pid>.<start time>``.

    The machine is a hash of the boot and of the process namespace: neither a name nor an address.
    """
    return f"{_machine()}.{os.getpid()}.{_start_time(_read('/proc/self/stat'))}"


def is_alive(process: str | None) -> bool | None:
    """Whether the process with this mark lives; None where only another machine can tell."""
    machine, _, rest = (process or "").partition(".")
    pid, _, start = rest.partition(".")
    if machine != _machine() or not pid.isdigit():
        return None
    told = _read(f"/proc/{pid}/stat")
    return _start_time(told) == start if told else _may_be_there(int(pid))


def of_image(document: Mapping[str, Any]) -> dict[str, str]:
    """The marks that an image bears, as tags or as properties; nothing where its name is not ours."""
    tags = (tag.partition("=") for tag in document.get("tags") or () if tag.startswith(MARK))
    marks = {key: value for key, _, value in tags}
    marks |= {key: str(value) for key, value in document.items() if key.startswith(MARK)}
    ours = marks.get(RUN) is not None and run_of_name(document.get("name")) == marks[RUN]
    return marks if ours else {}


def without_marks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata or properties without ours: a copy of what was marked is not ours."""
    return {key: value for key, value in metadata.items() if not key.startswith(MARK)}


def plain_description(description: str | None) -> str | None:
    """A description, None where it is a mark of ours."""
    return None if description and description.startswith(f"{PREFIX}-") else description


def run_of_name(name: str | None) -> str | None:
    """The id of the run whose temporary resource has this name, or a name made from one."""
    found = NAMED.search(name or "")
    return found[1] if found else None


@dataclass(frozen=True)
class Run:
    """One run of a command that makes resources."""

    purpose: str  # "image export-full web01"
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
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


def _machine() -> str:
    boot = _read("/proc/sys/kernel/random/boot_id")
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]


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
