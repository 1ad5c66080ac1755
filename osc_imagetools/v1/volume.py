# SPDX-License-Identifier: Apache-2.0
"""Commands on volumes and volume snapshots."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base, export_full, import_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.export.plan import ExportPlan
    from osc_imagetools.restore.plan_drafts import ImportPlan
    from osc_imagetools.restore.plan_volume import VolumeImportOptions


class ExportFullVolume(export_full.ExportFull):
    """Export a volume with all its data and metadata into a bundle

    The volume may be in use: its data is taken through a snapshot, of which a temporary volume and image are
    made and removed again. The data is verified against the hash that the cloud has for it.
    """

    noun = "volume"

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.cloud.disk_data import volume_inventory
        from osc_imagetools.export.plan_volume import plan_volume_export

        found = volume_inventory(cloud, parsed_args.source)
        return plan_volume_export(found, **export_full.volume_options(parsed_args))


class ExportFullVolumeSnapshot(export_full.ExportFull):
    """Export a volume snapshot with all its data and metadata into a bundle

    A temporary volume and image are made of it and removed again. The data is verified against the hash that
    the cloud has for it.
    """

    noun = "snapshot"

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.cloud.disk_data import snapshot_inventory
        from osc_imagetools.export.plan_volume import plan_volume_export

        found = snapshot_inventory(cloud, parsed_args.source)
        return plan_volume_export(found, **export_full.volume_options(parsed_args))


class ImportFullVolume(import_full.ImportFull):
    """Import a volume from a bundle, with the same bytes and the same metadata

    The bundle is verified before anything is sent. The data goes through a temporary image, whose hash the
    cloud tells. "differences" is empty when the volume is what the bundle says; the exit code is 3 when not.
    """

    noun, bundles = "volume", "a volume or a snapshot"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--size",
            metavar="<size>",
            type=base.positive(int, "GiB"),
            help="Size in GiB (default: as it was)",
        )
        parser.add_argument(
            "--type", metavar="<volume-type>", dest="volume_type", help="Volume type (default: as it was)"
        )
        parser.add_argument(
            "--availability-zone", metavar="<zone>", help="Zone (default: the original's, if it is here)"
        )
        bootable = parser.add_mutually_exclusive_group()
        bootable.add_argument(
            "--bootable",
            action="store_true",
            default=None,
            help="A server may boot from it (default: as it was)",
        )
        bootable.add_argument(
            "--non-bootable", dest="bootable", action="store_false", help="No server may boot from it"
        )
        parser.add_argument(
            "--disk",
            metavar="<name>",
            help="Of a bundle with several disks, of a server for one: import this disk, as vdb",
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
