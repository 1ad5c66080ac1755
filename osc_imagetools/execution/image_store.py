# SPDX-License-Identifier: Apache-2.0
"""The effects on images: made under an ID of our own choosing, filled, given their metadata, compared.

Contract: an image is ours and private until its data is proven; only then it gets its name, its
properties (among them ``img_signature*``, which would be checked during an upload) and its visibility.
Its removal is registered, by its ID, before it is made. What the cloud refuses to set is given back with
the reason.
Source: https://docs.openstack.org/api-ref/image/v2/ , JSON patch of the media type v2.1.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud import Cloud
from osc_imagetools.execution.block_storage import Made, Workshop, remove_image
from osc_imagetools.inventory.image import Image, get_image
from osc_imagetools.plan.image_import import ImageDraft, NotReplayed
from osc_imagetools.transfer.progress import Progress
from osc_imagetools.transfer.upload import upload


def create_image(
    shop: Workshop,
    draft: ImageDraft,
    path: Path | None,
    *,
    algorithm: str,
    digest: str | None,
    store: str | None,
    owner: str | None,
    progress: Progress,
) -> tuple[Made, Image]:
    """A private image of ours with the data of *path* (None: 0 bytes), proven by the cloud's own hash.

    :raises errors.TransferError: the upload broke; :raises errors.HashMismatch: the cloud has other bytes.
    """
    made = Made("image", shop.run.name(draft.title), id=str(uuid.uuid4()))
    made.entry = shop.undo.register(made.label, lambda: remove_image(shop, made))
    body: dict[str, Any] = {
        "id": made.id,
        "name": made.name,
        "visibility": "private",
        "disk_format": draft.document["disk_format"],
        "container_format": draft.document["container_format"],
        **shop.run.marks(),
    }
    if owner:
        body["owner"] = owner
    shop.cloud.request("image", "POST", "/images", what=draft.title, json=body)
    sent = upload(
        shop.cloud.connection.session,
        shop.cloud.url("image", f"/images/{made.id}/file"),
        path,
        label=draft.title,
        algorithm=algorithm,
        expected=digest,
        store=store,
        progress=progress,
        cancelled=shop.patience.cancelled,
    )
    image = get_image(shop.cloud, str(made.id))
    size = path.stat().st_size if path else 0
    if image.status != "active" or image.size != size:
        raise errors.TransferError(
            f"{draft.title}: after the upload it is {image.status} with {image.size} bytes, "
            f"and {size} were sent"
        )
    if image.hash_algo == algorithm and image.hash_value != sent:
        raise errors.HashMismatch(
            f"{draft.title}: the cloud has other bytes than were sent ({algorithm} {image.hash_value})"
        )
    return made, image


def set_properties(shop: Workshop, image: Image, draft: ImageDraft) -> None:
    """Gives an image that stays ours its custom properties: a volume made from it inherits them."""
    changes = [
        {"op": "add", "path": _pointer(key), "value": value} for key, value in draft.properties.items()
    ]
    if changes:
        _patch(shop.cloud, f"/images/{image.id}", changes, draft.title)


def settle_image(shop: Workshop, image: Image, draft: ImageDraft) -> list[NotReplayed]:
    """Gives a proven image its metadata; what the cloud refuses, and why.

    Our mark goes in the request that sets the name; what others see comes last.
    """
    refused: list[NotReplayed] = []
    path = f"/images/{image.id}"
    marks = [{"op": "remove", "path": _pointer(key)} for key in shop.run.marks()]
    base = [
        {"op": "replace", "path": _pointer(key), "value": draft.document.get(key)}
        for key in ("name", "min_disk", "min_ram")
        if draft.document.get(key) is not None
    ]
    if draft.document.get("name") is None:
        base.append({"op": "replace", "path": "/name", "value": ""})
    properties = [
        {"op": "add", "path": _pointer(key), "value": value} for key, value in draft.properties.items()
    ]
    tags = [{"op": "replace", "path": "/tags", "value": list(draft.tags)}]
    try:
        _patch(shop.cloud, path, [*marks, *base, *tags, *properties], draft.title)
    except (errors.Forbidden, errors.CloudError):
        _patch(shop.cloud, path, [*marks, *base], draft.title)
        single: list[Mapping[str, Any]] = [*tags, *properties]
        for change in single:
            refused += _try(shop.cloud, path, change, draft.title)
    for key in ("os_hidden", "visibility"):
        if draft.document.get(key) not in (None, image.document.get(key)):
            change = {"op": "replace", "path": _pointer(key), "value": draft.document[key]}
            refused += _try(shop.cloud, path, change, draft.title)
    refused += list(_add_members(shop.cloud, path, draft))
    if draft.document.get("protected"):
        change = {"op": "replace", "path": "/protected", "value": True}
        refused += _try(shop.cloud, path, change, draft.title)
    return refused


def differences(image: Image, draft: ImageDraft, algorithm: str) -> list[str]:
    """How an image that was read back differs from what it should be; empty when it does not."""
    found: list[str] = []

    def compare(what: str, wanted: Any, got: Any) -> None:
        if wanted != got:
            found.append(f"{draft.title}: {what} is {got!r}, not {wanted!r}")

    for key, value in draft.document.items():
        wanted = "" if key == "name" and value is None else value
        got = image.document.get(key)
        compare(key, wanted, "" if key == "name" and got is None else got)
    for key in sorted(set(draft.properties) | set(image.properties)):
        compare(f"property {key}", draft.properties.get(key), image.properties.get(key))
    compare("tags", sorted(draft.tags), sorted(image.tags))
    if image.members is not None and draft.document.get("visibility") == "shared":
        wanted_members = sorted(m["project_id"] for m in draft.members)
        compare("members", wanted_members, sorted(m.project_id for m in image.members))
    if draft.digest is not None:
        compare("size", draft.size, image.size)
        if image.hash_algo == algorithm:
            compare(algorithm, draft.digest, image.hash_value)
    return found


def _add_members(cloud: Cloud, path: str, draft: ImageDraft) -> Iterator[NotReplayed]:
    if not draft.members:
        return
    if draft.document.get("visibility") != "shared":
        yield NotReplayed("members", f"an image that is {draft.document['visibility']} has none")
        return
    for member in draft.members:
        project = member["project_id"]
        try:
            cloud.request("image", "POST", f"{path}/members", what=draft.title, json={"member": project})
        except errors.ImagetoolsError as exc:
            yield NotReplayed(f"member {project}", exc.message)
            continue
        if member.get("status") != "pending":
            yield NotReplayed(
                f"status of member {project}",
                f"it was {member.get('status')}; only that project can say so again",
            )


def _try(cloud: Cloud, path: str, change: Mapping[str, Any], title: str) -> list[NotReplayed]:
    try:
        _patch(cloud, path, [change], title)
    except (errors.Forbidden, errors.CloudError) as exc:
        return [NotReplayed(f"{title}: {change['path'][1:]}", exc.message)]
    return []


def _patch(cloud: Cloud, path: str, changes: Sequence[Mapping[str, Any]], title: str) -> None:
    cloud.request(
        "image",
        "PATCH",
        path,
        what=title,
        json=list(changes),
        content_type="application/openstack-images-v2.1-json-patch",
    )


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")
