# SPDX-License-Identifier: Apache-2.0
"""Reads a fleet: the lists of three services side by side, and one by one only what no list can tell.

Contract: read-only. Each list is read page after page and every document is dropped for its value at once.
What cannot be read is noted in ``unread`` and never ends the run, but for the servers themselves: without
them there is nothing to judge. The number of requests is that of the pages and a constant, and besides one
for each: volume, boot image or server that is referred to and in no list; boot image that is gone (the
properties that its servers have of it); server, volume or image of which something is said to be gone;
project whose volume quota matters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.backup_check import fleet
from osc_imagetools.backup_check.fleet import Fleet, FleetServer
from osc_imagetools.backup_check.list_requests import SENSELESS, SERVERS, Count, ListRequests
from osc_imagetools.backup_check.rereading import reread_broken
from osc_imagetools.cloud import ownership
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import HIDDEN
from osc_imagetools.cloud.quota import image_quota, volume_quota

LOG = logging.getLogger(__name__)
# The first one in which a server has the properties of its image.
IMAGE_PROPERTIES = "2.98"
THREADS = 8
FEW = 10  # servers for which asking for their images is less than listing all


@dataclass(frozen=True)
class Scope:
    """Which servers: these, or those that a list with these filters gives.

    ``project`` is an ID and asks as an administrator; ``name`` is a regular expression of the database;
    ``filters`` are more of what Nova's list takes.
    """

    servers: tuple[FleetServer, ...] = ()
    all_projects: bool = False
    project: str | None = None
    name: str | None = None
    status: str | None = None
    tags: tuple[str, ...] = ()
    filters: tuple[tuple[str, str], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether no server of the projects is left out."""
        return not (self.servers or self.name or self.status or self.tags or self.filters)

    def query(self) -> dict[str, str]:
        """The part of a query that chooses projects, in the words of Nova and Cinder."""
        query = {"all_tenants": "1"} if self.all_projects or self.project else {}
        return {**query, "project_id": self.project} if self.project else query

    def copies_query(self) -> dict[str, str]:
        """The same for snapshots and backups, which are of the project of whoever made them.

        What an administrator makes of another project's server is the administrator's
        (nova/compute/api.py, snapshot_volume_backed, calls Cinder as the caller).
        """
        return {"all_tenants": "1"} if self.all_projects or self.project else {}

    def around(self, own: str) -> Scope:
        """Where to look for what belongs to single servers: their project, or all if there are several."""
        projects = {server.project_id for server in self.servers}
        if projects == {own}:
            return self
        return (
            replace(self, project=projects.pop()) if len(projects) == 1 else replace(self, all_projects=True)
        )

    def image_queries(self) -> list[dict[str, str]]:
        """What to ask Glance for: everything, or for a few servers what may have been made of them.

        An image of 0 bytes does not say what it was made of.
        """
        if not 0 < len(self.servers) <= FEW:
            return [{}]
        return [{"size_max": "0"}, *({"instance_uuid": server.id} for server in self.servers)]

    def server_query(self) -> dict[str, str]:
        query = {"name": self.name, "status": self.status, "tags": ",".join(self.tags)}
        chosen = {key: value for key, value in query.items() if value}
        return {**self.query(), **chosen, **dict(self.filters)}


def read_fleet(cloud: Cloud, scope: Scope, count: Count) -> Fleet:
    """Everything that the check of these servers needs.

    :raises errors.ImagetoolsError: not one server could be read.
    """
    login = cloud.project_id
    found = Fleet(
        block_storage=cloud.has_block_storage,
        whole=scope.whole,
        login_project=login,
        servers=list(scope.servers),
    )
    named = frozenset(server.id for server in scope.servers)
    if named:
        scope = scope.around(login)
    if not scope.all_projects:
        found.projects = frozenset({scope.project or login})
    for service in ("compute", "image", *(["block-storage"] if found.block_storage else [])):
        with suppress(errors.ImagetoolsError):  # who asks it will be told
            cloud.service(service)  # made here, used in threads
    reader = _FleetReader(cloud, scope, count, found)
    with ThreadPoolExecutor(THREADS) as pool:
        reader.all_of(pool, reader.lists())
        for _ in range(2):  # what is found anew may refer to others
            reader.all_of(pool, reader.unlisted_servers())
            reader.all_of(pool, reader.missing())
        reread_broken(reader, pool, named)
        reader.all_of(pool, [*reader.missing(), *reader.quotas()])
    if "servers" in reader.failures and not found.servers:
        raise reader.failures["servers"]
    return found


