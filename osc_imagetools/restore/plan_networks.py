# SPDX-License-Identifier: Apache-2.0
"""Plans the networking of a server: networks, addresses and security groups.

Contract: pure. By default Nova creates the ports and the networks assign new addresses; with
``--keep-addresses`` the ports are created with the original IP addresses, MAC addresses and settings.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.operations.drafts import PortDraft
from osc_imagetools.restore.inventory_server import Named, Network, ServerDestination
from osc_imagetools.restore.plan_server_options import ImportNotes, ServerImportOptions

NO_NETWORK = "none"  # --network <old>=none


@dataclass(frozen=True)
class Networking:
    """``networks`` is the value for Nova (``none``, or one for each port) if ``ports`` is empty.

    ``security_groups`` are the IDs for ports that Nova creates.
    """

    networks: str | Sequence[Mapping[str, Any]]
    ports: tuple[PortDraft, ...]
    security_groups: tuple[str, ...]


def kept_addresses(facts: Mapping[str, Any]) -> list[str]:
    """The original IP and MAC addresses, which must be free for ``--keep-addresses``."""
    found: list[str] = []
    for port in facts.get("ports") or ():
        found.append(port["mac_address"])
        found += [ip["ip_address"] for ip in port.get("fixed_ips") or ()]
    return found


def plan_networks(
    facts: Mapping[str, Any], to: ServerDestination, options: ServerImportOptions, found: ImportNotes
) -> Networking:
    """Find the networks and security groups of the original in this cloud."""
    ports: Sequence[Mapping[str, Any]] = facts.get("ports") or ()
    _check_mapping(ports, options, found)
    plugged: list[tuple[Mapping[str, Any], Network]] = []
    for port in ports:
        network = _network(port, to, options, found)
        if network is not None:
            plugged.append((port, network))
        for address in port.get("floating_ips") or ():
            found.lose(
                f"floating IP address {address}",
                "associate it yourself: openstack server add floating ip <server> <address>",
            )
    groups = _security_groups(ports, to, options, found)
    if not options.keep_addresses:
        for port, _ in plugged:
            _lose_settings(port, found)
            if not options.security_groups and set(port["security_groups"]) != set(groups):
                label = f"port in network {port.get('network') or port['network_id']}"
                found.lose(f"{label}: its own security groups", "use --keep-addresses to restore the port")
        networks = [{"uuid": n.id, **({"tag": p["tag"]} if p.get("tag") else {})} for p, n in plugged]
        used = tuple(dict.fromkeys(groups.values())) if plugged else ()
        return Networking(networks or NO_NETWORK, (), used)
    drafts = tuple(_port(p, n, to, options, groups, found) for p, n in plugged)
    return Networking(NO_NETWORK, drafts, ())


def _check_mapping(
    ports: Sequence[Mapping[str, Any]], options: ServerImportOptions, found: ImportNotes
) -> None:
    known = {name for port in ports for name in (port.get("network"), port["network_id"]) if name}
    for old in options.networks:
        if old not in known:
            names = ", ".join(sorted({str(port.get("network") or port["network_id"]) for port in ports}))
            found.problems.append(
                errors.UsageError(
                    f"--network {old}: the server was not in this network; its networks: {names or 'none'}"
                )
            )


def _network(
    port: Mapping[str, Any], to: ServerDestination, options: ServerImportOptions, found: ImportNotes
) -> Network | None:
    """The new network of an original port; None to omit the port."""
    name, identifier = port.get("network"), port["network_id"]
    wanted = options.networks.get(str(name), options.networks.get(identifier))
    if wanted == NO_NETWORK:
        found.lose(f"port in network {name or identifier}", "omitted by --network")
        return None
    if wanted is not None:
        matches = _matching(to, wanted)
    else:
        # The same network, or the only one with its name.
        matches = [n for n in to.networks if n.id == identifier] or [n for n in to.networks if n.name == name]
    if len(matches) == 1:
        if wanted is not None or matches[0].id != identifier:
            found.mapped.append(f"network {name or identifier} -> {matches[0].name} ({matches[0].id})")
        return matches[0]
    what = "several networks have" if matches else "no network has"
    candidates = ", ".join(f"{n.name} ({n.id})" for n in _fitting(port, to.networks)) or "none"
    found.problems.append(
        errors.ResourceNotFound(
            f"network {name or identifier}: {what} the name {wanted or name or identifier!r} here; "
            f"candidates: {candidates}",
            hint=f"Use --network {name or identifier}=<network>, or --network {name or identifier}=none.",
        )
    )
    return None


def _matching(to: ServerDestination, wanted: str) -> list[Network]:
    return [n for n in to.networks if n.id == wanted] or [n for n in to.networks if n.name == wanted]


def _fitting(port: Mapping[str, Any], networks: Iterable[Network]) -> list[Network]:
    """The networks; those with a subnet of the same range come first."""
    ranges = {ip.get("cidr") for ip in port.get("fixed_ips") or ()}
    return sorted(networks, key=lambda n: (ranges.isdisjoint(cidr for _, cidr in n.subnets), n.name))


def _security_groups(
    ports: Sequence[Mapping[str, Any]],
    to: ServerDestination,
    options: ServerImportOptions,
    found: ImportNotes,
) -> dict[str, str]:
    """The IDs of the security groups in this cloud, by their original names or those of the option."""
    names = list(options.security_groups) or sorted(
        {group for port in ports for group in port["security_groups"]}
    )
    groups: dict[str, str] = {}
    for name in names:
        matches: list[Named] = [g for g in to.security_groups if name in (g.id, g.name)]
        if len(matches) == 1:
            groups[name] = matches[0].id
            continue
        candidates = ", ".join(sorted(g.name for g in to.security_groups)) or "none"
        what = "several have" if matches else "none has"
        found.problems.append(
            errors.ResourceNotFound(
                f"security group {name!r}: {what} this name here; candidates: {candidates}",
                hint="Use --security-group <group> (repeat it for several) to set the groups of all ports. "
                "The original rules are in the manifest of the bundle.",
            )
        )
    return groups


def _lose_settings(port: Mapping[str, Any], found: ImportNotes) -> None:
    label = f"port in network {port.get('network') or port['network_id']}"
    kept = "use --keep-addresses to restore the port"
    if port.get("allowed_address_pairs"):
        found.lose(f"{label}: allowed address pairs", kept)
    if port.get("binding:vnic_type") not in (None, "normal"):
        found.lose(f"{label}: VNIC type {port['binding:vnic_type']}", kept)
    if port.get("port_security_enabled") is False:
        found.lose(f"{label}: disabled port security", kept)


def _port(
    port: Mapping[str, Any],
    network: Network,
    to: ServerDestination,
    options: ServerImportOptions,
    groups: Mapping[str, str],
    found: ImportNotes,
) -> PortDraft:
    """The port with its original addresses and settings."""
    label = f"port in network {network.name}"
    fixed: list[dict[str, str]] = []
    for ip in port.get("fixed_ips") or ():
        subnet = _subnet_of(ip["ip_address"], network)
        if subnet is None:
            ranges = ", ".join(cidr for _, cidr in network.subnets) or "none"
            found.problems.append(
                errors.UsageError(
                    f"--keep-addresses: {ip['ip_address']} is in no subnet of {network.name} ({ranges})",
                    hint="Leave out --keep-addresses, or map the network: --network <old>=<new>",
                )
            )
        else:
            fixed.append({"subnet_id": subnet, "ip_address": ip["ip_address"]})
    for address in (port["mac_address"], *(ip["ip_address"] for ip in port.get("fixed_ips") or ())):
        if (network.id, address) in to.taken:
            found.problems.append(
                errors.ResourceUnusable(
                    f"--keep-addresses: {address} is in use by another port",
                    hint="Does the original server still exist? Leave out --keep-addresses, or delete that "
                    "port.",
                )
            )
    names = options.security_groups or port["security_groups"]
    body: dict[str, Any] = {
        "network_id": network.id,
        "mac_address": port["mac_address"],
        "fixed_ips": fixed,
        "name": port.get("name") or "",
        "security_groups": [groups[name] for name in names if name in groups],
    }
    if port.get("allowed_address_pairs"):
        body["allowed_address_pairs"] = port["allowed_address_pairs"]
    if port.get("binding:vnic_type") not in (None, "normal"):
        body["binding:vnic_type"] = port["binding:vnic_type"]
    if port.get("port_security_enabled") is False:
        body["port_security_enabled"] = False
        body["security_groups"] = []
    if port.get("admin_state_up") is False:
        body["admin_state_up"] = False
    return PortDraft(label, body, port.get("tag"))


def _subnet_of(address: str, network: Network) -> str | None:
    for identifier, cidr in network.subnets:
        try:
            if ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False):
                return identifier
        except ValueError:
            continue
    return None
