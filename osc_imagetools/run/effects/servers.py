# SPDX-License-Identifier: Apache-2.0
"""The effects on servers: stopped, and made an image of.

Contract: as in :mod:`osc_imagetools.run.effects.block_storage`: whatever is made, or stopped, has its undo
registered first. A server of the user's that is stopped bears a mark until it runs again.
Source: https://docs.openstack.org/api-ref/compute/ ; createImage of a server that boots from a volume:
nova/compute/api.py, snapshot_volume_backed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from osc_imagetools import errors
from osc_imagetools.cloud.answers import StatusError
from osc_imagetools.cloud.block_device import BlockDevice
from osc_imagetools.cloud.image import get_image
from osc_imagetools.cloud.ownership import STOPPED
from osc_imagetools.cloud.server import Server, get_server
from osc_imagetools.cloud.volume import get_snapshot
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import SnapshotServer
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects.creation import create
from osc_imagetools.run.effects.outcome import Outcome
from osc_imagetools.run.effects.removal import REMOVALS, marked
from osc_imagetools.run.effects.server_requests import newest_stop, server_action, server_request
from osc_imagetools.run.effects.waits import COMING, AbandonedImage, await_snapshot, image_document

# createImage answers with the ID of the image
IMAGE_MICROVERSION = "2.45"
# events of an action tell what went wrong
DETAILS_MICROVERSION = "2.84"


def stop_server(context: RunContext, server_id: str) -> CreatedResource:
    """Stops a running server and waits until its guest is at rest; its undo starts it again.

    The mark then tells which request has stopped it: one that its user has stopped since stays stopped.
    """
    made = context.register("stopped-server", server_id, REMOVALS["stopped-server"], identifier=server_id)
    mark = f"{context.run.id} {context.run.process}"
    _mark_stopped(context, server_id, mark)
    try:
        server_action(context, server_id, {"os-stop": None}, again=True)
    except StatusError as exc:
        server = get_server(context.cloud, server_id)
        stops = server is not None and (server.status == "SHUTOFF" or server.task_state == "powering-off")
        if exc.status != 409 or not stops:  # else an answer got lost, and this was the second request
            raise
    await_server(context, server_id, "SHUTOFF")
    if stop := newest_stop(context, server_id):
        with contextlib.suppress(errors.ImagetoolsError):  # it is locked, for example: the mark is there
            _mark_stopped(context, server_id, f"{mark} {stop}")
    return made


def _mark_stopped(context: RunContext, server_id: str, mark: str) -> None:
    body = {"metadata": {STOPPED: mark}}
    server_request(context, "POST", f"/servers/{server_id}/metadata", server_id, body, again=True)


def create_server_image(context: RunContext, operation: SnapshotServer) -> dict[Reference, Outcome]:
    """Makes an image of a server and waits until it and its snapshots can be read.

    :returns: the image and the snapshots; the value of a snapshot is the block device of the server that it
        is of, as Nova tells it.
    :raises errors.CloudError: it failed; the message has what the cloud says.
    """
    server_id = str(operation.server.id)
    image = context.register("image", context.run.name(operation.makes.role), REMOVALS["image"])
    made: dict[Reference, CreatedResource] = {}
    for volume_id, reference in operation.snapshots:
        made[reference] = context.register(
            "snapshot", f"snapshot for {image.name}", REMOVALS["snapshot"], parent=volume_id
        )
    snapshots = list(made.values())
    body = {"createImage": {"name": image.name, "metadata": context.run.marks()}}

    def send() -> str:
        return str(server_action(context, server_id, body, IMAGE_MICROVERSION)["image_id"])

    try:
        # Never a second time: its snapshots cannot be told from those of the first.
        create(context, image, send, resend=False)
    except BaseException:
        for snapshot in snapshots:
            _search_snapshot(context, snapshot, refused=not image.may_exist)
        raise
    for snapshot in snapshots:  # until each is identified it can only be searched for
        snapshot.may_exist = True
    _await_server_image(context, str(image.id), server_id)
    if not snapshots:
        _check_data(context, str(image.id), operation)
    devices = _identify_snapshots(context, str(image.id), operation, made)
    return {
        operation.makes: Outcome(image),
        **{
            reference: Outcome(made[reference], devices[volume_id])
            for volume_id, reference in operation.snapshots
        },
    }


def _check_data(context: RunContext, image_id: str, operation: SnapshotServer) -> None:
    """:raises errors.ResourceUnusable: Nova made an image of 0 bytes; its snapshots are to be removed."""
    image = get_image(context.cloud, image_id)
    if image.size:
        return
    for device in image.mapping:
        if device.snapshot_id:
            name = f"snapshot for {image.name}"
            context.register("snapshot", name, REMOVALS["snapshot"], identifier=device.snapshot_id)
    raise errors.ResourceUnusable(
        f"{operation.server.label} boots from a volume, though Nova shows an image for it: it was not known",
        hint="An administrator can export it: who may read its root device sees which volume that is.",
    )


def _search_snapshot(context: RunContext, snapshot: CreatedResource, *, refused: bool) -> None:
    """After a createImage that failed: Nova removes none of the snapshots that it had taken by then."""
    snapshot.may_exist = True
    if not refused:
        return  # it may still come: the removal searches for it
    with contextlib.suppress(errors.ImagetoolsError):
        found = next(marked(context, "/snapshots/detail", "snapshots", snapshot), None)
        snapshot.may_exist = False
        if found:
            context.identify(snapshot, found)


def _identify_snapshots(
    context: RunContext,
    image_id: str,
    operation: SnapshotServer,
    made: Mapping[Reference, CreatedResource],
) -> dict[str, BlockDevice]:
    """Finds out which snapshot is whose, marks each, and waits until it can be used."""
    roles = dict(operation.snapshots)
    devices: dict[str, BlockDevice] = {}
    if not roles:
        return devices
    for device in get_image(context.cloud, image_id).mapping:
        snapshot = get_snapshot(context.cloud, device.snapshot_id) if device.snapshot_id else None
        if snapshot is None or snapshot.volume_id not in roles:
            continue
        devices[snapshot.volume_id] = device
        identifier = context.identify(made[roles[snapshot.volume_id]], snapshot.id)
        path = f"/snapshots/{identifier}/metadata"
        body = {"metadata": context.run.marks()}
        context.cloud.request("block-storage", "POST", path, what=snapshot.label, json=body, again=True)
    missing = sorted(roles.keys() - devices.keys())
    if missing:
        raise errors.CloudError(
            f"image {image_id} of {operation.server.label} has no snapshot of volume {', '.join(missing)}",
            hint="Was it attached or detached in between? Run the command again.",
        )
    for role in roles.values():
        await_snapshot(context, str(made[role].id))
    return devices


def _await_server_image(context: RunContext, image_id: str, server_id: str) -> None:
    """Waits until the image is active and Nova has finished with the server."""
    abandoned = AbandonedImage()

    def there() -> bool:
        document = image_document(context.cloud, image_id)
        status = document["status"] if document else "gone"
        if status not in ("active", *COMING):
            raise _no_image(context, image_id, server_id, status)
        server = get_server(context.cloud, server_id)
        context.progress.told((server.task_state if server else None) or status)
        idle = server is None or not str(server.task_state or "").startswith("image_")
        if status == "active":
            return idle
        if abandoned.found(document, worker_idle=idle):
            state = f"still {status}, and the server is no longer being captured"
            raise _no_image(context, image_id, server_id, state)
        return False

    context.deadline.until(f"image {image_id} of server {server_id} to become active", there)


def _no_image(context: RunContext, image_id: str, server_id: str, state: str) -> errors.CloudError:
    """The error of a server's image that will never be active, with what the cloud says about it."""
    said = "; ".join(_said_of_image(context, server_id)) or "the cloud gives no reason"
    return errors.CloudError(
        f"image {image_id} of server {server_id} is {state}: {said}",
        hint="The log of the server's compute host tells more; the same command can be run again.",
    )


