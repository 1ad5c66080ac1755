# SPDX-License-Identifier: Apache-2.0
"""New servers: their ports, then the server itself, of volumes and images; handed over and compared.

Contract: a server is ours as long as its description says so: that can be set in any state, unlike metadata
and tags. Its removal, and that of each port, is registered before it is made.
Source: https://docs.openstack.org/api-ref/compute/#create-server (microversions: 2.19 description, 2.37
networks none, 2.42 tags of devices, 2.52 tags, 2.90 hostname, 2.94 also a qualified one), https://docs.openstack.org/api-ref/network/v2/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.server import get_server
from osc_imagetools.operations.drafts import NotReplayed, ServerDraft
from osc_imagetools.operations.vocabulary import CreatePort, CreateServer
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects.creation import create
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.effects.removal import REMOVALS
from osc_imagetools.run.effects.server_requests import server_request
from osc_imagetools.run.effects.servers import await_server

MICROVERSION = "2.94"
SINCE = {"description": (2, 19), "tags": (2, 52), "hostname": (2, 90)}


def create_port(context: RunContext, operation: CreatePort) -> Outcome:
    """The port of an operation; it has our name until it is handed over."""
    draft = operation.draft
    made = context.register("port", context.run.name(operation.makes.role), REMOVALS["port"], keep=True)
    body = {"port": {**draft.body, "name": made.name, "description": context.run.process}}

    def send() -> str:
        return str(context.cloud.post("network", "/ports", what=draft.title, key="port", json=body)["id"])

    create(context, made, send)

    def hand_over() -> list[NotReplayed]:
        change = {"port": {"name": draft.body.get("name") or "", "description": ""}}
        context.cloud.request("network", "PUT", f"/ports/{made.id}", what=draft.title, json=change)
        return []

    return Outcome(made, hand_over=hand_over)


def create_server(context: RunContext, operation: CreateServer, results: Results) -> Outcome:
    """The server of an operation; ACTIVE, or only accepted where nobody waits for it."""
    draft = operation.draft
    made = _create(context, operation, results)
    server_id = str(made.id)
    server = (
        await_server(context, server_id, "ACTIVE") if operation.wait else get_server(context.cloud, server_id)
    )
    if server is None:
        raise errors.CloudError(f"server {server_id} disappeared immediately after it was created")

    def hand_over() -> list[NotReplayed]:
        version = context.cloud.microversion("compute", MICROVERSION)
        change = {"server": {"description": draft.description}}
        server_request(context, "PUT", f"/servers/{server_id}", server_id, change, version)
        return []

    volumes = {d.disk: results.id(d.source) for d in operation.disks if d.source.kind == "volume"}
    return Outcome(
        made,
        server,
        draft.name,
        hand_over,
        differences=lambda: _differences(context, server_id, draft, volumes, running=operation.wait),
    )


def _create(context: RunContext, operation: CreateServer, results: Results) -> CreatedResource:
    draft = operation.draft
    devices = [{**disk.entry, "uuid": results.id(disk.source)} for disk in operation.disks]
    # Nova takes an image for the local root disk only where the request names it besides (imageRef).
    roots = [results.id(disk.source) for disk in operation.disks if disk.source.kind == "image"]
    networks: Any = draft.body.get("networks")
    if operation.ports:
        networks = [_network(results.id(plug.port), plug.tag) for plug in operation.ports]
    made = context.register("server", draft.name, REMOVALS["server"], keep=True)
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
        answer = context.cloud.post(
            "compute",
            "/servers",
            what=f"server {draft.name}",
            key="server",
            json=body,
            microversion=version,
        )
        return str(answer["id"])

    create(context, made, send)
    return made


def _known_at(version: str | None, server: Mapping[str, Any]) -> dict[str, Any]:
    """The request without what an older cloud does not know; the comparison tells what that costs."""
    major, minor = map(int, (version or "2.1").split("."))
    return {key: value for key, value in server.items() if (major, minor) >= SINCE.get(key, (2, 1))}


def _network(port_id: str, tag: str | None) -> dict[str, str]:
    return {"port": port_id, "tag": tag} if tag else {"port": port_id}


def _differences(
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
