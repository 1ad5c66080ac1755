# SPDX-License-Identifier: Apache-2.0
"""What would be called broken is read once more, one by one, before it is.

Contract: read-only. The lists are read side by side, so that what is deleted meanwhile may still be in one of
them and already gone from another. Only what a verdict would be about is asked for again, and only once: what
does not exist any more is dropped, what is there now takes the place of what the list said. An answer that
fails leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.backup_check import fleet
from osc_imagetools.backup_check.fleet import Fleet, FleetImage, FleetServer
from osc_imagetools.backup_check.list_requests import SENSELESS, SERVERS, ListRequests


def reread_broken(requests: ListRequests, pool: ThreadPoolExecutor, named: frozenset[str]) -> None:
    """Servers whose volumes are gone, volumes of servers that are gone, images whose snapshots are.

    :param named: the IDs of servers that the user asked for: of these none is dropped without a word.
    """
    found = requests.found
    fresh: dict[str, FleetServer | None] = {}
    requests.all_of(pool, [*_servers(requests, fresh, named), *_volumes(requests), *_images(requests)])
    servers = [fresh.get(server.id, server) for server in found.servers]
    found.servers[:] = [server for server in servers if server is not None]


def _once_more(read: Callable[[], None], gone: Callable[[], object]) -> None:
    try:
        read()
    except errors.ResourceNotFound:
        gone()
    except (errors.ImagetoolsError, *SENSELESS):
        return


def _servers(
    requests: ListRequests, fresh: dict[str, FleetServer | None], named: frozenset[str]
) -> Iterator[Callable[[], None]]:
    def read(server_id: str) -> None:
        path = f"/servers/{quote(server_id, safe='')}"
        answer = requests.get("compute", path, f"server {server_id}", SERVERS)
        fresh[server_id] = fleet.read_server(answer["server"])

    def gone(server_id: str) -> None:
        if server_id in named:
            requests.found.unread[server_id] = f"server {server_id} was deleted while it was checked"
        else:
            fresh[server_id] = None

    for server in requests.found.servers:
        if any(volume.id in requests.found.gone for volume in server.volumes):
            yield partial(_once_more, partial(read, server.id), partial(gone, server.id))


def _volumes(requests: ListRequests) -> Iterator[Callable[[], None]]:
    found = requests.found
    mine = {volume.id for server in found.servers for volume in server.volumes}

    def read(volume_id: str) -> None:
        path = f"/volumes/{quote(volume_id, safe='')}"
        answer = requests.get("block-storage", path, f"volume {volume_id}")
        found.volumes[volume_id] = fleet.read_volume(answer["volume"])

    for volume in found.volumes.values():
        if (found.whole or volume.id in mine) and any(a.server_id in found.gone for a in volume.attachments):
            yield partial(_once_more, partial(read, volume.id), partial(found.volumes.pop, volume.id))


def _images(requests: ListRequests) -> Iterator[Callable[[], None]]:
    found = requests.found
    mine = {volume.id for server in found.servers for volume in server.volumes}

    def read(image_id: str) -> None:
        path = f"/images/{quote(image_id, safe='')}"
        found.images[image_id] = fleet.read_image(requests.get("image", path, f"image {image_id}"))

    for image in found.images.values():
        if _looks_dead(found, image, mine):
            yield partial(_once_more, partial(read, image.id), partial(found.images.pop, image.id))


def _looks_dead(found: Fleet, image: FleetImage, mine: set[str]) -> bool:
    """Whether something is to be said of an image of 0 bytes, and that it is dead."""
    if image.size or found.is_foreign(image) or not found.lost(image):
        return False
    return found.whole or any(snapshot.volume_id in mine for snapshot in found.snapshots_of(image))