def _said_of_image(context: RunContext, server_id: str) -> list[str]:
    """What the newest createImage of a server says of its failure (action events, 2.84)."""
    version = context.cloud.microversion("compute", DETAILS_MICROVERSION)
    path = f"/servers/{server_id}/os-instance-actions"
    try:
        actions = context.cloud.get("compute", path, what="actions", microversion=version)["instanceActions"]
        newest = next(action for action in actions if action["action"] == "createImage")
        path = f"{path}/{newest['request_id']}"
        answer = context.cloud.get("compute", path, what="action", microversion=version)["instanceAction"]
    except (errors.ImagetoolsError, StopIteration, KeyError):
        return []
    events = answer.get("events") or ()
    return [str(e.get("details") or answer.get("message")) for e in events if e.get("result") == "Error"]


def await_server(context: RunContext, server_id: str, status: str) -> Server:
    """Waits until a server is in a state and Nova does nothing with it.

    :raises errors.CloudError: it went to ERROR (with the fault that Nova tells), or is gone.
    """
    found: list[Server] = []

    def reached() -> bool:
        server = get_server(context.cloud, server_id)
        if server is None or server.status == "ERROR":
            fault = (server.document.get("fault") or {}).get("message") if server else None
            raise errors.CloudError(
                f"server {server_id} is {'in ERROR' if server else 'gone'}: {fault or 'no reason is given'}",
                hint=f"openstack server event list {server_id}" if server else None,
            )
        found[:] = [server]
        context.progress.told(server.task_state or server.status)
        return server.status == status and server.task_state is None

    context.deadline.until(f"server {server_id} to become {status}", reached)
    return found[0]
