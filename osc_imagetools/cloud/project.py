# SPDX-License-Identifier: Apache-2.0
"""Projects as the Identity API v3 tells them to an account that may know little about them.

Contract: read-only. A plain member may not look projects up (``GET /v3/projects`` is an administrator's
by default), but everybody may list the projects that the own account has a role in, with their names.
Source: https://docs.openstack.org/api-ref/identity/v3/ (projects; get available project scopes)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud

# What Keystone makes: a UUID without dashes, and with them in old clouds.
IDENTIFIER = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Project:
    """A project; ``name`` is None where this account may not look it up."""

    id: str
    name: str | None

    @property
    def label(self) -> str:
        return f"project {self.name} ({self.id})" if self.name else f"project {self.id}"


def own_projects(cloud: Cloud) -> tuple[Project, ...] | None:
    """The projects that this account has a role in; None where the cloud does not tell."""
    try:
        answer = cloud.get("identity", "/auth/projects", what="projects of this account")
    except (errors.Forbidden, errors.ResourceNotFound):
        return None
    return tuple(_project(document) for document in answer["projects"])


def find_project(cloud: Cloud, name_or_id: str, *, own: Iterable[Project] = ()) -> Project:
    """The one project with this name or ID; an ID that this account may not look up is taken as it is.

    :param own: what :func:`own_projects` gave.
    :raises errors.ResourceNotFound: there is none.
    :raises errors.ResourceAmbiguous: the name fits several.
    :raises errors.Forbidden: it is no ID, and this account may not look names up.
    """
    if not name_or_id.strip("."):  # it would be another path
        raise errors.ResourceNotFound(f"no project has the name or ID {name_or_id!r}")
    found = {p.id: p for p in own if name_or_id in (p.id, p.name)}
    if name_or_id in found:
        return found[name_or_id]
    secret = False
    try:
        path = f"/projects/{quote(name_or_id, safe='')}"
        return _project(cloud.get("identity", path, what=f"project {name_or_id}")["project"])
    except errors.ResourceNotFound:
        pass
    except errors.Forbidden:
        secret = True
    try:
        query = {"name": name_or_id}
        answer = cloud.get("identity", "/projects", what="list of projects", params=query)
        found.update({p.id: p for p in map(_project, answer["projects"])})
    except errors.Forbidden:
        secret = True
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        ids = ", ".join(found)
        raise errors.ResourceAmbiguous(
            f"several projects have the name {name_or_id!r}: {ids}", hint="Give the ID."
        )
    if not secret:
        raise errors.ResourceNotFound(
            f"no project has the name or ID {name_or_id!r}", hint="openstack project list"
        )
    if IDENTIFIER.fullmatch(name_or_id):
        return Project(name_or_id, None)
    raise errors.Forbidden(
        f"this account may not look up a project named {name_or_id!r}",
        hint="Give its ID, which is taken as it is; whoever works in that project reads it from: "
        "openstack token issue -c project_id",
    )


def find_projects(
    cloud: Cloud, names_or_ids: Iterable[str], own: tuple[Project, ...] | None
) -> tuple[tuple[Project, ...], tuple[errors.ImagetoolsError, ...]]:
    """Each of these projects once, in their order, and what is wrong with those that are not found."""
    found: dict[str, Project] = {}
    problems: list[errors.ImagetoolsError] = []
    for name_or_id in names_or_ids:
        try:
            project = find_project(cloud, name_or_id, own=own or ())
        except (errors.ResourceNotFound, errors.ResourceAmbiguous, errors.Forbidden) as exc:
            problems.append(exc)
        else:
            found.setdefault(project.id, project)
    return tuple(found.values()), tuple(problems)


def _project(document: Any) -> Project:
    return Project(str(document["id"]), document.get("name"))
