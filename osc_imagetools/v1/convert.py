# SPDX-License-Identifier: Apache-2.0
"""Commands that convert images, volumes and volume snapshots to one another."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base

if TYPE_CHECKING:
    from osc_imagetools.api.conversions import Kind

FORMATS = ("qcow2", "raw", "vmdk", "vdi", "vhdx")
LISTS = ("kept", "not_replayed")
WISHES = ("to", "name", "properties", "disk_format", "volume_type", "size", "availability_zone")


class Convert(base.ShowOne):
    """The common part of the conversions.

    ``kind`` is the type of the source and ``noun`` its name in messages; ``targets`` are the possible types
    of the result; ``formats`` and ``default_format`` describe the disk format of a new image.
    """

    kind: Kind
    noun: str
    targets: tuple[str, ...] = ("image", "volume", "snapshot")
    formats: tuple[str, ...] = FORMATS
    default_format = "qcow2"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = f"{self.noun.capitalize()} to convert (name or ID)"
        parser.add_argument("source", metavar=f"<{self.kind}>", help=text)
        parser.add_argument("--to", choices=self.targets, required=True, help="Type of the new resource")
        add_options(parser, self.formats, self.default_format)
        base.add_timeout_option(parser)
        base.add_dry_run_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        from osc_imagetools.api import conversions
        from osc_imagetools.convert.plan_drafts import ConversionRequest
        from osc_imagetools.convert.report import conversion_fields, conversion_summary
        from osc_imagetools.progress.display import shown_progress

        wish = {name: getattr(parsed_args, name) for name in WISHES}
        ConversionRequest(**wish).check(self.kind)
        connection = self.cloud().connection
        with base.reading(f"{self.noun} {parsed_args.source}"):
            plan = conversions.plan_conversion(connection, self.kind, parsed_args.source, **wish)
        if parsed_args.dry_run:
            return base.plan_rows(plan.steps())
        with shown_progress() as progress:
            report = conversions.carry_out(connection, plan, timeout=parsed_args.timeout, progress=progress)
        self.summary = conversion_summary(plan, report)
        fields = conversion_fields(report)
        fields["bytes"] = base.Size(fields["bytes"])
        fields.update({name: base.Texts(fields[name]) for name in LISTS})
        return tuple(fields), tuple(fields.values())


class ConvertImage(Convert):
    """Convert an image to a volume, a snapshot or an image in another format.

    The new resource gets the properties of the image and is verified. Temporary resources are deleted.

    A snapshot cannot exist without its volume, so the volume is kept, under the same name: see ``kept``.

    For an image of 0 bytes, which is what ``openstack server image create`` makes of a server that boots from
    a volume, the snapshot of the boot disk is converted. The other disks are listed in ``not_replayed``, each
    with the command that converts it.
    """

    examples = (
        "openstack image convert web01 --to volume --size 40",
        "openstack image convert web01 --to image --disk-format raw --name web01-raw",
    )

    kind, noun = "image", "image"
    formats = (*FORMATS, "vhd")
    default_format = "qcow2 for an image of 0 bytes; required for other images"


class ConvertVolume(Convert):
    """Convert a volume to an image, another volume or a snapshot.

    The volume may be in use; it is then read from a temporary snapshot. The new resource gets the image
    properties of the volume, a volume or snapshot its metadata too, and is verified. Temporary resources are
    deleted.

    A volume of another type or in another availability zone is made by way of a temporary image.
    """

    examples = (
        "openstack volume convert web01-root --to image --disk-format qcow2",
        "openstack volume convert web01-root --to volume --type fast",
    )

    kind, noun = "volume", "volume"


class ConvertVolumeSnapshot(Convert):
    """Convert a volume snapshot to an image or a volume.

    The new resource gets the image properties that the volume had when the snapshot was taken, a volume also
    the metadata of the snapshot, and is verified. Temporary resources are deleted.
    """

    examples = (
        "openstack volume snapshot convert before-upgrade --to volume",
        "openstack volume snapshot convert before-upgrade --to image",
    )

    kind, noun = "snapshot", "volume snapshot"
    targets = ("image", "volume")


def add_options(parser: argparse.ArgumentParser, formats: tuple[str, ...], default: str) -> None:
    """Add the options that describe the new resource."""
    from osc_lib.cli import parseractions

    parser.add_argument(
        "--name",
        metavar="<name>",
        help="Name of the new resource (default: name of the source; a copy of the same type gets a suffix)",
    )
    parser.add_argument(
        "--property",
        metavar="<key=value>",
        dest="properties",
        action=parseractions.KeyValueAction,
        default={},
        help="Property of the new image, or metadata of the new volume or snapshot; overrides a value of the "
        "source (repeat option to set several)",
    )
    parser.add_argument(
        "--disk-format", choices=formats, help=f"Disk format of the new image (default: {default})"
    )
    parser.add_argument(
        "--type",
        metavar="<volume-type>",
        dest="volume_type",
        help="Type of the new volume (name or ID; default: type of the source volume, or the cloud's "
        "default)",
    )
    parser.add_argument(
        "--size",
        metavar="<gigabytes>",
        type=base.positive(int, "gigabytes"),
        help="Size of the new volume in GiB (default: the smallest size that holds the data)",
    )
    parser.add_argument(
        "--availability-zone",
        metavar="<availability-zone>",
        help="Availability zone of the new volume (default: zone of the source volume, or the cloud's "
        "default)",
    )
