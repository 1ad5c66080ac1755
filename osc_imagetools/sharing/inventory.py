# SPDX-License-Identifier: Apache-2.0
"""Reads an image, the projects to share it with, and in which of them this account can act.

Contract: read-only. Problems are values, so that a plan can report all of them together. A token is requested
for other projects of the account, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, find_image
from osc_imagetools.cloud.project import Project, find_projects, own_projects


@dataclass(frozen=True)
class SharingInventory:
    """``projects`` are those asked for, without duplicates, in their order.

    ``refused`` has, by project ID, the reason why this account cannot act in a project; it can act in all
    others.
    """

    image: Image
    projects: tuple[Project, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[errors.ImagetoolsError, ...] = ()


def sharing(cloud: Cloud, image: str, projects: Iterable[str], *, reach: bool) -> SharingInventory:
    """Read an image and look up projects by name or ID.

    :param reach: whether to find out in which of them this account can act.
    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: for the image.
    """
    found = find_image(cloud, image)
    own = own_projects(cloud)
    chosen, problems = find_projects(cloud, projects, own)
    return SharingInventory(
        image=found,
        projects=chosen,
        refused=unreachable(cloud, (p.id for p in chosen), own) if reach else {},
        problems=problems,
    )


def unreachable(cloud: Cloud, projects: Iterable[str], own: tuple[Project, ...] | None) -> dict[str, str]:
    """The reasons why this account cannot act in projects, by ID, for those where it cannot.

    :param own: the projects in which the account has a role; None if unknown: then a token is requested for
    each.
    """
    mine = None if own is None else {project.id for project in own}
    refused = {}
    for project in projects:
        if mine is not None and project not in mine and project != cloud.origin.project_id:
            refused[project] = "this account has no role in it"
            continue
        try:
            cloud.in_project(project)
        except errors.Forbidden as exc:
            refused[project] = exc.message
    return refused
