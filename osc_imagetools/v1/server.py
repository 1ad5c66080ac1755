# SPDX-License-Identifier: Apache-2.0
"""Commands for servers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import export_full, import_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.export.plan import ExportPlan
    from osc_imagetools.export.plan_server import ServerExportOptions
    from osc_imagetools.restore.plan import ImportPlan
    from osc_imagetools.restore.plan_server_options import ServerImportOptions


class ExportFullServer(export_full.ExportFull):
    """Export a server with all its disks and its configuration to a bundle.

    The server may boot from an image or from a volume, and may be running. Snapshots of all disks are taken
    first, then the data is transferred and verified. The snapshots and the temporary volumes and images are
    deleted as soon as the data of a disk is verified.

    ``not_captured`` lists what no API can copy, such as ephemeral disks and the state of a virtual TPM.
    """

    examples = (
        "openstack server export-full web01 --dry-run",
        "openstack server export-full web01 --stop --output /backup/web01.bundle",
    )

    noun = "server"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--stop",
            action="store_true",
            help="Stop the server while its snapshots are taken, then start it again",
        )
        parser.add_argument(
            "--no-user-data",
            action="store_true",
            help="Leave out the user data, which may contain passwords; an import then needs --user-data",
        )
        parser.add_argument(
            "--disk",
            metavar="<name>",
            dest="disks",
            action="append",
            default=[],
            help="Export only this disk, for example vda (repeat option for several disks)",
        )

    def options(self, parsed_args: argparse.Namespace) -> ServerExportOptions:
        """What was asked for, as the plan takes it."""
        from osc_imagetools.export.plan_server import ServerExportOptions

        return ServerExportOptions(
            disk_format=parsed_args.disk_format,
            allow_encrypted=parsed_args.allow_encrypted,
            stop=parsed_args.stop,
            user_data=not parsed_args.no_user_data,
            disks=tuple(parsed_args.disks),
        )

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        from osc_imagetools.export.inventory_server import server_inventory
        from osc_imagetools.export.plan_server import plan_server_export

        found = server_inventory(cloud, parsed_args.source)
        return plan_server_export(found, self.options(parsed_args), jobs=parsed_args.jobs)


class ImportFullServer(import_full.ImportFull):
    """Import a server from a bundle: its disks, then the server itself.

    A damaged, incomplete or unsafe bundle is refused. Use the mapping options where names differ in the
    target cloud; all names that cannot be resolved are listed before anything is created, with candidates.
    ``not_replayed`` lists what could not be restored, with the reason.

    If the import fails, everything it has created is deleted.

    Exit codes: 0 if the server matches the bundle, 3 if the server was imported but differs from it, 1 if the
    import failed or the bundle was refused.
    """

    examples = (
        "openstack server import-full web01.bundle --wait",
        "openstack server import-full web01.bundle --network net-a=net-b",
    )

    noun, bundles = "server", "a server"

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        add_copy_options(parser)
        add_mapping_options(parser)
        parser.add_argument(
            "--keep-addresses",
            action="store_true",
            help="Restore the fixed IP addresses, MAC addresses and settings of the ports",
        )
        parser.add_argument("--wait", action="store_true", help="Wait until the server is ACTIVE")
        parser.add_argument(
            "--keep-on-failure", action="store_true", help="Keep the created resources if the import fails"
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


def add_copy_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every server made from a bundle has."""
    from osc_lib.cli import parseractions

    parser.add_argument(
        "--flavor", metavar="<flavor>", help="Flavor (name or ID; default: flavor of the same name)"
    )
    parser.add_argument(
        "--volume-type",
        metavar="<old=new>",
        dest="volume_types",
        action=parseractions.KeyValueAction,
        default={},
        help="Replace a volume type of the bundle (repeat option for several volume types)",
    )
    parser.add_argument(
        "--availability-zone",
        metavar="<zone>",
        help="Availability zone (default: as in the bundle, if it exists)",
    )
    parser.add_argument(
        "--boot-from", choices=("volume", "image"), help="Boot source (default: as in the bundle)"
    )


def add_mapping_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for names that differ in the target cloud."""
    from osc_lib.cli import parseractions

    parser.add_argument(
        "--network",
        metavar="<old=new>",
        dest="networks",
        action=parseractions.KeyValueAction,
        default={},
        help="Replace a network of the bundle (names or IDs; ``none`` as the new network omits the port; "
        "repeat option for several networks)",
    )
    parser.add_argument(
        "--key-name", metavar="<key-name>", help="Key pair (default: key pair of the same name)"
    )
    parser.add_argument(
        "--security-group",
        metavar="<group>",
        dest="security_groups",
        action="append",
        default=[],
        help="Security group for all ports (name or ID; repeat option for several; default: groups of the "
        "same names)",
    )
    parser.add_argument(
        "--user-data", metavar="<file>", help="File with user data (default: as in the bundle)"
    )
