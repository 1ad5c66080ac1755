# SPDX-License-Identifier: Apache-2.0
"""Finding the one resource that a name or an ID means.

Contract: reads only. An ID wins over a name; a name that fits several resources is an error that lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from osc_imagetools import errors
from osc_imagetools.cloud.answers import StatusError
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.names import is_identifier

T = TypeVar("T")
BAD_REQUEST = 400
FILTERS = ("name", "visibility", "member_status")


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
    if is_identifier(name_or_id) and (found := get(name_or_id)) is not None:
        return found
    named = {d["id"]: d for d in search(name_or_id) if d.get("name") == name_or_id} if name_or_id else {}
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


def listed(
    cloud: Cloud, service: str, path: str, key: str, query: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """The documents of a list with a filter by name; all of them where the service cannot make sense of it.

    What a filter takes is not always a name (but an operator, a regular expression), and what it refuses
    depends on the release: who asks compares the names.
    """
    what = f"list of {key.replace('_', ' ')}"
    try:
        yield from cloud.list(service, path, key, what=what, params=query)
    except StatusError as exc:
        if exc.status != BAD_REQUEST:
            raise
        unfiltered = {name: value for name, value in query.items() if name not in FILTERS}
        yield from cloud.list(service, path, key, what=what, params=unfiltered)
