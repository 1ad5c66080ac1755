# SPDX-License-Identifier: Apache-2.0
"""Which states let a volume or a snapshot be read, and what helps where one does not.

Contract: pure. An advice is something that whoever reads it can do, and that leads out of the state.
Sources: cinder/objects/fields.py (VolumeStatus, SnapshotStatus), nova/compute/api.py
(shelve_offload: the volumes of a server that is shelved are reserved until it is unshelved).
"""

from __future__ import annotations

from osc_imagetools import errors
from osc_imagetools.cloud.volume import Snapshot, Volume

VOLUME_USABLE = frozenset({"available", "in-use"})
# What Cinder lets a snapshot be on the way to available; anything else never gets there by itself.
SNAPSHOT_USABLE = frozenset({"available", "creating", "backing-up"})
# States that end by themselves.
PASSING = frozenset(
    {
        "creating",
        "attaching",
        "detaching",
        "uploading",
        "downloading",
        "backing-up",
        "restoring-backup",
        "extending",
        "retyping",
        "reverting",
    }
)
MESSAGES = "openstack --os-volume-api-version 3.3 volume message list"  # 3.3: a Cinder of 2016


def volume_problem(volume: Volume, disk: str = "") -> errors.ImagetoolsError | None:
    """Why a volume cannot be read now; *disk* is the name of the disk that it is, for the message."""
    if volume.status in VOLUME_USABLE:
        return None
    text = f"{disk}: {volume.label} is {volume.status}" if disk else f"{volume.label} is {volume.status}"
    return errors.ResourceUnusable(text, hint=_way_out_of(volume))


def snapshot_problem(snapshot: Snapshot, disk: str = "") -> errors.ImagetoolsError | None:
    """Why a snapshot cannot be read now; *disk* as in :func:`volume_problem`."""
    if snapshot.status in SNAPSHOT_USABLE:
        return None
    text = f"{snapshot.label} is {snapshot.status}"
    if "deleting" in snapshot.status:
        hint = "It has no future: take another snapshot of its volume, or export that."
    elif snapshot.status.startswith("error"):
        hint = f"Its data was never taken, or is lost. Why: {MESSAGES}. Take another snapshot of its volume."
    else:
        hint = f"Wait until it is available: openstack volume snapshot show -c status {snapshot.id}"
    return errors.ResourceUnusable(f"{disk}: {text}" if disk else text, hint=hint)


def _way_out_of(volume: Volume) -> str:
    show = f"openstack volume show -c status {volume.id}"
    if volume.status.startswith("error"):
        whole = "If its data is known to be whole, an administrator can set its state"
        return f"Why: {MESSAGES}. {whole}: openstack volume set --state available {volume.id}"
    if volume.status == "reserved":
        unshelve = "It is reserved for a server: a shelved one (openstack server unshelve <server>)"
        return f"{unshelve}, or one that is being made. Wait until it is in-use: {show}"
    if volume.status == "awaiting-transfer":
        return "Accept or delete the transfer: openstack volume transfer request list"
    if volume.status == "maintenance":
        return f"It is being migrated. Wait until it is available or in-use: {show}"
    if volume.status == "deleting":
        return "It is being deleted: use a snapshot or a backup of it, if there is one."
    if volume.status in PASSING:
        return f"Wait until it is available or in-use: {show}"
    return f"See what it is doing: {show}"
