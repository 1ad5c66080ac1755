# SPDX-License-Identifier: Apache-2.0
"""The effects on block storage and on the images that it makes, each with its removal registered first.

Contract: every function that makes something registers the removal in the run's :class:`Undo` before the
request that makes it, waits until the resource can be used, and gives back its ID. A removal looks a
resource without a known ID up by its name and mark, so an answer that got lost leaves nothing behind.
Source: https://docs.openstack.org/api-ref/block-storage/v3/ , https://docs.openstack.org/api-ref/image/v2/
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud import Cloud, StatusError
from osc_imagetools.execution.temporary import RUN, Run
from osc_imagetools.execution.undo import Entry, Undo
from osc_imagetools.execution.wait import FIRST_PAUSE, Patience
from osc_imagetools.inventory.volume import GIB, get_snapshot, get_volume

# How long something may take to appear whose making was never answered, in seconds.
LATEST = 30.0
# visibility on upload is 3.1; filters of /messages are 3.5
UPLOAD_MICROVERSION = "3.1"
MESSAGES_MICROVERSION = "3.5"


@dataclass
class Workshop:
    """What every effect needs: the cloud, the run that it belongs to, its undo, its patience.

    ``removal`` is the patience of the clean-up: it goes on after the interrupt that it is there for.
    """

    cloud: Cloud
    run: Run
    undo: Undo = field(default_factory=Undo)
    patience: Patience = field(default_factory=Patience)
    removal: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, cloud: Cloud, purpose: str, timeout: float | None) -> Workshop:
        """That of a new run; *timeout* in seconds limits each single wait, None: no limit."""
        return cls(cloud, Run(purpose), Undo(), Patience(timeout=timeout), Patience(timeout=timeout))


@dataclass
class Made:
    """A resource that a run makes; ``id`` is None until it is known.

    ``unsure`` from the request that makes it until an answer tells whether it did.
    """

    kind: str
    name: str
    entry: Entry | None = None
    id: str | None = None
    unsure: bool = False

    @property
    def label(self) -> str:
        return f"temporary {self.kind} {self.name}" + (f" ({self.id})" if self.id else "")


def create_snapshot(shop: Workshop, volume_id: str, role: str, *, name: str | None = None) -> Made:
    """A snapshot of a volume, also of one in use; waits until it is available.

    :param name: of one that will be kept (see :func:`unmark`); a temporary one is named by its role.
    """
    made = _register(shop, "snapshot", role, name)
    body = {
        "snapshot": {
            "volume_id": volume_id,
            "name": made.name,
            "description": shop.run.purpose,
            "force": True,
            "metadata": shop.run.marks(),
        }
    }
    made.id = _post(shop, "/snapshots", body, made)["snapshot"]["id"]
    await_snapshot(shop, made.id)
    return made


def create_volume(shop: Workshop, snapshot_id: str, size: int, role: str) -> Made:
    """A temporary volume from a snapshot (*size* in bytes, whole GiB); waits until it is available."""
    await_snapshot(shop, snapshot_id)
    return _volume(shop, size, role, None, {"snapshot_id": snapshot_id})


def create_volume_from_image(
    shop: Workshop, image_id: str, size: int, *, name: str, fields: Mapping[str, Any]
) -> Made:
    """A volume that will be kept (see :func:`unmark`), with an image's data; waits until it is available.

    :param size: bytes, whole GiB.
    :param fields: more of the request: description, volume_type.
    """
    return _volume(shop, size, name, name, {"imageRef": image_id, **fields})


def _volume(shop: Workshop, size: int, role: str, name: str | None, fields: Mapping[str, Any]) -> Made:
    made = _register(shop, "volume", role, name)
    volume = {
        "size": -(-size // GIB),
        "name": made.name,
        "description": shop.run.purpose,
        "metadata": shop.run.marks(),
        **fields,
    }
    made.id = _post(shop, "/volumes", {"volume": volume}, made)["volume"]["id"]
    await_volume(shop, made.id, "available")
    return made


def set_bootable(shop: Workshop, volume_id: str, bootable: bool) -> None:
    """Sets whether a server may boot from a volume (``os-set_bootable``)."""
    made = Made("volume", volume_id, id=volume_id)
    _action(shop, volume_id, {"os-set_bootable": {"bootable": bootable}}, made)


def unmark(shop: Workshop, made: Made, *, description: str | None, metadata: Mapping[str, str]) -> None:
    """Makes a volume or snapshot the user's: our mark goes from it, and from what it hands on to images."""
    path = f"/{made.kind}s/{made.id}"
    body: dict[str, Any] = {made.kind: {"description": description}}
    shop.cloud.request("block-storage", "PUT", path, what=made.label, json=body)
    if made.kind == "volume":
        for key in shop.run.marks():
            with contextlib.suppress(errors.ResourceNotFound):
                _action(shop, str(made.id), {"os-unset_image_metadata": {"key": key}}, made)
    body = {"metadata": dict(metadata)}
    shop.cloud.request("block-storage", "PUT", f"{path}/metadata", what=made.label, json=body)


