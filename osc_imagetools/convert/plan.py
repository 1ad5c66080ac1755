# SPDX-License-Identifier: Apache-2.0
"""Plans a conversion: from where the data is, by the ways that every cloud knows, to the new resource.

Contract: pure. Everything that would make it fail and can be known is found here, before any effect, and
listed at once. The ways:

* a volume that is in use, or has snapshots, is never uploaded itself, but a temporary volume made from a
  snapshot of it (Cinder refuses the first, and drivers such as NFS fail at the second);
* a volume is copied by a snapshot, and enlarged afterwards: not every driver clones a volume in use, and what
  NFS clones or enlarges in one step has a disk of the old size and cannot be extended;
* Cinder makes a volume from a snapshot within its type and zone only: another type or zone is
  reached through a temporary image, unless an administrator's view of the types proves them compatible
  (cinder/volume/api.py, _retype_is_possible; cloned_volume_same_az);
* an image's disk format is changed on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from osc_imagetools import errors
from osc_imagetools.cloud.disk_data import ImageInventory
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.convert.inventory import ConversionTarget, SnapshotSource, VolumeSource
from osc_imagetools.convert.plan_checks import problems_of
from osc_imagetools.convert.plan_drafts import LONGEST, ConversionPlan, ConversionRequest
from osc_imagetools.convert.plan_source import (
    ConversionSource,
    Data,
    Nature,
    of_image,
    of_snapshot,
    of_volume,
)
from osc_imagetools.operations.disk_drafts import image_properties
from osc_imagetools.operations.drafts import ImageDraft, KeptImage, KeptSnapshot, KeptVolume, NotReplayed
from osc_imagetools.operations.image_metadata import handed_on, min_ram_of
from osc_imagetools.operations.quota import QuotaChange, QuotaNeed, fit_peak
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import (
    CreateSnapshot,
    CreateVolume,
    Phase,
    ReformatImage,
    Remove,
    SetMetadata,
    UploadVolume,
)

ENCRYPTION_KEY = "cinder_encryption_key"  # what the properties of its ID and of its deletion begin with


def plan_image_conversion(
    found: ImageInventory, around: ConversionTarget, wish: ConversionRequest
) -> ConversionPlan:
    """Plans ``image convert``.

    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    return _plan(of_image(found, wish), around, wish, f"image convert {found.image.id}")


def plan_volume_conversion(
    found: VolumeSource, around: ConversionTarget, wish: ConversionRequest
) -> ConversionPlan:
    """Plans ``volume convert``; raises as :func:`plan_image_conversion`."""
    return _plan(of_volume(found, around.origin), around, wish, f"volume convert {found.volume.id}")


def plan_snapshot_conversion(
    found: SnapshotSource, around: ConversionTarget, wish: ConversionRequest
) -> ConversionPlan:
    """Plans ``volume snapshot convert``; raises as :func:`plan_image_conversion`."""
    return _plan(
        of_snapshot(found, around.origin), around, wish, f"volume snapshot convert {found.snapshot.id}"
    )


def _plan(
    source: ConversionSource, around: ConversionTarget, wish: ConversionRequest, purpose: str
) -> ConversionPlan:
    wish.check(source.nature.kind)
    draft = _Draft(source.nature, around, wish)
    problems = list(source.problems)
    if source.data is not None:
        data = source.data
        draft.convert(data)
        problems += problems_of(
            source, data, around, wish, size=draft.size(data), elsewhere=draft.elsewhere(data)
        )
    needs: tuple[QuotaNeed, ...] = ()
    try:
        needs = fit_peak(around.quota, draft.course(), project=around.origin.project_id)
    except (errors.QuotaTooSmall, errors.Unready) as exc:
        problems += errors.problems_in(exc)
    errors.raise_problems(f"{source.nature.label} cannot be converted to {wish.to}", problems)
    stay = draft.stay()
    return ConversionPlan(
        source=Reference(source.nature.kind, source.nature.id, source.nature.label),
        to=wish.to,
        result=stay[-1],
        kept=draft.kept(),
        phases=(Phase.of(*draft.operations, *draft.removals()), Phase.of(*map(SetMetadata, stay))),
        not_replayed=(*source.lost, *draft.lost()),
        needs=needs,
        purpose=f"{purpose} --to {wish.to}",
    )


_Step = CreateSnapshot | CreateVolume | UploadVolume | ReformatImage | Remove


