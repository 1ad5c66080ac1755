# SPDX-License-Identifier: Apache-2.0
"""Reads the lineage of a resource: everything it was made from, and everything made from it, in one project.

Contract: read-only. It reads five lists, whatever the project has, and makes one more request for each origin
that is in none of them (it is gone, or in another project). Every fact is stated by a service; nothing is
guessed from names or times. When Cinder uploads a volume to an image, the image does not name the volume, so
there is no such link. Sources: ``volume_id`` of a snapshot; ``snapshot_id``, ``source_volid``,
``volume_image_metadata`` and ``attachments`` of a volume; ``image`` and the volumes of a server; the image
properties that Nova writes (nova/compute/api.py: block_device_mapping, instance_uuid, base_image_ref).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import HIDDEN, Image, find_image, get_image, read_image
from osc_imagetools.cloud.server import MICROVERSION, Server, find_server, get_server, read_server
from osc_imagetools.cloud.volume import (
    Snapshot,
    Volume,
    find_snapshot,
    find_volume,
    get_snapshot,
    get_volume,
    read_snapshot,
    read_volume,
)

STORED = frozenset({"volume", "snapshot"})  # kinds that need block storage
Key = tuple[str, str]  # (kind, ID); kinds are image, volume, snapshot, server
AnyResource = Image | Volume | Snapshot | Server


@dataclass(frozen=True)
class Link:
    """An origin of a resource.

    ``relation`` is mapping (an image points to it), snapshot (a snapshot of it), copy (made from it), boot (a
    server was created from it), attachment (attached to a server), capture (an image was created from it) or
    base (an image was created from a server that was created from it). A ``second`` link is used if the first
    one is broken.
    """

    relation: str
    origin: Key
    second: bool = False
    delete_on_termination: bool = False


@dataclass(frozen=True)
class LineageResource:
    """A resource with its ``origins``; ``size`` in bytes, None if it has none.

    ``servers`` are the IDs of the servers to which a volume says it is attached. ``cloned`` tells of an image
    whether what is made from it can be a clone of it that holds it. ``found`` is False if this login does not
    see the resource, and None if it could not be read; the rest is empty then.
    """

    kind: str
    id: str
    name: str | None = None
    status: str | None = None
    size: int | None = None
    project: str | None = None
    origins: tuple[Link, ...] = ()
    servers: tuple[str, ...] = ()
    cloned: bool = False
    found: bool | None = True

    @property
    def key(self) -> Key:
        return self.kind, self.id


@dataclass(frozen=True)
class Lineage:
    """All resources that were found, by key, and the key of the one that was ``asked`` for.

    Without block storage, only the IDs of volumes and snapshots are known.
    """

    asked: Key
    resources: Mapping[Key, LineageResource]

    @cached_property
    def derived(self) -> Mapping[Key, tuple[Key, ...]]:
        """For each key, the keys of what was made from it, by kind and name."""
        return _reversed(self.resources)


def read_lineage(cloud: Cloud, kind: str, name_or_id: str, *, all_projects: bool) -> Lineage:
    """Read the lineage of a resource.

    :param kind: image, volume, snapshot or server.
    :param all_projects: whether to search all projects (administrators only).
    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: for the resource.
    :raises errors.ServiceAbsent: it is a volume or snapshot, and there is no block storage.
    """
    if kind in STORED:
        cloud.require_block_storage(
            f"the lineage of a {kind}", "Only the lineage of images and servers can be shown here."
        )
    asked = _resource(FIND[kind](cloud, name_or_id))
    query = {"all_tenants": "1"} if all_projects else {}
    own = cloud.origin.project_id
    if not all_projects and kind != "image" and asked.project not in (None, own):
        query = {"all_tenants": "1", "project_id": str(asked.project)}
    block_storage = cloud.has_block_storage
    known = {r.key: r for r in _listed(cloud, query, block_storage)}
    known[asked.key] = asked
    _complete(cloud, known, asked.key, block_storage)
    return Lineage(asked.key, known)


FIND: Mapping[str, Callable[[Cloud, str], AnyResource]] = {
    "image": find_image,
    "volume": find_volume,
    "snapshot": find_snapshot,
    "server": find_server,
}


def _get_image(cloud: Cloud, image_id: str) -> Image | None:
    try:
        return get_image(cloud, image_id)
    except errors.ResourceNotFound:
        return None


GET: Mapping[str, Callable[[Cloud, str], AnyResource | None]] = {
    "image": _get_image,
    "volume": get_volume,
    "snapshot": get_snapshot,
    "server": get_server,
}


def _listed(cloud: Cloud, query: Mapping[str, str], block_storage: bool) -> Iterator[LineageResource]:
    for hidden in HIDDEN:
        for document in cloud.list("image", "/images", "images", what="list of images", params=hidden):
            yield _resource(_readable(document))
    if block_storage:
        for key, read in (("volumes", read_volume), ("snapshots", read_snapshot)):
            path, what = f"/{key}/detail", f"list of {key}"
            for document in cloud.list("block-storage", path, key, what=what, params=query):
                yield _resource(read(document))
    version = cloud.microversion("compute", MICROVERSION)
    path, what = "/servers/detail", "list of servers"
    for document in cloud.list("compute", path, "servers", what=what, params=query, microversion=version):
        yield _resource(read_server(document))


def _readable(document: Mapping[str, Any]) -> Image:
    """An image of a list; an invalid mapping is ignored."""
    try:
        return read_image(document, None)
    except errors.ResourceUnusable:
        return read_image({k: v for k, v in document.items() if k != "block_device_mapping"}, None)


def _resource(found: AnyResource) -> LineageResource:
    match found:
        case Image():
            kind, size, project = "image", found.size, found.owner
        case Volume():
            kind, size, project = "volume", found.size, found.document.get("os-vol-tenant-attr:tenant_id")
        case Snapshot():
            project = found.document.get("os-extended-snapshot-attributes:project_id")
            kind, size = "snapshot", found.size
        case Server():
            kind, size, project = "server", None, found.project_id
    servers = (
        tuple(a.server_id for a in found.attachments if a.server_id) if isinstance(found, Volume) else ()
    )
    name = found.name or None
    cloned = isinstance(found, Image) and _cloned(found)
    origins = tuple(_origins(found))
    return LineageResource(kind, found.id, name, found.status, size, project, origins, servers, cloned)


def _cloned(image: Image) -> bool:
    """Whether volumes and servers' disks can be clones of the image: raw data on Ceph RBD.

    Few clouds tell where an image is; without that, it can be.
    """
    return image.disk_format == "raw" and image.size != 0 and image.storage in (None, "rbd")


def _origins(found: AnyResource) -> Iterator[Link]:
    match found:
        case Image():
            yield from _origins_of_image(found)
        case Volume():
            yield from _origins_of_volume(found)
        case Snapshot():
            yield Link("snapshot", ("volume", found.volume_id))
        case Server():
            if found.image_id:
                yield Link("boot", ("image", found.image_id))
            for v in found.volumes:
                yield Link(
                    "attachment", ("volume", v.id), delete_on_termination=bool(v.delete_on_termination)
                )


def _origins_of_image(image: Image) -> Iterator[Link]:
    for device in image.mapping:
        kind = device.source_type
        target = {"snapshot": device.snapshot_id, "volume": device.volume_id, "image": device.image_id}.get(
            kind
        )
        if target:
            yield Link("mapping", (kind, target))
    server, base = image.properties.get("instance_uuid"), image.properties.get("base_image_ref")
    if server:
        yield Link("capture", ("server", str(server)))
    if base and not image.mapping:
        yield Link("base", ("image", str(base)), second=bool(server))


def _origins_of_volume(volume: Volume) -> Iterator[Link]:
    """A volume made from a snapshot or volume has inherited its image metadata."""
    source = volume.document.get("source_volid")
    if volume.snapshot_id:
        yield Link("copy", ("snapshot", volume.snapshot_id))
    elif source:
        yield Link("copy", ("volume", str(source)))
    if image := volume.image_metadata.get("image_id"):
        yield Link("copy", ("image", str(image)), second=bool(volume.snapshot_id or source))


def _reversed(known: Mapping[Key, LineageResource]) -> dict[Key, tuple[Key, ...]]:
    derived: dict[Key, dict[Key, None]] = {}
    for resource in known.values():
        for link in resource.origins:
            derived.setdefault(link.origin, {})[resource.key] = None
    return {
        key: tuple(sorted(keys, key=lambda k: (k[0], known[k].name or "", k[1])))
        for key, keys in derived.items()
    }


def _complete(cloud: Cloud, known: dict[Key, LineageResource], asked: Key, block_storage: bool) -> None:
    """Add the origins that are in no list: of the resource, of what was made from it, and their own
    origins."""
    for key in (attached := _attached(known[asked])):
        if key not in known:
            known[key] = _fetched(cloud, key, block_storage)
    derived = _reversed(known)
    below = set(_reached([asked, *attached], lambda key: derived.get(key, ())))
    waiting = list(below)
    seen = set(waiting)
    while waiting:
        for link in known[waiting.pop()].origins:
            if link.origin not in known:
                known[link.origin] = _fetched(cloud, link.origin, block_storage)
            if link.origin not in seen:
                seen.add(link.origin)
                waiting.append(link.origin)
    for key in seen:
        for server_id in known[key].servers:
            if ("server", server_id) not in known:
                known["server", server_id] = _attached_to(cloud, server_id, key)


def _attached_to(cloud: Cloud, server_id: str, volume: Key) -> LineageResource:
    """A server to which a volume says it is attached; Nova may not know it."""
    server = _fetched(cloud, ("server", server_id), True)
    return server if server.found else replace(server, origins=(Link("attachment", volume),))


def _attached(resource: LineageResource) -> list[Key]:
    return [link.origin for link in resource.origins if link.relation == "attachment"]


def _reached(start: Iterable[Key], following: Callable[[Key], Iterable[Key]]) -> Iterator[Key]:
    waiting = list(start)
    seen = set(waiting)
    while waiting:
        key = waiting.pop()
        yield key
        for other in following(key):
            if other not in seen:
                seen.add(other)
                waiting.append(other)


def _fetched(cloud: Cloud, key: Key, block_storage: bool) -> LineageResource:
    kind, identifier = key
    if kind in STORED and not block_storage:
        return LineageResource(kind, identifier, found=None)
    found = GET[kind](cloud, identifier)
    return LineageResource(kind, identifier, found=False) if found is None else _resource(found)
