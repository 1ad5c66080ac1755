# SPDX-License-Identifier: Apache-2.0
"""Commands on volumes and volume snapshots."""

from __future__ import annotations

import argparse
from typing import Any

from osc_imagetools.v1 import base, export


class ExportFullVolume(base.ShowOne):
    """Export a volume with all its data and metadata into a bundle

    The volume may be in use: its data is taken through a snapshot, of which a temporary volume and image are
    made and removed again. The data is verified against the hash that the cloud has for it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("volume", metavar="<volume>", help="Volume to export (name or ID)")
        export.add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        cloud = self.cloud()
        from osc_imagetools.inventory.export import volume_inventory
        from osc_imagetools.plan.volume_export import plan_volume_export

        plan = plan_volume_export(
            volume_inventory(cloud, parsed_args.volume),
            disk_format=parsed_args.disk_format,
            jobs=parsed_args.jobs,
            allow_encrypted=parsed_args.allow_encrypted,
        )
        return export.carry_out(cloud, plan, parsed_args)


class ExportFullVolumeSnapshot(base.ShowOne):
    """Export a volume snapshot with all its data and metadata into a bundle

    A temporary volume and image are made of it and removed again. The data is verified against the hash that
    the cloud has for it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("snapshot", metavar="<snapshot>", help="Snapshot to export (name or ID)")
        export.add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        cloud = self.cloud()
        from osc_imagetools.inventory.export import snapshot_inventory
        from osc_imagetools.plan.volume_export import plan_volume_export

        plan = plan_volume_export(
            snapshot_inventory(cloud, parsed_args.snapshot),
            disk_format=parsed_args.disk_format,
            jobs=parsed_args.jobs,
            allow_encrypted=parsed_args.allow_encrypted,
        )
        return export.carry_out(cloud, plan, parsed_args)