@dataclass
class _Draft:
    """What a plan is put together from."""

    nature: Nature
    around: ConversionTarget
    wish: ConversionRequest
    operations: list[_Step] = field(default_factory=list)
    not_given: list[NotReplayed] = field(default_factory=list)  # what the cloud gives to no such result

    @property
    def name(self) -> str:
        if self.wish.name is not None:
            return self.wish.name
        if self.wish.to != self.nature.kind:
            return self.nature.name
        # Two of one kind and one name could only be told apart by their IDs.
        suffix = f"-{self.wish.disk_format or 'copy'}"
        return self.nature.name[: LONGEST - len(suffix)] + suffix

    # -- the ways ------------------------------------------------------------------------------

    def convert(self, data: Data) -> None:
        """The operations that make what is wished for."""
        if self.wish.to == "image":
            self._image(data)
        elif self.wish.to == "volume":
            self._volume(data, None)
        elif self.nature.kind == "volume":
            self._snapshot(data.reference, data.size, data.volume_type)
            keys = ", ".join(sorted(handed_on(data.image_metadata)))
            if keys and not data.bootable:
                reason = "Cinder gives them to a snapshot of a bootable volume only; --to volume keeps them"
                self.not_given.append(NotReplayed(f"image properties {keys}", reason))
        else:
            volume = self._volume(data, "the snapshot needs it")
            self._snapshot(volume, self.size(data), self.wish.volume_type or data.volume_type)

    def _image(self, data: Data) -> None:
        makes = Reference("image", None, f"image {self.name}")
        if data.image is not None:
            self.operations.append(ReformatImage(data.image, makes, self._reformatted(data)))
            return
        volume = self._uploadable(data)
        keep = KeptImage(
            name=self.name,
            properties={
                **handed_on(data.image_metadata),
                **self.nature.properties,
                **self.wish.properties,
            },
            tags=self.nature.tags,
            min_ram=self.nature.min_ram
            if self.nature.min_ram is not None
            else min_ram_of(data.image_metadata),
        )
        form = self.wish.disk_format or "qcow2"
        self.operations.append(UploadVolume(volume, makes, form, data.size, keep))

    def _volume(self, data: Data, reason: str | None) -> Reference:
        """A volume that stays."""
        source, zone = data.reference, self.wish.availability_zone
        named = self.around.type(self.wish.volume_type)
        volume_type = named.name if named else None
        if self.elsewhere(data):
            source = self._temporary_image(data)
            volume_type, zone = volume_type or data.volume_type, zone or data.zone
        elif source.kind == "volume":
            source = self._temporary_snapshot(data)
        makes = Reference("volume", None, f"volume {self.name}")
        keep = KeptVolume(
            name=self.name,
            description=self.nature.description,
            metadata={} if reason else {**self.nature.metadata, **self.wish.properties},
            properties={**data.image_metadata, **_for_volume(self.nature.properties)},
            bootable=data.bootable,
            reason=reason,
        )
        quota_type = volume_type or data.volume_type
        size = self.size(data)
        begin = size if source.kind == "image" else data.size
        self.operations.append(CreateVolume(source, makes, size, begin, volume_type, quota_type, zone, keep))
        return makes

    def _snapshot(self, volume: Reference, size: int, quota_type: str | None) -> None:
        """A snapshot that stays."""
        keep = KeptSnapshot(
            name=self.name,
            description=self.nature.description,
            metadata={**self.nature.metadata, **self.wish.properties},
        )
        makes = Reference("snapshot", None, f"snapshot {self.name}")
        self.operations.append(CreateSnapshot(volume, makes, size, quota_type, keep))

    def _uploadable(self, data: Data) -> Reference:
        """A volume that can be uploaded: the source itself, or a temporary one."""
        if data.reference.kind == "volume":
            if data.uploadable:
                return data.reference
            source = self._temporary_snapshot(data)
        else:
            source = data.reference
        makes = Reference("volume", None, "temporary volume", temporary=True)
        size, quota_type = data.size, data.volume_type
        self.operations.append(CreateVolume(source, makes, size, size, None, quota_type, None, None))
        return makes

    def _temporary_snapshot(self, data: Data) -> Reference:
        makes = Reference("snapshot", None, "temporary snapshot", temporary=True)
        self.operations.append(CreateSnapshot(data.reference, makes, data.size, data.volume_type, None))
        return makes

    def _temporary_image(self, data: Data) -> Reference:
        volume = self._uploadable(data)
        makes = Reference("image", None, "temporary image", temporary=True)
        made = self.removals()
        self.operations.append(UploadVolume(volume, makes, "qcow2", data.size, None))
        self.operations += made  # the data is in the image now
        return makes

    def removals(self) -> list[Remove]:
        """Of all that is temporary and still there, last made first."""
        gone = {o.what for o in self.operations if isinstance(o, Remove)}
        made = [o.makes for o in self.operations if not isinstance(o, Remove)]
        return [Remove(makes) for makes in reversed(made) if makes.temporary and makes not in gone]

    def stay(self) -> list[Reference]:
        """What does not go again; the last one is what was asked for."""
        return [o.makes for o in self.operations if not isinstance(o, Remove) and not o.makes.temporary]

    def kept(self) -> tuple[tuple[str, Reference], ...]:
        """What stays besides what was asked for: (reason, resource)."""
        return tuple(
            (o.keep.reason, o.makes)
            for o in self.operations
            if isinstance(o, CreateVolume) and o.keep is not None and o.keep.reason
        )

    # -- what it takes -------------------------------------------------------------------------

    def size(self, data: Data) -> int:
        return self.wish.size * GIB if self.wish.size is not None else data.size

    def elsewhere(self, data: Data) -> bool:
        """Whether a volume or snapshot has to go through an image to its new type or zone."""
        if data.image is not None:
            return False
        zone = self.wish.availability_zone
        return zone not in (None, data.zone) or not self._same_backend(data)

    def _same_backend(self, data: Data) -> bool:
        if self.wish.volume_type is None:
            return True
        old, new = self.around.type(data.volume_type), self.around.type(self.wish.volume_type)
        if new is None or (old is not None and old.id == new.id):
            return True
        return (
            old is not None
            and None not in (old.backend, old.encrypted)
            and (old.backend, old.encrypted) == (new.backend, new.encrypted)
        )

    def course(self) -> list[QuotaChange]:
        """What is taken from the volume quota and given back, in the order in which it is."""
        course: list[QuotaChange] = []
        made: dict[Reference, QuotaChange] = {}
        for operation in self.operations:
            if isinstance(operation, CreateVolume | CreateSnapshot):
                named = self.around.type(operation.quota_type)
                kind = "volume" if isinstance(operation, CreateVolume) else "snapshot"
                taken = QuotaChange(kind, operation.size // GIB, named.name if named else None)
                made[operation.makes] = taken
                course.append(taken)
            elif isinstance(operation, Remove) and operation.what in made:
                course.append(replace(made[operation.what], gone=True))
        return course

    # -- what the result will be ---------------------------------------------------------------

    def _reformatted(self, data: Data) -> ImageDraft:
        image, form = data.image, self.wish.disk_format or ""
        assert image is not None
        return ImageDraft(
            title=f"image {self.name}",
            file=f"{image.id}.{form}",
            content_format=image.disk_format,
            convert=form,
            document={
                "name": self.name,
                "visibility": "private",
                "min_disk": image.document.get("min_disk"),
                "min_ram": image.document.get("min_ram"),
                "disk_format": form,
                "container_format": "bare",
            },
            properties={**self.nature.properties, **self.wish.properties},
            tags=self.nature.tags,
        )

    def lost(self) -> list[NotReplayed]:
        """What the source has and the result cannot have."""
        lost = list(self.not_given)
        named = self.nature.name != self.nature.id
        if self.wish.name is None and self.wish.to == self.nature.kind and named:
            reason = f"the original has it; this one is {self.name} (--name gives it another)"
            lost.append(NotReplayed(f"name {self.nature.name}", reason))
        if self.wish.to != "image" and self.nature.tags:
            lost.append(NotReplayed(f"tags {', '.join(self.nature.tags)}", f"a {self.wish.to} has none"))
        if self.wish.to == "image" and self.nature.kind != "image":
            if self.nature.description:
                lost.append(NotReplayed("description", "an image has none"))
            if self.nature.metadata:
                keys = ", ".join(sorted(self.nature.metadata))
                reason = "an image gets a volume's image properties; set others with --property"
                lost.append(NotReplayed(f"metadata {keys}", reason))
        return lost


def _for_volume(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties of an image that a volume of it has; what key it gets is Cinder's business."""
    return {k: v for k, v in image_properties(properties).items() if not k.startswith(ENCRYPTION_KEY)}
