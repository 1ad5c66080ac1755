# SPDX-License-Identifier: Apache-2.0
"""What other programs may call: conversions of images, volumes and snapshots into one another.

Contract: these names, their parameters and the fields of what they give stay as they are within a major
version. The commands ``image convert``, ``volume convert`` and ``volume snapshot convert`` call these
functions and no others. What goes wrong is raised as a class of :mod:`osc_imagetools.errors`; nothing is
printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.disk_data import image_inventory
from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.volume import Volume
from osc_imagetools.convert.execute import ConversionReport, ConvertedResource, convert
from osc_imagetools.convert.inventory import ConversionTarget, snapshot_source, surroundings, volume_source
from osc_imagetools.convert.plan import (
    plan_image_conversion,
    plan_snapshot_conversion,
    plan_volume_conversion,
)
from osc_imagetools.convert.plan_drafts import KINDS, ConversionPlan, ConversionRequest
from osc_imagetools.operations.drafts import NotReplayed
from osc_imagetools.operations.steps import PlanStep
from osc_imagetools.progress.model import NullProgress, Progress

if TYPE_CHECKING:
    from openstack.connection import Connection

__all__ = [
    "ConversionPlan",
    "ConversionReport",
    "ConvertedResource",
    "Kind",
    "NotReplayed",
    "PlanStep",
    "carry_out",
    "plan_conversion",
]

Kind = Literal["image", "volume", "snapshot"]


def plan_conversion(
    connection: Connection,
    kind: Kind,
    source: str,
    *,
    to: Kind,
    name: str | None = None,
    properties: Mapping[str, str] | None = None,
    disk_format: str | None = None,
    volume_type: str | None = None,
    size: int | None = None,
    availability_zone: str | None = None,
) -> ConversionPlan:
    """Reads the cloud and plans a conversion; changes nothing.

    :param connection: a login of openstacksdk, as ``openstack.connect()`` gives it.
    :param kind: what *source* is: ``image``, ``volume`` or ``snapshot`` (of a volume).
    :param source: its ID, or its name if only one has it.
    :param to: what is to be made of it: ``image``, ``volume`` or ``snapshot``.
    :param name: of what is made; by default the source's, or its ID if it has none. A copy of the same kind
        has the disk format or ``copy`` behind it.
    :param properties: properties of the new image, metadata of the new volume or snapshot, over what the
        source hands on.
    :param disk_format: of a new image: qcow2 (the default for data in a volume), raw, vmdk, vdi, vhdx, and
        vhd where an image is the source.
    :param volume_type: name or ID; by default the source volume's, or for an image the cloud's default.
    :param size: of the new volume in GiB; by default the smallest that holds the data.
    :param availability_zone: of the new volume; by default the source volume's, or the cloud's default.
    :returns: the plan; its ``steps()`` gives it as rows, :func:`carry_out` does it.
    :raises osc_imagetools.errors.UsageError: the arguments do not go together.
    :raises osc_imagetools.errors.ImagetoolsError: it cannot be done: a single reason as its own class,
        several as :class:`osc_imagetools.errors.Unready`.
    """
    if kind not in KINDS:
        raise errors.UsageError(f"kind {kind!r}: it is image, volume or snapshot")
    wish = ConversionRequest(
        to=to,
        name=name,
        properties=dict(properties or {}),
        disk_format=disk_format,
        volume_type=volume_type,
        size=size,
        availability_zone=availability_zone,
    )
    wish.check(kind)
    cloud = Cloud(connection)
    if kind == "image":
        return _plan_of_image(cloud, source, wish)
    cloud.require_block_storage(
        f"{kind} {source} cannot be converted", "Choose a region that has it: --os-region-name <region>"
    )
    if kind == "volume":
        volume = volume_source(cloud, source)
        return plan_volume_conversion(volume, _surroundings(cloud, volume_type, volume.volume), wish)
    snapshot = snapshot_source(cloud, source)
    return plan_snapshot_conversion(snapshot, _surroundings(cloud, volume_type, snapshot.volume), wish)


def _plan_of_image(cloud: Cloud, source: str, wish: ConversionRequest) -> ConversionPlan:
    found = image_inventory(cloud, source)
    if found.image.size and wish.to == "image":
        around = surroundings(cloud, volumes=False, image=found.image)
    else:
        around = _surroundings(cloud, wish.volume_type, *found.volumes.values(), image=found.image)
    return plan_image_conversion(found, around, wish)


def _surroundings(
    cloud: Cloud, volume_type: str | None, *volumes: Volume | None, image: Image | None = None
) -> ConversionTarget:
    """The encryption of the types matters only where another type than the volume's is wished for."""
    present = [volume.volume_type for volume in volumes if volume] if volume_type else []
    return surroundings(cloud, types=[volume_type, *present], image=image)


def carry_out(
    connection: Connection,
    plan: ConversionPlan,
    *,
    jobs: int = 4,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> ConversionReport:
    """Does what a plan says; returns when the result is there and verified.

    In the main thread SIGINT, SIGTERM and SIGHUP are held back meanwhile: the first one stops the work, and
    what was made is removed before :class:`osc_imagetools.errors.Cancelled` is raised.

    :param connection: the login that the plan was made with.
    :param jobs: streams at a time where an image is brought here to be converted.
    :param timeout: seconds that the cloud may take for a single step; by default as long as it takes.
    :param progress: told what bytes move (:class:`osc_imagetools.progress.model.Progress`).
    :raises osc_imagetools.errors.ImagetoolsError: it failed; what was made is removed again, and what could
        not be removed is in the error's ``left``.
    """
    return convert(plan, Cloud(connection), jobs=jobs, timeout=timeout, progress=progress or NullProgress())
