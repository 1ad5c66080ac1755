# SPDX-License-Identifier: Apache-2.0
"""The effects that make a server of volumes and images: its ports, itself; then settled, compared.

Contract: a server is ours as long as its description says so: that can be set in any state, unlike metadata
and tags. Its removal, and that of each port, is registered before it is made.
Source: https://docs.openstack.org/api-ref/compute/#create-server (microversions: 2.19 description, 2.37
networks none, 2.42 tags of devices, 2.52 tags, 2.90 hostname, 2.94 also a qualified one), https://docs.openstack.org/api-ref/network/v2/
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.server import get_server
from osc_imagetools.operations.drafts import ServerDraft
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects.creation import create
from osc_imagetools.run.effects.removal import REMOVALS
from osc_imagetools.run.effects.server_requests import server_request

MICROVERSION = "2.94"
SINCE = {"description": (2, 19), "tags": (2, 52), "hostname": (2, 90)}


def create_ports(
    context: RunContext, draft: ServerDraft, made: list[CreatedResource], kept: list[CreatedResource]
) -> None:
    """Makes the ports of a server; each is in both lists from the moment in which it is there."""
    for number, port in enumerate(draft.ports):
        entry = context.register("port", context.run.name(f"port-{number}"), REMOVALS["port"])
        body = {"port": {**port.body, "name": entry.name, "description": context.run.process}}
        post = functools.partial(
            context.cloud.post, "network", "/ports", what=port.title, key="port", json=body
        )
        create(context, entry, functools.partial(_id_of, post))
        made.append(entry)
        kept.append(entry)


def _id_of(post: Callable[[], Any]) -> str:
    return str(post()["id"])


def create_server(
    context: RunContext, draft: ServerDraft, sources: Mapping[str, Sequence[str]], ports: Sequence[str]
) -> CreatedResource:
    """Makes the server; it is accepted then, not yet running.

    :param sources: the IDs of the volumes and of the images, each in the order of the plan.
    """
    devices = [{**entry, "uuid": sources[kind][place]} for entry, kind, place in draft.devices]
    # Nova takes an image for the local root disk only where the request names it besides (imageRef).
    roots = [sources[kind][place] for _, kind, place in draft.devices if kind == "image"]
    networks: Any = draft.body.get("networks")
    if ports:
        networks = [_network(port, planned.tag) for port, planned in zip(ports, draft.ports, strict=True)]
    entry = context.register("server", draft.name, REMOVALS["server"])
    server = {
        **draft.body,
        "name": draft.name,
        "description": f"{context.run.name('server')} {context.run.process}",
        **({"imageRef": roots[0]} if roots else {}),
        "block_device_mapping_v2": devices,
        "networks": networks,
    }
    version = context.cloud.microversion("compute", MICROVERSION)
    body: dict[str, Any] = {"server": _known_at(version, server)}
    if draft.hints:
        body["os:scheduler_hints"] = dict(draft.hints)

    def send() -> str:
        what = f"server {draft.name}"
        answer = context.cloud.post(
            "compute", "/servers", what=what, key="server", json=body, microversion=version
        )
        return str(answer["id"])

    create(context, entry, send)
    return entry


def _known_at(version: str | None, server: Mapping[str, Any]) -> dict[str, Any]:
    """The request without what an older cloud does not know; the comparison tells what that costs."""
    major, minor = map(int, (version or "2.1").split("."))
    return {key: value for key, value in server.items() if (major, minor) >= SINCE.get(key, (2, 1))}


def _network(port_id: str, tag: str | None) -> dict[str, str]:
    return {"port": port_id, "tag": tag} if tag else {"port": port_id}


def settle_server(context: RunContext, server_id: str, draft: ServerDraft, ports: Sequence[str]) -> None:
    """Makes a server and its ports the user's; its description comes last."""
    for port_id, planned in zip(ports, draft.ports, strict=True):
        body = {"port": {"name": planned.body.get("name") or "", "description": ""}}
        context.cloud.request("network", "PUT", f"/ports/{port_id}", what=planned.title, json=body)
    version = context.cloud.microversion("compute", MICROVERSION)
    change = {"server": {"description": draft.description}}
    server_request(context, "PUT", f"/servers/{server_id}", server_id, change, version)


def server_differences(
    context: RunContext, server_id: str, draft: ServerDraft, volumes: Mapping[str, str], *, running: bool
) -> list[str]:
    """How a server that was read back differs from what it should be; empty when it does not.

    :param volumes: the IDs of its volumes by the name of the disk.
    :param running: whether its devices have names by now.
    """
    server = get_server(context.cloud, server_id)
    if server is None:
        return [f"server {draft.name}: it is gone"]
    found: list[str] = []

    def compare(what: str, wanted: Any, got: Any) -> None:
        if wanted != got:
            found.append(f"server {draft.name}: {what} is {got!r}, not {wanted!r}")

    compare("name", draft.name, server.name)
    compare("description", draft.description, server.document.get("description"))
    compare("metadata", dict(draft.body.get("metadata") or {}), dict(server.metadata))
    compare("tags", sorted(draft.body.get("tags") or ()), sorted(server.tags))
    if draft.body.get("hostname"):
        told = server.document.get("OS-EXT-SRV-ATTR:hostname")
        compare("hostname", draft.body["hostname"], told)
    compare("key_name", draft.body.get("key_name"), server.document.get("key_name"))
    if running:
        devices = _devices(context, server_id)
        for disk, device in draft.expected.items():
            compare(f"device of {disk}", device, devices.get(volumes[disk]))
    return found


def _devices(context: RunContext, server_id: str) -> dict[str, str | None]:
    path = f"/servers/{server_id}/os-volume_attachments"
    try:
        answer = context.cloud.get("compute", path, what="volume attachments")
    except errors.ImagetoolsError:
        return {}
    return {entry["volumeId"]: entry.get("device") for entry in answer["volumeAttachments"]}
