# SPDX-License-Identifier: Apache-2.0
"""The effects on block storage and on the images that it makes, each with its removal registered first.

Contract: every function that makes something registers the removal in the run's :class:`Cleanup` before the
request that makes it, waits until the resource can be used, and gives back its ID. A removal looks a
resource without a known ID up by its name and mark, so an answer that got lost leaves nothing behind.
Source: https://docs.openstack.org/api-ref/block-storage/v3/ , https://docs.openstack.org/api-ref/image/v2/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.answers import document
from osc_imagetools.cloud.ownership import MARK
from osc_imagetools.cloud.volume import GIB, get_snapshot, get_volume
from osc_imagetools.operations.drafts import NotReplayed
from osc_imagetools.operations.vocabulary import CreateSnapshot
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects.creation import create
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.effects.removal import REMOVALS
from osc_imagetools.run.effects.waits import await_image, await_snapshot, await_uploaded, await_volume

# visibility on upload is 3.1
UPLOAD_MICROVERSION = "3.1"
# Actions on a volume that have the same result when they are done twice.
REPEATABLE = ("os-set_bootable", "os-set_image_metadata", "os-unset_image_metadata")


def snapshot(context: RunContext, operation: CreateSnapshot, results: Results) -> Outcome:
    """The snapshot of an operation; one that stays is verified."""
    keep, role = operation.keep, operation.makes.role
    name = keep.name if keep else None
    made = create_snapshot(context, results.id(operation.volume), role, name=name)
    if keep is None:
        return Outcome(made)
    found = get_snapshot(context.cloud, str(made.id))
    if found is None or (found.status, found.size) != ("available", operation.size):
        state = f"{found.status}, {found.size} bytes" if found else "gone"
        raise errors.CloudError(
            f"snapshot {made.name} ({made.id}) is {state}, and not of {operation.size} bytes"
        )

    def hand_over() -> list[NotReplayed]:
        unmark(context, made, description=keep.description, metadata=keep.metadata)
        return []

    return Outcome(made, found, keep.name, hand_over)


def create_snapshot(
    context: RunContext, volume_id: str, role: str, *, name: str | None = None
) -> CreatedResource:
    """A snapshot of a volume, also of one in use; waits until it is available.

    :param name: of one that will be kept (see :func:`unmark`); a temporary one is named by its role.
    """
    made = context.register(
        "snapshot", name or context.run.name(role), REMOVALS["snapshot"], keep=name is not None
    )
    body = {
        "snapshot": {
            "volume_id": volume_id,
            "name": made.name,
            "description": context.run.purpose,
            "force": True,
            "metadata": context.run.marks(),
        }
    }
    await_snapshot(context, _post(context, "/snapshots", body, made))
    return made


def make_volume(
    context: RunContext, size: int, fields: Mapping[str, Any], *, role: str, name: str | None = None
) -> CreatedResource:
    """A volume of *size* bytes (whole GiB); waits until it is available.

    :param fields: the rest of the request, what it is made from (``imageRef``, ``snapshot_id``)
        among it.
    :param name: of one that will be kept (see :func:`unmark`); a temporary one is named by its role.
    """
    made = context.register(
        "volume", name or context.run.name(role), REMOVALS["volume"], keep=name is not None
    )
    volume = {
        "size": -(-size // GIB),
        "name": made.name,
        "description": context.run.purpose,
        "metadata": context.run.marks(),
        **fields,
    }
    await_volume(context, _post(context, "/volumes", {"volume": volume}, made), "available")
    if name is not None:  # before a snapshot or a server inherits them
        _unset_marks(context, made)
    return made


def extend_volume(context: RunContext, volume_id: str, size: int) -> None:
    """Makes an available volume larger (*size* in bytes, whole GiB); waits until it is available again."""
    _action(context, volume_id, {"os-extend": {"new_size": -(-size // GIB)}})
    await_volume(context, volume_id, "available")


def set_bootable(context: RunContext, volume_id: str, bootable: bool) -> None:
    """Sets whether a server may boot from a volume (``os-set_bootable``)."""
    _action(context, volume_id, {"os-set_bootable": {"bootable": bootable}})


def set_image_metadata(context: RunContext, volume_id: str, metadata: Mapping[str, str]) -> None:
    """Sets image properties that a volume hands on to the images that are made from it."""
    _action(context, volume_id, {"os-set_image_metadata": {"metadata": dict(metadata)}})


def unset_image_metadata(context: RunContext, volume_id: str, keys: Iterable[str]) -> None:
    """Removes image properties from a volume, as far as it has them."""
    for key in keys:
        with contextlib.suppress(errors.ResourceNotFound):
            _action(context, volume_id, {"os-unset_image_metadata": {"key": key}})


def unmark(
    context: RunContext, made: CreatedResource, *, description: str | None, metadata: Mapping[str, str]
) -> None:
    """Makes a volume or snapshot the user's: our mark goes from it. What it hands on to images has none:
    see :func:`make_volume`.
    """
    path = f"/{made.kind}s/{made.id}"
    body: dict[str, Any] = {made.kind: {"description": description}}
    context.cloud.request("block-storage", "PUT", path, what=made.label, json=body)
    body = {"metadata": dict(metadata)}
    context.cloud.request("block-storage", "PUT", f"{path}/metadata", what=made.label, json=body)


def _unset_marks(context: RunContext, made: CreatedResource) -> None:
    """Takes our marks from what a volume hands on to images; it has them from the image that it is of."""
    volume = get_volume(context.cloud, str(made.id))
    inherited = volume.image_metadata if volume is not None else {}
    unset_image_metadata(context, str(made.id), [key for key in inherited if key.startswith(MARK)])


def upload_volume(
    context: RunContext,
    volume_id: str,
    disk_format: str,
    role: str,
    *,
    temporary: bool = True,
    keep: bool = False,
) -> CreatedResource:
    """A private image of ours of an available volume; waits until it is active.

    Cinder converts to *disk_format* before it sends the data.

    :param temporary: the volume is ours, so it can hand our mark on. One of the user's gets none: the image
        has our name from the beginning, and is marked as soon as it is there.
    :param keep: the image is meant to stay.
    """
    made = context.register("image", context.run.name(role), REMOVALS["image"], keep=keep)
    if temporary:
        set_image_metadata(context, volume_id, context.run.marks())
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

    def send() -> str:
        answer = _action(context, volume_id, upload, what=made.label, version=UPLOAD_MICROVERSION)
        return str(answer["os-volume_upload_image"]["image_id"])

    image_id = create(context, made, send)
    if not temporary:
        marks = [{"op": "add", "path": f"/{k}", "value": v} for k, v in context.run.marks().items()]
        with contextlib.suppress(errors.ResourceNotFound):  # an upload that failed already
            context.cloud.patch_image(image_id, marks, what=made.label)
    await_image(context, image_id, volume_id)
    await_uploaded(context, volume_id)
    return made


def _post(context: RunContext, path: str, body: dict[str, Any], made: CreatedResource) -> str:
    """Makes a volume or snapshot; its ID."""

    def send() -> str:
        return str(context.cloud.post("block-storage", path, what=made.label, key=made.kind, json=body)["id"])

    return create(context, made, send)


def _action(
    context: RunContext,
    volume_id: str,
    body: dict[str, Any],
    *,
    what: str | None = None,
    version: str | None = None,
) -> Any:
    what = what or f"volume {volume_id}"
    response = context.cloud.request(
        "block-storage",
        "POST",
        f"/volumes/{volume_id}/action",
        what=what,
        json=body,
        microversion=version,
        again=True if next(iter(body)) in REPEATABLE else None,
    )
    return document(response, what) if response.content else {}
