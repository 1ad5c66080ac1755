# SPDX-License-Identifier: Apache-2.0
"""The effects on block storage and on the images that it makes, each with its removal registered first.

Contract: every function that makes something registers the removal in the run's :class:`Undo` before the
request that makes it, waits until the resource can be used, and gives back its ID. A removal looks a
resource without a known ID up by its name and mark, so an answer that got lost leaves nothing behind.
Source: https://docs.openstack.org/api-ref/block-storage/v3/ , https://docs.openstack.org/api-ref/image/v2/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.execution.removal import REMOVALS
from osc_imagetools.execution.states import await_image, await_snapshot, await_uploaded, await_volume
from osc_imagetools.execution.workshop import Made, Workshop, making
from osc_imagetools.inventory.volume import GIB, get_volume
from osc_imagetools.marks import MARK

# visibility on upload is 3.1
UPLOAD_MICROVERSION = "3.1"


def create_snapshot(shop: Workshop, volume_id: str, role: str, *, name: str | None = None) -> Made:
    """A snapshot of a volume, also of one in use; waits until it is available.

    :param name: of one that will be kept (see :func:`unmark`); a temporary one is named by its role.
    """
    made = shop.register("snapshot", name or shop.run.name(role), REMOVALS["snapshot"])
    body = {
        "snapshot": {
            "volume_id": volume_id,
            "name": made.name,
            "description": shop.run.purpose,
            "force": True,
            "metadata": shop.run.marks(),
        }
    }
    snapshot = _post(shop, "/snapshots", body, made)["snapshot"]
    await_snapshot(shop, shop.identify(made, snapshot["id"]))
    return made


def create_volume(shop: Workshop, snapshot_id: str, size: int, role: str) -> Made:
    """A temporary volume from a snapshot (*size* in bytes, whole GiB); waits until it is available."""
    await_snapshot(shop, snapshot_id)
    return make_volume(shop, size, {"snapshot_id": snapshot_id}, role=role)


def create_volume_from_image(
    shop: Workshop, image_id: str, size: int, *, name: str, fields: Mapping[str, Any]
) -> Made:
    """A volume that will be kept (see :func:`unmark`), with an image's data; waits until it is available.

    :param size: bytes, whole GiB.
    :param fields: more of the request: description, volume_type.
    """
    return make_volume(shop, size, {"imageRef": image_id, **fields}, role=name, name=name)


def make_volume(
    shop: Workshop, size: int, fields: Mapping[str, Any], *, role: str, name: str | None = None
) -> Made:
    """A volume of *size* bytes (whole GiB); waits until it is available.

    :param fields: the rest of the request, what it is made from (``imageRef``, ``snapshot_id``)
        among it.
    :param name: of one that will be kept (see :func:`unmark`); a temporary one is named by its role.
    """
    made = shop.register("volume", name or shop.run.name(role), REMOVALS["volume"])
    volume = {
        "size": -(-size // GIB),
        "name": made.name,
        "description": shop.run.purpose,
        "metadata": shop.run.marks(),
        **fields,
    }
    answer = _post(shop, "/volumes", {"volume": volume}, made)["volume"]
    await_volume(shop, shop.identify(made, answer["id"]), "available")
    if name is not None:  # before a snapshot or a server inherits them
        _unset_marks(shop, made)
    return made


def extend_volume(shop: Workshop, volume_id: str, size: int) -> None:
    """Makes an available volume larger (*size* in bytes, whole GiB); waits until it is available again."""
    made = Made("volume", volume_id, id=volume_id)
    _action(shop, volume_id, {"os-extend": {"new_size": -(-size // GIB)}}, made)
    await_volume(shop, volume_id, "available")


def set_bootable(shop: Workshop, volume_id: str, bootable: bool) -> None:
    """Sets whether a server may boot from a volume (``os-set_bootable``)."""
    made = Made("volume", volume_id, id=volume_id)
    _action(shop, volume_id, {"os-set_bootable": {"bootable": bootable}}, made)


def set_image_metadata(shop: Workshop, volume_id: str, metadata: Mapping[str, str]) -> None:
    """Sets image properties that a volume hands on to the images that are made from it."""
    made = Made("volume", volume_id, id=volume_id)
    _action(shop, volume_id, {"os-set_image_metadata": {"metadata": dict(metadata)}}, made)


def unset_image_metadata(shop: Workshop, volume_id: str, keys: Iterable[str]) -> None:
    """Removes image properties from a volume, as far as it has them."""
    made = Made("volume", volume_id, id=volume_id)
    for key in keys:
        with contextlib.suppress(errors.ResourceNotFound):
            _action(shop, volume_id, {"os-unset_image_metadata": {"key": key}}, made)


def unmark(shop: Workshop, made: Made, *, description: str | None, metadata: Mapping[str, str]) -> None:
    """Makes a volume or snapshot the user's: our mark goes from it. What it hands on to images has none:
    see :func:`make_volume`.
    """
    path = f"/{made.kind}s/{made.id}"
    body: dict[str, Any] = {made.kind: {"description": description}}
    shop.cloud.request("block-storage", "PUT", path, what=made.label, json=body)
    body = {"metadata": dict(metadata)}
    shop.cloud.request("block-storage", "PUT", f"{path}/metadata", what=made.label, json=body)


def _unset_marks(shop: Workshop, made: Made) -> None:
    """Takes our marks from what a volume hands on to images; it has them from the image that it is of."""
    volume = get_volume(shop.cloud, str(made.id))
    inherited = volume.image_metadata if volume is not None else {}
    unset_image_metadata(shop, str(made.id), [key for key in inherited if key.startswith(MARK)])


def upload_volume(
    shop: Workshop, volume_id: str, disk_format: str, role: str, *, temporary: bool = True
) -> Made:
    """A private image of ours of an available volume; waits until it is active.

    Cinder converts to *disk_format* before it sends the data.

    :param temporary: the volume is ours, so it can hand our mark on. One of the user's gets none: the image
        has our name from the beginning, and is marked as soon as it is there.
    """
    made = shop.register("image", shop.run.name(role), REMOVALS["image"])
    if temporary:
        set_image_metadata(shop, volume_id, shop.run.marks())
    upload = {
        "os-volume_upload_image": {
            "image_name": made.name,
            "disk_format": disk_format,
            "container_format": "bare",
            "visibility": "private",
            "protected": False,
            "force": False,
        }
    }
    with making(made):
        answer = _action(shop, volume_id, upload, made, UPLOAD_MICROVERSION)
    image_id = shop.identify(made, answer["os-volume_upload_image"]["image_id"])
    if not temporary:
        marks = [{"op": "add", "path": f"/{k}", "value": v} for k, v in shop.run.marks().items()]
        with contextlib.suppress(errors.ResourceNotFound):  # an upload that failed already
            shop.cloud.patch_image(image_id, marks, what=made.label)
    await_image(shop, image_id, volume_id)
    await_uploaded(shop, volume_id)
    return made


def _post(shop: Workshop, path: str, body: dict[str, Any], made: Made) -> Any:
    with making(made):
        return shop.cloud.request("block-storage", "POST", path, what=made.label, json=body).json()


def _action(
    shop: Workshop, volume_id: str, body: dict[str, Any], made: Made, version: str | None = None
) -> Any:
    response = shop.cloud.request(
        "block-storage",
        "POST",
        f"/volumes/{volume_id}/action",
        what=made.label,
        json=body,
        microversion=version,
    )
    return response.json() if response.content else {}
