# SPDX-License-Identifier: Apache-2.0
"""Commands on images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import export_full, import_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.export.plan import ExportPlan
    from osc_imagetools.restore.plan_drafts import ImportOptions, ImportPlan


class ExportFullImage(export_full.ExportFull):
    """Export an image with all its data and metadata into a bundle

    The data is verified against the hash that the cloud has for it before the bundle is complete. An
    image of 0 bytes, as "openstack server image create" makes it of a server that boots from a volume,
    is followed through its block device mapping: the bundle gets the data of the volume snapshots
    behind it, through temporary volumes and images that are removed again.
    """

    noun = "image"

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.cloud.disk_data import image_inventory
        from osc_imagetools.export.plan_image import plan_image_export

        found = image_inventory(cloud, parsed_args.source)
        return plan_image_export(found, **export_full.volume_options(parsed_args))


class ImportFullImage(import_full.ImportFull):
    """Import an image from a bundle, with the same bytes and the same metadata

    The bundle is verified before anything is sent. After the upload the image is read back and compared:
    "differences" is empty when it is what the bundle says, and the exit code is 3 when it is not.
    What cannot be set again is in "not_replayed", with the reason.
    """

    noun, bundles = "image", "an image"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        from osc_lib.cli import parseractions

        parser.add_argument(
            "--property",
            metavar="<key=value>",
            dest="properties",
            action=parseractions.KeyValueAction,
            default={},
            help="Set a property, over that of the bundle (repeat option to set several)",
        )
        parser.add_argument(
            "--remove-property",
            metavar="<key>",
            dest="remove_properties",
            action="append",
            default=[],
            help="Leave a property of the bundle out (repeat option to leave several out)",
        )
        parser.add_argument(
            "--visibility",
            choices=("private", "shared", "community", "public"),
            help="Visibility (default: the original's)",
        )
        parser.add_argument(
            "--project", metavar="<project>", help="Owner of the image (name or ID, admin only)"
        )
        parser.add_argument("--store", metavar="<store>", help="Image store to write to")
        parser.add_argument(
            "--disk-format",
            choices=("raw", "qcow2"),
            help="Convert the disks to this format first (default: as they are in the bundle)",
        )
        parser.add_argument(
            "--as-volumes",
            action="store_true",
            help="Of a bundle of a 0-byte image: make the structure again that it had, volumes with "
            "their snapshots and an image that points at them (default: one image per disk)",
        )

    def options(self, parsed_args: argparse.Namespace) -> ImportOptions:
        from osc_imagetools.restore.plan_drafts import ImportOptions

        options = ImportOptions(
            name=parsed_args.name,
            properties=parsed_args.properties,
            remove_properties=frozenset(parsed_args.remove_properties),
            visibility=parsed_args.visibility,
            project=parsed_args.project,
            store=parsed_args.store,
            disk_format=parsed_args.disk_format,
            as_volumes=parsed_args.as_volumes,
        )
        options.check()
        if options.disk_format:
            from osc_imagetools.run.qemu_img import check_converter

            check_converter()
        return options

    def plan(self, cloud: Cloud, manifest: Mapping[str, Any], options: ImportOptions) -> ImportPlan:
        from osc_imagetools.restore.inventory import destination
        from osc_imagetools.restore.plan_image import plan_image_import

        members = [m["project_id"] for m in manifest["replayable"].get("members") or ()]
        to = destination(cloud, project=options.project, volumes=options.as_volumes, members=members)
        return plan_image_import(manifest, to, options)
