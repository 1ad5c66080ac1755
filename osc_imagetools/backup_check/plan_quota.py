# SPDX-License-Identifier: Apache-2.0
"""What the backup of a server itself takes from the quota, and what else stands in its way.

Contract: pure. A backup takes snapshots of all volumes at the same time, then one temporary volume after the
other to read them from, and an image.
"""

from __future__ import annotations

from collections.abc import Iterator

from osc_imagetools import errors
from osc_imagetools.backup_check.plan_case import Observation, ServerCase, finds
from osc_imagetools.backup_check.plan_commands import openstack, show_quota
from osc_imagetools.operations.quota import VolumeUse, fit_quota


@finds("quota-too-small")
def quota_too_small(case: ServerCase) -> Iterator[Observation]:
    short = [*_short_of_volumes(case), *_short_of_images(case)]
    if short:
        yield Observation("for its backup " + "; ".join(short), show_quota(case))


def _short_of_volumes(case: ServerCase) -> Iterator[str]:
    project, volumes = case.server.project_id, [volume for _, volume in case.volumes]
    snapshots = [VolumeUse(v.size, v.volume_type, with_snapshot=True, with_volume=False) for v in volumes]
    lanes = [VolumeUse(v.size, v.volume_type, with_snapshot=False) for v in volumes]
    try:
        fit_quota(case.fleet.volume_quotas.get(project), lanes, 1, project=project, besides=snapshots)
    except (errors.QuotaTooSmall, errors.Unready) as exc:
        yield from (problem.message for problem in errors.problems_in(exc))


def _short_of_images(case: ServerCase) -> Iterator[str]:
    quota = case.fleet.image_quotas.get(case.server.project_id)
    for name, left in quota.left.items() if quota else ():
        if name in ("image_count_total", "image_size_total") and left <= 0:
            yield f"some of the quota {name} is needed, of which nothing is left"


@finds("no-volume-service")
def no_volume_service(case: ServerCase) -> Iterator[Observation]:
    if not case.fleet.block_storage and not case.boots_from_volume and not case.server.volumes:
        yield Observation(
            "this region has no block storage: an image of it holds its root disk, and it has no volumes"
        )


@finds("volumes-out-of-reach")
def volumes_out_of_reach(case: ServerCase) -> Iterator[Observation]:
    if not case.fleet.block_storage and (case.boots_from_volume or case.server.volumes):
        count = len(case.server.volumes)
        root = ", its root disk among them" if case.boots_from_volume else ""
        yield Observation(
            f"this region has no block storage, and it has {count} volume{'' if count == 1 else 's'}{root}: "
            "no copy can be made of them from here",
            f"{openstack(case.fleet, None, region=True)} server backup-check {case.server.id}",
        )


@finds("not-judged")
def not_judged(case: ServerCase) -> Iterator[Observation]:
    fleet, server = case.fleet, case.server
    why = [] if case.is_covered else list(case.copies_unread)
    if not case.is_known:
        why.append("Nova does not tell its state: the database of its cell is down")
    elif server.flavor is None:
        why.append("Nova does not tell its flavor")
    if fleet.block_storage:
        unread = [v.id for v in server.volumes if v.id not in fleet.volumes and v.id not in fleet.gone]
        why += [
            fleet.unread.get(v) or fleet.unread.get("volumes") or f"volume {v} was not read" for v in unread
        ]
    keys = ["flavors", server.id, server.image_id or ""]
    if server.project_id == fleet.login_project:
        keys.append("image quota")  # it is told to the login of its own project only
    if server.volumes:
        keys.append(f"quota {server.project_id}")
    keys += [a.server_id for _, volume in case.volumes for a in volume.attachments]
    why += [fleet.unread[key] for key in keys if key in fleet.unread]
    if why:
        yield Observation("; ".join(dict.fromkeys(why)), f"openstack server backup-check {server.id}")
