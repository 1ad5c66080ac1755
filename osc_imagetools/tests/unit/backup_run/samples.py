# SPDX-License-Identifier: Apache-2.0
"""Servers, bundles and policies as small values."""

from __future__ import annotations

from typing import Any

from osc_imagetools.backup_check.bundles import BundleCopy
from osc_imagetools.backup_run.inventory import RunServer
from osc_imagetools.backup_run.plan_policy import BackupPolicy, ServerChoice
from osc_imagetools.backup_run.plan_target import BackupTarget

DAY = 86400.0
NOW = 100 * DAY
PLACE = "/backup"
TARGET = BackupTarget(PLACE)


def server(identifier: str = "s", **changes: Any) -> RunServer:
    fields: dict[str, Any] = {
        "id": identifier,
        "name": f"web-{identifier}",
        "project_id": "p",
        "host": "h1",
        "tags": frozenset(),
        "properties": {},
        "volumes": ("v",),
        "volume_types": frozenset({"fast"}),
    }
    return RunServer(**{**fields, **changes})


def bundle(age: float = 0.5, **changes: Any) -> BundleCopy:
    """One of server *s*; its age in days."""
    fields: dict[str, Any] = {
        "path": f"{PLACE}/s/{age}.bundle",
        "kind": "server",
        "resource_id": "s",
        "complete": True,
        "taken": NOW - age * DAY,
        "server_id": "s",
        "volumes": ("v",),
        "has_root": False,
    }
    return BundleCopy(**{**fields, **changes})


def policy(name: str = "daily", **changes: Any) -> BackupPolicy:
    fields: dict[str, Any] = {"servers": ServerChoice(), "max_age": DAY, "target": TARGET}
    return BackupPolicy(name, **{**fields, **changes})
