# SPDX-License-Identifier: Apache-2.0
"""Drafts of resources: what an image, volume, snapshot, port or server will be.

Contract: values. A draft says all of what a resource will be; the interpreter of operations creates it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools.cloud.image import BASE
from osc_imagetools.operations.reference import Reference

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
    document: Mapping[str, Any]
    properties: Mapping[str, str]
    tags: tuple[str, ...] = ()
    members: tuple[Mapping[str, str], ...] = ()
    file: str | None = None
    size: int = 0
    content_format: str | None = None
    digest: str | None = None
    convert: str | None = None


@dataclass(frozen=True)
class KeptImage:
    """What an image becomes that the cloud writes of a volume; ``min_ram`` in MiB, None: as the volume's
    image metadata says.

    ``properties`` win over those that the volume hands on.
    """

    name: str
    properties: Mapping[str, str]
    tags: tuple[str, ...]
    min_ram: int | None


@dataclass(frozen=True)
class KeptVolume:
    """What a new volume becomes; ``bootable`` None: as what it is created from.

    ``properties`` are set over the image properties that it inherits; ``reason`` why it is kept beside what
    was asked for, None where it is what was asked for.
    """

    name: str
    description: str | None
    metadata: Mapping[str, str]
    properties: Mapping[str, str]
    bootable: bool | None
    reason: str | None = None


@dataclass(frozen=True)
class KeptSnapshot:
    """What a new snapshot becomes."""

    name: str
    description: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class MappingEntry:
    """A disk in a block device mapping: the volume, image or snapshot that it is, and the rest of its entry.

    ``disk`` is its name in the bundle.
    """

    disk: str
    source: Reference
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class PortDraft:
    """A port to make; ``body`` is the request but for the name, ``tag`` that of the device in the server."""

    title: str
    body: Mapping[str, Any]
    tag: str | None


@dataclass(frozen=True)
class Plug:
    """Where a server is plugged in: a port, and the tag of the device that the server has for it."""

    port: Reference
    tag: str | None


@dataclass(frozen=True)
class ServerDraft:
    """A server to create.

    ``body`` is the request without its block devices and ports. ``expected`` are the names of its devices by
    the disk, as the original had them.
    """

    name: str
    description: str | None
    body: Mapping[str, Any]
    hints: Mapping[str, Any]
    expected: Mapping[str, str | None]
