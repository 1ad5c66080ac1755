# SPDX-License-Identifier: Apache-2.0
"""What has to be known of a cloud before something is brought into it.

Contract: read-only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.project import find_project
from osc_imagetools.cloud.quota import Quota, volume_quota
from osc_imagetools.cloud.volume import volume_types, volume_zones


@dataclass(frozen=True)
class Destination:
    """The cloud and project to import into.

    ``stores`` are the names of Glance's stores, empty where the cloud has a single one that has no name;
    ``volume_types`` are names, empty without block storage; ``owner`` is the project that an
    administrator gives the image to, None for the login's own; ``projects`` tells of each member's project
    whether it exists here, None where this account may not know.
    """

    origin: Origin
    stores: tuple[str, ...]
    block_storage: bool
    volume_types: tuple[str, ...]
    quota: Quota | None
    owner: str | None
    projects: Mapping[str, bool | None] = field(default_factory=dict)
    volume_zones: tuple[str, ...] = ()


def destination(
    cloud: Cloud, *, project: str | None, volumes: bool, members: Iterable[str] = ()
) -> Destination:
    """Reads what an import needs; *volumes* tells whether volumes will be made.

    :param members: IDs of the projects that the image will be shared with.

    :raises errors.ImagetoolsError: there is no such project: see :func:`find_project`.
    """
    block_storage = cloud.has_block_storage
    read_volumes = volumes and block_storage
    types: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    if read_volumes:
        types = tuple(sorted(str(document["name"]) for document in volume_types(cloud)))
        zones = tuple(sorted(name for name, available in volume_zones(cloud).items() if available))
    return Destination(
        origin=cloud.origin,
        stores=_stores(cloud),
        block_storage=block_storage,
        volume_types=types,
        quota=volume_quota(cloud) if read_volumes else None,
        owner=find_project(cloud, project).id if project is not None else None,
        projects={member: _exists(cloud, member) for member in members},
        volume_zones=zones,
    )


def _exists(cloud: Cloud, project_id: str) -> bool | None:
    try:
        cloud.get("identity", f"/projects/{quote(project_id, safe='')}", what=f"project {project_id}")
    except errors.ResourceNotFound:
        return False
    except errors.Forbidden:
        return None
    return True


def _stores(cloud: Cloud) -> tuple[str, ...]:
    try:
        answer = cloud.get("image", "/info/stores", what="image stores")
    except (errors.ResourceNotFound, errors.Forbidden):
        return ()  # a single store: 404
    stores: list[Mapping[str, str]] = answer.get("stores", [])
    return tuple(sorted(store["id"] for store in stores))
