# SPDX-License-Identifier: Apache-2.0
"""Reads what each project sees of an image, with a token of the project if this account has a role in it.

Contract: read-only. To find out whether the data can be downloaded, the stream is opened and closed without
reading it: many stores refuse ranges, and the Image API refuses HEAD. None means unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.answers import StatusError
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, find_image, get_image
from osc_imagetools.cloud.project import Project, find_projects, own_projects
from osc_imagetools.cloud.volume import get_snapshot, get_volume
from osc_imagetools.sharing.inventory import unreachable

PROJECT_OF = {
    "snapshot": "os-extended-snapshot-attributes:project_id",
    "volume": "os-vol-tenant-attr:tenant_id",
}


@dataclass(frozen=True)
class ImageDataSource:
    """A snapshot, volume or image in the block device mapping of an image, and its project."""

    kind: str
    id: str
    project: str | None
    status: str
    image: Image | None = None

    @property
    def label(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True)
class ProjectView:
    """An image as a project sees it; ``refused`` is why this could not be read, and the rest is None then.

    ``opens`` tells whether its data can be read, None if this account's role in the project does not allow
    it; ``said`` is the message of the cloud in that case. ``sources`` has, by label, those that the current
    project does not see.
    """

    project: Project
    refused: str | None = None
    visible: bool | None = None
    listed: bool | None = None
    opens: bool | None = None
    said: str | None = None
    sources: Mapping[str, ImageDataSource | None] | None = None


@dataclass(frozen=True)
class ShareInventory:
    """``sources`` has, by label, what the mapping of the image points to, None for what this login does not
    see.

    Without block storage in the catalog, it has neither snapshots nor volumes.
    """

    image: Image
    region: str
    block_storage: bool
    sources: Mapping[str, ImageDataSource | None]
    views: tuple[ProjectView, ...]


def share_inventory(cloud: Cloud, name_or_id: str, projects: Iterable[str]) -> ShareInventory:
    """Read an image as projects see it.

    The default projects are the owner and the members; for a public or community image also the current
    project; only the current project if it cannot read the members.

    :raises errors.ImagetoolsError: the image or a project is not found; several as :class:`errors.Unready`.
    """
    image = find_image(cloud, name_or_id)
    own = own_projects(cloud)
    chosen = _chosen(cloud, image, projects, own)
    block_storage = cloud.has_block_storage
    sources = _sources(cloud, image, _pointers(image, block_storage))
    missing = [label for label, source in sources.items() if source is None]
    refused = unreachable(cloud, (p.id for p in chosen), own)
    return ShareInventory(
        image=image,
        region=cloud.origin.region or "this cloud",
        block_storage=block_storage,
        sources=sources,
        views=tuple(
            ProjectView(p, refused=refused[p.id])
            if p.id in refused
            else _view(cloud.in_project(p.id), image, p, missing)
            for p in chosen
        ),
    )


def _chosen(
    cloud: Cloud, image: Image, projects: Iterable[str], own: tuple[Project, ...] | None
) -> tuple[Project, ...]:
    chosen, problems = find_projects(cloud, projects, own)
    errors.raise_problems("some projects were not found", problems)
    if chosen:
        return chosen
    names = {project.id: project for project in own or ()}
    mine = cloud.origin.project_id
    if image.members is None:
        ids = [mine]
    else:
        ids = [image.owner, *(m.project_id for m in image.members)]
        ids += [mine] if image.visibility in ("public", "community") else []
    return tuple(names.get(i) or Project(i, None) for i in dict.fromkeys(ids) if i)


def _pointers(image: Image, block_storage: bool) -> dict[str, tuple[str, str]]:
    """(kind, ID) by label of everything that the mapping points to and that can be read."""
    found = []
    for device in image.mapping:
        target = {
            "snapshot": device.snapshot_id,
            "volume": device.volume_id,
            "image": device.image_id,
        }.get(device.source_type)
        if target and (block_storage or device.source_type == "image"):
            found.append((device.source_type, target))
    return {f"{kind} {target}": (kind, target) for kind, target in found}


def _sources(
    cloud: Cloud, image: Image, pointers: Mapping[str, tuple[str, str]]
) -> dict[str, ImageDataSource | None]:
    return {label: _source(cloud, *pointer) for label, pointer in pointers.items()}


def _source(cloud: Cloud, kind: str, identifier: str) -> ImageDataSource | None:
    if kind == "image":
        try:
            image = get_image(cloud, identifier)
        except errors.ResourceNotFound:
            return None
        return ImageDataSource(kind, identifier, image.owner, image.status, image)
    found = get_snapshot(cloud, identifier) if kind == "snapshot" else get_volume(cloud, identifier)
    if found is None:
        return None
    return ImageDataSource(kind, identifier, found.document.get(PROJECT_OF[kind]), found.status)


def _view(there: Cloud, image: Image, project: Project, missing: Iterable[str]) -> ProjectView:
    try:
        there.get("image", f"/images/{image.id}", what=image.label)
    except errors.ResourceNotFound:
        return ProjectView(project, visible=False, listed=False, opens=False)
    query = {"id": f"in:{image.id}"}
    listed = any(there.list("image", "/images", "images", what="list of images", params=query))
    opens, said = _opens(there, image)
    sources = {label: _source(there, *label.split(" ", 1)) for label in missing}
    return ProjectView(project, None, True, listed, opens, said, sources)


def _opens(there: Cloud, image: Image) -> tuple[bool | None, str | None]:
    """Whether the data of the image can be read, and the message of the cloud if not."""
    if image.status != "active" or not image.size:
        return None, None
    try:
        path = f"/images/{image.id}/file"
        with there.request("image", "GET", path, what=image.label, stream=True) as response:
            return response.status_code == 200, None
    except errors.Forbidden as exc:
        return None, exc.message
    except StatusError as exc:
        return False, exc.message
