# SPDX-License-Identifier: Apache-2.0
"""Removing what is ours, each until it is gone; and starting a server again that was stopped.

Contract: removes only what it is given by ID, or what bears the name that the run gave it
(its ID is in that) and, where it is a volume or snapshot, its mark. A
resource that is gone already is as good as removed; one in a passing state is waited for.
Source: https://docs.openstack.org/api-ref/block-storage/v3/ , https://docs.openstack.org/api-ref/image/v2/
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.answers import StatusError
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.ownership import RUN, STOPPED, run_of_name
from osc_imagetools.cloud.server import Server, get_server
from osc_imagetools.cloud.volume import get_snapshot, get_volume
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.deadline import FIRST_PAUSE
from osc_imagetools.run.effects.server_requests import newest_stop, server_action, server_request
from osc_imagetools.run.effects.waits import failure, image_document

# How long something may take to appear whose making was never answered, in seconds.
LATEST = 30.0
# How long a resource at rest may refuse to be deleted: who holds it may be letting it go, in seconds.
AT_REST = 60.0
RESTING = ("available", "in-use", "error", "error_extending", "error_restoring", "error_managing")
# How often a server that stops again is started.
MOST_STARTS = 3
# Seconds before a server is started again. Where Nova makes the snapshot of a volume (NFS, for example), it
# learns half a second or more after the snapshot is available which file the volume is in now. A server that
# is started before that writes into the file of the snapshot, and loses it when it is stopped.
# Source: volume_snapshot_create in nova/virt/libvirt/driver.py.
SETTLE = 3.0


def remove_image(context: RunContext, made: CreatedResource) -> None:
    """Deletes an image of ours and waits until it is gone; one that is protected loses that first."""
    for image_id in _ids(context, made):
        path = f"/images/{image_id}"
        try:
            _delete(context, "image", path, made)
        except errors.Forbidden:
            unprotect = [{"op": "replace", "path": "/protected", "value": False}]
            context.cloud.patch_image(image_id, unprotect, what=made.label)
            _delete(context, "image", path, made)
        context.cleanup_deadline.until(
            f"image {image_id} to go", functools.partial(_image_gone, context, image_id), once=True
        )


def _image_gone(context: RunContext, image_id: str) -> bool:
    return image_document(context.cloud, image_id) is None


def remove_volume(context: RunContext, made: CreatedResource) -> None:
    """Deletes a volume of ours as soon as its state allows it, and waits until it is gone."""
    for volume_id in _ids(context, made):
        _remove_when_idle(context, made, f"/volumes/{volume_id}", volume_id, get_volume)


def remove_snapshot(context: RunContext, made: CreatedResource) -> None:
    """Deletes a snapshot of ours as soon as its state allows it, and waits until it is gone.

    One at a time in a run: see :class:`RunContext`.
    """
    for snapshot_id in _ids(context, made):
        path = f"/snapshots/{snapshot_id}"
        with context.one_snapshot:
            _remove_when_idle(context, made, path, snapshot_id, get_snapshot)


def _remove_when_idle(
    context: RunContext,
    made: CreatedResource,
    path: str,
    resource_id: str,
    get: Callable[[Cloud, str], Any],
) -> None:
    """Deletes as soon as the state allows it, and waits until the resource is gone.

    A state that is passing (creating, uploading) refuses the deletion with 400 or 409; a deletion that
    fails shows as ``error_deleting``, and one that the driver puts off because something depends on the
    resource as its old state (cinder/volume/manager.py, SnapshotIsBusy). One at rest that refuses all the
    same is held by something that is not ours: a server, a snapshot.
    """

    refusal, begun, since = "", False, time.monotonic()

    def gone() -> bool:
        nonlocal refusal, begun, since
        found = get(context.cloud, resource_id)
        if found is None:
            return True
        if found.status == "error_deleting":
            raise failure(context, made.kind, resource_id, found.status, resource_id)
        if found.status != "deleting":
            if begun:
                state = f"{found.status} again after its deletion had begun"
                raise failure(context, made.kind, resource_id, state, resource_id)
            try:
                _delete(context, "block-storage", path, made)
                begun = True
            except StatusError as exc:
                if exc.status not in (400, 409):
                    raise
                if found.status not in RESTING:
                    since = time.monotonic()
                elif time.monotonic() - since > AT_REST:
                    raise
                refusal = exc.message
        return False

    try:
        context.cleanup_deadline.until(f"{made.label} to go", gone, once=True)
    except (errors.WaitTimeout, errors.Cancelled) as exc:
        exc.message += f"; {refusal}" if refusal else ""
        raise


def _delete(context: RunContext, service: str, path: str, made: CreatedResource) -> None:
    try:
        context.cloud.request(service, "DELETE", path, what=made.label)
    except errors.ResourceNotFound:
        return


def _ids(context: RunContext, made: CreatedResource) -> tuple[str, ...]:
    """The IDs of what was made: the one that is known, or what is found by name and mark.

    :raises errors.CloudError: the cloud never said whether it made it, and nothing has appeared.
    """
    if made.absent:
        return ()
    if made.id and not made.may_exist:
        return (made.id,)
    if not made.may_exist:
        return ()
    end = time.monotonic() + LATEST
    while not (found := tuple(SEARCHES[made.kind](context, made))) and time.monotonic() < end:
        if context.cleanup_deadline.cancelled.wait(FIRST_PAUSE * 5):
            break
    if not found:
        raise errors.CloudError("the cloud never answered the request: it may still appear")
    return found


def marked(context: RunContext, path: str, key: str, made: CreatedResource) -> Iterator[str]:
    """The IDs of what bears the name and the mark of the run (and is of the volume, if it has a parent)."""
    query = {"name": made.name}
    for document in context.cloud.list("block-storage", path, key, what=made.label, params=query):
        ours = (document.get("metadata") or {}).get(RUN) or run_of_name(document.get("name"))
        if ours == context.run.id and made.parent in (None, document.get("volume_id")):
            yield document["id"]


def _images_of(context: RunContext, made: CreatedResource) -> Iterator[str]:
    query = {"name": made.name}  # the run's ID is in it: what Cinder makes of a user's volume has no mark yet
    for document in context.cloud.list("image", "/images", "images", what=made.label, params=query):
        yield document["id"]


def start_server(context: RunContext, made: CreatedResource) -> None:
    """Starts a server that a run has stopped, unless somebody else has started or stopped it since.

    The mark goes.
    """
    server_id = str(made.id)

    starts = 0
    settled = False

    def running() -> bool:
        nonlocal starts, settled
        server = get_server(context.cloud, server_id)
        if server is None or server.status in ("DELETED", "SOFT_DELETED"):
            return True  # somebody has deleted it
        if server.task_state is not None:  # it may be stopping still
            return False
        if server.status != "SHUTOFF":
            return True
        if not starts and _stopped_since(context, server):
            return True
        if starts == MOST_STARTS:
            fault = (server.document.get("fault") or {}).get("message") or "no reason is given"
            raise errors.CloudError(
                f"server {server_id} does not start: {fault}", hint=f"openstack server start {server_id}"
            )
        if not settled:
            settled = True
            context.cleanup_deadline.cancelled.wait(SETTLE)
            return False
        try:
            server_action(context, server_id, {"os-start": None}, again=True)
            starts += 1
        except StatusError as exc:
            if exc.status != 409 or server.locked:  # else another task has begun in between
                raise
        return False

    context.cleanup_deadline.until(f"server {server_id} to run again", running)
    with contextlib.suppress(errors.ResourceNotFound):
        server_request(context, "DELETE", f"/servers/{server_id}/metadata/{STOPPED}", server_id)


def _stopped_since(context: RunContext, server: Server) -> bool:
    """Whether another request than the one of the mark has stopped a server last."""
    mark = str((server.document.get("metadata") or {}).get(STOPPED, "")).split()
    newest = newest_stop(context, server.id) if len(mark) > 2 else None
    return newest is not None and newest != mark[2]


def remove_server(context: RunContext, made: CreatedResource) -> None:
    """Deletes a server of ours and waits until it is gone; its volumes are let go then."""
    for server_id in _ids(context, made):

        def gone(server_id: str = server_id) -> bool:
            server = get_server(context.cloud, server_id)
            if server is None or server.status == "DELETED":
                return True
            if server.task_state in ("deleting", "soft-deleting"):
                return False
            with contextlib.suppress(errors.ResourceNotFound):
                if server.status == "SOFT_DELETED":  # the cloud would only reclaim it later
                    server_action(context, server_id, {"forceDelete": None}, again=True)
                else:
                    server_request(context, "DELETE", f"/servers/{server_id}", server_id)
            return False

        context.cleanup_deadline.until(f"server {server_id} to go", gone, once=True)


def _servers_of(context: RunContext, made: CreatedResource) -> Iterator[str]:
    """The servers with that name whose description says that this run makes them."""
    version = context.cloud.microversion("compute", "2.19")
    for document in context.cloud.list(
        "compute", "/servers/detail", "servers", what="list of servers", microversion=version
    ):
        ours = run_of_name(document.get("description")) == context.run.id
        if ours and document.get("name") == made.name:
            yield document["id"]


def remove_port(context: RunContext, made: CreatedResource) -> None:
    """Deletes a port of ours."""
    for port_id in _ids(context, made):
        _delete(context, "network", f"/ports/{port_id}", made)


def _ports_of(context: RunContext, made: CreatedResource) -> Iterator[str]:
    query = {"name": made.name}
    for document in context.cloud.list("network", "/ports", "ports", what=made.label, params=query):
        yield document["id"]


def _volumes_of(context: RunContext, made: CreatedResource) -> Iterator[str]:
    return marked(context, "/volumes/detail", "volumes", made)


def _snapshots_of(context: RunContext, made: CreatedResource) -> Iterator[str]:
    return marked(context, "/snapshots/detail", "snapshots", made)


# The IDs of what bears the name and the mark of what a run makes, by its kind.
SEARCHES: Mapping[str, Callable[[RunContext, CreatedResource], Iterator[str]]] = {
    "image": _images_of,
    "volume": _volumes_of,
    "snapshot": _snapshots_of,
    "server": _servers_of,
    "port": _ports_of,
}
REMOVALS: Mapping[str, Callable[[RunContext, CreatedResource], None]] = {
    "image": remove_image,
    "volume": remove_volume,
    "snapshot": remove_snapshot,
    "server": remove_server,
    "port": remove_port,
    "stopped-server": start_server,
}
