# SPDX-License-Identifier: Apache-2.0
"""Plans what a server is besides disks and ports: its flavor, its key, its zone, its metadata.

Contract: pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.ownership import without_marks
from osc_imagetools.cloud.server import ASKED_ZONE
from osc_imagetools.restore.inventory_server import Flavor, ServerDestination
from osc_imagetools.restore.plan_host_name import host_name, server_name
from osc_imagetools.restore.plan_server_options import ImportNotes, ServerImportOptions

SHOWN = 5  # candidates
# Hints that hold in another place too; the others name servers of the original's cloud.
PORTABLE_HINTS = frozenset({"query", "build_near_host_ip", "cidr"})


def choose_flavor(
    facts: Mapping[str, Any],
    to: ServerDestination,
    wanted: str | None,
    root_size: int | None,
    found: ImportNotes,
) -> Flavor | None:
    """The flavor: the one that the user names, or the one of the original's name that is not smaller.

    :param root_size: GiB that its own disk must have, None where the server boots from a volume.
    """
    original: Mapping[str, Any] = facts.get("flavor") or {}
    name = wanted or str(original.get("name") or "")
    matches = [f for f in to.flavors if f.id == name] or [f for f in to.flavors if f.name == name]
    problem = None
    if not matches:
        problem = f"there is no flavor {name!r} here" if name else "the bundle names no flavor"
    elif root_size is not None and matches[0].disk < root_size:
        size = f"a root disk of {matches[0].disk} GiB" if matches[0].disk else "no root disk of its own"
        problem = f"flavor {name!r} has {size}, and the server's takes {root_size} GiB"
    elif wanted is None and _smaller(matches[0], original):
        flavor = matches[0]
        problem = (
            f"flavor {name!r} is smaller here: {flavor.vcpus} VCPUs and {flavor.ram} MiB, not "
            f"{original.get('vcpus')} and {original.get('ram')}"
        )
    if problem is None:
        if wanted and wanted not in (original.get("name"), original.get("id")):
            found.mapped.append(f"flavor {original.get('name')} -> {matches[0].name}")
        return matches[0]
    fitting = [f for f in to.flavors if not _smaller(f, original) and f.disk >= (root_size or 0)]
    fitting.sort(key=lambda f: (f.vcpus, f.ram, f.disk, f.name))
    listed = ", ".join(f"{f.name} ({f.vcpus} VCPUs, {f.ram} MiB, disk {f.disk} GiB)" for f in fitting[:SHOWN])
    found.problems.append(
        errors.ResourceNotFound(f"{problem}; candidates: {listed or 'none fits'}", hint="--flavor <flavor>")
    )
    return None


def _smaller(flavor: Flavor, original: Mapping[str, Any]) -> bool:
    return flavor.vcpus < int(original.get("vcpus") or 0) or flavor.ram < int(original.get("ram") or 0)


def server_traits(
    facts: Mapping[str, Any], to: ServerDestination, options: ServerImportOptions, found: ImportNotes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the part of the request that has them, the scheduler hints)."""
    body: dict[str, Any] = {
        "metadata": without_marks(facts.get("metadata") or {}),
        "tags": list(facts.get("tags") or ()),
    }
    name = server_name(
        facts, options.name, ImportNotes()
    )  # whoever plans the name itself tells how it is mapped
    renamed = options.name is not None
    if host := host_name(facts, name, renamed, to.microversion, found):
        body["hostname"] = host
    if facts.get("config_drive"):
        body["config_drive"] = True
    for key, value in (
        ("key_name", _key_name(facts, to, options, found)),
        ("availability_zone", _zone(facts, to, options, found)),
        ("user_data", _user_data(facts, options, found)),
    ):
        if value:
            body[key] = value
    return body, _hints(facts, to, found)


def _key_name(
    facts: Mapping[str, Any], to: ServerDestination, options: ServerImportOptions, found: ImportNotes
) -> str | None:
    original = facts.get("key_name")
    if options.key_name is not None:
        if options.key_name not in to.key_pairs:
            listed = ", ".join(to.key_pairs) or "there are none"
            found.problems.append(
                errors.ResourceNotFound(
                    f"there is no key pair {options.key_name!r} here; candidates: {listed}",
                    hint="openstack keypair list",
                )
            )
        elif options.key_name != original:
            found.mapped.append(f"key pair {original} -> {options.key_name}")
        return options.key_name
    if original and original not in to.key_pairs:
        made = f"its public key is in the manifest: openstack keypair create --public-key <file> {original}"
        how = made if facts.get("key_pair") else "give another one: --key-name"
        found.lose(f"key pair {original}", f"this user has none of that name; {how}")
        return None
    return str(original) if original else None


def _zone(
    facts: Mapping[str, Any], to: ServerDestination, options: ServerImportOptions, found: ImportNotes
) -> str | None:
    wanted = options.availability_zone
    if wanted is not None:
        if wanted not in to.zones:
            found.problems.append(
                errors.ResourceNotFound(
                    f"there is no availability zone {wanted!r} here; candidates: {', '.join(to.zones)}",
                    hint="openstack availability zone list --compute",
                )
            )
        return wanted
    if "pinned_availability_zone" not in facts:  # before 2.96 a cloud tells only where it was
        zone = facts.get("availability_zone")
        if zone and ASKED_ZONE not in (facts.get("unreadable") or {}):
            reason = "whether it was asked for is not in the bundle: the scheduler chooses"
            found.lose(f"availability zone {zone}", f"{reason}; --availability-zone asks for it")
        return None
    zone = facts["pinned_availability_zone"]
    if zone and zone not in to.zones:
        found.lose(f"availability zone {zone}", "there is no such zone here: the scheduler chooses")
        return None
    return str(zone) if zone else None


def _user_data(facts: Mapping[str, Any], options: ServerImportOptions, found: ImportNotes) -> str | None:
    if options.user_data is not None:
        return options.user_data
    reason = (facts.get("unreadable") or {}).get("user data")
    if reason:
        found.lose(
            "user data", f"it is not in the bundle ({reason}): give it with --user-data, if it had any"
        )
    data = facts.get("user_data")
    return str(data) if data else None


def _hints(facts: Mapping[str, Any], to: ServerDestination, found: ImportNotes) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    group = facts.get("server_group")
    if group:
        matches = [g for g in to.server_groups if g.id == group["id"]]
        matches = matches or [g for g in to.server_groups if g.name == group["name"]]
        if len(matches) == 1:
            hints["group"] = matches[0].id
        else:
            found.lose(f"server group {group['name']}", "there is none, or several, of that name here")
    for key, value in (facts.get("scheduler_hints") or {}).items():
        if key in PORTABLE_HINTS:
            hints[key] = value
        elif key != "group":
            found.lose(f"scheduler hint {key}", "it names servers of where it comes from")
    return hints
