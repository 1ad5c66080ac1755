# SPDX-License-Identifier: Apache-2.0
"""Reads a fleet: the lists of three services side by side, and one by one only what no list can tell.

Contract: read-only. Each list is read page after page and every document is dropped for its value at once.
What cannot be read is noted in ``trouble`` and never ends the run, but for the servers themselves: without
them there is nothing to judge. The number of requests is that of the pages and a constant, and besides one
for each: volume, boot image or server that is referred to and in no list; boot image that is gone (the
properties that its servers have of it); project whose volume quota matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Any
from urllib.parse import quote

from osc_imagetools import errors, marks
from osc_imagetools.cloud import PAGE, Cloud
from osc_imagetools.inventory import fleet
from osc_imagetools.inventory.fleet import Fleet, FleetServer
from osc_imagetools.inventory.quota import image_quota, volume_quota

# The first one in which a list shows the servers of a cell that is down, so that none is left out without a
# word; it has locked (2.9), delete_on_termination (2.3) and the flavor (2.47), and costs no more than 2.1.
SERVERS = "2.69"
# The first one in which a server has the properties of its image.
IMAGE_PROPERTIES = "2.98"
THREADS = 8
FEW = 10  # servers for which asking for their images is less than listing all
# Service, path and microversion of each list, by the name under which the answer has it.
LISTS = {
    "servers": ("compute", "/servers/detail", SERVERS),
    "volumes": ("block-storage", "/volumes/detail", None),
    "snapshots": ("block-storage", "/snapshots/detail", None),
    "backups": ("block-storage", "/backups/detail", None),
    "images": ("image", "/images", None),
    "flavors": ("compute", "/flavors", None),
}

# Tells how many of a kind were read so far.
Count = Callable[[str, int], None]


@dataclass(frozen=True)
class Scope:
    """Which servers: these, or those that a list with these filters gives.

    ``project`` is an ID and asks as an administrator; ``name`` is a regular expression of the database.
    """

    servers: tuple[FleetServer, ...] = ()
    all_projects: bool = False
    project: str | None = None
    name: str | None = None
    status: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether no server of the projects is left out."""
        return not (self.servers or self.name or self.status or self.tags)

    def query(self) -> dict[str, str]:
        """The part of a query that chooses projects, in the words of Nova and Cinder."""
        query = {"all_tenants": "1"} if self.all_projects or self.project else {}
        return {**query, "project_id": self.project} if self.project else query

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
        return {**self.query(), **{key: value for key, value in query.items() if value}}


def read_fleet(cloud: Cloud, scope: Scope, count: Count) -> Fleet:
    """Everything that the check of these servers needs.

    :raises errors.ImagetoolsError: not one server could be read.
    """
    found = Fleet(block_storage=cloud.has_block_storage, whole=scope.whole, servers=list(scope.servers))
    if scope.servers:
        scope = scope.around(cloud.project_id)
    if not scope.all_projects:
        found.projects = frozenset({scope.project or cloud.project_id})
    for service in ("compute", "image", *(["block-storage"] if found.block_storage else [])):
        with suppress(errors.ImagetoolsError):  # who asks it will be told
            cloud.service(service)  # made here, used in threads
    reader = _Reader(cloud, scope, count, found)
    with ThreadPoolExecutor(THREADS) as pool:
        reader.all_of(pool, reader.lists())
        reader.all_of(pool, reader.missing())
        reader.all_of(pool, [*reader.strangers(), *reader.quotas()])
    if "servers" in reader.failures and not found.servers:
        raise reader.failures["servers"]
    return found


def is_ours(metadata: Mapping[str, Any]) -> bool:
    """Whether it is a temporary resource of an export that runs, and no backup."""
    return marks.MARK in metadata


