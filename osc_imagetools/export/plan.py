# SPDX-License-Identifier: Apache-2.0
"""What an export is planned as: the disks of the bundle, and the operations that bring them there.

Contract: pure values, and the way from a disk's source to its lane, which all kinds of exports share. What
each kind puts together from its inventory stands in a module of its own (``image_export`` and so on).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.block_device import BlockDevice
from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota
from osc_imagetools.cloud.states import snapshot_problem, volume_problem
from osc_imagetools.cloud.volume import GIB, Snapshot, Volume
from osc_imagetools.operations.disk_file import disk_file, extension
from osc_imagetools.operations.quota import QuotaNeed, VolumeUse, fit_quota
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.steps import PlanStep, steps
from osc_imagetools.operations.vocabulary import (
    CreateSnapshot,
    CreateVolume,
    FetchImage,
    Operation,
    Phase,
    Remove,
    UploadVolume,
)


@dataclass(frozen=True)
class Subject:
    """What is exported, as the manifest tells it.

    ``hash_algo`` is that of the cloud for the source's own data, None where only the temporary images of
    the export will have one. ``documents`` are the API documents by file name, less secrets.
    """

    kind: str  # image, volume, snapshot, server
    id: str
    name: str | None
    label: str
    origin: Origin
    hash_algo: str | None
    replayable: Mapping[str, Any]
    observed: Mapping[str, Any]
    documents: Mapping[str, Any]


@dataclass(frozen=True)
class DiskPlan:
    """A disk of the bundle: ``file`` below it, what it is, and the facts for the manifest.

    ``role`` is image (an image's own data), boot or data; ``image`` and ``snapshot`` are what its bytes come
    from where that is there already; ``captured_by`` is what the plan creates to hold the disk's state.
    """

    index: int
    name: str
    file: str
    role: str
    disk_format: str
    container_format: str | None
    device: str | None
    boot_index: int | None
    replayable: Mapping[str, Any]
    observed: Mapping[str, Any]
    image: Image | None = None
    snapshot: Snapshot | None = None
    captured_by: Reference | None = None


@dataclass(frozen=True)
class NotCaptured:
    """A disk (or another state) that is not in the bundle, and why."""

    name: str
    device: str | None
    reason: str
    detail: str


@dataclass(frozen=True)
class ExportPlan:
    """What an export does: the last of the phases has a lane for each of the disks, in their order.

    ``warnings`` are for the user to read before anything happens.
    """

    subject: Subject
    disks: tuple[DiskPlan, ...]
    phases: tuple[Phase, ...]
    not_captured: tuple[NotCaptured, ...]
    consistency: str
    needs: tuple[QuotaNeed, ...]
    warnings: tuple[str, ...] = ()

    def steps(self) -> tuple[PlanStep, ...]:
        """The plan as rows for a dry run."""
        return steps(self.phases, self.needs)


@dataclass(frozen=True)
class DiskPlacement:
    """Where a disk belongs: its name in messages and files, and its place in a server.

    ``facts`` are those of its block device that a server made from it needs again.
    """

    name: str
    device: str | None
    role: str
    boot_index: int | None
    facts: Mapping[str, Any] | None


@dataclass
class ExportDraft:
    """What a plan is put together from; ``problems`` are raised together."""

    disk_format: str | None  # what the user asked for
    allow_encrypted: bool = False
    disks: list[DiskPlan] = field(default_factory=list)
    lanes: list[tuple[Operation, ...]] = field(default_factory=list)
    not_captured: list[NotCaptured] = field(default_factory=list)
    problems: list[errors.ImagetoolsError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    room: list[VolumeUse] = field(default_factory=list)  # of each lane that makes volumes

    def add_image(self, image: Image, place: DiskPlacement) -> None:
        """A disk whose bytes are the own data of an image that is there."""
        file = disk_file(len(self.disks), place.name, extension(image))
        reference = Reference("image", image.id, f"image {image.id}")
        self.lanes.append((FetchImage(reference, len(self.disks), file, image.size),))
        self._add_disk(
            place,
            file,
            image.disk_format or "raw",
            container_format=image.container_format,
            replayable=_replayable(place, None),
            observed={"image_id": image.id},
            image=image,
        )

    def add_made_image(
        self,
        made: Reference,
        place: DiskPlacement,
        *,
        disk_format: str,
        observed: Mapping[str, Any],
    ) -> None:
        """A disk whose bytes are in an image that the plan's stages make."""
        file = disk_file(len(self.disks), place.name, disk_format)
        self.lanes.append((FetchImage(made, len(self.disks), file, None), Remove(made)))
        self._add_disk(
            place,
            file,
            disk_format,
            container_format="bare",
            replayable=_replayable(place, None),
            observed=observed,
            captured_by=made,
        )

    def add_snapshot(self, snapshot: Snapshot, volume: Volume | None, place: DiskPlacement) -> None:
        """A disk whose bytes are in a snapshot that is there; *volume* is what it was taken of."""
        if problem := snapshot_problem(snapshot, place.name):
            self.problems.append(problem)
        elif self._may_read(place, snapshot.label, volume):
            reference = Reference("snapshot", snapshot.id, snapshot.label)
            self._add_lane(place, (), reference, snapshot.size, volume, snapshot)

    def add_volume(self, volume: Volume, place: DiskPlacement) -> None:
        """A disk whose bytes are in a volume, in use or not: through a snapshot of ours."""
        if self.volume_is_usable(volume, place):
            made = self.snapshot_of(place)
            first = CreateSnapshot(Reference("volume", volume.id, volume.label), made, volume.size)
            self._add_lane(place, (first,), made, volume.size, volume, None)

    def add_snapshotted(self, made: Reference, volume: Volume, place: DiskPlacement) -> None:
        """A disk whose bytes are in a snapshot that the plan's stages make."""
        self._add_lane(place, (), made, volume.size, volume, None)

    def volume_is_usable(self, volume: Volume, place: DiskPlacement) -> bool:
        """Whether a volume can be copied now; if not, the problem is noted."""
        if problem := volume_problem(volume, place.name):
            self.problems.append(problem)
            return False
        return self._may_read(place, volume.label, volume)

    def check_project(self, label: str, project_id: str | None, origin: Origin) -> None:
        """Notes the problem of :func:`foreign_problem`."""
        if problem := foreign_problem(label, project_id, origin):
            self.problems.append(problem)

    def snapshot_of(self, place: DiskPlacement) -> Reference:
        """The temporary snapshot of the disk that comes next."""
        return Reference("snapshot", None, f"snapshot of {len(self.disks)}-{place.name}", temporary=True)

    def finish(
        self,
        subject: Subject,
        *,
        consistency: str,
        quota: Quota | None,
        jobs: int,
        stages: Sequence[tuple[Operation, ...]] = (),
        at_once: Sequence[VolumeUse] = (),
    ) -> ExportPlan:
        """The plan, which has at least one disk.

        :param at_once: what the stages take of the quota and keep until the lanes give it back.
        :raises errors.ImagetoolsError: the problems, several as :class:`errors.Unready`.
        """
        errors.raise_problems(f"{subject.label} cannot be exported", self.problems)
        wanted = max(1, min(jobs, len(self.lanes)))
        project = subject.origin.project_id
        width, needs = fit_quota(quota, self.room, wanted, project=project, besides=at_once)
        return ExportPlan(
            subject=subject,
            disks=tuple(self.disks),
            phases=(
                *(Phase(tuple((operation,) for operation in stage)) for stage in stages),
                Phase(tuple(self.lanes), width),
            ),
            not_captured=tuple(self.not_captured),
            consistency=consistency,
            needs=needs,
            warnings=tuple(self.warnings),
        )

    def _may_read(self, place: DiskPlacement, label: str, volume: Volume | None) -> bool:
        encrypted = volume.encrypted if volume else bool((place.facts or {}).get("encrypted"))
        if not encrypted:
            return True
        if not self.allow_encrypted:
            self.problems.append(_encrypted_problem(place, label))
            return False
        if self.disk_format == "qcow2":
            self.problems.append(
                errors.UsageError(
                    f"{place.name}: the bytes of an encrypted volume leave the cloud as they are (raw): "
                    "--disk-format qcow2 is not possible",
                    hint="Leave --disk-format out.",
                )
            )
            return False
        self.warnings.append(_encrypted_warning(place, volume))
        return True

    def _add_lane(
        self,
        place: DiskPlacement,
        before: tuple[Operation, ...],
        snapshot: Reference,
        size: int,
        volume: Volume | None,
        facts: Snapshot | None,
    ) -> None:
        """Snapshot, temporary volume, temporary image, the bundle; then all temporaries away."""
        index = len(self.disks)
        form = {None: "qcow2", "source": "raw"}.get(self.disk_format, self.disk_format) or "qcow2"
        if volume is not None and volume.encrypted:
            form = "raw"
        file = disk_file(index, place.name, form)
        made_volume = Reference("volume", None, f"volume of {index}-{place.name}", temporary=True)
        made_image = Reference("image", None, f"image of {index}-{place.name}", temporary=True)
        lane: list[Operation] = [
            *before,
            CreateVolume(snapshot, made_volume, size),
            UploadVolume(made_volume, made_image, form, size),
            FetchImage(made_image, index, file, None),
            Remove(made_image),
            Remove(made_volume),
        ]
        if snapshot.temporary:
            lane.append(Remove(snapshot))
        volume_type = volume.volume_type if volume else None
        self.room.append(VolumeUse(size // GIB, volume_type, with_snapshot=bool(before)))
        self.lanes.append(tuple(lane))
        self._add_disk(
            place,
            file,
            form,
            container_format="bare",
            replayable=_replayable(place, volume),
            observed={
                "snapshot_id": facts.id if facts else None,
                "snapshot_created_at": facts.created_at if facts else None,
                "volume_id": volume.id if volume else None,
                **({"encryption_key_id": volume.encryption_key_id} if volume and volume.encrypted else {}),
            },
            snapshot=facts,
            captured_by=snapshot if snapshot.temporary else None,
        )

    def _add_disk(self, place: DiskPlacement, file: str, disk_format: str, **fields: Any) -> None:
        self.disks.append(
            DiskPlan(
                index=len(self.disks),
                name=place.name,
                file=file,
                role=place.role,
                disk_format=disk_format,
                device=place.device,
                boot_index=place.boot_index,
                **fields,
            )
        )


def foreign_problem(label: str, project_id: str | None, origin: Origin) -> errors.ImagetoolsError | None:
    """What an administrator can see is not always of the project that the copies would be made in."""
    if not project_id or not origin.project_id or project_id == origin.project_id:
        return None
    return errors.ResourceUnusable(
        f"{label} belongs to project {project_id}, and the login is to {origin.project_id}",
        hint=f"Log in to its project: --os-project-id {project_id}",
    )


def place_of(device: BlockDevice) -> DiskPlacement:
    """The place of a disk that an image's block device mapping names."""
    keys = ("device_type", "disk_bus", "delete_on_termination", "tag", "guest_format", "encrypted")
    facts = {key: device.document.get(key) for key in (*keys, "volume_type")}
    role = "boot" if device.is_boot else "data"
    facts["volume_size"] = device.volume_size
    return DiskPlacement(device.device, device.device_name, role, device.boot_index, facts)


def volume_facts(volume: Volume) -> dict[str, Any]:
    """What an import sets on a volume again."""
    return {
        "name": volume.name,
        "description": volume.document.get("description"),
        "size": volume.size // GIB,
        "volume_type": volume.volume_type,
        "bootable": volume.bootable,
        "metadata": dict(volume.document.get("metadata") or {}),
        "image_metadata": dict(volume.image_metadata),
        "availability_zone": volume.document.get("availability_zone"),
    }


def _replayable(place: DiskPlacement, volume: Volume | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if place.facts is not None:
        facts["block_device"] = {key: value for key, value in place.facts.items() if key != "encrypted"}
    if volume is not None:
        facts["volume"] = volume_facts(volume)
        if volume.encrypted:
            facts["volume"]["encrypted"] = True
    return facts


def _encrypted_problem(place: DiskPlacement, label: str) -> errors.ImagetoolsError:
    return errors.ResourceUnusable(
        f"{place.name}: {label} is of an encrypted volume: the copy would be readable only with its key",
        hint="--allow-encrypted exports it as it is, and says which key it needs. Or make a copy inside the "
        "cloud and retype that to an unencrypted type (openstack volume set --type <type> "
        "--retype-policy on-demand <copy>).",
    )


def _encrypted_warning(place: DiskPlacement, volume: Volume | None) -> str:
    key = (volume.encryption_key_id if volume else None) or "which the cloud does not tell"
    whose = f"volume {volume.id}" if volume else "the volume"
    return (
        f"{place.name}: its bytes stay encrypted. Whoever wants to read the copy needs the key of {whose} "
        f"(key id: {key}), which the cloud deletes together with that volume. For the transfer the cloud "
        "clones the key; removing the temporary volume and image deletes the clones, not the original."
    )
