# SPDX-License-Identifier: Apache-2.0
"""What a copy that one of the client's own commands makes will lack, and how to get all of it.

Contract: pure. Each function takes what that command has read anyway and gives one warning, or None
where the copy has all that it seems to have. Commands in a warning name IDs: a name may fit others too.
"""

from __future__ import annotations

from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.server import Server


def of_server_image(server: Server, image: Image) -> str | None:
    """After ``server image create``: an image of 0 bytes, or of the root disk alone."""
    # A server that was made from an image of 0 bytes boots from a volume, too.
    if server.image_id is None or (image.size == 0 and _snapshots(image)):
        return (
            f"{image.label} has no data of its own: {server.label} boots from a volume, and its data is in "
            f"{_count(_snapshots(image) or len(server.volumes), 'volume snapshot')}. To get it out of the "
            f"cloud: openstack image export-full {image.id}"
        )
    return _root_alone(server, f"{image.label} will hold")


def of_server_backup(server: Server) -> str | None:
    """Before ``server backup create``: it will be refused, or be of the root disk alone."""
    if server.image_id is None:
        return (
            f"{server.label} boots from a volume: the cloud makes no backup of such a server. "
            f"To get all of it out of the cloud: openstack server export-full {server.id}"
        )
    return _root_alone(server, "the backup will hold")


def of_saved_image(image: Image) -> str | None:
    """After ``image save``: an empty file, or one that is not all that a server would get."""
    elsewhere = _snapshots(image)
    way_out = f"To get all of it: openstack image export-full {image.id}"
    if image.size is None:
        return f"{image.label} has no data yet (its status is {image.status}): what was saved is empty"
    if image.size == 0 and elsewhere:
        where = _count(elsewhere, "volume snapshot")
        return f"{image.label} has 0 bytes, so what was saved is empty: its data is in {where}. {way_out}"
    if image.size == 0:
        return f"{image.label} has 0 bytes, and nothing in it leads to data: it is no backup of anything"
    if elsewhere:
        where = _count(elsewhere, "disk")
        return f"What was saved lacks {where} of {image.label}, in volume snapshots. {way_out}"
    return None


def _root_alone(server: Server, copy: str) -> str | None:
    missing = []
    if server.volumes:
        missing.append(_count(len(server.volumes), "attached volume"))
    ephemeral = int(server.flavor.get("ephemeral") or 0)
    if ephemeral:
        missing.append(f"{ephemeral} GB of ephemeral disk")
    if not missing:
        return None
    text = f"{copy} the root disk of {server.label} and nothing else, so not its {' and '.join(missing)}."
    if server.volumes:
        text += f" With the volumes: openstack server export-full {server.id}."
    if ephemeral:
        text += " An ephemeral disk can only be copied from inside of the guest."
    return text


def _snapshots(image: Image) -> int:
    return sum(1 for device in image.mapping if device.snapshot_id)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
