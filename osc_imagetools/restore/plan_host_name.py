# SPDX-License-Identifier: Apache-2.0
"""Which name and host name a new server is asked for, by what the cloud takes.

Contract: pure. What a cloud would refuse is not sent: a refusal comes after hours of transfer. Sources:
nova/utils.py (sanitize_hostname), nova/compute/api.py (_populate_instance_names),
nova/api/validation/parameter_types.py (hostname of 2.90, fqdn of 2.94, name).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from osc_imagetools.restore.plan_server_options import ImportNotes

LONGEST_NAME = 255
LONGEST = 63
SETTABLE, QUALIFIED = (2, 90), (2, 94)
PATTERN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]")  # from 2.90 on
QUALIFIED_PATTERN = re.compile(r"[a-zA-Z0-9-._]+")  # from 2.94 on
# What a server gets of whose name nothing is left.
DEFAULT = re.compile(r"[Ss]erver-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def server_name(facts: Mapping[str, Any], wanted: str | None, found: ImportNotes) -> str:
    """The name of the new server; older clouds gave names with spaces around them, which Nova refuses now."""
    if wanted is not None:
        return wanted
    original = str(facts.get("name") or "")
    name = original.strip()[:LONGEST_NAME] or "server"
    if name != original:
        found.mapped.append(f"name {original!r} -> {name!r}")
    return name


def host_name(
    facts: Mapping[str, Any], name: str, renamed: bool, microversion: str | None, found: ImportNotes
) -> str | None:
    """The host name to ask for, None for the one that Nova makes of the server's *name*.

    :param renamed: whether that is another name than the original's, whose host name is not wanted then.
    :param microversion: the newest of the Compute API that the cloud and we know.
    """
    wanted = facts.get("hostname")
    if not wanted or renamed or wanted == derived(name) or DEFAULT.fullmatch(wanted):
        return None
    reason = _refusal(str(wanted), _number(microversion))
    if reason is None:
        return str(wanted)
    found.lose(f"host name {wanted}", f"{reason}; it gets the one that Nova makes of its name")
    return None


def derived(name: str) -> str:
    """The host name that Nova makes of a server's name."""
    text = name.encode("latin-1", "ignore").decode("latin-1")[:LONGEST]
    text = re.sub(r"[ _.]", "-", text)
    return re.sub(r"[^\w.-]+", "", text).lower().strip(".-")


def _refusal(wanted: str, microversion: tuple[int, int]) -> str | None:
    """Why a cloud does not take a host name; None where it does."""
    if microversion < SETTABLE:
        return "this cloud takes none (before compute microversion 2.90)"
    if microversion < QUALIFIED:
        if len(wanted) > LONGEST or not PATTERN.fullmatch(wanted):
            return "this cloud takes two letters, digits or hyphens at least, and no full stop (before 2.94)"
    elif len(wanted) > LONGEST_NAME or not QUALIFIED_PATTERN.fullmatch(wanted):
        return "Nova takes letters, digits, hyphens, full stops and underscores"
    return None


def _number(microversion: str | None) -> tuple[int, int]:
    major, _, minor = (microversion or "2.1").partition(".")
    return int(major), int(minor)
