# SPDX-License-Identifier: Apache-2.0
"""Commands that make an image, a volume or a snapshot of another one of them."""

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
    """What all conversions are.

    ``kind`` is what is converted and ``noun`` what users call it; ``targets`` are what can be made of it;
    ``formats`` those of a new image, with what is told of the default.
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
        parser.add_argument("--to", choices=self.targets, required=True, help="What to make of it")
        add_options(parser, self.formats, self.default_format)
        base.add_timeout_option(parser)
        base.add_dry_run_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        from osc_imagetools.api import conversions
        from osc_imagetools.convert.plan_drafts import ConversionRequest
        from osc_imagetools.convert.report import conversion_fields
        from osc_imagetools.progress.bars import terminal_progress

        wish = {name: getattr(parsed_args, name) for name in WISHES}
        ConversionRequest(**wish).check(self.kind)
        connection = self.cloud().connection
        plan = conversions.plan_conversion(connection, self.kind, parsed_args.source, **wish)
        if parsed_args.dry_run:
            return base.plan_rows(plan.steps())
        with terminal_progress() as progress:
            report = conversions.carry_out(connection, plan, timeout=parsed_args.timeout, progress=progress)
        fields = conversion_fields(report)
        fields["bytes"] = base.Size(fields["bytes"])
        fields.update({name: base.Texts(fields[name]) for name in LISTS})
        return tuple(fields), tuple(fields.values())


class ConvertImage(Convert):
    """Convert an image to a volume, a snapshot or an image of another format

    What is made has the image's properties, and is verified before it is handed over; what was only needed
    on the way is removed. A snapshot needs its volume: that is kept under the same name, and "kept" tells
    its ID. An image of 0 bytes, as "openstack server image create" makes it of a server that boots from a
    volume, is followed to the snapshot of its boot disk; "not_replayed" names its other disks.
    """

    kind, noun = "image", "image"
    formats = (*FORMATS, "vhd")
    default_format = "qcow2 for data behind an image of 0 bytes; any other image needs this option"


class ConvertVolume(Convert):
    """Convert a volume to an image, another volume or a snapshot

    A volume in use is read through a snapshot, which is removed again. What is made has the volume's image
    properties, and a volume or snapshot its metadata too; it is verified before it is handed over. Another
    type or zone is reached through a temporary image.
    """

    kind, noun = "volume", "volume"


class ConvertVolumeSnapshot(Convert):
    """Convert a volume snapshot to an image or a volume

    What is made has the image properties that the volume had then, and a volume the snapshot's metadata; it
    is verified before it is handed over. An image is written from a temporary volume, which is removed again.
    """

    kind, noun = "snapshot", "volume snapshot"
    targets = ("image", "volume")


def add_options(parser: argparse.ArgumentParser, formats: tuple[str, ...], default: str) -> None:
    """The options that say what is to be made."""
    from osc_lib.cli import parseractions

    parser.add_argument(
        "--name",
        metavar="<name>",
        help="Name of what is made (default: the original's; a copy of the same kind gets a suffix)",
    )
    parser.add_argument(
        "--property",
        metavar="<key=value>",
        dest="properties",
        action=parseractions.KeyValueAction,
        default={},
        help="Set a property of the new image, or metadata of the new volume or snapshot, over what the "
        "original hands on (repeat option to set several)",
    )
    parser.add_argument(
        "--disk-format", choices=formats, help=f"Disk format of the new image (default: {default})"
    )
    parser.add_argument(
        "--type",
        metavar="<volume-type>",
        dest="volume_type",
        help="Type of the new volume (name or ID; default: that of the original volume, or the cloud's)",
    )
    parser.add_argument(
        "--size",
        metavar="<gigabytes>",
        type=base.positive(int, "gigabytes"),
        help="Size of the new volume in GiB (default: the smallest that holds the data)",
    )
    parser.add_argument(
        "--availability-zone",
        metavar="<availability-zone>",
        help="Availability zone of the new volume (default: that of the original volume, or the cloud's)",
    )
