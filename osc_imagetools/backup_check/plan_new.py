# SPDX-License-Identifier: Apache-2.0
"""What a backup of a server that is made now would be: one function for each reason.

Contract: pure. Sources: nova/compute/api.py (``snapshot``, ``snapshot_volume_backed``, ``backup``: states
that allow them; a lock does not forbid them), nova/virt/libvirt/driver.py (quiesce), cinder/volume/api.py
(``_create_snapshot``: an available volume, or with force one that is in use).
"""

from __future__ import annotations

from collections.abc import Iterator

from osc_imagetools.backup_check.plan_case import Observation, ServerCase, finds, listed
from osc_imagetools.backup_check.plan_commands import export, list_attachments, list_messages
from osc_imagetools.backup_check.plan_copies import SHELVED
from osc_imagetools.export.plan_server import SNAPSHOT_STATES

# Others say so in findings of their own.
TOLD_ELSEWHERE = SHELVED | {"ERROR"}
SETTLED = frozenset({"available", "in-use"})


@finds("boots-from-volume")
def boots_from_volume(case: ServerCase) -> Iterator[Observation]:
    if case.boots_from_volume and case.server.volumes:
        count = len(case.server.volumes)
        # Their size is known only where all of them could be read.
        size = f" ({sum(v.size for _, v in case.volumes)} GiB)" if len(case.volumes) == count else ""
        yield Observation(
            f"boots from a volume: an image of it would have 0 bytes and point at {count} "
            f"snapshot{'' if count == 1 else 's'}{size}",
            export(case),
        )


@finds("volumes-not-in-image")
def volumes_not_in_image(case: ServerCase) -> Iterator[Observation]:
    if not case.boots_from_volume and case.server.volumes:
        names = listed([case.name_of(volume.id) for volume in case.server.volumes])
        yield Observation(f"an image of it would be without {names}", export(case))


@finds("ephemeral-disk")
def ephemeral_disk(case: ServerCase) -> Iterator[Observation]:
    flavor = case.server.flavor
    if flavor and flavor.ephemeral:
        yield Observation(
            f"its ephemeral disk of {flavor.ephemeral} GiB can be in no copy",
            "copy its files inside of the server",
        )


@finds("swap-disk")
def swap_disk(case: ServerCase) -> Iterator[Observation]:
    flavor = case.server.flavor
    if flavor and flavor.swap:
        yield Observation(f"its swap disk of {flavor.swap} MiB can be in no copy")


@finds("state-forbids-snapshot")
def state_forbids_snapshot(case: ServerCase) -> Iterator[Observation]:
    status = case.server.status
    if status not in SNAPSHOT_STATES | TOLD_ELSEWHERE:
        yield Observation(
            f"is {status}: no image can be made of it now", f"openstack server show {case.server.id}"
        )


@finds("task-in-progress")
def task_in_progress(case: ServerCase) -> Iterator[Observation]:
    if case.server.task_state:
        command = f"openstack server show {case.server.id} -c OS-EXT-STS:task_state"
        yield Observation(f"Nova is busy with it ({case.server.task_state})", command)


@finds("server-in-error")
def server_in_error(case: ServerCase) -> Iterator[Observation]:
    if case.server.status == "ERROR":
        yield Observation(
            "is in ERROR: no image can be made of it", f"openstack server show {case.server.id} -c fault"
        )


@finds("locked")
def locked(case: ServerCase) -> Iterator[Observation]:
    if case.server.locked:
        yield Observation(
            "is locked: it cannot be stopped for a copy at rest", f"openstack server unlock {case.server.id}"
        )


@finds("shelved")
def shelved(case: ServerCase) -> Iterator[Observation]:
    if case.server.status in SHELVED:
        yield Observation(
            "is shelved: no image can be made of it", f"openstack server unshelve {case.server.id}"
        )


@finds("volume-encrypted")
def volume_encrypted(case: ServerCase) -> Iterator[Observation]:
    for _, volume in case.volumes:
        if volume.encrypted:
            command = f"openstack volume show {volume.id} -c encryption_key_id"
            yield Observation(
                f"{case.name_of(volume.id)} is encrypted: a copy can be read with its key only", command
            )


@finds("volume-multi-attached")
def volume_multi_attached(case: ServerCase) -> Iterator[Observation]:
    for _, volume in case.volumes:
        others = {a.server_id for a in volume.attachments} - {case.server.id} - case.fleet.gone
        if others:
            names = listed(sorted(others))
            yield Observation(
                f"{case.name_of(volume.id)} is attached to other servers too ({names})",
                f"openstack server stop {case.server.id} {' '.join(sorted(others)[:4])}",
            )


@finds("volume-in-error")
def volume_in_error(case: ServerCase) -> Iterator[Observation]:
    for _, volume in case.volumes:
        if volume.status.startswith("error"):
            yield Observation(
                f"{case.name_of(volume.id)} is in the state {volume.status}", list_messages(case, volume)
            )


