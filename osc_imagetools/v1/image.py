# SPDX-License-Identifier: Apache-2.0
"""Commands for images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import export_full, import_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.export.plan import ExportPlan
    from osc_imagetools.restore.plan import ImportOptions, ImportPlan


class ExportFullImage(export_full.ExportFull):
    """Export an image with all its data and metadata to a bundle.

    The bundle holds the image data and every property, tag and member. All data is verified against the hash
    that the cloud has stored for it.

    For an image of 0 bytes, which is what ``openstack server image create`` makes of a server that boots from
    a volume, the data of the volume snapshots in its block device mapping is exported. The temporary volumes
    and images that this needs are deleted again.
    """

    examples = (
        "openstack image export-full web01-backup --dry-run",
        "openstack image export-full web01-backup --output /backup/web01.bundle",
    )

    noun = "image"

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.cloud.disk_data import image_inventory
        from osc_imagetools.export.plan_image import plan_image_export

        found = image_inventory(cloud, parsed_args.source)
        return plan_image_export(found, **export_full.volume_options(parsed_args))


class ImportFullImage(import_full.ImportFull):
    """Import an image from a bundle, with the same data and the same metadata.

    A damaged, incomplete or unsafe bundle is refused. After the upload the image is read back and compared
    with the bundle; ``differences`` lists what does not match. ``not_replayed`` lists what could not be
    restored, with the reason.

    If the import fails, everything it has created is deleted.

    Exit codes: 0 if the image matches the bundle, 3 if the image was imported but differs from it, 1 if the
    import failed or the bundle was refused.
    """

    examples = (
        "openstack image import-full web01-backup.bundle --dry-run",
        "openstack image import-full web01-backup.bundle --name web01-restored",
    )

    noun, bundles = "image", "an image"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        from osc_lib.cli import parseractions

        parser.add_argument(
            "--property",
            metavar="<key=value>",
            dest="properties",
            action=parseractions.KeyValueAction,
            default={},
            help="Property of the image; overrides a value of the bundle (repeat option to set several)",
        )
        parser.add_argument(
            "--remove-property",
            metavar="<key>",
            dest="remove_properties",
            action="append",
            default=[],
            help="Property of the bundle to leave out (repeat option to leave out several)",
        )
        parser.add_argument(
            "--visibility",
            choices=("private", "shared", "community", "public"),
            help="Visibility of the image (default: as in the bundle)",
        )
        parser.add_argument(
            "--project", metavar="<project>", help="Project that owns the image (name or ID; admin only)"
        )
        parser.add_argument(
            "--store", metavar="<store>", help="Image store for the data (default: the cloud's default)"
        )
        parser.add_argument(
            "--disk-format",
            choices=("raw", "qcow2"),
            help="Convert the disks to this format before the upload (default: as in the bundle)",
        )
        parser.add_argument(
            "--as-volumes",
            action="store_true",
            help="For a bundle of an image of 0 bytes: restore volumes, their snapshots and an image that "
            "points to the snapshots (default: one image with data for each disk)",
        )

    def options(self, parsed_args: argparse.Namespace) -> ImportOptions:
        from osc_imagetools.restore.plan import ImportOptions

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