class _Reader:
    """Fills a fleet; the methods run in threads, each of which fills a field of its own."""

    def __init__(self, cloud: Cloud, scope: Scope, count: Count, found: Fleet) -> None:
        self._scope = scope
        self._cloud = cloud
        self._count = count
        self._found = found
        self._stopped = Event()
        self.failures: dict[str, errors.ImagetoolsError] = {}

    def all_of(self, pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], None]]) -> None:
        """Runs tasks side by side; an interrupt ends them at their next page."""
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in futures:
                future.result()
        except BaseException:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    def lists(self) -> Iterator[Callable[[], None]]:
        """The lists. Volumes of single servers are not listed: they are missing, and asked for one by one."""
        if not self._scope.servers:
            yield self._servers
            if self._found.block_storage:
                yield self._volumes
        yield self._images
        yield self._flavors
        if self._found.block_storage:
            yield self._backups

    def missing(self) -> Iterator[Callable[[], None]]:
        """What is referred to and in no list: it came meanwhile, is hidden, or gone."""
        found, trouble = self._found, self._found.trouble
        attached = {volume.id for server in found.servers for volume in server.volumes}
        mapped = {
            disk.id
            for image in found.images.values()
            if found.projects is None or image.owner in found.projects
            for disk in image.disks or ()
            if disk.source == "volume" and disk.id
        }
        if found.block_storage and "volumes" not in trouble:
            yield from (partial(self._volume, v) for v in sorted((attached | mapped) - found.volumes.keys()))
        boots = {server.image_id: server.id for server in found.servers if server.image_id}
        if "images" not in trouble:
            yield from (partial(self._boot_image, i, s) for i, s in boots.items() if i not in found.images)

    def strangers(self) -> Iterator[Callable[[], None]]:
        """Servers that volumes are attached to, and that are in no list."""
        found, known = self._found, {server.id for server in self._found.servers}
        mine = {volume.id for server in found.servers for volume in server.volumes}
        volumes = (volume for volume in found.volumes.values() if found.whole or volume.id in mine)
        others = {attachment.server_id for volume in volumes for attachment in volume.attachments} - known
        if "servers" not in found.trouble:
            yield from (partial(self._server_exists, server_id) for server_id in sorted(others))

    def quotas(self) -> Iterator[Callable[[], None]]:
        """The volume quota of each project that has servers with volumes, and the login's for images."""
        projects = {server.project_id for server in self._found.servers if server.volumes}
        if self._found.block_storage:
            yield from (partial(self._volume_quota, project) for project in sorted(projects))
        yield self._image_quota

    # -- lists ---------------------------------------------------------------------------------

    def _servers(self) -> None:
        query = self._scope.server_query()
        self._read("servers", query, lambda d: self._found.servers.append(fleet.read_server(d)))

    def _volumes(self) -> None:
        def keep(document: Mapping[str, Any]) -> None:
            volume = fleet.read_volume(document)
            self._found.volumes[volume.id] = volume

        self._read("volumes", self._scope.query(), keep)

    def _images(self) -> None:
        """Images, hidden ones too, and then snapshots: those that an image points at were made before it."""

        def keep(document: Mapping[str, Any]) -> None:
            if not is_ours(document):
                image = fleet.read_image(document)
                self._found.images[image.id] = image

        for query in self._scope.image_queries():
            for hidden in ("false", "true"):
                self._read("images", {**query, "os_hidden": hidden, "member_status": "all"}, keep)
        if self._found.block_storage:
            self._snapshots()

    def _snapshots(self) -> None:
        def keep(document: Mapping[str, Any]) -> None:
            if not is_ours(document.get("metadata") or {}):
                snapshot = fleet.read_snapshot(document)
                self._found.snapshots[snapshot.id] = snapshot

        self._read("snapshots", self._scope.query(), keep)

    def _backups(self) -> None:
        keep = self._found.volume_backups.append
        self._read("backups", self._scope.query(), lambda d: keep(fleet.read_backup(d)))
        if isinstance(self.failures.get("backups"), errors.ResourceNotFound):
            del self._found.trouble["backups"]  # a cloud without this API has no such backups

    def _flavors(self) -> None:
        names: set[str] = set()
        self._read("flavors", {"is_public": "None"}, lambda d: names.add(str(d["name"])))
        if "flavors" not in self._found.trouble:
            self._found.flavors = frozenset(names)

    # -- one by one ----------------------------------------------------------------------------

    def _volume(self, volume_id: str) -> None:
        def read() -> None:
            document = self._get("block-storage", f"/volumes/{volume_id}", f"volume {volume_id}")
            self._found.volumes[volume_id] = fleet.read_volume(document["volume"])

        self._noting(volume_id, read, gone=True)

    def _boot_image(self, image_id: str, server_id: str) -> None:
        """An image that servers boot from; the properties of a gone one Nova keeps with each of them."""

        def read() -> None:
            document = self._get("image", f"/images/{image_id}", f"image {image_id}")
            self._found.images[image_id] = fleet.read_image(document)

        self._noting(image_id, read, gone=True)
        if image_id not in self._found.gone:
            return
        try:
            answer = self._get("compute", f"/servers/{server_id}", f"server {server_id}", IMAGE_PROPERTIES)
        except errors.ImagetoolsError:
            return  # an older Nova does not tell
        image = answer["server"].get("image") or {}
        if "properties" in image:
            self._found.boot_traits[image_id] = fleet.read_traits(image["properties"])

    def _server_exists(self, server_id: str) -> None:
        path = f"/servers/{quote(server_id, safe='')}"
        self._noting(server_id, lambda: self._get("compute", path, f"server {server_id}"), gone=True)

    def _volume_quota(self, project_id: str) -> None:
        def read() -> None:
            self._found.volume_quotas[project_id] = volume_quota(self._cloud, project_id)

        self._noting(f"quota {project_id}", read)

    def _image_quota(self) -> None:
        def read() -> None:
            self._found.image_quotas[self._cloud.project_id] = image_quota(self._cloud)

        self._noting("image quota", read)

    # -- asking --------------------------------------------------------------------------------

    def _get(self, service: str, path: str, what: str, microversion: str | None = None) -> Any:
        return self._cloud.get(service, path, what=what, microversion=microversion)

    def _read(self, name: str, query: Mapping[str, str], keep: Callable[[dict[str, Any]], Any]) -> None:
        """Gives each document of a list to *keep*, until the list ends or fails, which is noted."""
        service, path, version = LISTS[name]

        def read() -> None:
            documents = self._cloud.list(
                service, path, name, what=f"list of {name}", params=query, microversion=version
            )
            for number, document in enumerate(documents, 1):
                keep(document)
                if number % PAGE == 0 or number == 1:
                    self._count(name, number)
                if self._stopped.is_set():
                    return

        self._noting(name, read)

    def _noting(self, key: str, read: Callable[[], Any], *, gone: bool = False) -> None:
        """Reads, and notes under *key* why that failed; *gone*: what is not found does not exist."""
        try:
            read()
        except errors.ImagetoolsError as exc:
            if gone and isinstance(exc, errors.ResourceNotFound):
                self._found.gone.add(key)
                return
            self.failures[key] = exc
            self._found.trouble[key] = exc.message
        except (KeyError, TypeError, ValueError) as exc:
            self._found.trouble[key] = f"{key}: an answer that cannot be read ({exc!r})"