def upload_volume(shop: Workshop, volume_id: str, disk_format: str, role: str) -> Made:
    """A temporary private image of an available temporary volume; waits until it is active.

    Cinder converts to *disk_format* before it sends the data.
    """
    made = _register(shop, "image", role)
    mark = {"os-set_image_metadata": {"metadata": shop.run.marks()}}
    _action(shop, volume_id, mark, made)
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
        made.id = answer["os-volume_upload_image"]["image_id"]
    await_image(shop, made.id, volume_id)
    await_volume(shop, volume_id, "available")
    return made


def await_snapshot(shop: Workshop, snapshot_id: str) -> None:
    """:raises errors.CloudError: it went to an error state or is gone."""

    def available() -> bool:
        snapshot = get_snapshot(shop.cloud, snapshot_id)
        if snapshot is None or snapshot.status.startswith(("error", "deleting")):
            state = snapshot.status if snapshot else "gone"
            raise _failed(shop, "snapshot", snapshot_id, state, snapshot_id)
        return snapshot.status == "available"

    shop.patience.until(f"snapshot {snapshot_id} to become available", available)


def await_volume(shop: Workshop, volume_id: str, status: str) -> None:
    """:raises errors.CloudError: it went to an error state or is gone."""

    def reached() -> bool:
        volume = get_volume(shop.cloud, volume_id)
        if volume is None or volume.status.startswith(("error", "deleting")):
            state = volume.status if volume else "gone"
            raise _failed(shop, "volume", volume_id, state, volume_id)
        return volume.status == status

    shop.patience.until(f"volume {volume_id} to become {status}", reached)


def await_image(shop: Workshop, image_id: str, volume_id: str) -> None:
    """:raises errors.CloudError: Cinder deleted it, which is how a failed upload ends, or it failed."""

    def active() -> bool:
        document = _image(shop.cloud, image_id)
        status = document["status"] if document else "gone"
        if status not in ("active", "queued", "saving"):
            raise _failed(shop, "image", image_id, status, volume_id)
        return status == "active"

    shop.patience.until(f"image {image_id} to become active", active)


def _register(shop: Workshop, kind: str, role: str, name: str | None = None) -> Made:
    made = Made(kind, name or shop.run.name(role))
    remove = {"image": remove_image, "volume": _remove_volume, "snapshot": _remove_snapshot}[kind]
    made.entry = shop.undo.register(f"temporary {kind} {made.name}", lambda: remove(shop, made))
    return made


@contextlib.contextmanager
def making(made: Made) -> Iterator[None]:
    """The request that makes it: without a clear answer it may be there, or come into being later."""
    made.unsure = True
    try:
        yield
    except StatusError as exc:
        made.unsure = exc.status >= 500
        raise
    except (errors.Forbidden, errors.ResourceNotFound):
        made.unsure = False
        raise
    made.unsure = False


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


def _image(cloud: Cloud, image_id: str) -> Any:
    try:
        return cloud.get("image", f"/images/{image_id}", what=f"image {image_id}")
    except errors.ResourceNotFound:
        return None


def _image_gone(cloud: Cloud, image_id: str) -> bool:
    return _image(cloud, image_id) is None


def _failed(shop: Workshop, kind: str, resource_id: str, state: str, asked: str) -> errors.CloudError:
    """The error of a wait that cannot succeed, with what the cloud says about resource *asked*."""
    said = "; ".join(_messages(shop.cloud, asked)) or "the cloud gives no reason"
    gone = " (Cinder deletes the image of an upload that failed)" if kind == "image" else ""
    return errors.CloudError(
        f"{kind} {resource_id} is {state}{gone}: {said}",
        hint="The volume service's log tells more; the same command can be run again.",
    )


