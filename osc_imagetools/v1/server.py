# SPDX-License-Identifier: Apache-2.0
"""Commands on servers."""

from __future__ import annotations

import argparse
from typing import Any

from osc_imagetools.v1 import base, export


class ExportFullServer(base.ShowOne):
    """Export a server, with all its disks and what makes it again, into a bundle

    Works for servers that boot from an image and for those that boot from a volume. All snapshots are taken
    before any data is moved; they, and the temporary volumes and images, are removed as soon as the data is
    verified.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="<server>", help="Server to export (name or ID)")
        parser.add_argument(
            "--stop",
            action="store_true",
            help="Stop the server for the time of the snapshots, and start it again whatever happens",
        )
        parser.add_argument(
            "--disk",
            metavar="<name>",
            dest="disks",
            action="append",
            default=[],
            help="Export only this disk, as vda (repeat option for several); the bundle says what it lacks",
        )
        export.add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        cloud = self.cloud()
        from osc_imagetools.inventory.server_export import server_inventory
        from osc_imagetools.plan.server_export import ServerExportOptions, plan_server_export

        options = ServerExportOptions(
            disk_format=parsed_args.disk_format,
            allow_encrypted=parsed_args.allow_encrypted,
            stop=parsed_args.stop,
            disks=tuple(parsed_args.disks),
        )
        found = server_inventory(cloud, parsed_args.server)
        plan = plan_server_export(found, options, jobs=parsed_args.jobs)
        return export.carry_out(cloud, plan, parsed_args)
