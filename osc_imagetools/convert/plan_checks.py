# SPDX-License-Identifier: Apache-2.0
"""What keeps a source from being converted as it was wished, as far as it can be known beforehand.

Contract: pure. All problems together; what only an administrator may see (the back end and the encryption of
a type) is judged where it is known, and left to the cloud where it is not.
"""

from __future__ import annotations

from osc_imagetools import errors
from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.convert.inventory import ConversionTarget, ImageContent
from osc_imagetools.convert.plan_drafts import FROM_VOLUME, ConversionRequest
from osc_imagetools.convert.plan_source import ConversionSource, Data
from osc_imagetools.operations.drafts import CONVERTIBLE

Problems = list[errors.ImagetoolsError]


def problems_of(
    source: ConversionSource,
    data: Data,
    around: ConversionTarget,
    wish: ConversionRequest,
    *,
    size: int,
    elsewhere: bool,
) -> Problems:
    """All that can be known to fail.

    :param size: of the volume that is made, in bytes.
    :param elsewhere: whether a volume goes through an image to another type or zone.
    """
    if not around.block_storage and (data.image is None or wish.to != "image"):
        region = around.origin.region or "this cloud"
        return [
            errors.ServiceAbsent(
                f"the catalog of {region} has no block storage: no {wish.to} can be made",
                hint="Do it in a region that has it: --os-region-name <region>",
            )
        ]
    label = source.nature.label
    problems = _wrong_type(around, wish) + _wrong_zone(around, wish)
    if size < data.size:
        needed = data.size // GIB
        text = f"--size {size // GIB}: {label} needs {needed} GiB"
        hint = f"Give --size {needed} or more, or leave it out."
        problems.append(errors.ResourceUnusable(text, hint=hint))
    if data.image is not None:
        problems += _wrong_image(data.image, around, wish)
        if data.encrypted:
            problems += _wrong_encrypted_image(label, around, wish)
    elif data.encrypted:
        problems += _wrong_encrypted_volume(label, wish, elsewhere)
    if data.image is None and wish.disk_format not in (None, *FROM_VOLUME):
        problems.append(
            errors.UsageError(
                f"--disk-format {wish.disk_format}: {label} has its data in a volume, which becomes one of "
                + ", ".join(FROM_VOLUME)
            )
        )
    return problems


def _wrong_type(around: ConversionTarget, wish: ConversionRequest) -> Problems:
    if wish.volume_type is None or around.type(wish.volume_type):
        return []
    names = ", ".join(sorted(t.name for t in around.types))
    return [errors.ResourceNotFound(f"--type {wish.volume_type}: there is no such volume type, but: {names}")]


def _wrong_zone(around: ConversionTarget, wish: ConversionRequest) -> Problems:
    zone = wish.availability_zone
    if zone is None or around.zones.get(zone):
        return []
    state = "is not available" if zone in around.zones else "is no availability zone for volumes"
    names = ", ".join(sorted(name for name, available in around.zones.items() if available))
    return [errors.ResourceNotFound(f"--availability-zone {zone} {state}; these are: {names}")]


def _wrong_encrypted_volume(label: str, wish: ConversionRequest, elsewhere: bool) -> Problems:
    if wish.to == "image":
        text = "an image of it would hold ciphertext, which only a copy of its key can read"
    elif elsewhere:
        text = "another type or zone is reached through an image, which would hold ciphertext"
    else:
        return []
    return [
        errors.ResourceUnusable(
            f"{label} is encrypted: {text}",
            hint="Make a volume of it of the same type (--to volume), and change that one's type: openstack "
            "volume set --type <type> --retype-policy on-demand <volume>",
        )
    ]


def _wrong_encrypted_image(label: str, around: ConversionTarget, wish: ConversionRequest) -> Problems:
    what = f"{label} holds an encrypted volume"
    if wish.to == "image":
        return [errors.ResourceUnusable(f"{what}: its ciphertext is of no use in another disk format")]
    named = around.type(wish.volume_type)
    if named is None or named.encrypted is False:
        hint = "Give one: --type <type>"
        return [errors.ResourceUnusable(f"{what}: only an encrypted volume type can take it", hint=hint)]
    return []


def _wrong_image(image: Image, around: ConversionTarget, wish: ConversionRequest) -> Problems:
    bare = image.container_format in ("bare", None)
    if wish.to != "image":
        # Cinder unpacks what is compressed (cinder/image/accelerator.py), and no other container.
        if not bare and image.container_format != "compressed":
            return [errors.ResourceUnusable(f"{image.label} is in a container ({image.container_format})")]
        return _wrong_for_volume(image) + _wrong_content(image, around.content if bare else None, wish)
    found: Problems = []
    if wish.disk_format is None:
        found.append(errors.UsageError("--disk-format is required to convert an image to an image"))
    elif wish.disk_format == image.disk_format:
        found.append(errors.UsageError(f"{image.label} is {wish.disk_format} already"))
    elif image.disk_format == "iso" and wish.disk_format == "raw":
        found.append(
            errors.ResourceUnusable(
                f"{image.label} is an ISO: as raw it would have the same bytes, and an ISO that is called "
                "raw is refused by the image service (415)",
                hint="Servers and volumes can be made of it as it is.",
            )
        )
    if not bare or image.disk_format not in CONVERTIBLE:
        form = image.disk_format if bare else f"in a container ({image.container_format})"
        found.append(errors.ResourceUnusable(f"{image.label} is {form}, which cannot be converted"))
    elif not found:
        found += _wrong_content(image, around.content, wish)
    if not around.converter:
        found.append(
            errors.ResourceUnusable(
                "a disk format is changed by qemu-img, which is not on PATH",
                hint="Install it: apt-get install qemu-utils, or dnf install qemu-img",
            )
        )
    return found


def _wrong_for_volume(image: Image) -> Problems:
    """Cinder compares the format with qemu-img's name of it (cinder/image/image_utils.py)."""
    if image.disk_format not in ("vhd", "vpc"):
        return []
    return [
        errors.ResourceUnusable(
            f"{image.label} is {image.disk_format}, of which Cinder makes no volume",
            hint="Change its format first: openstack image convert --to image --disk-format qcow2 "
            f"{image.id}",
        )
    ]


def _wrong_content(image: Image, content: ImageContent | None, wish: ConversionRequest) -> Problems:
    """What the beginning of the data tells, as far as it could be read."""
    if content is None:
        return []
    if content.encrypted and image.disk_format != "raw":
        return [
            errors.ResourceUnusable(
                f"{image.label} is encrypted ({content.format}): only who has its key can read it",
                hint=f"It can be copied as it is: openstack image export-full {image.id}",
            )
        ]
    if content.damage:
        return [
            errors.DamagedDisk(
                f"{image.label} {content.damage}", hint="Repair a copy of it: qemu-img check -r all <file>"
            )
        ]
    declared, found = image.disk_format or "raw", content.format
    if declared == "raw" and found in ("iso", "luks") and wish.to != "image":
        return []  # for a volume these are data like any other
    if declared in CONVERTIBLE and found != "raw" and CONVERTIBLE.get(found) != CONVERTIBLE[declared]:
        return [
            errors.ResourceUnusable(
                f"{image.label} says that it is {declared}, but its content is {found}",
                hint="What a server would make of it is not certain. Make an image of its data that says "
                f"what it is: openstack image save --file <file> {image.id}",
            )
        ]
    return []