def _messages(cloud: Cloud, resource_id: str) -> Iterator[str]:
    """What Cinder's user messages (3.3, filters 3.5) say about a resource."""
    try:
        answer = cloud.get(
            "block-storage",
            "/messages",
            what="messages",
            params={"resource_uuid": resource_id},
            microversion=MESSAGES_MICROVERSION,
        )
    except errors.ImagetoolsError:
        return
    for message in answer.get("messages", ()):
        yield str(message.get("user_message"))


def remove_image(shop: Workshop, made: Made) -> None:
    """Deletes an image of ours and waits until it is gone; one that is protected loses that first."""
    for image_id in _ids(shop, made, lambda: _images_of(shop, made)):
        path = f"/images/{image_id}"
        try:
            _delete(shop, "image", path, made)
        except errors.Forbidden:
            unprotect = [{"op": "replace", "path": "/protected", "value": False}]
            shop.cloud.patch_image(image_id, unprotect, what=made.label)
            _delete(shop, "image", path, made)
        shop.removal.until(f"image {image_id} to go", functools.partial(_image_gone, shop.cloud, image_id))


def _remove_volume(shop: Workshop, made: Made) -> None:
    for volume_id in _ids(shop, made, lambda: _marked(shop, "/volumes/detail", "volumes", made)):
        _remove_when_idle(shop, made, f"/volumes/{volume_id}", volume_id, get_volume)


def _remove_snapshot(shop: Workshop, made: Made) -> None:
    for snapshot_id in _ids(shop, made, lambda: _marked(shop, "/snapshots/detail", "snapshots", made)):
        path = f"/snapshots/{snapshot_id}"
        _remove_when_idle(shop, made, path, snapshot_id, get_snapshot)


def _remove_when_idle(
    shop: Workshop,
    made: Made,
    path: str,
    resource_id: str,
    get: Callable[[Cloud, str], Any],
) -> None:
    """Deletes as soon as the state allows it, and waits until the resource is gone.

    A state that is passing (creating, uploading) refuses the deletion with 400 or 409; a deletion that
    fails shows as ``error_deleting``.
    """

    refusal = ""

    def gone() -> bool:
        nonlocal refusal
        found = get(shop.cloud, resource_id)
        if found is None:
            return True
        if found.status == "error_deleting":
            raise _failed(shop, made.kind, resource_id, found.status, resource_id)
        if found.status != "deleting":
            try:
                _delete(shop, "block-storage", path, made)
            except StatusError as exc:
                if exc.status not in (400, 409):
                    raise
                refusal = exc.message
        return False

    try:
        shop.removal.until(f"{made.label} to go", gone)
    except (errors.WaitTimeout, errors.Cancelled) as exc:
        exc.message += f"; {refusal}" if refusal else ""
        raise


def _delete(shop: Workshop, service: str, path: str, made: Made) -> None:
    try:
        shop.cloud.request(service, "DELETE", path, what=made.label)
    except errors.ResourceNotFound:
        return


def _ids(shop: Workshop, made: Made, search: Callable[[], Iterator[str]]) -> tuple[str, ...]:
    """The IDs of what was made: the one that is known, or what is found by name and mark.

    :raises errors.CloudError: the cloud never said whether it made it, and nothing has appeared.
    """
    if made.id and not made.unsure:
        return (made.id,)
    if not made.unsure:
        return ()
    end = time.monotonic() + LATEST
    while not (found := tuple(search())) and time.monotonic() < end:
        if shop.removal.cancelled.wait(FIRST_PAUSE * 5):
            break
    if not found:
        raise errors.CloudError("the cloud never answered the request: it may still appear")
    return found


def _marked(shop: Workshop, path: str, key: str, made: Made) -> Iterator[str]:
    query = {"name": made.name}
    for document in shop.cloud.list("block-storage", path, key, what=made.label, params=query):
        if (document.get("metadata") or {}).get(RUN) == shop.run.id:
            yield document["id"]


def _images_of(shop: Workshop, made: Made) -> Iterator[str]:
    query = {"name": made.name, RUN: shop.run.id}
    for document in shop.cloud.list("image", "/images", "images", what=made.label, params=query):
        yield document["id"]
