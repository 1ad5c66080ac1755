# SPDX-License-Identifier: Apache-2.0
"""Everything of a server that has to be known to take it out of a cloud, and to make it again elsewhere.

Contract: reads the cloud, changes nothing, judges nothing. What this account may not read is named in
``unreadable``, never guessed.
Source: https://docs.openstack.org/api-ref/compute/ (microversions: 2.61 extra specs of flavors, 2.64 policy
of server groups, 2.70 tags of devices, 2.79 delete_on_termination of attachments),
https://docs.openstack.org/api-ref/network/v2/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota, volume_quota
from osc_imagetools.cloud.server import ASKED_ZONE, Server, find_server
from osc_imagetools.cloud.volume import Volume, get_volume

# Facts in a server's document, their keys, and the microversion from which every account is told them.
TOLD_SINCE = (
    ("host name", "OS-EXT-SRV-ATTR:hostname", "2.90"),
    ("server group", "server_groups", "2.71"),
    ("scheduler hints", "scheduler_hints", "2.100"),
    (ASKED_ZONE, "pinned_availability_zone", "2.96"),
)
DEVICE_TAGS = "2.70"
UNTOLD = "a cloud tells it from compute microversion {} on"
PORT_FACTS = (
    "name",
    "network_id",
    "mac_address",
    "admin_state_up",
    "binding:vnic_type",
    "port_security_enabled",
    "allowed_address_pairs",
)


@dataclass(frozen=True)
class ServerVolume:
    """A volume of a server; ``volume`` None where it is gone or Cinder is not there to tell."""

    id: str
    device: str | None
    tag: str | None
    delete_on_termination: bool | None
    volume: Volume | None


@dataclass(frozen=True)
class ServerInventory:
    """A server and all that it needs; ``volumes`` in the order of their devices.

    ``ports`` and ``security_groups`` are as an import uses them: with names beside the IDs. ``unreadable``
    are names of facts that this account may not read, with the reason.
    """

    origin: Origin
    server: Server
    image: Image | None
    block_storage: bool
    volumes: tuple[ServerVolume, ...]
    flavor: Mapping[str, Any]
    ports: tuple[Mapping[str, Any], ...]
    security_groups: tuple[Mapping[str, Any], ...]
    key_pair: Mapping[str, Any] | None
    server_group: Mapping[str, Any] | None
    quota: Quota | None
    unreadable: Mapping[str, str]
    documents: Mapping[str, Any]

    @property
    def boots_from_volume(self) -> bool:
        """Whether its root disk is a volume, whatever image it was made with.

        Nova shows the image that a server was asked for (nova/api/openstack/compute/views/servers.py,
        _get_image): also one of 0 bytes, of which only the mapping counts, and one beside a mapping of the
        root disk to a volume.
        """
        device = self.server.root_device
        if self.server.image_id is None or any(device and v.device == device for v in self.volumes):
            return True
        return self.image is not None and self.image.size == 0 and bool(self.image.mapping)


class _Optional:
    """A context in which it is no failure that something is refused or not there: that is noted."""

    def __init__(self, fact: str, unreadable: dict[str, str]) -> None:
        self._fact = fact
        self._unreadable = unreadable

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: object) -> bool:
        if not isinstance(value, errors.Forbidden | errors.ResourceNotFound):
            return False
        self._unreadable[self._fact] = value.message
        return True


@dataclass
class _ServerReader:
    """Reads what may be refused: a fact that is not readable is noted and not fatal."""

    cloud: Cloud
    unreadable: dict[str, str] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)

    def optional(self, fact: str) -> _Optional:
        return _Optional(fact, self.unreadable)

    def compute(self, path: str, key: str, version: str, fact: str) -> Any:
        """A document of the Compute API, kept as it came; None where it is not readable."""
        with self.optional(fact):
            microversion = self.cloud.microversion("compute", version)
            answer = self.cloud.get("compute", path, what=fact, microversion=microversion)[key]
            self.documents[fact.replace(" ", "-")] = answer
            return answer
        return None

    def network(self, path: str, key: str, fact: str, **params: str) -> list[dict[str, Any]]:
        """A list of the Networking API; empty where it is not readable."""
        with self.optional(fact):
            return list(self.cloud.list("network", path, key, what=fact, params=params))
        return []


def server_inventory(cloud: Cloud, name_or_id: str) -> ServerInventory:
    """Reads a server and all that belongs to it.

    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_one`.
    """
    server = find_server(cloud, name_or_id)
    read = _ServerReader(cloud)
    read.documents["server"] = dict(server.document)
    block_storage = cloud.has_block_storage
    volumes = _volumes(read, server, block_storage)
    ports, groups = _networking(read, server)
    image: Image | None = None
    if server.image_id:
        with read.optional("image"):
            image = get_image(cloud, server.image_id)
            read.documents["image"] = dict(image.document)
    key_name = server.document.get("key_name")
    key_pair = None
    if key_name:
        path = f"/os-keypairs/{quote(key_name, safe='')}"
        key_pair = read.compute(path, "keypair", "2.2", "key pair")
    if "OS-EXT-SRV-ATTR:user_data" not in server.document:
        read.unreadable["user data"] = "only administrators may read it"
    _note_untold(read, server, has_devices=bool(volumes or ports))
    return ServerInventory(
        origin=cloud.origin,
        server=server,
        image=image,
        block_storage=block_storage,
        volumes=volumes,
        flavor=_flavor(read, server),
        ports=ports,
        security_groups=groups,
        key_pair=key_pair,
        server_group=_server_group(read, server),
        quota=volume_quota(cloud) if volumes and block_storage else None,
        unreadable=read.unreadable,
        documents=read.documents,
    )


def _note_untold(read: _ServerReader, server: Server, *, has_devices: bool) -> None:
    """What an older cloud does not tell of any server is not the same as what this one does not have."""
    for fact, key, since in TOLD_SINCE:
        if key not in server.document:
            read.unreadable[fact] = UNTOLD.format(since)
    if has_devices and read.cloud.microversion("compute", DEVICE_TAGS) != DEVICE_TAGS:
        read.unreadable["device tags"] = UNTOLD.format(DEVICE_TAGS)


def _volumes(read: _ServerReader, server: Server, block_storage: bool) -> tuple[ServerVolume, ...]:
    if not server.volumes:
        return ()
    path = f"/servers/{server.id}/os-volume_attachments"
    attachments = read.compute(path, "volumeAttachments", "2.89", "volume attachments") or []
    told = {attachment["volumeId"]: attachment for attachment in attachments}
    found = []
    for attached in server.volumes:
        facts = told.get(attached.id, {})
        volume = get_volume(read.cloud, attached.id) if block_storage else None
        if volume is not None:
            read.documents[f"volume-{volume.id}"] = dict(volume.document)
        found.append(
            ServerVolume(
                id=attached.id,
                device=facts.get("device"),
                tag=facts.get("tag"),
                delete_on_termination=facts.get("delete_on_termination", attached.delete_on_termination),
                volume=volume,
            )
        )
    return tuple(sorted(found, key=lambda v: (len(v.device or ""), v.device or "~")))


def _networking(
    read: _ServerReader, server: Server
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    """(ports, security groups) of a server; none where the cloud has no Networking service."""
    if not read.cloud.has_service("network"):
        read.unreadable["ports"] = "the catalog has no network service"
        return (), ()
    ports = read.network("/ports", "ports", "ports", device_id=server.id)
    if not ports:
        return (), ()
    read.documents["ports"] = ports
    networks = {n["id"]: n for n in read.network("/networks", "networks", "networks")}
    subnets = {s["id"]: s for s in read.network("/subnets", "subnets", "subnets")}
    groups = {g["id"]: g for g in read.network("/security-groups", "security_groups", "security groups")}
    floating: dict[str, list[str]] = {}
    for address in read.network("/floatingips", "floatingips", "floating addresses"):
        floating.setdefault(str(address.get("port_id")), []).append(address["floating_ip_address"])
    interfaces = read.compute(
        f"/servers/{server.id}/os-interface", "interfaceAttachments", "2.70", "interfaces"
    )
    tags = {interface["port_id"]: interface.get("tag") for interface in interfaces or ()}
    used = sorted({group for port in ports for group in port.get("security_groups") or ()})
    return (
        tuple(
            {
                **{key: port.get(key) for key in PORT_FACTS},
                "network": networks.get(port["network_id"], {}).get("name"),
                "fixed_ips": [
                    {**ip, "cidr": subnets.get(ip["subnet_id"], {}).get("cidr")} for ip in port["fixed_ips"]
                ],
                "floating_ips": sorted(floating.get(port["id"], ())),
                "security_groups": [
                    groups.get(g, {}).get("name", g) for g in port.get("security_groups") or ()
                ],
                "tag": tags.get(port["id"]),
            }
            for port in sorted(ports, key=lambda p: (str(p.get("created_at")), p["id"]))
        ),
        tuple(_security_group(groups[group], groups) for group in used if group in groups),
    )


def _security_group(group: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A security group with its rules, a remote group by its name."""
    keys = ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix")
    rules = [
        {
            **{key: rule.get(key) for key in (*keys, "description")},
            "remote_group": groups.get(str(rule.get("remote_group_id")), {}).get("name")
            or rule.get("remote_group_id"),
        }
        for rule in group.get("security_group_rules") or ()
    ]
    return {
        "name": group["name"],
        "description": group.get("description"),
        "stateful": group.get("stateful"),
        "rules": sorted(rules, key=str),
    }


def _flavor(read: _ServerReader, server: Server) -> dict[str, Any]:
    """The flavor, all fields: as Nova keeps it for the server, with what only the flavor itself tells.

    The flavor may be gone, or have been made anew with other sizes, since: those of the server count.
    """
    flavor = dict(server.flavor)
    name = flavor.pop("original_name", None)
    with read.optional("flavor"):
        version = read.cloud.microversion("compute", "2.61")
        for document in read.cloud.list(
            "compute", "/flavors/detail", "flavors", what="flavors", microversion=version
        ):
            if document["name"] == name or document["id"] == flavor.get("id"):
                read.documents["flavor"] = document
                name = document["name"]
                embedded = {
                    "vcpus": document["vcpus"],
                    "ram": document["ram"],
                    "disk": document["disk"],
                    "ephemeral": document.get("OS-FLV-EXT-DATA:ephemeral", 0),
                    "swap": document.get("swap") or 0,
                    "extra_specs": document.get("extra_specs") or {},
                }
                more = {key: document.get(key) for key in ("id", "description", "rxtx_factor")}
                more["is_public"] = document.get("os-flavor-access:is_public")
                flavor = {**embedded, **flavor, **more}
    flavor.pop("links", None)
    return {"name": name, **flavor}


def _server_group(read: _ServerReader, server: Server) -> dict[str, Any] | None:
    for identifier in server.document.get("server_groups") or ():
        group = read.compute(f"/os-server-groups/{identifier}", "server_group", "2.64", "server group")
        if group is not None:
            return {key: group.get(key) for key in ("id", "name", "policy", "rules")}
    return None