class _FleetReader(ListRequests):
    """What is read for which fleet."""

    def __init__(self, cloud: Cloud, scope: Scope, count: Count, found: Fleet) -> None:
        super().__init__(cloud, count, found)
        self._scope = scope
        self._unlisted: set[str] = set()

    def lists(self) -> Iterator[Callable[[], None]]:
        """The lists. Volumes of single servers are not listed: they are missing, and asked for one by one."""
        if not self._scope.servers:
            yield self._servers
            yield self._cells
            if self.found.block_storage:
                yield self._volumes
        yield self._images
        yield self._flavors
        if self.found.block_storage:
            yield self._backups

    def missing(self) -> Iterator[Callable[[], None]]:
        """What is referred to and in no list: it came meanwhile, is hidden, or gone."""
        found, unread = self.found, self.found.unread
        attached = {volume.id for server in found.servers for volume in server.volumes}
        mapped = {
            disk.id
            for image in found.images.values()
            if found.projects is None or image.owner in found.projects
            for disk in image.disks or ()
            if disk.source == "volume" and disk.id
        }
        if found.block_storage and "volumes" not in unread:
            known = found.volumes.keys() | found.gone | unread.keys()
            yield from (partial(self._volume, v) for v in sorted((attached | mapped) - known))
        boots = {server.image_id: server.id for server in found.servers if server.image_id}
        if "images" not in unread:
            known = found.images.keys() | found.gone | unread.keys()
            yield from (partial(self._boot_image, i, s) for i, s in boots.items() if i not in known)

    def unlisted_servers(self) -> Iterator[Callable[[], None]]:
        """Servers that volumes are attached to, and that are in no list."""
        found = self.found
        known = {server.id for server in found.servers} | self._unlisted | found.gone | found.unread.keys()
        mine = {volume.id for server in found.servers for volume in server.volumes}
        volumes = (volume for volume in found.volumes.values() if found.whole or volume.id in mine)
        others = {attachment.server_id for volume in volumes for attachment in volume.attachments} - known
        if "servers" not in found.unread:
            self._unlisted |= others
            yield from (partial(self._unlisted_server, server_id) for server_id in sorted(others))

    def quotas(self) -> Iterator[Callable[[], None]]:
        """The volume quota of each project that has servers with volumes, and the login's for images."""
        projects = {server.project_id for server in self.found.servers if server.volumes}
        if self.found.block_storage:
            yield from (partial(self._volume_quota, project) for project in sorted(projects))
        yield self._image_quota

    # -- lists ---------------------------------------------------------------------------------

    def _servers(self) -> None:
        query = self._scope.server_query()
        with suppress(errors.ImagetoolsError):  # the list itself will tell
            if self.cloud.microversion("compute", SERVERS) != SERVERS:
                LOG.warning(
                    "This cloud is older than compute microversion %s: of servers whose cell is down it says "
                    "nothing, so they are not checked",
                    SERVERS,
                )
        self.read("servers", query, lambda d: self.found.servers.append(fleet.read_server(d)))

    def _cells(self) -> None:
        """Whether a cell is down, whose servers are in no list: only administrators are told."""

        def read() -> None:
            answer = self.get("compute", "/os-services", "list of compute services", SERVERS)
            hosts = sorted({str(s.get("host")) for s in answer["services"] if s.get("status") == "UNKNOWN"})
            if hosts:
                more = f" and {len(hosts) - 4} more" if len(hosts) > 4 else ""
                self.found.unread["cells"] = (
                    "the database of a cell is down, so that its servers are in no list; on the hosts "
                    f"{', '.join(hosts[:4])}{more}"
                )

        self.noting("cells", read)
        if isinstance(self.failures.get("cells"), errors.Forbidden | errors.ResourceNotFound):
            del self.found.unread["cells"]

    def _volumes(self) -> None:
        def keep(document: Mapping[str, Any]) -> None:
            volume = fleet.read_volume(document)
            self.found.volumes[volume.id] = volume

        self.read("volumes", self._scope.query(), keep)

    def _images(self) -> None:
        """Images, hidden ones too, and then snapshots: those that an image points at were made before it."""

        def keep(document: Mapping[str, Any]) -> None:
            # Its name alone tells: properties are inherited, also our marks.
            if ownership.run_of_name(document.get("name")) is None:
                image = fleet.read_image(document)
                self.found.images[image.id] = image

        for query in self._scope.image_queries():
            for hidden in HIDDEN:
                self.read("images", {**query, **hidden, "member_status": "all"}, keep)
        if self.found.block_storage:
            self._snapshots()

    def _snapshots(self) -> None:
        def keep(document: Mapping[str, Any]) -> None:
            if not _is_ours(document):
                snapshot = fleet.read_snapshot(document)
                self.found.snapshots[snapshot.id] = snapshot

        self.read("snapshots", self._scope.copies_query(), keep)

    def _backups(self) -> None:
        keep = self.found.volume_backups.append
        self.read("backups", self._scope.copies_query(), lambda d: keep(fleet.read_backup(d)))
        absent = isinstance(self.failures.get("backups"), errors.ResourceNotFound)
        if absent and not self.found.volume_backups:  # later on it is the marker that is not found
            del self.found.unread["backups"]  # a cloud without this API has no such backups

    def _flavors(self) -> None:
        names: set[str] = set()
        self.read("flavors", {"is_public": "None"}, lambda d: names.add(str(d["name"])))
        if "flavors" not in self.found.unread:
            self.found.flavors = frozenset(names)

    # -- one by one ----------------------------------------------------------------------------

    def _volume(self, volume_id: str) -> None:
        def read() -> None:
            document = self.get("block-storage", f"/volumes/{volume_id}", f"volume {volume_id}")
            self.found.volumes[volume_id] = fleet.read_volume(document["volume"])

        self.noting(volume_id, read, gone=True)

    def _boot_image(self, image_id: str, server_id: str) -> None:
        """An image that servers boot from; the properties of a gone one Nova keeps with each of them."""

        def read() -> None:
            document = self.get("image", f"/images/{image_id}", f"image {image_id}")
            self.found.images[image_id] = fleet.read_image(document)

        self.noting(image_id, read, gone=True)
        if image_id not in self.found.gone:
            return
        try:
            answer = self.get("compute", f"/servers/{server_id}", f"server {server_id}", IMAGE_PROPERTIES)
            image = answer["server"].get("image") or {}
            if "properties" in image:
                self.found.boot_traits[image_id] = fleet.read_traits(image["properties"])
        except (errors.ImagetoolsError, *SENSELESS):
            return  # an older Nova does not tell

    def _unlisted_server(self, server_id: str) -> None:
        """A server that is in no list: gone, of another project, new, or in a cell that is down.

        Where no server is left out, it is one of them.
        """
        found = self.found

        def read() -> None:
            path = f"/servers/{quote(server_id, safe='')}"
            answer = self.get("compute", path, f"server {server_id}", SERVERS)
            server = fleet.read_server(answer["server"])
            if found.whole and (found.projects is None or server.project_id in found.projects):
                found.servers.append(server)

        self.noting(server_id, read, gone=True)

    def _volume_quota(self, project_id: str) -> None:
        def read() -> None:
            self.found.volume_quotas[project_id] = volume_quota(self.cloud, project_id)

        self.noting(f"quota {project_id}", read)

    def _image_quota(self) -> None:
        def read() -> None:
            self.found.image_quotas[self.cloud.project_id] = image_quota(self.cloud)

        self.noting("image quota", read)


def _is_ours(snapshot: Mapping[str, Any]) -> bool:
    """Whether it is a temporary one of an export, and no backup; its name may be all that says so."""
    return (
        ownership.MARK in (snapshot.get("metadata") or {})
        or ownership.run_of_name(snapshot.get("name")) is not None
    )