@finds("volume-busy")
def volume_busy(case: ServerCase) -> Iterator[Observation]:
    for _, volume in case.volumes:
        if volume.status not in SETTLED and not volume.status.startswith("error"):
            command = f"openstack volume show {volume.id} -c status"
            yield Observation(
                f"{case.name_of(volume.id)} is {volume.status}: no snapshot can be taken of it", command
            )


@finds("volume-gone")
def volume_gone(case: ServerCase) -> Iterator[Observation]:
    for attached in case.server.volumes:
        if attached.id in case.fleet.gone:
            yield Observation(
                f"its volume {attached.id} does not exist", "copy its data inside of the server"
            )


@finds("attached-to-gone-server")
def attached_to_gone_server(case: ServerCase) -> Iterator[Observation]:
    for _, volume in case.volumes:
        for attachment in volume.attachments:
            if attachment.server_id in case.fleet.gone:
                yield Observation(
                    f"{case.name_of(volume.id)} is attached to a server that does not exist, too "
                    f"({attachment.server_id})",
                    list_attachments(case.fleet, volume),
                )


@finds("delete-on-termination")
def delete_on_termination(case: ServerCase) -> Iterator[Observation]:
    for attached, volume in case.volumes:
        if attached.delete_on_termination:
            yield Observation(
                f"{case.name_of(volume.id)} will be deleted together with the server",
                "openstack --os-compute-api-version 2.85 server volume update --preserve-on-termination "
                f"{case.server.id} {volume.id}",
            )


@finds("consistency-stopped")
def consistency_stopped(case: ServerCase) -> Iterator[Observation]:
    if case.server.status == "SHUTOFF":
        yield Observation("is stopped: a copy is of disks at rest")


def _is_freeze_requested(case: ServerCase) -> bool:
    """As an export records it: volumes beside a root disk from an image get their snapshots unfrozen."""
    together = case.boots_from_volume or not case.server.volumes
    return bool(case.server.status == "ACTIVE" and together and case.traits and case.traits.guest_agent)


@finds("consistency-freeze-requested")
def consistency_freeze_requested(case: ServerCase) -> Iterator[Observation]:
    if _is_freeze_requested(case):
        yield Observation("runs, with the guest agent: a copy is of file systems that were asked to freeze")


@finds("consistency-crash")
def consistency_crash(case: ServerCase) -> Iterator[Observation]:
    server, traits = case.server, case.traits
    if server.status in SNAPSHOT_STATES - {"SHUTOFF"} and not _is_freeze_requested(case):
        why = "the guest agent is not known" if traits is None else "without the guest agent"
        if traits and traits.guest_agent:
            why = "and no freeze spans its root disk and its volumes"
        state = f"runs, {why}" if server.status == "ACTIVE" else f"is {server.status}"
        yield Observation(f"{state}: a copy is what the disks are after a power failure")


@finds("quiesce-impossible")
def quiesce_impossible(case: ServerCase) -> Iterator[Observation]:
    traits = case.traits
    if case.server.status == "ACTIVE" and traits and traits.must_quiesce and not traits.guest_agent:
        yield Observation(
            "its image has os_require_quiesce, but not hw_qemu_guest_agent: it must be stopped for an image",
            f"openstack server stop {case.server.id}",
        )


@finds("uefi-variables")
def uefi_variables(case: ServerCase) -> Iterator[Observation]:
    if case.traits and case.traits.uefi:
        yield Observation("boots by UEFI: its variables can be in no copy")


@finds("secure-boot")
def secure_boot(case: ServerCase) -> Iterator[Observation]:
    flavor = case.server.flavor
    if (case.traits and case.traits.secure_boot) or (flavor and flavor.traits.secure_boot):
        yield Observation("uses secure boot: keys that were enrolled in it can be in no copy")


@finds("vtpm")
def vtpm(case: ServerCase) -> Iterator[Observation]:
    flavor = case.server.flavor
    if (case.traits and case.traits.vtpm) or (flavor and flavor.traits.vtpm):
        yield Observation(
            "has a virtual TPM: what it has sealed cannot be opened by a copy",
            "keep the recovery keys elsewhere",
        )


@finds("boot-image-gone")
def boot_image_gone(case: ServerCase) -> Iterator[Observation]:
    image_id = case.server.image_id
    if image_id and image_id in case.fleet.gone:
        unknown = "" if case.traits else "; whether it has a guest agent or UEFI cannot be told"
        yield Observation(f"the image that it was made from, {image_id}, does not exist{unknown}")


@finds("flavor-gone")
def flavor_gone(case: ServerCase) -> Iterator[Observation]:
    flavor, names = case.server.flavor, case.fleet.flavors
    if flavor and names is not None and flavor.name not in names:
        yield Observation(f"there is no flavor {flavor.name} any more", "openstack flavor list --all")
