# SPDX-License-Identifier: Apache-2.0
"""The network devices of the cloud's servers.

Contract: ``remove(settings)`` removes those that belong to a port in this cloud's Neutron, and no
others: clouds beside this one have theirs in the same place. Nova makes them again for the servers
that it knows when it starts.
"""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3

from orchestrator import steps
from orchestrator.settings import Settings

DEVICES = pathlib.Path("/sys/class/net")
NAME_LENGTH = 14  # nova.network.model.NIC_NAME_LEN


def remove(settings: Settings) -> None:
    """Remove each device of this cloud that is there."""
    for port in ports(settings):
        device = device_name(port)
        if (DEVICES / device).exists():
            steps.run_logged(["ip", "link", "delete", device], settings.log / "taps.log")


def device_name(port: str) -> str:
    """What Nova calls the device of a port."""
    return f"tap{port}"[:NAME_LENGTH]


def ports(settings: Settings) -> list[str]:
    """The IDs of all ports; none if Neutron has no tables yet."""
    file = settings.databases / "neutron.sqlite"
    if not (settings.databases / "complete").exists():
        return []
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("select id from ports")]
