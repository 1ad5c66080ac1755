# SPDX-License-Identifier: Apache-2.0
"""An image, the projects that it is to be shared with or not, and how far this login reaches into them.

Contract: read-only. What is wrong with a project is a value, so that a plan can list all of it at once. A
token for another project of the same account is asked for, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, find_image
from osc_imagetools.cloud.project import Project, find_projects, own_projects


@dataclass(frozen=True)
class Sharing:
    """``projects`` are those asked for, each once, in their order.

    ``refused`` tells by project ID why this login cannot act in a project; one that is not in it can be
    acted in.
    """

    image: Image
    projects: tuple[Project, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[errors.ImagetoolsError, ...] = ()


def sharing(cloud: Cloud, image: str, projects: Iterable[str], *, reach: bool) -> Sharing:
    """Reads an image and looks up projects by name or ID.

    :param reach: whether to find out in which of them this login can act.
    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: of the image.
    """
    found = find_image(cloud, image)
    own = own_projects(cloud)
    chosen, problems = find_projects(cloud, projects, own)
    return Sharing(
        image=found,
        projects=chosen,
        refused=unreachable(cloud, (p.id for p in chosen), own) if reach else {},
        problems=problems,
    )


def unreachable(cloud: Cloud, projects: Iterable[str], own: tuple[Project, ...] | None) -> dict[str, str]:
    """Why this login cannot act in projects (by ID), for those where it cannot.

    :param own: the projects that the account has a role in, None where that is not known: then a token
        is asked for each.
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
