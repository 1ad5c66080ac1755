# SPDX-License-Identifier: Apache-2.0
"""Commands for volumes and volume snapshots."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base, export_full, import_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.export.plan import ExportPlan
    from osc_imagetools.restore.plan import ImportPlan
    from osc_imagetools.restore.plan_volume import VolumeImportOptions


class ExportFullVolume(export_full.ExportFull):
    """Export a volume with all its data and metadata to a bundle.

    The volume may be in use. Its data is read from a temporary snapshot, through a temporary volume and
    image, and verified against the hash that the cloud has stored for it. The temporary resources are deleted
    again.
    """

    examples = (
        "openstack volume export-full data01",
        "openstack volume export-full data01 --output /backup/data01.bundle",
    )

    noun = "volume"

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.cloud.disk_data import volume_inventory
        from osc_imagetools.export.plan_volume import plan_volume_export

        found = volume_inventory(cloud, parsed_args.source)
        return plan_volume_export(found, **export_full.volume_options(parsed_args))


class ExportFullVolumeSnapshot(export_full.ExportFull):
    """Export a volume snapshot with all its data and metadata to a bundle.

    The data is read through a temporary volume and image and verified against the hash that the cloud has
    stored for it. The temporary resources are deleted again.
    """

    examples = ("openstack volume snapshot export-full before-upgrade",)

    noun = "snapshot"

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.cloud.disk_data import snapshot_inventory
        from osc_imagetools.export.plan_volume import plan_volume_export

        found = snapshot_inventory(cloud, parsed_args.source)
        return plan_volume_export(found, **export_full.volume_options(parsed_args))


class ImportFullVolume(import_full.ImportFull):
    """Import a volume from a bundle, with the same data and the same metadata.

    A damaged, incomplete or unsafe bundle is refused. The data is uploaded to a temporary image, whose hash
    is compared with the bundle. At the end the volume is read back and compared too; ``differences`` lists
    what does not match.

    If the import fails, everything it has created is deleted.

    Exit codes: 0 if the volume matches the bundle, 3 if the volume was imported but differs from it, 1 if the
    import failed or the bundle was refused.
    """

    examples = (
        "openstack volume import-full data01.bundle",
        "openstack volume import-full web01.bundle --disk vdb --type fast",
    )

    noun, bundles = "volume", "a volume or a snapshot"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--size",
            metavar="<size>",
            type=base.positive(int, "GiB"),
            help="Size of the volume in GiB (default: as in the bundle)",
        )
        parser.add_argument(
            "--type",
            metavar="<volume-type>",
            dest="volume_type",
            help="Volume type (default: as in the bundle)",
        )
        parser.add_argument(
            "--availability-zone",
            metavar="<zone>",
            help="Availability zone (default: as in the bundle, if it exists)",
        )
        bootable = parser.add_mutually_exclusive_group()
        bootable.add_argument(
            "--bootable",
            action="store_true",
            default=None,
            help="Mark the volume as bootable (default: as in the bundle)",
        )
        bootable.add_argument(
            "--non-bootable", dest="bootable", action="store_false", help="Mark the volume as non-bootable"
        )
        parser.add_argument(
            "--disk",
            metavar="<name>",
            help="Disk to import from a bundle with several disks, for example vdb",
        )

    def options(self, parsed_args: argparse.Namespace) -> VolumeImportOptions:
        from osc_imagetools.restore.plan_volume import VolumeImportOptions

        return VolumeImportOptions(
            name=parsed_args.name,
            size=parsed_args.size,
            volume_type=parsed_args.volume_type,
            availability_zone=parsed_args.availability_zone,
            bootable=parsed_args.bootable,
            disk=parsed_args.disk,
        )

    def plan(self, cloud: Cloud, manifest: Mapping[str, Any], options: VolumeImportOptions) -> ImportPlan:
        from osc_imagetools.restore.inventory import destination
        from osc_imagetools.restore.plan_volume import plan_volume_import

        return plan_volume_import(manifest, destination(cloud, project=None, volumes=True), options)
