# SPDX-License-Identifier: Apache-2.0
"""What has to be known of a cloud before a server is brought into it.

Contract: read-only. What this account may not read is empty, as if there were none: then the user has to name
it, and the cloud decides.
Source: https://docs.openstack.org/api-ref/compute/ , https://docs.openstack.org/api-ref/network/v2/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.server import MICROVERSION
from osc_imagetools.restore.inventory import Destination, destination


@dataclass(frozen=True)
class Flavor:
    """A flavor; ``ram`` in MiB, ``disk`` in GiB (0: none of its own)."""

    id: str
    name: str
    vcpus: int
    ram: int
    disk: int


@dataclass(frozen=True)
class Network:
    """A network that servers can be plugged into; ``subnets`` are (ID, CIDR)."""

    id: str
    name: str
    subnets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Named:
    """Something that is known by an ID and a name."""

    id: str
    name: str


@dataclass(frozen=True)
class ServerDestination:
    """The cloud and project to make a server in.

    ``left`` is what the compute quota has left: instances, cores, ram (MiB); one without a limit is absent.
    ``taken`` are those of the fixed and MAC addresses asked about that are in use: (network ID, address).
    ``microversion`` is the newest of the Compute API up to the one that an import knows, None for none.
    """

    storage: Destination
    flavors: tuple[Flavor, ...]
    networks: tuple[Network, ...]
    security_groups: tuple[Named, ...]
    key_pairs: tuple[str, ...]
    server_groups: tuple[Named, ...]
    zones: tuple[str, ...]
    left: Mapping[str, int]
    taken: frozenset[tuple[str, str]]
    microversion: str | None = None


def server_destination(cloud: Cloud, *, addresses: Iterable[str] = ()) -> ServerDestination:
    """Reads what the import of a server needs.

    :param addresses: fixed addresses and MAC addresses that shall be kept.
    """
    has_network = cloud.has_service("network")
    return ServerDestination(
        storage=destination(cloud, project=None, volumes=True),
        flavors=tuple(
            Flavor(d["id"], d["name"], int(d["vcpus"]), int(d["ram"]), int(d["disk"]))
            for d in _list(cloud, "compute", "/flavors/detail", "flavors")
        ),
        networks=_networks(cloud) if has_network else (),
        security_groups=tuple(
            Named(d["id"], d["name"])
            for d in (_list(cloud, "network", "/security-groups", "security_groups") if has_network else ())
            if d.get("project_id") in (None, cloud.project_id)
        ),
        key_pairs=tuple(d["keypair"]["name"] for d in _list(cloud, "compute", "/os-keypairs", "keypairs")),
        server_groups=tuple(
            Named(d["id"], d["name"]) for d in _list(cloud, "compute", "/os-server-groups", "server_groups")
        ),
        zones=_zones(cloud),
        left=_left(cloud),
        taken=frozenset(_taken(cloud, addresses)) if has_network else frozenset(),
        microversion=cloud.microversion("compute", MICROVERSION),
    )


def _list(cloud: Cloud, service: str, path: str, key: str) -> list[dict[str, Any]]:
    """The documents of a list; none where this account may not read it."""
    try:
        # One page: the lists of keypairs and server groups have markers of other names.
        if path in ("/os-keypairs", "/os-server-groups", "/os-availability-zone"):
            answer = cloud.get(service, path, what=f"list {path}")
            return list(answer.get(key) or ())
        return list(cloud.list(service, path, key, what=f"list {path}"))
    except (errors.Forbidden, errors.ResourceNotFound):
        return []


def _networks(cloud: Cloud) -> tuple[Network, ...]:
    """The networks that the project can use; those that only lead out are none for servers."""
    subnets: dict[str, list[tuple[str, str]]] = {}
    for document in _list(cloud, "network", "/subnets", "subnets"):
        subnets.setdefault(document["network_id"], []).append((document["id"], document["cidr"]))
    project = cloud.project_id
    return tuple(
        Network(d["id"], d["name"], tuple(sorted(subnets.get(d["id"], ()))))
        for d in _list(cloud, "network", "/networks", "networks")
        if d.get("shared") or d.get("project_id", d.get("tenant_id")) == project
    )


def _zones(cloud: Cloud) -> tuple[str, ...]:
    zones = _list(cloud, "compute", "/os-availability-zone", "availabilityZoneInfo")
    return tuple(sorted(z["zoneName"] for z in zones if z["zoneState"]["available"]))


def _left(cloud: Cloud) -> dict[str, int]:
    limits = cloud.get("compute", "/limits", what="compute limits")["limits"]["absolute"]
    left: dict[str, int] = {}
    for name, total, used in (
        ("instances", "maxTotalInstances", "totalInstancesUsed"),
        ("cores", "maxTotalCores", "totalCoresUsed"),
        ("ram", "maxTotalRAMSize", "totalRAMUsed"),
    ):
        if int(limits.get(total, -1)) >= 0:
            left[name] = int(limits[total]) - int(limits.get(used, 0))
    return left


def _taken(cloud: Cloud, addresses: Iterable[str]) -> Iterable[tuple[str, str]]:
    wanted = set(addresses)
    if not wanted:
        return
    for port in _list(cloud, "network", "/ports", "ports"):
        ours = {port["mac_address"], *(ip["ip_address"] for ip in port["fixed_ips"])}
        yield from ((port["network_id"], address) for address in ours & wanted)
