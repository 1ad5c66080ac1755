# SPDX-License-Identifier: Apache-2.0
"""The servers that a run may back up, with what its policies and limits ask about.

Contract: reads only: one list of servers and one of volumes, page after page, whatever their number; a
request for each server that is named.
Source: https://docs.openstack.org/api-ref/compute/ (2.26 tags; ``OS-EXT-SRV-ATTR:host`` is told to
administrators, ``hostId`` to everybody: it differs between projects, so it tells the servers of one project
apart), https://docs.openstack.org/api-ref/block-storage/v3/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.backup_check.inventory import Scope
from osc_imagetools.cloud.connection import Cloud

MICROVERSION = "2.47"


@dataclass(frozen=True)
class RunServer:
    """A server; ``host`` is empty where it has none, ``volume_types`` those of its volumes."""

    id: str
    name: str
    project_id: str
    host: str
    tags: frozenset[str]
    properties: Mapping[str, str]
    volumes: tuple[str, ...]
    volume_types: frozenset[str] = frozenset()


def run_servers(cloud: Cloud, scope: Scope, documents: Sequence[Mapping[str, Any]] = ()) -> list[RunServer]:
    """The chosen servers.

    :param documents: of servers that were named; else *scope* chooses.
    :raises errors.ImagetoolsError: they cannot be listed.
    """
    found = documents or cloud.list(
        "compute",
        "/servers/detail",
        "servers",
        what="list of servers",
        params=scope.server_query(),
        microversion=cloud.microversion("compute", MICROVERSION),
    )
    types = _volume_types(cloud, scope)
    return [_server(document, types) for document in found if document.get("status")]


def _volume_types(cloud: Cloud, scope: Scope) -> dict[str, str]:
    """The types of volumes by their IDs; nothing where they cannot be listed."""
    if not cloud.has_block_storage:
        return {}
    try:
        listed = cloud.list(
            "block-storage", "/volumes/detail", "volumes", what="list of volumes", params=scope.query()
        )
        return {str(d["id"]): str(d.get("volume_type") or "") for d in listed}
    except errors.Forbidden:
        return {}


def _server(document: Mapping[str, Any], types: Mapping[str, str]) -> RunServer:
    volumes = tuple(str(v["id"]) for v in document.get("os-extended-volumes:volumes_attached") or ())
    host = document.get("OS-EXT-SRV-ATTR:host") or document.get("hostId") or ""
    return RunServer(
        id=str(document["id"]),
        name=str(document.get("name") or ""),
        project_id=str(document.get("tenant_id") or ""),
        host=str(host),
        tags=frozenset(document.get("tags") or ()),
        properties=document.get("metadata") or {},
        volumes=volumes,
        volume_types=frozenset(t for volume in volumes if (t := types.get(volume))),
    )
