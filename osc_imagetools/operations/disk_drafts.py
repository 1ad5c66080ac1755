# SPDX-License-Identifier: Apache-2.0
"""What becomes of a disk of a bundle: an image with its data, a volume made from one.

Contract: pure; shared by the imports of images, volumes and servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.image import RESERVED_PREFIX
from osc_imagetools.cloud.ownership import MARK, plain_description, without_marks
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.operations.drafts import CORE, MAPPING, ImageDraft, KeptVolume
from osc_imagetools.operations.quota import VolumeUse
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import CreateVolume, Lane, Remove, SendDisk

# What Cinder keeps of the image itself among a volume's image metadata (cinder/db, volume_glance_metadata).
VOLUME_FACTS = CORE | {"image_id", "image_name", "signature_verified", *MAPPING}


def image_properties(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """The image properties in a volume's image metadata."""
    kept = (metadata or {}).items()
    return {
        k: str(v)
        for k, v in kept
        if k not in VOLUME_FACTS and not k.startswith((RESERVED_PREFIX, MARK)) and v is not None
    }


def with_data(draft: ImageDraft, disk: Mapping[str, Any], disk_format: str | None) -> ImageDraft:
    """The draft with a disk's data, converted to *disk_format* where it is not of that format."""
    convert = disk_format if disk_format not in (None, disk["disk_format"]) else None
    return replace(
        draft,
        file=disk["file"],
        size=disk["size"],
        content_format=disk["content_format"],
        digest=None if convert else disk["hash"]["value"],
        convert=convert,
        document={
            **draft.document,
            "disk_format": convert or disk["disk_format"],
            "container_format": disk["container_format"] or "bare",
        },
    )


def disk_image(disk: Mapping[str, Any], name: str, properties: Mapping[str, str]) -> ImageDraft:
    """A private image with a disk's data."""
    bare = ImageDraft(
        title=f"image {name}",
        document={"name": name, "visibility": "private", "protected": False, "min_disk": 0, "min_ram": 0},
        properties=properties,
    )
    return with_data(bare, disk, None)


def smallest_size(disk: Mapping[str, Any]) -> int:
    """The bytes of the smallest volume that takes a disk: whole GiB."""
    return max(-(-int(disk["virtual_size"] or disk["size"]) // GIB), 1) * GIB


def disk_volume(
    disk: Mapping[str, Any],
    *,
    fallback: str,
    volume_type: str | None,
    zone: str | None = None,
    properties: Mapping[str, str] | None = None,
) -> VolumeOfDisk:
    """A volume with a disk's data and with what the bundle says of the volume that it was.

    :param fallback: its name where the bundle has none.
    :param properties: image properties of the volume; None: those that the volume had.
    """
    facts = disk["replayable"].get("volume") or {}
    name = str(facts.get("name") or fallback)[:255]
    if properties is None:
        properties = image_properties(facts.get("image_metadata"))
    size = max(smallest_size(disk), int(facts.get("size") or 1) * GIB)
    image = Reference("image", None, f"image of {disk['name']}", temporary=True)
    return VolumeOfDisk(
        disk=disk["name"],
        send=SendDisk(image, disk_image(disk, f"{fallback}-{disk['name']}"[:255], {})),
        create=CreateVolume(
            source=image,
            makes=Reference("volume", None, f"volume {name} of {disk['name']}"),
            size=size,
            volume_type=volume_type,
            quota_type=volume_type,
            zone=zone,
            keep=KeptVolume(
                name=name,
                description=plain_description(facts.get("description")),
                metadata={k: str(v) for k, v in without_marks(facts.get("metadata") or {}).items()},
                properties=properties,
                bootable=bool(facts.get("bootable")) or disk["role"] == "boot",
            ),
        ),
    )


@dataclass(frozen=True)
class VolumeOfDisk:
    """How a disk of a bundle becomes a volume: by a temporary image."""

    disk: str
    send: SendDisk
    create: CreateVolume

    @property
    def volume(self) -> Reference:
        return self.create.makes

    @property
    def keep(self) -> KeptVolume:
        assert self.create.keep is not None
        return self.create.keep

    @property
    def use(self) -> VolumeUse:
        """What it takes of the volume quota."""
        return VolumeUse(self.create.size // GIB, self.create.volume_type, with_snapshot=False)

    @property
    def lane(self) -> Lane:
        return (self.send, self.create, Remove(self.send.makes))

    def changed(self, *, size: int | None = None, **keep: Any) -> VolumeOfDisk:
        """The same with another size (bytes) or with other facts of the volume that stays."""
        create = replace(self.create, keep=replace(self.keep, **keep))
        return replace(self, create=replace(create, size=size or create.size))


def encrypted_problem(disk: Mapping[str, Any]) -> errors.ImagetoolsError | None:
    """Why a disk of an encrypted volume cannot be made a volume again; None for any other."""
    if not (disk["replayable"].get("volume") or {}).get("encrypted"):
        return None
    key = disk["observed"].get("encryption_key_id") or "<key id>"
    return errors.ResourceUnusable(
        f"{disk['name']}: its bytes are those of an encrypted volume; made a volume again they would be "
        "encrypted a second time",
        hint="Upload it with its key: openstack image create --disk-format raw --property "
        f"cinder_encryption_key_id={key} --file {disk['file']} <name>, and make a volume of the encrypted "
        "type from that image; or open it (LUKS) with the key and import the plain disk.",
    )


def volume_type_of(
    disk: Mapping[str, Any], mapping: Mapping[str, str], types: Sequence[str]
) -> tuple[str | None, errors.ImagetoolsError | None]:
    """(volume type, None) for the volume of a disk: what it is mapped to, or its own; or (None, problem).

    :param mapping: old name to new name; ``""`` as an old name stands for every other one.
    """
    old = (disk["replayable"].get("volume") or {}).get("volume_type")
    wanted = mapping.get(old or "", mapping.get("", old))
    if wanted is None or wanted in types:
        return wanted, None
    return None, errors.ResourceNotFound(
        f"{disk['name']}: there is no volume type {wanted!r} here; there are {', '.join(types) or 'none'}",
        hint="Name one: --volume-type <old>=<new> (volume import-full: --type <type>)",
    )
