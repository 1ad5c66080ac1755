# SPDX-License-Identifier: Apache-2.0
"""The image properties of a server, which decide how its guest boots, and what follows from them.

Contract: pure. Nova tells them since 2.98, before that they are those of the server's image. Of an image that
is gone nobody tells them before the export; the image that Nova makes of the server then has them
(nova/compute/utils.py, create_image), beside much that is Nova's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.ownership import without_marks
from osc_imagetools.export.inventory_server import ServerInventory, ServerVolume
from osc_imagetools.export.plan import ExportPlan, NotCaptured
from osc_imagetools.operations.drafts import MAPPING

AGENT = frozenset({"yes", "true", "1", "on"})
# What an image of 0 bytes has to describe its disks.
OF_MAPPING = frozenset({*MAPPING, "root_device_name"})
# What Nova writes into an image of a server for itself: all system metadata of the server
# (nova/utils.py, get_image_from_system_metadata), and facts of the copy (nova/compute/utils.py, create_image,
# nova/virt/libvirt/driver.py, _create_snapshot_metadata).
OF_NOVA = frozenset(
    {
        "base_image_ref",
        "boot_roles",
        "clean_attempts",
        "image_location",
        "image_state",
        "image_type",
        "instance_owner",
        "instance_uuid",
        "locked_reason",
        "network_allocated",
        "old_vm_state",
        "owner_id",
        "owner_project_name",
        "owner_user_name",
        "rootfs_device_name",
        "shelved_at",
        "shelved_host",
        "shelved_image_id",
        "user_id",
        "vtpm_secret_uuid",
    }
)


def root_of(found: ServerInventory) -> ServerVolume | None:
    """The volume that a server boots from: the one at its root device, or the first device."""
    device = found.server.root_device
    return next((v for v in found.volumes if device and v.device == device), next(iter(found.volumes), None))


def known_properties(found: ServerInventory) -> dict[str, Any] | None:
    """Those of the server, of its root volume or of its image; None where the image is gone."""
    if found.server.properties:
        properties = found.server.properties
    elif found.boots_from_volume:
        root = root_of(found)
        properties = root.volume.image_metadata if root and root.volume else {}
    elif found.image is not None:
        properties = found.image.properties
    else:
        return None
    return {key: value for key, value in properties.items() if key not in OF_MAPPING}


def freeze_requested(properties: Mapping[str, Any] | None) -> bool:
    """Whether Nova asks the guest to freeze its file systems before it takes a snapshot."""
    return str((properties or {}).get("hw_qemu_guest_agent", "")).lower() in AGENT


def uncopied(properties: Mapping[str, Any] | None) -> list[NotCaptured]:
    """What a server with these properties has and no copy holds."""
    lost, properties = [], properties or {}
    if str(properties.get("hw_firmware_type", "")).lower() == "uefi":
        text = "the variables of the UEFI firmware (boot entries, keys of secure boot): made anew"
        lost.append(NotCaptured("uefi-variables", None, "uefi", text))
    if properties.get("hw_tpm_model") or properties.get("hw_tpm_version"):
        lost.append(vtpm())
    return lost


def vtpm() -> NotCaptured:
    """The state of a virtual TPM, which image or flavor ask for."""
    text = "the state of the virtual TPM: what the guest sealed with it cannot be opened any more"
    return NotCaptured("vtpm", None, "vtpm", text)


@dataclass(frozen=True)
class ExportedFacts:
    """What the manifest tells of the subject besides its disks: the plan's, or more where more is known."""

    replayable: Mapping[str, Any]
    not_captured: tuple[NotCaptured, ...]
    consistency: str


def facts_with_made_image(plan: ExportPlan, image: Image | None) -> ExportedFacts:
    """The plan's facts, with what only the image tells that Nova has made of the server."""
    subject = plan.subject
    if image is None or subject.replayable.get("image_properties", {}) is not None:
        return ExportedFacts(subject.replayable, plan.not_captured, plan.consistency)
    properties = {k: v for k, v in without_marks(image.properties).items() if k not in OF_NOVA}
    known = {entry.name for entry in plan.not_captured}
    more = [entry for entry in uncopied(properties) if entry.name not in known]
    running_alone = subject.observed["status"] == "ACTIVE" and not subject.observed["volumes"]
    frozen = plan.consistency == "crash" and running_alone and freeze_requested(properties)
    return ExportedFacts(
        replayable={**subject.replayable, "image_properties": properties},
        not_captured=(*plan.not_captured, *more),
        consistency="freeze-requested" if frozen else plan.consistency,
    )
