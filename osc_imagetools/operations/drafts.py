# SPDX-License-Identifier: Apache-2.0
"""What an import of an image is planned as: options, drafts of what will be made, the plan.

Contract: values. A draft says what a resource will be, all of it; the execution makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.image import BASE, RESERVED_PREFIX
from osc_imagetools.operations.quota import QuotaNeed
from osc_imagetools.operations.vocabulary import Step, quota_steps

# Glance's disk_format -> the name of the format in qemu-img
CONVERTIBLE = {
    "raw": "raw",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vdi": "vdi",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "iso": "raw",
}
# They point at the snapshots that a copy with the data in itself does not need.
MAPPING = ("block_device_mapping", "bdm_v2")
# Glance deletes the key together with the image: the key is the original's as well (api-ref, Barbican).
KEY_DELETION = "cinder_encryption_key_deletion_policy"
CORE = BASE | {"locations", "direct_url", "members"}


@dataclass(frozen=True)
class ImportOptions:
    """What the user asked for; None and empty: as in the bundle."""

    name: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    remove_properties: frozenset[str] = frozenset()
    visibility: str | None = None
    project: str | None = None  # of the owner, as it was typed; the destination has its ID
    store: str | None = None
    disk_format: str | None = None
    as_volumes: bool = False

    def check(self) -> None:
        """:raises errors.UsageError: options that contradict each other, all of them at once."""
        wrong = [
            f"--property {k} and --remove-property {k}"
            for k in self.properties
            if k in self.remove_properties
        ]
        if self.as_volumes and self.disk_format:
            wrong.append("--as-volumes and --disk-format (a volume has none)")
        if self.as_volumes and self.store:
            wrong.append("--as-volumes and --store (the data goes into volumes)")
        for key in self.properties:
            if key in CORE or key.startswith(RESERVED_PREFIX):
                wrong.append(f"--property {key}: it is no custom property")
        if wrong:
            raise errors.UsageError("these options do not go together: " + "; ".join(wrong))


@dataclass(frozen=True)
class NotReplayed:
    """Something of the bundle that the copy will not have."""

    what: str
    reason: str


@dataclass(frozen=True)
class ImageDraft:
    """An image to make; ``file`` is its data below the bundle, None for an image of 0 bytes.

    ``document`` holds the base properties, ``properties`` the custom ones, ``digest`` what the data must
    hash to (None when it is converted to ``convert`` first), ``size`` is in bytes.
    """

    title: str
    file: str | None
    size: int
    content_format: str | None
    digest: str | None
    convert: str | None
    document: Mapping[str, Any]
    properties: Mapping[str, str]
    tags: tuple[str, ...]
    members: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class VolumeDraft:
    """A volume to make of the disk ``disk`` from ``image``, which is removed again; ``size`` in bytes.

    ``entry`` is the part of a block device mapping that does not name the volume or its snapshot.
    """

    disk: str
    image: ImageDraft
    name: str
    description: str | None
    size: int
    volume_type: str | None
    availability_zone: str | None
    bootable: bool
    metadata: Mapping[str, str]
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class PortDraft:
    """A port to make; ``body`` is the request but for the name, ``tag`` that of the device in the server."""

    title: str
    body: Mapping[str, Any]
    tag: str | None


@dataclass(frozen=True)
class ServerDraft:
    """A server to make of the volumes and images of the same plan.

    ``body`` is the request without its block devices and ports; ``devices`` are its block devices in order,
    each with the kind of its source (volume or image) and the place of that in the plan. ``expected`` are
    the names of its devices by the disk, as the original had them.
    """

    name: str
    description: str | None
    body: Mapping[str, Any]
    hints: Mapping[str, Any]
    devices: tuple[tuple[Mapping[str, Any], str, int], ...]
    ports: tuple[PortDraft, ...]
    expected: Mapping[str, str | None]


@dataclass(frozen=True)
class ImportPlan:
    """What an import does: the images, the volumes and the server that will stay.

    Of an image these are images in the order of the disks; or volumes with their snapshots, and one image
    that maps them (``structure``), in which ``blank`` are the entries that need no data (swap, ephemeral).
    """

    images: tuple[ImageDraft, ...]
    volumes: tuple[VolumeDraft, ...]
    not_replayed: tuple[NotReplayed, ...]
    mapped: tuple[str, ...]
    needs: tuple[QuotaNeed, ...]
    algorithm: str
    structure: bool = False
    blank: tuple[Mapping[str, Any], ...] = ()
    owner: str | None = None
    store: str | None = None
    server: ServerDraft | None = None

    def steps(self) -> tuple[Step, ...]:
        """The plan as rows for a dry run."""
        rows = list(quota_steps(self.needs))
        for volume in self.volumes:
            title = volume.image.title
            rows += [
                _step("create image", f"{title}, temporary", True, volume.image.size),
                _step("create volume", f"{volume.name} from {title}", False, volume.size),
                _step("delete image", title, True, None),
            ]
            if self.structure:
                rows.append(_step("create snapshot", f"of volume {volume.name}", False, volume.size))
        for image in self.images:
            if image.convert:
                text = f"{image.file} from {image.content_format} to {image.convert}"
                rows.append(_step("convert", text, True, image.size))
            rows.append(_step("create image", image.title, False, image.size))
            rows.append(_step("set metadata", image.title, False, None))
        if self.server is not None:
            rows += [_step("create port", port.title, False, None) for port in self.server.ports]
            rows.append(_step("create server", self.server.name, False, None))
        numbers = iter(range(1, len(rows) + 1))
        return tuple(
            row
            if row.action == "need quota"
            else Step(next(numbers), row.action, row.resource, row.temporary, row.bytes)
            for row in rows
        )


def _step(action: str, resource: str, temporary: bool, size: int | None) -> Step:
    return Step(0, action, resource, temporary, size)
