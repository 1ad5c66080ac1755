# SPDX-License-Identifier: Apache-2.0
"""The effects on images: made under an ID of our own choosing, filled, given their metadata, compared.

Contract: an image is ours and private until its data is proven; only then it gets its name, its
properties (among them ``img_signature*``, which would be checked during an upload) and its visibility.
Its removal is registered, by its ID, before it is made. What the cloud refuses to set is given back with
the reason.
Source: https://docs.openstack.org/api-ref/image/v2/ , JSON patch of the media type v2.1.
"""

from __future__ import annotations

import functools
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.cloud.volume import get_volume
from osc_imagetools.data.disk_stream import DiskSource, NoBytes, hash_of
from osc_imagetools.data.download_source import DownloadSource, Proof, promised
from osc_imagetools.data.upload import UploadBroken, UploadSink, send
from osc_imagetools.operations.drafts import ImageDraft, NotReplayed
from osc_imagetools.operations.image_metadata import image_of_volume
from osc_imagetools.operations.vocabulary import CreateMappingImage, SendDisk, UploadVolume
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects import block_storage
from osc_imagetools.run.effects.creation import create
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.effects.removal import remove_image

LOG = logging.getLogger(__name__)
USUAL = "sha512"  # Glance's default os_hash_algo
UPLOADS = 5  # tries of one disk
FIRST_WAIT = 2.0  # seconds before the second try; doubled each time


def send_disk(
    context: RunContext, operation: SendDisk, source: DiskSource, *, algorithm: str, progress: Progress
) -> Outcome:
    """A private image of ours with the bytes of *source*, proven by the cloud's own hash.

    An upload that broke is begun again, with a new image.

    :param algorithm: of the digest in the draft.
    :raises errors.TransferError: the upload failed; :raises errors.HashMismatch: the source is not what it
        should be, or the cloud has other bytes.
    """
    draft = operation.draft
    failures = 0
    while True:
        made = _create(context, draft, operation.owner, keep=not operation.makes.temporary)
        try:
            image = _fill(context, made, operation, source, algorithm, progress)
        except UploadBroken as exc:
            failures += 1
            if failures == UPLOADS:
                raise
            LOG.warning("%s; sending it again from the beginning", exc.message)
            assert made.entry is not None
            made.entry.run()
            context.cloud.retries.pause(FIRST_WAIT * 2 ** (failures - 1))
        else:
            if not operation.makes.temporary:
                _advise(image, draft.title)
            return outcome_of(context, made, image, draft, algorithm)


def _advise(image: Image, title: str) -> None:
    """Says so where another format would be much better for the image."""
    if image.storage == "rbd" and image.size and image.disk_format not in ("raw", "iso"):
        LOG.warning(
            "%s is stored as %s on Ceph RBD: the cloud converts it for each server and volume. As raw, "
            "they are clones of it: import it with --disk-format raw",
            title,
            image.disk_format,
        )


def _create(context: RunContext, draft: ImageDraft, owner: str | None, *, keep: bool) -> CreatedResource:
    """A private image of ours without data."""
    name = context.run.name(draft.title)
    made = context.register("image", name, remove_image, identifier=str(uuid.uuid4()), keep=keep)
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
    return made


def _fill(
    context: RunContext,
    made: CreatedResource,
    operation: SendDisk,
    source: DiskSource,
    algorithm: str,
    progress: Progress,
) -> Image:
    """The image with its data."""
    title = operation.draft.title
    sink = UploadSink(
        context.cloud.connection.session,
        context.cloud.url("image", f"/images/{made.id}/file"),
        title,
        store=operation.store,
    )
    cancelled = context.deadline.cancelled
    sent = send(source, sink, algorithms={algorithm, USUAL}, progress=progress, cancelled=cancelled)
    image = get_image(context.cloud, str(made.id))
    if image.status != "active" or image.size != sent.size:
        raise UploadBroken(
            f"{title}: after the upload it is {image.status} with {image.size} bytes, "
            f"and {sent.size} were sent"
        )
    proof = proof_of(image)
    if proof is None:
        return image  # told by differences()
    digest = sent.digests.get(proof.algorithm)
    if digest is None:  # a hash that no cloud has by default
        digest = hash_of(source, proof.algorithm, cancelled)
    if proof.value != digest:
        raise errors.HashMismatch(f"{title}: the cloud has other bytes than were sent ({proof})")
    return image


def create_mapping_image(
    context: RunContext, operation: CreateMappingImage, results: Results, *, progress: Progress
) -> Outcome:
    """The image of 0 bytes whose block device mapping points at snapshots."""
    entries = [{**disk.entry, "snapshot_id": results.id(disk.source)} for disk in operation.disks]
    mapping = json.dumps([*entries, *operation.blank])
    properties = {**operation.draft.properties, "block_device_mapping": mapping, "bdm_v2": "True"}
    draft = replace(operation.draft, properties=properties)
    send = SendDisk(operation.makes, draft, owner=operation.owner)
    return send_disk(context, send, NoBytes(draft.title), algorithm=USUAL, progress=progress)


def upload_volume(context: RunContext, operation: UploadVolume, results: Results) -> Outcome:
    """An image that the cloud writes of a volume, verified.

    :raises errors.CloudError: it is not what was asked for.
    """
    source, keep = operation.volume, operation.keep
    volume = get_volume(context.cloud, results.id(source))
    if volume is None:
        raise errors.ResourceNotFound(f"{source.label} is gone")
    made = block_storage.upload_volume(
        context,
        volume.id,
        operation.disk_format,
        operation.makes.role,
        temporary=source.temporary,
        keep=keep is not None,
    )
    image = get_image(context.cloud, str(made.id))
    virtual = image.size if operation.disk_format == "raw" else image.virtual_size
    # An encrypted volume comes out as it lies in its storage, with the header of its encryption.
    whole = virtual in (None, volume.size) or (volume.encrypted and virtual > volume.size)
    if not whole or not image.size or image.disk_format != operation.disk_format:
        raise errors.CloudError(
            f"{image.label} is not what was asked for: {image.disk_format}, {image.size} bytes, a disk "
            f"of {virtual} bytes instead of {volume.size}",
            hint="A volume that its driver never really extended has a smaller disk than the cloud says: "
            "openstack volume set --size <larger> <volume> repairs it.",
        )
    if keep is None:
        return Outcome(made, image, original=volume)
    return outcome_of(context, made, image, image_of_volume(operation, volume), USUAL)


def outcome_of(
    context: RunContext, made: CreatedResource, image: Image, draft: ImageDraft, algorithm: str
) -> Outcome:
    """An image with its data, and what there is to do with it yet."""
    return Outcome(
        resource=made,
        value=image,
        name=draft.document.get("name"),
        hand_over=functools.partial(settle_image, context, image, draft),
        protect=functools.partial(protect_image, context, image, draft),
        differences=lambda: differences(get_image(context.cloud, image.id), draft, algorithm),
    )


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


def proof_of(image: Image) -> Proof | None:
    """What the cloud promises for an image's data; None where that is nothing."""
    return promised(image.hash_algo, image.hash_value, image.checksum)


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
