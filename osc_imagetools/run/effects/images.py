# SPDX-License-Identifier: Apache-2.0
"""The effects on images: made under an ID of our own choosing, filled, given their metadata, compared.

Contract: an image is ours and private until its data is proven; only then it gets its name, its
properties (among them ``img_signature*``, which would be checked during an upload) and its visibility.
Its removal is registered, by its ID, before it is made. What the cloud refuses to set is given back with
the reason.
Source: https://docs.openstack.org/api-ref/image/v2/ , JSON patch of the media type v2.1.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.data.download_source import DownloadSource, supported
from osc_imagetools.data.upload import upload
from osc_imagetools.operations.drafts import ImageDraft, NotReplayed
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects.creation import create
from osc_imagetools.run.effects.removal import remove_image


def create_image(
    context: RunContext,
    draft: ImageDraft,
    path: Path | None,
    *,
    algorithm: str,
    digest: str | None,
    store: str | None,
    owner: str | None,
    progress: Progress,
) -> tuple[CreatedResource, Image]:
    """A private image of ours with the data of *path* (None: 0 bytes), proven by the cloud's own hash.

    :raises errors.TransferError: the upload broke; :raises errors.HashMismatch: the cloud has other bytes.
    """
    name = context.run.name(draft.title)
    made = context.register("image", name, remove_image, identifier=str(uuid.uuid4()))
    body: dict[str, Any] = {
        "id": made.id,
        "name": made.name,
        "visibility": "private",
        "disk_format": draft.document["disk_format"],
        "container_format": draft.document["container_format"],
        "tags": context.run.tags(),
    }
    if owner:
        body["owner"] = owner
    create(
        context, made, lambda: str(context.cloud.post("image", "/images", what=draft.title, json=body)["id"])
    )
    sent = upload(
        context.cloud.connection.session,
        context.cloud.url("image", f"/images/{made.id}/file"),
        path,
        label=draft.title,
        algorithm=algorithm,
        expected=digest,
        store=store,
        progress=progress,
        cancelled=context.deadline.cancelled,
    )
    image = get_image(context.cloud, str(made.id))
    size = path.stat().st_size if path else 0
    if image.status != "active" or image.size != size:
        raise errors.TransferError(
            f"{draft.title}: after the upload it is {image.status} with {image.size} bytes, "
            f"and {size} were sent"
        )
    _prove(image, path, algorithm, sent, draft.title)
    return made, image


def source_of(cloud: Cloud, image: Image, label: str) -> DownloadSource:
    """An image's data as something to download, with all that proves it."""
    return DownloadSource(
        url=cloud.url("image", f"/images/{image.id}/file"),
        label=label,
        size=image.size,
        hash_algo=image.hash_algo,
        hash_value=image.hash_value,
        checksum=image.checksum,
        store=image.store,
        hash_coming=bool(
            (image.hash_algo and not image.hash_value) or image.document.get("os_glance_import_task")
        ),
        reread=lambda: source_of(cloud, get_image(cloud, image.id), label),
    )


def proof_of(image: Image) -> tuple[str, str] | None:
    """(algorithm, hex digest) that the cloud has for an image's data; None where it has none."""
    if image.hash_algo and image.hash_value and supported(image.hash_algo):
        return image.hash_algo.lower(), image.hash_value.lower()
    return ("md5", image.checksum.lower()) if image.checksum else None


def _prove(image: Image, path: Path | None, algorithm: str, sent: str, title: str) -> None:
    """Compares what was sent with the cloud's own hash, whichever algorithm that is of.

    :raises errors.HashMismatch: they differ.
    """
    proof = proof_of(image)
    if proof is None:
        return  # told by differences()
    if proof[0] != algorithm:
        with path.open("rb") if path else io.BytesIO() as file:
            sent = hashlib.file_digest(file, lambda: hashlib.new(proof[0], usedforsecurity=False)).hexdigest()
    if proof[1] != sent:
        raise errors.HashMismatch(
            f"{title}: the cloud has other bytes than were sent ({proof[0]} {proof[1]})"
        )


