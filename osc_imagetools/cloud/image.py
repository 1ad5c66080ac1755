# SPDX-License-Identifier: Apache-2.0
"""Images as the Image API v2 tells them, as frozen values.

Contract: read-only. The document is kept as received less secrets (``locations`` and ``direct_url`` may
hold a store's credentials); what can be set on an image again is kept apart from what was only observed.
Source: https://docs.openstack.org/api-ref/image/v2/ and glance/api/v2/images.py (base properties).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from urllib3.exceptions import HTTPError

from osc_imagetools import errors
from osc_imagetools.cloud.answers import sensible
from osc_imagetools.cloud.block_device import BlockDevice, parse_mapping
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.find import find_one, listed
from osc_imagetools.cloud.names import label_of

SECRET = frozenset({"locations", "direct_url"})
# What a client may send again. Everything else in a document is read-only or a custom property.
REPLAYABLE = (
    "name",
    "visibility",
    "protected",
    "os_hidden",
    "min_disk",
    "min_ram",
    "disk_format",
    "container_format",
)
OBSERVED = (
    "id",
    "status",
    "owner",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "created_at",
    "updated_at",
    "stores",
)
BASE = frozenset(REPLAYABLE) | frozenset(OBSERVED) | SECRET | {"self", "file", "schema", "tags"}
# Glance keeps these for itself: shown, never accepted (glance/api/v2/images.py, _reserved_namespaces)
RESERVED_PREFIX = "os_glance"
# What lists have without being asked for it, and all that this account may see.
LISTED: Mapping[str, str] = {}
EVERYTHING: Mapping[str, str] = {"visibility": "all", "member_status": "all"}
# Images, and then the hidden ones. A Glance before 2.7 takes "os_hidden" for a custom property: asked for
# "false" it finds none at all.
HIDDEN: tuple[Mapping[str, str], ...] = ({}, {"os_hidden": "true"})


@dataclass(frozen=True)
class Member:
    """A project that an image is shared with; status is pending, accepted or rejected."""

    project_id: str
    status: str


@dataclass(frozen=True)
class Image:
    """An image; ``size`` in bytes, None while it has no data.

    ``members`` is None where this account may not read them. ``storage`` is the kind of storage of the
    data, such as ``rbd``; None in most clouds, which do not tell.
    """

    id: str
    name: str | None
    status: str
    size: int | None
    virtual_size: int | None
    disk_format: str | None
    container_format: str | None
    owner: str | None
    visibility: str
    hash_algo: str | None
    hash_value: str | None
    checksum: str | None
    properties: Mapping[str, Any]
    tags: tuple[str, ...]
    members: tuple[Member, ...] | None
    mapping: tuple[BlockDevice, ...]
    document: Mapping[str, Any]
    storage: str | None = None

    @property
    def label(self) -> str:
        return label_of("image", self.name, self.id)

    @property
    def store(self) -> str | None:
        """The Glance store that holds the data, the first one of several; None where Glance has one."""
        stores = self.document.get("stores")
        return str(stores).split(",")[0] if stores else None

    def replayable(self) -> dict[str, Any]:
        """What an import sets again."""
        return {
            **{key: self.document.get(key) for key in REPLAYABLE},
            "properties": dict(self.properties),
            "tags": sorted(self.tags),
            "members": [{"project_id": m.project_id, "status": m.status} for m in self.members or ()],
        }

    def observed(self) -> dict[str, Any]:
        """What was seen and cannot be set: ids, timestamps, checksums, Glance's own properties."""
        seen = {key: self.document[key] for key in OBSERVED if key in self.document}
        seen.update({k: v for k, v in self.document.items() if k.startswith(RESERVED_PREFIX)})
        seen["members_readable"] = self.members is not None
        return seen


