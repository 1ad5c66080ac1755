# SPDX-License-Identifier: Apache-2.0
"""What a project may still make of volumes, as the Block Storage API tells it.

Contract: read-only; the answer is a value, the judgement is the plan's. A limit of -1 is unlimited.
Source: ``GET /v3/os-quota-sets/{project}?usage=true`` (a member may read the own project's); where a
cloud's policy forbids it, ``GET /v3/limits``, which has no limits per volume type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud


@dataclass(frozen=True)
class Quota:
    """What is left: ``left[name]`` is a count, or GiB for gigabytes; an unlimited name is absent.

    Names are Cinder's: volumes, snapshots, gigabytes, and each with ``_<volume type>``;
    ``per_volume_gigabytes`` is the largest volume allowed, in GiB.
    """

    left: Mapping[str, int]


def volume_quota(cloud: Cloud, project_id: str | None = None) -> Quota:
    """A project's volume quota; that of the login's own without an ID."""
    project = project_id or cloud.project_id
    try:
        answer = cloud.get(
            "block-storage",
            f"/os-quota-sets/{project}",
            what="volume quota",
            params={"usage": "true"},
        )
    except errors.Forbidden:
        if project != cloud.project_id:
            raise  # limits are those of the login's project alone
        return _from_limits(cloud)
    left: dict[str, int] = {}
    for name, entry in answer["quota_set"].items():
        if isinstance(entry, Mapping) and int(entry.get("limit", -1)) >= 0:
            used = int(entry.get("in_use", 0)) + int(entry.get("reserved", 0))
            left[name] = int(entry["limit"]) - (0 if name == "per_volume_gigabytes" else used)
    return Quota(left)


def image_quota(cloud: Cloud) -> Quota:
    """What is left to the login's project in Glance: ``image_count_total``, ``image_size_total`` (MiB).

    Glance tells nothing where it has no unified limits. Source: ``GET /v2/info/usage``.
    """
    try:
        usage = cloud.get("image", "/info/usage", what="image quota").get("usage") or {}
    except errors.ResourceNotFound:
        return Quota({})  # before Glance 23
    left = {
        name: int(entry["limit"]) - int(entry["usage"])
        for name, entry in usage.items()
        if entry["limit"] >= 0
    }
    return Quota(left)


def _from_limits(cloud: Cloud) -> Quota:
    limits = cloud.get("block-storage", "/limits", what="volume limits")["limits"]["absolute"]
    left: dict[str, int] = {}
    for name, total, used in (
        ("volumes", "maxTotalVolumes", "totalVolumesUsed"),
        ("snapshots", "maxTotalSnapshots", "totalSnapshotsUsed"),
        ("gigabytes", "maxTotalVolumeGigabytes", "totalGigabytesUsed"),
    ):
        if int(limits.get(total, -1)) >= 0:
            left[name] = int(limits[total]) - int(limits.get(used, 0))
    return Quota(left)
