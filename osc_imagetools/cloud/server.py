# SPDX-License-Identifier: Apache-2.0
"""Servers as the Compute API tells them, as frozen values.

Contract: read-only. The document is kept as received less secrets (a password that Nova gave).
Source: https://docs.openstack.org/api-ref/compute/ and its microversion history: 2.47 embedded flavor, 2.71
server groups, 2.90 hostname, 2.98 image properties, 2.100 scheduler hints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.answers import sensible
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.find import find_one, listed
from osc_imagetools.cloud.names import label_of

MICROVERSION = "2.100"
ASKED_ZONE = "availability zone that was asked for"  # told from 2.96 on
SECRET = frozenset({"adminPass"})
STOPPED_STATES = frozenset({"SHUTOFF"})


@dataclass(frozen=True)
class AttachedVolume:
    """A volume that a server has, in the order in which Nova lists them."""

    id: str
    delete_on_termination: bool | None


@dataclass(frozen=True)
class Server:
    """A server; ``image_id`` is None for one that boots from a volume.

    ``task_state`` is what Nova is doing with it, None for nothing; ``properties`` are those of its image,
    as Nova keeps them for the server (empty before microversion 2.98); ``flavor`` has vcpus, ram (MiB), disk
    and ephemeral (GiB), swap (MiB), original_name and extra_specs.
    """

    id: str
    name: str
    status: str
    task_state: str | None
    locked: bool
    project_id: str | None
    image_id: str | None
    properties: Mapping[str, Any]
    flavor: Mapping[str, Any]
    volumes: tuple[AttachedVolume, ...]
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    document: Mapping[str, Any]

    @property
    def label(self) -> str:
        return label_of("server", self.name, self.id)

    @property
    def is_stopped(self) -> bool:
        """Whether no guest runs in it, so that its disks are at rest."""
        return self.status in STOPPED_STATES

    @property
    def root_device(self) -> str | None:
        """``/dev/vda``; None where this account may not know (administrators only)."""
        return self.document.get("OS-EXT-SRV-ATTR:root_device_name")


def read_server(document: Mapping[str, Any]) -> Server:
    """A value from a document of ``GET /servers/{id}``."""
    kept = {key: value for key, value in document.items() if key not in SECRET}
    image = kept.get("image") or {}
    return Server(
        id=kept["id"],
        name=kept.get("name") or "",
        status=str(kept.get("status") or "UNKNOWN"),
        task_state=kept.get("OS-EXT-STS:task_state"),
        locked=bool(kept.get("locked")),
        project_id=kept.get("tenant_id"),
        image_id=image.get("id") if image else None,
        properties=(image.get("properties") if image else kept.get("image_properties")) or {},
        flavor=kept.get("flavor") or {},
        volumes=tuple(
            AttachedVolume(v["id"], v.get("delete_on_termination"))
            for v in kept.get("os-extended-volumes:volumes_attached") or ()
        ),
        metadata=kept.get("metadata") or {},
        tags=tuple(kept.get("tags") or ()),
        document=kept,
    )


def get_server(cloud: Cloud, server_id: str) -> Server | None:
    """The server, or None where it is gone or not visible to this login."""
    what = f"server {server_id}"
    try:
        document = cloud.get(
            "compute",
            f"/servers/{quote(server_id, safe='')}",
            what=what,
            key="server",
            microversion=cloud.microversion("compute", MICROVERSION),
        )
    except errors.ResourceNotFound:
        return None
    with sensible(what):
        return read_server(document)


def find_server(cloud: Cloud, name_or_id: str) -> Server:
    """The one server with this name or ID.

    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_one`.
    """
    return find_one(
        "server",
        name_or_id,
        get=lambda identifier: get_server(cloud, identifier),
        # Nova takes the name for a regular expression.
        search=lambda name: listed(
            cloud, "compute", "/servers/detail", "servers", {"name": f"^{re.escape(name)}$"}
        ),
        facts=lambda d: f"{d.get('status')}, created {d.get('created')}",
    )


def named_servers(cloud: Cloud, names_or_ids: Iterable[str]) -> tuple[Server, ...]:
    """Each of these servers once, in their order.

    :raises errors.ImagetoolsError: those that are not found, all at once.
    """
    found: dict[str, Server] = {}
    problems: list[errors.ImagetoolsError] = []
    for name_or_id in dict.fromkeys(names_or_ids):
        try:
            server = find_server(cloud, name_or_id)
        except (errors.ResourceNotFound, errors.ResourceAmbiguous) as exc:
            problems.append(exc)
        else:
            found.setdefault(server.id, server)
    errors.raise_problems("some servers were not found", problems)
    return tuple(found.values())