def set_properties(context: RunContext, image: Image, draft: ImageDraft) -> None:
    """Gives an image that stays ours its custom properties: a volume made from it inherits them."""
    changes = [
        {"op": "add", "path": _pointer(key), "value": value} for key, value in draft.properties.items()
    ]
    if changes:
        context.cloud.patch_image(image.id, changes, what=draft.title)


def settle_image(context: RunContext, image: Image, draft: ImageDraft) -> list[NotReplayed]:
    """Gives a proven image its metadata but for the protection; what the cloud refuses, and why.

    Our mark goes in the request that sets the name; what others see comes last.
    """
    refused: list[NotReplayed] = []
    bears = get_image(context.cloud, image.id).properties  # what Cinder or Nova made has them as properties
    marks = [{"op": "remove", "path": _pointer(key)} for key in context.run.marks() if key in bears]
    base = [{"op": "replace", "path": "/name", "value": draft.document.get("name")}]
    base += [
        {"op": "replace", "path": _pointer(key), "value": draft.document[key]}
        for key in ("min_disk", "min_ram")
        if draft.document.get(key) is not None
    ]
    properties = [{"op": "add", "path": _pointer(k), "value": v} for k, v in draft.properties.items()]
    tags = [{"op": "replace", "path": "/tags", "value": list(draft.tags)}]
    try:
        context.cloud.patch_image(image.id, [*marks, *base, *tags, *properties], what=draft.title)
    except (errors.Forbidden, errors.CloudError):
        untagged = {"op": "replace", "path": "/tags", "value": []}
        context.cloud.patch_image(image.id, [*marks, *base, untagged], what=draft.title)
        single: list[Mapping[str, Any]] = [*tags, *properties]
        for change in single:
            refused += _try(context.cloud, image.id, change, draft.title)
    for key in ("os_hidden", "visibility"):
        if draft.document.get(key) not in (None, image.document.get(key)):
            change = {"op": "replace", "path": _pointer(key), "value": draft.document[key]}
            refused += _try(context.cloud, image.id, change, draft.title)
    refused += list(_add_members(context.cloud, image.id, draft))
    return refused


def protect_image(context: RunContext, image: Image, draft: ImageDraft) -> list[NotReplayed]:
    """The last effect of all: a protected image cannot be removed any more when something else fails."""
    if not draft.document.get("protected"):
        return []
    change = {"op": "replace", "path": "/protected", "value": True}
    return _try(context.cloud, image.id, change, draft.title)


def differences(image: Image, draft: ImageDraft, algorithm: str) -> list[str]:
    """How an image that was read back differs from what it should be; empty when it does not."""
    found: list[str] = []

    def compare(what: str, wanted: Any, got: Any) -> None:
        if wanted != got:
            found.append(f"{draft.title}: {what} is {got!r}, not {wanted!r}")

    for key, value in draft.document.items():
        compare(key, value, image.document.get(key))
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
    if draft.file is not None and proof_of(image) is None:
        found.append(f"{draft.title}: the cloud has no hash for it, nothing proves its bytes")
    return found


def _add_members(cloud: Cloud, image_id: str, draft: ImageDraft) -> Iterator[NotReplayed]:
    if not draft.members:
        return
    if draft.document.get("visibility") != "shared":
        yield NotReplayed("members", f"an image that is {draft.document['visibility']} has none")
        return
    for member in draft.members:
        project = member["project_id"]
        path, body = f"/images/{image_id}/members", {"member": project}
        try:
            cloud.request("image", "POST", path, what=draft.title, json=body)
        except errors.ImagetoolsError as exc:
            yield NotReplayed(f"member {project}", exc.message)
            continue
        if member.get("status") != "pending":
            yield NotReplayed(
                f"status of member {project}",
                f"it was {member.get('status')}; only that project can say so again",
            )


def _try(cloud: Cloud, image_id: str, change: Mapping[str, Any], title: str) -> list[NotReplayed]:
    try:
        cloud.patch_image(image_id, [change], what=title)
    except (errors.Forbidden, errors.CloudError) as exc:
        return [NotReplayed(f"{title}: {change['path'][1:]}", exc.message)]
    return []


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")
