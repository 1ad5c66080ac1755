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
from osc_imagetools.inventory import fleet
from osc_imagetools.inventory.fleet import Fleet, FleetImage, FleetServer
from osc_imagetools.inventory.fleet_asking import SENSELESS, SERVERS, Asking


def settle_doubts(asking: Asking, pool: ThreadPoolExecutor) -> None:
    """Servers whose volumes are gone, volumes of servers that are gone, images whose snapshots are."""
    found = asking.found
    fresh: dict[str, FleetServer | None] = {}
    asking.all_of(pool, [*_servers(asking, fresh), *_volumes(asking), *_images(asking)])
    servers = [fresh.get(server.id, server) for server in found.servers]
    found.servers[:] = [server for server in servers if server is not None]


def _servers(asking: Asking, fresh: dict[str, FleetServer | None]) -> Iterator[Callable[[], None]]:
    def read(server_id: str) -> None:
        try:
            path = f"/servers/{quote(server_id, safe='')}"
            answer = asking.get("compute", path, f"server {server_id}", SERVERS)
            fresh[server_id] = fleet.read_server(answer["server"])
        except errors.ResourceNotFound:
            fresh[server_id] = None
        except (errors.ImagetoolsError, *SENSELESS):
            return

    for server in asking.found.servers:
        if any(volume.id in asking.found.gone for volume in server.volumes):
            yield partial(read, server.id)


def _volumes(asking: Asking) -> Iterator[Callable[[], None]]:
    found = asking.found
    mine = {volume.id for server in found.servers for volume in server.volumes}

    def read(volume_id: str) -> None:
        try:
            path = f"/volumes/{quote(volume_id, safe='')}"
            answer = asking.get("block-storage", path, f"volume {volume_id}")
            found.volumes[volume_id] = fleet.read_volume(answer["volume"])
        except errors.ResourceNotFound:
            del found.volumes[volume_id]
        except (errors.ImagetoolsError, *SENSELESS):
            return

    for volume in found.volumes.values():
        if (found.whole or volume.id in mine) and any(a.server_id in found.gone for a in volume.attachments):
            yield partial(read, volume.id)


def _images(asking: Asking) -> Iterator[Callable[[], None]]:
    found = asking.found
    mine = {volume.id for server in found.servers for volume in server.volumes}

    def read(image_id: str) -> None:
        try:
            path = f"/images/{quote(image_id, safe='')}"
            found.images[image_id] = fleet.read_image(asking.get("image", path, f"image {image_id}"))
        except errors.ResourceNotFound:
            del found.images[image_id]
        except (errors.ImagetoolsError, *SENSELESS):
            return

    for image in found.images.values():
        if _looks_dead(found, image, mine):
            yield partial(read, image.id)


def _looks_dead(found: Fleet, image: FleetImage, mine: set[str]) -> bool:
    """Whether something is to be said of an image of 0 bytes, and that it is dead."""
    if image.size or found.is_foreign(image) or not found.lost(image):
        return False
    return found.whole or any(snapshot.volume_id in mine for snapshot in found.snapshots_of(image))
