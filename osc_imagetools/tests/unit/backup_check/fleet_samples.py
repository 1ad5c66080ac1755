# SPDX-License-Identifier: Apache-2.0
"""A small fleet of values, for tests of what is said of it."""

from __future__ import annotations

from typing import Any

from osc_imagetools.backup_check.fleet import (
    PLAIN,
    Fleet,
    FleetAttachedVolume,
    FleetAttachment,
    FleetFlavor,
    FleetImage,
    FleetServer,
    FleetSnapshot,
    FleetVolume,
    MappedDisk,
)
from osc_imagetools.backup_check.plan import judge
from osc_imagetools.backup_check.plan_copies import Backups

PROJECT = "demo"
DAY = 86400.0
NOW = 100 * DAY
FLAVOR = FleetFlavor(name="tiny", ephemeral=0, swap=0, traits=PLAIN)


def server(identifier: str = "s", volumes: tuple[str, ...] = (), **changes: Any) -> FleetServer:
    """A server that boots from the image ``boot``; with ``image_id=None`` from the first of its volumes."""
    fields: dict[str, Any] = {
        "id": identifier,
        "name": "web01",
        "project_id": PROJECT,
        "status": "ACTIVE",
        "task_state": None,
        "locked": False,
        "image_id": "boot",
        "root_device": None,
        "flavor": FLAVOR,
        "volumes": tuple(FleetAttachedVolume(volume, False) for volume in volumes),
        "created": 10 * DAY,
    }
    return FleetServer(**{**fields, **changes})


def volume(identifier: str, server_id: str = "s", device: str = "vdb", **changes: Any) -> FleetVolume:
    """A volume of 2 GiB that is attached to a server since day 20."""
    fields: dict[str, Any] = {
        "id": identifier,
        "name": f"name-of-{identifier}",
        "project_id": PROJECT,
        "status": "in-use",
        "size": 2,
        "volume_type": None,
        "encrypted": False,
        "bootable": device == "vda",
        "traits": PLAIN,
        "attachments": (FleetAttachment(server_id, device, 20 * DAY),),
    }
    return FleetVolume(**{**fields, **changes})


def snapshot(identifier: str, volume_id: str, day: float = 90, status: str = "available") -> FleetSnapshot:
    return FleetSnapshot(identifier, volume_id, status, day * DAY)


def image(identifier: str = "i", day: float = 90, **changes: Any) -> FleetImage:
    """An image with data that Nova made of the server ``s``."""
    fields: dict[str, Any] = {
        "id": identifier,
        "name": "copy",
        "owner": PROJECT,
        "status": "active",
        "size": 1024,
        "created": day * DAY,
        "server_id": "s",
        "disks": (),
        "traits": PLAIN,
    }
    return FleetImage(**{**fields, **changes})


def empty_image(*snapshots: str, identifier: str = "i", **changes: Any) -> FleetImage:
    """An image of 0 bytes that points at snapshots."""
    disks = tuple(MappedDisk("snapshot", name) for name in snapshots)
    return image(identifier, **{"size": 0, "server_id": None, "disks": disks, **changes})


def fleet(*values: Any, **changes: Any) -> Fleet:
    """A fleet of these values, with the boot image and the flavor that they need."""
    found = Fleet(block_storage=True, whole=True, login_project=PROJECT, flavors=frozenset({"tiny"}))
    found.images["boot"] = image("boot", server_id=None)
    for value in values:
        match value:
            case FleetServer():
                found.servers.append(value)
            case FleetVolume():
                found.volumes[value.id] = value
            case FleetSnapshot():
                found.snapshots[value.id] = value
            case FleetImage():
                found.images[value.id] = value
            case _:
                found.volume_backups.append(value)
    for name, change in changes.items():
        setattr(found, name, change)
    return found


def findings(
    found: Fleet,
    bundles: tuple[Any, ...] = (),
    max_age: float | None = None,
    max_proof_age: float | None = None,
) -> dict[str, Any]:
    """The findings on all servers and strays, by code."""
    backups = Backups(found, bundles)
    verdicts = judge(found, backups, now=NOW, max_age=max_age, max_proof_age=max_proof_age)
    return {finding.reason.code: finding for verdict in verdicts for finding in verdict.findings}


def severities(found: Fleet, bundles: tuple[Any, ...] = (), max_age: float | None = None) -> dict[str, str]:
    """The names of the severities of all findings, by code; those that only inform are left out."""
    said = findings(found, bundles, max_age)
    return {code: finding.severity.name for code, finding in said.items() if finding.severity}
