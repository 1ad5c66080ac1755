# SPDX-License-Identifier: Apache-2.0
"""What is restored for a check: the server of a manifest, without anything that could do harm.

Contract: pure; manifests in, manifests out. The copy has the disks, the flavor and the image properties of
the original, which decide how it boots, and nothing by which others would take it for the original: no
ports, addresses, key, server group, tags, metadata, host name or user data. What holds no server but
something that boots (an image, a bootable volume) becomes a server with one root disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from osc_imagetools import errors

PREFIX = "restore-check"
# Of the facts of a server, those that a copy boots by.
KEPT = ("flavor", "boot_from", "config_drive", "image_properties", "availability_zone", "user_data")


def isolated_server(
    manifest: Mapping[str, Any], *, networks: Sequence[str] = (), user_data: bool = False
) -> dict[str, Any]:
    """The manifest of a server that can be restored beside the original.

    :param manifest: of a bundle of any kind, validated.
    :param networks: names or IDs, one port each.
    :param user_data: whether the copy gets that of the original.
    :raises errors.UsageError: the bundle holds nothing that boots.
    """
    server = _as_server(manifest)
    facts = {key: value for key, value in server["replayable"].items() if key in KEPT}
    if not user_data:
        facts.pop("user_data", None)
    zone = server["replayable"].get("pinned_availability_zone")
    return {
        **server,
        "replayable": {
            **facts,
            "name": copy_name(manifest),
            "pinned_availability_zone": zone,
            "ports": [_port(network) for network in networks],
            "unreadable": {},
        },
        "disks": [_nameless(disk) for disk in server["disks"]],
        "not_captured": [],
    }


def copy_name(manifest: Mapping[str, Any]) -> str:
    """The name of the copy: never that of the original."""
    resource = manifest["resource"]
    return f"{PREFIX}-{resource['name'] or resource['id']}"[:255]


def _port(network: str) -> dict[str, Any]:
    return {"network": network, "network_id": network, "security_groups": []}


def _nameless(disk: Mapping[str, Any]) -> dict[str, Any]:
    """A disk whose volume bears neither the name nor the metadata of the original."""
    replayable = dict(disk["replayable"])
    if volume := replayable.get("volume"):
        name = f"{PREFIX}-{disk['name']}"[:255]
        replayable["volume"] = {**volume, "name": name, "description": None, "metadata": {}}
    return {**disk, "replayable": replayable}


def _as_server(manifest: Mapping[str, Any]) -> dict[str, Any]:
    kind, disks = manifest["kind"], manifest["disks"]
    if kind == "server":
        return dict(manifest)
    if kind == "image":
        properties = manifest["replayable"].get("properties") or {}
        if any(disk["role"] == "image" for disk in disks):
            return _made(manifest, [_root(disks[0])], boot_from="image", image_properties=properties)
        return _made(manifest, disks, boot_from="volume", image_properties=properties)
    if disks[0]["role"] != "boot":
        raise errors.UsageError(
            f"the {kind} in the bundle is not bootable, so there is nothing to boot",
            hint="If it does boot, mark it: openstack volume set --bootable <volume>, and export it again.",
        )
    return _made(manifest, [_root(disks[0])], boot_from="volume")


def _root(disk: Mapping[str, Any]) -> dict[str, Any]:
    return {**disk, "role": "boot", "boot_index": 0, "device": disk["device"] or "/dev/vda"}


def _made(manifest: Mapping[str, Any], disks: Sequence[Mapping[str, Any]], **facts: Any) -> dict[str, Any]:
    return {**manifest, "kind": "server", "disks": list(disks), "replayable": facts}
