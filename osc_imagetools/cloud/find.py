# SPDX-License-Identifier: Apache-2.0
"""Finding the one resource that a name or an ID means.

Contract: reads only. An ID wins over a name; a name that fits several resources is an error that lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from osc_imagetools import errors

T = TypeVar("T")


def find_one(
    kind: str,
    name_or_id: str,
    *,
    get: Callable[[str], T | None],
    search: Callable[[str], Iterable[Mapping[str, Any]]],
    facts: Callable[[Mapping[str, Any]], str],
) -> T:
    """The one resource with this ID, or else with this name.

    :param kind: as in the ``openstack`` commands: image, volume, volume snapshot, server.
    :param get: the resource with an ID, or None.
    :param search: the documents of those with a name; others among them do not count.
    :param facts: what tells a document from others of the same name.
    :raises errors.ResourceNotFound: there is none.
    :raises errors.ResourceAmbiguous: the name fits several.
    """
    if name_or_id not in ("", ".", "..") and (found := get(name_or_id)) is not None:
        return found
    named = {d["id"]: d for d in search(name_or_id) if d.get("name") == name_or_id}
    if len(named) > 1:
        lines = "".join(f"\n- {d['id']} {facts(d)}" for d in named.values())
        raise errors.ResourceAmbiguous(
            f"{len(named)} {kind}s have the name {name_or_id!r}:{lines}", hint="Give the ID."
        )
    for identifier in named:
        if (found := get(identifier)) is not None:
            return found
    raise errors.ResourceNotFound(
        f"no {kind} has the name or ID {name_or_id!r}", hint=f"openstack {kind} list"
    )
