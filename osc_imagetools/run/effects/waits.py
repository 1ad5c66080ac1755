# SPDX-License-Identifier: Apache-2.0
"""Waiting for volumes, snapshots and images: until they can be used, or until they never will be.

Contract: reads the cloud only. No hidden time limit (:mod:`osc_imagetools.run.deadline`); a failure says
what the cloud says about it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.volume import get_snapshot, get_volume
from osc_imagetools.progress import words
from osc_imagetools.run.context import RunContext

# filters of /messages are 3.5
MESSAGES_MICROVERSION = "3.5"
SNAPSHOT_PROGRESS = "os-extended-snapshot-attributes:progress"  # "45%", of drivers that tell
# The states of an image that is going to be active.
COMING = ("queued", "saving", "importing")
# How long an image may wait on while no service works on it, in seconds: one may just be about to begin.
ABANDONED = 120.0


class AbandonedImage:
    """Tells an image that will never be active from one whose service is slow.

    A service that was restarted, or whose last request was refused, leaves the image as it was.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def found(self, image: Mapping[str, Any], *, worker_idle: bool) -> bool:
        """Whether nobody has worked on an image that is not active for :data:`ABANDONED` seconds.

        :param worker_idle: whether the service that makes it says that it has nothing to do.
        """
        if not worker_idle or image.get("os_glance_import_task"):  # Glance itself is at it
            self._since = None
            return False
        if self._since is None:
            self._since = time.monotonic()
        return time.monotonic() - self._since >= ABANDONED


def await_snapshot(context: RunContext, snapshot_id: str) -> None:
    """:raises errors.CloudError: it went to an error state or is gone."""

    def available() -> bool:
        snapshot = get_snapshot(context.cloud, snapshot_id)
        if snapshot is None or snapshot.status.startswith(("error", "deleting")):
            state = snapshot.status if snapshot else "gone"
            raise failure(context, "snapshot", snapshot_id, state, snapshot_id)
        context.progress.told(str(snapshot.document.get(SNAPSHOT_PROGRESS) or snapshot.status))
        return snapshot.status == "available"

    context.deadline.until(f"snapshot {snapshot_id} to become available", available)


def await_volume(context: RunContext, volume_id: str, status: str) -> None:
    """:raises errors.CloudError: it went to an error state or is gone."""

    def reached() -> bool:
        volume = get_volume(context.cloud, volume_id)
        if volume is None or volume.status.startswith(("error", "deleting")):
            state = volume.status if volume else "gone"
            raise failure(context, "volume", volume_id, state, volume_id)
        context.progress.told(volume.status)
        return volume.status == status

    context.deadline.until(f"volume {volume_id} to become {status}", reached)


def await_uploaded(context: RunContext, volume_id: str) -> None:
    """Waits until Cinder has finished with a volume whose image is active: it may have a new user by then."""

    def finished() -> bool:
        volume = get_volume(context.cloud, volume_id)
        return volume is None or volume.status != "uploading"

    context.deadline.until(f"volume {volume_id} to be free again", finished)


def await_image(context: RunContext, image_id: str, volume_id: str) -> None:
    """:raises errors.CloudError: Cinder deleted it, which is how a failed upload ends, or it failed."""
    abandoned = AbandonedImage()

    def active() -> bool:
        document = image_document(context.cloud, image_id)
        status = document["status"] if document else "gone"
        if status not in ("active", *COMING):
            raise failure(context, "image", image_id, status, volume_id)
        size = document.get("size") if document else None
        context.progress.told(f"{status}, {words.size(size)}" if size else status)
        if status == "active":
            return True
        volume = get_volume(context.cloud, volume_id)
        if abandoned.found(document, worker_idle=volume is None or volume.status != "uploading"):
            state = f"still {status}, and the volume is no longer being uploaded"
            raise failure(context, "image", image_id, state, volume_id)
        return False

    context.deadline.until(f"image {image_id} to become active", active)


def image_document(cloud: Cloud, image_id: str) -> Any:
    """The document of an image, None where there is none."""
    try:
        return cloud.get("image", f"/images/{image_id}", what=f"image {image_id}")
    except errors.ResourceNotFound:
        return None


def failure(context: RunContext, kind: str, resource_id: str, state: str, asked: str) -> errors.CloudError:
    """The error of a wait that cannot succeed, with what the cloud says about resource *asked*."""
    said = "; ".join(_messages(context.cloud, asked)) or "the cloud gives no reason"
    deleted = kind == "image" and state == "gone"
    gone = " (Cinder deletes the image of an upload that failed)" if deleted else ""
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