def read_image(document: Mapping[str, Any], members: tuple[Member, ...] | None) -> Image:
    """A value from a document of ``GET /v2/images/{id}``."""
    kept = {key: value for key, value in document.items() if key not in SECRET}
    kept["os_hidden"] = bool(kept.get("os_hidden"))  # a Glance before 2.7 hides none
    properties = {
        key: value
        for key, value in sorted(kept.items())
        if key not in BASE and not key.startswith(RESERVED_PREFIX)
    }
    return Image(
        id=kept["id"],
        name=kept.get("name"),
        status=kept["status"],
        size=kept.get("size"),
        virtual_size=kept.get("virtual_size"),
        disk_format=kept.get("disk_format"),
        container_format=kept.get("container_format"),
        owner=kept.get("owner"),
        visibility=kept.get("visibility", "private"),
        hash_algo=kept.get("os_hash_algo"),
        hash_value=kept.get("os_hash_value"),
        checksum=kept.get("checksum"),
        properties=properties,
        tags=tuple(kept.get("tags") or ()),
        members=members,
        mapping=parse_mapping(
            properties.get("block_device_mapping"),
            root_device=properties.get("root_device_name"),
            what=f"image {kept['id']}",
        ),
        document=kept,
        storage=str(document.get("direct_url") or "").partition(":")[0] or None,
    )


def get_image(cloud: Cloud, image_id: str) -> Image:
    """The image with this ID, and its members where they can be read.

    :raises errors.ResourceNotFound: there is none, or this account may not see it.
    """
    what = f"image {image_id}"
    path = f"/images/{quote(image_id, safe='')}"
    document = cloud.get("image", path, what=what)
    with sensible(what):
        shared = document.get("visibility") == "shared"
        members = _members(cloud, path, what, document.get("owner")) if shared else ()
        return read_image(document, members)


def _members(cloud: Cloud, path: str, what: str, owner: str | None) -> tuple[Member, ...] | None:
    """Those of a shared image; None where this account may not read them all."""
    try:
        found = cloud.get("image", f"{path}/members", what=f"members of {what}", key="members")
    except (errors.Forbidden, errors.ResourceNotFound):
        return None
    members = tuple(
        Member(m["member_id"], m["status"]) for m in sorted(found, key=lambda m: str(m["member_id"]))
    )
    project = cloud.origin.project_id
    if members and owner != project and {m.project_id for m in members} == {project}:
        return None  # a member sees itself alone, and not who else there is
    return members


def find_image(cloud: Cloud, name_or_id: str) -> Image:
    """The one image with this name or ID, hidden ones included.

    :raises errors.ResourceNotFound, errors.ResourceAmbiguous: see :func:`find_one`.
    """
    return find_one(
        "image",
        name_or_id,
        get=lambda identifier: _image_or_none(cloud, identifier),
        search=lambda name: _named(cloud, name),
        facts=lambda d: (
            f"{d.get('status')} {d.get('size')} bytes, created {d.get('created_at')}, "
            f"{d.get('visibility')}, of project {d.get('owner')}"
        ),
    )


def _named(cloud: Cloud, name: str) -> list[Mapping[str, Any]]:
    """The images with a name: those that every list has; else those that are shared and not accepted, and
    community images, which must not get in the way of the own ones.

    The operator has to be given, for what stands before a colon is taken for one (glance/common/utils.py,
    split_filter_op).
    """
    for query in LISTED, EVERYTHING:
        found = [
            document
            for hidden in HIDDEN
            for document in listed(
                cloud, "image", "/images", "images", {"name": f"eq:{name}", **query, **hidden}
            )
            if document.get("name") == name
        ]
        if found:
            return found
    return []


def _image_or_none(cloud: Cloud, image_id: str) -> Image | None:
    try:
        return get_image(cloud, image_id)
    except errors.ResourceNotFound:
        return None


def head_of(cloud: Cloud, image: Image, size: int = 512) -> bytes | None:
    """The beginning of an image's data, at most *size* bytes; None where the image service does not give it.

    Only administrators get that of an image that is deactivated (glance/api/v2/image_data.py).
    """
    path = f"/images/{quote(image.id, safe='')}/file"
    try:
        with cloud.request("image", "GET", path, what=image.label, stream=True) as response:
            return b"" if response.status_code == 204 else response.raw.read(size) or b""
    except (errors.Forbidden, errors.ResourceNotFound, errors.CloudError, OSError, HTTPError):
        return None
