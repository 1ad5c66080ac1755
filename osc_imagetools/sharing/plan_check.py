# SPDX-License-Identifier: Apache-2.0
"""Decides what each project can do with an image: see it, list it, download it, boot it.

Contract: pure. None means unknown: a project in which this account has no role may have other policies.
Snapshots cannot be shared, so an image of 0 bytes can be booted only in the project of its snapshots. What an
administrator sees in a project is not what the users of the project see. Source:
https://docs.openstack.org/api-ref/image/v2/#sharing and nova/compute/api.py (image metadata to block device
mapping); glance/api/v2/policy.py, ImageAPIPolicy._enforce: whoever has no role that may see an image is told
that there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from osc_imagetools.cloud.image import Image
from osc_imagetools.sharing.inventory_check import ImageDataSource, ProjectView, ShareInventory

# Container formats of images that a server is booted with, not from.
PARTS = {"aki": "a kernel", "ari": "a ramdisk"}
USABLE = {
    "snapshot": frozenset({"available", "creating", "backing-up"}),
    "volume": frozenset({"available", "in-use"}),
    "image": frozenset({"active"}),
}
ROLE = "your role in this project does not allow to see it"
Finding = tuple[bool | None, str]  # False or None (unknown), and the reason


@dataclass(frozen=True)
class ProjectVerdict:
    """What a project can do with an image; None is unknown.

    ``reason`` is empty where all is well, ``action`` where there is nothing to type for it.
    """

    view: ProjectView
    visible: bool | None
    listed: bool | None
    downloadable: bool | None
    bootable: bool | None
    reason: str
    action: str = ""


def judge(found: ShareInventory) -> tuple[ProjectVerdict, ...]:
    """One verdict for each project, in their order."""
    return tuple(_judge(found, view) for view in found.views)


def _judge(found: ShareInventory, view: ProjectView) -> ProjectVerdict:
    image = found.image
    rule = _may_see(image, view.project.id)
    if rule and view.visible is False:  # users of the project with another role may see it
        view = replace(view, refused=ROLE, visible=None, listed=None, opens=None)
        rule = None
    visible = _both(view.visible, rule)
    listed = _both(view.listed, _is_listed(image, view.project.id)) if visible else visible
    if visible is False:
        command = f"openstack image share {image.id} --project {view.project.id}"
        return ProjectVerdict(view, False, False, False, False, _why_not_seen(image), command)
    own_data = list(_own_data(image, view))
    downloads = _sum([*own_data, *_no_own_data(image)], visible)
    obstacles = [*own_data, *_no_data(image), *_elsewhere(found, view), *_unbootable(image, view)]
    reasons = [*_unlisted(image, view, listed), *(why for _, why in [*_unknown(view, visible), *obstacles])]
    reason = "; ".join(filter(None, reasons))
    action = _action(image) if listed is False else ""
    return ProjectVerdict(view, visible, listed, downloads, _sum(obstacles, visible), reason, action)


def _both(seen: bool | None, rule: bool | None) -> bool | None:
    """What a project sees by its own rights, and not by the role of an administrator."""
    if rule is False or seen is None:
        return rule
    return seen


def _sum(findings: Iterable[Finding], start: bool | None) -> bool | None:
    values = [start, *(value for value, _ in findings)]
    return False if False in values else (None if None in values else True)


def _status(image: Image, project: str) -> str | None:
    return {m.project_id: m.status for m in image.members or ()}.get(project)


def _may_see(image: Image, project: str) -> bool | None:
    if image.visibility in ("public", "community") or project == image.owner:
        return True
    if image.visibility == "shared":
        return None if image.members is None else _status(image, project) is not None
    return False


def _is_listed(image: Image, project: str) -> bool | None:
    if image.document.get("os_hidden"):
        return False
    if image.visibility == "public" or project == image.owner:
        return True
    if image.visibility == "shared":
        return None if image.members is None else _status(image, project) == "accepted"
    return False


def _why_not_seen(image: Image) -> str:
    return "the image is private" if image.visibility == "private" else "the project is not a member"


def _unlisted(image: Image, view: ProjectView, listed: bool | None) -> Iterator[str]:
    if listed is not False:
        return
    if image.document.get("os_hidden"):
        yield "not listed: the image is hidden"
    elif image.visibility == "community":
        yield "not listed by default: it is a community image"
    else:
        status = _status(image, view.project.id) or "not accepted"
        yield f"not listed: {status}; a user of the project has to accept it"


def _action(image: Image) -> str:
    """How a user of the project comes to see the image in a list."""
    if image.document.get("os_hidden"):
        return "openstack image list --hidden"
    if image.visibility == "community":
        return "openstack image list --community"
    return f"openstack image set --accept {image.id}"


def _unknown(view: ProjectView, visible: bool | None) -> Iterator[Finding]:
    if view.refused == ROLE:
        yield None, ROLE
        return
    if view.refused:
        yield None, f"not checked as this project: {view.refused}"
    if visible is None:
        yield None, "only the owner knows the members"


def _own_data(image: Image, view: ProjectView) -> Iterator[Finding]:
    """Why the image's own data, if it has any, cannot be read."""
    if image.status == "deactivated":
        yield False, "the image is deactivated"
    elif image.status != "active":
        yield False, f"the image is {image.status}"
    elif image.size and view.opens is not True:
        if view.refused:
            yield None, ""
        elif view.opens is None:
            yield None, f"you cannot download in this project: {view.said}"
        else:
            yield False, f"the data cannot be read: {view.said or 'there is none'}"


def _no_own_data(image: Image) -> Iterator[Finding]:
    if image.status == "active" and not image.size:
        yield False, "0 bytes"


def _no_data(image: Image) -> Iterator[Finding]:
    if image.status == "active" and not image.size and all(d.source_type == "blank" for d in image.mapping):
        yield False, "it has 0 bytes and does not point to any data"


def _elsewhere(found: ShareInventory, view: ProjectView) -> Iterator[Finding]:
    """What the mapping points to and this project cannot use."""
    pointers = [d for d in found.image.mapping if d.source_type in ("snapshot", "volume")]
    if pointers and not found.block_storage:
        yield (
            None,
            f"its data is in volume snapshots, which cannot be read: the catalog of {found.region} has no "
            "block storage",
        )
    for label, source in found.sources.items():
        known = source or (view.sources or {}).get(label)
        finding = _reach(label, known, view)
        if finding:
            yield finding


def _reach(label: str, source: ImageDataSource | None, view: ProjectView) -> Finding | None:
    project = view.project.id
    if source is None:
        if view.refused:
            return None, f"its data is in {label}, which this project does not see"
        return False, f"its data is in {label}, which does not exist or is not shared with the project"
    if source.status not in USABLE[source.kind]:
        return False, f"its data is in {label}, which is {source.status}"
    if source.image is not None:
        if (may := _may_see(source.image, project)) is not True:
            return may, f"its data is in {label} of project {source.project}"
        return None
    if source.project != project:
        known = None if source.project is None else False
        return known, f"its data is in {label} of project {source.project}, which cannot be shared"
    return None


def _unbootable(image: Image, view: ProjectView) -> Iterator[Finding]:
    if image.container_format in PARTS:
        yield False, f"it is {PARTS[image.container_format]}"
    if image.properties.get("cinder_encryption_key_id") and view.project.id != image.owner:
        yield None, "it is encrypted, and it is unknown whether the project may use the key"
