# SPDX-License-Identifier: Apache-2.0
"""Commands on servers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import export_full, import_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.export.plan import ExportPlan
    from osc_imagetools.restore.plan_drafts import ImportPlan
    from osc_imagetools.restore.plan_server_options import ServerImportOptions


class ExportFullServer(export_full.ExportFull):
    """Export a server, with all its disks and what makes it again, into a bundle

    Works for servers that boot from an image and for those that boot from a volume. All snapshots are taken
    before any data is moved; they, and the temporary volumes and images, are removed as soon as the data is
    verified.
    """

    noun = "server"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
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

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.export.inventory_server import server_inventory
        from osc_imagetools.export.plan_server import ServerExportOptions, plan_server_export

        options = ServerExportOptions(
            disk_format=parsed_args.disk_format,
            allow_encrypted=parsed_args.allow_encrypted,
            stop=parsed_args.stop,
            disks=tuple(parsed_args.disks),
        )
        return plan_server_export(server_inventory(cloud, parsed_args.source), options, jobs=parsed_args.jobs)


class ImportFullServer(import_full.ImportFull):
    """Import a server from a bundle: its disks, then the server that has them

    The bundle is verified before anything is sent. What is called otherwise in this cloud is mapped by
    options; what cannot be resolved is listed before anything is made, with the candidates that fit. What was
    not set again is in "not_replayed", with the reason. If it fails half way, what it made is removed.
    """

    noun, bundles = "server", "a server"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--flavor", metavar="<flavor>", help="Flavor (name or ID; default: the same name)"
        )
        add_mapping_options(parser)
        parser.add_argument(
            "--keep-addresses",
            action="store_true",
            help="Make the ports with the fixed addresses, MACs and settings that they had",
        )
        parser.add_argument(
            "--boot-from", choices=("volume", "image"), help="What it boots from (default: as it did)"
        )
        parser.add_argument("--wait", action="store_true", help="Wait until the server is ACTIVE")
        parser.add_argument(
            "--keep-on-failure", action="store_true", help="Keep what was made when it fails half way"
        )

    def options(self, parsed_args: argparse.Namespace) -> ServerImportOptions:
        from osc_imagetools.restore.plan_server_options import ServerImportOptions

        return ServerImportOptions(
            name=parsed_args.name,
            flavor=parsed_args.flavor,
            networks=parsed_args.networks,
            volume_types=parsed_args.volume_types,
            availability_zone=parsed_args.availability_zone,
            key_name=parsed_args.key_name,
            security_groups=tuple(parsed_args.security_groups),
            user_data=import_full.user_data(parsed_args.user_data),
            keep_addresses=parsed_args.keep_addresses,
            boot_from=parsed_args.boot_from,
            wait=parsed_args.wait,
        )

    def plan(self, cloud: Cloud, manifest: Mapping[str, Any], options: ServerImportOptions) -> ImportPlan:
        from osc_imagetools.restore.inventory_server import server_destination
        from osc_imagetools.restore.plan_networks import kept_addresses
        from osc_imagetools.restore.plan_server import plan_server_import

        addresses = kept_addresses(manifest["replayable"]) if options.keep_addresses else ()
        return plan_server_import(manifest, server_destination(cloud, addresses=addresses), options)


def add_mapping_options(parser: argparse.ArgumentParser) -> None:
    """What differs in the other cloud."""
    from osc_lib.cli import parseractions

    parser.add_argument(
        "--network",
        metavar="<old=new>",
        dest="networks",
        action=parseractions.KeyValueAction,
        default={},
        help="Use a network in the place of one of the original's (names or IDs; none as the new one leaves "
        "the port out; repeat option for several)",
    )
    parser.add_argument(
        "--volume-type",
        metavar="<old=new>",
        dest="volume_types",
        action=parseractions.KeyValueAction,
        default={},
        help="Use a volume type in the place of one of the original's (repeat option for several)",
    )
    parser.add_argument(
        "--availability-zone", metavar="<zone>", help="Zone (default: the one that the original asked for)"
    )
    parser.add_argument("--key-name", metavar="<key-name>", help="Key pair (default: of the same name)")
    parser.add_argument(
        "--security-group",
        metavar="<group>",
        dest="security_groups",
        action="append",
        default=[],
        help="Security group of all ports, by name or ID (repeat option for several; default: same names)",
    )
    parser.add_argument("--user-data", metavar="<file>", help="User data (default: the original's)")
