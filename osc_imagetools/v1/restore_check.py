# SPDX-License-Identifier: Apache-2.0
"""The command ``server restore-check``."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base, import_full, repository_options, server

if TYPE_CHECKING:
    from osc_imagetools.restore_check.plan import RestoreCheckOptions

LOG = logging.getLogger(__name__)
SECONDS = 600  # a slow guest on emulated hardware takes minutes


class CheckServerRestore(base.ShowOne):
    """Restore a server from a bundle as an isolated copy, and check that it boots.

    The copy gets no ports (or new ones with ``--network``), no addresses, key pair, server group, metadata
    or user data of the original, and the original is not touched. The command waits until the console of the
    copy shows a login prompt, a systemd target, the end of cloud-init or the Windows SAC. A kernel panic, a
    missing boot device, a GRUB rescue prompt or a UEFI shell ends the check at once. Then everything is
    removed, and the result is recorded in the bundle.

    The bundle may be that of a server, of an image, or of a bootable volume.

    The program of ``--check`` finds the copy in its environment: ``OSC_IMAGETOOLS_SERVER_ID``,
    ``OSC_IMAGETOOLS_SERVER_NAME``, ``OSC_IMAGETOOLS_ADDRESSES``, ``OSC_IMAGETOOLS_CONSOLE``,
    ``OSC_IMAGETOOLS_BOOT`` (``booted``, or ``not-proven`` if the console showed nothing in time) and
    ``OS_CLOUD``. Its exit code decides: 0 is ``booted``, anything else ``failed``.

    Exit codes: 0 if the result is ``booted``, 3 if it is ``failed`` or ``not-proven``, 1 if the copy could
    not be created.
    """

    examples = (
        "openstack server restore-check web01.bundle --expect 'ready for work'",
        "openstack server restore-check web01 --repository /backup",
    )
    booted = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("bundle", metavar="<bundle>", help=f"Bundle to check: {import_full.BUNDLE}")
        _add_evidence_options(parser)
        _add_copy_options(parser)
        base.add_jobs_option(parser)
        base.add_dry_run_option(parser)
        repository_options.add_repository_options(parser, reads=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        options = check_options(parsed_args)
        from osc_imagetools.progress.display import shown_progress
        from osc_imagetools.restore.inventory_server import server_destination
        from osc_imagetools.restore_check.execute import check_restore
        from osc_imagetools.restore_check.plan import plan_restore_check
        from osc_imagetools.restore_check.report import restore_check_fields, restore_check_summary

        bundle = import_full.bundle_place(parsed_args)
        manifest = bundle.read()
        cloud = self.cloud()
        with base.reading(f"copy of {parsed_args.bundle}"):
            found = server_destination(cloud)
        plan = plan_restore_check(manifest, found, options)
        if parsed_args.dry_run:
            return base.plan_rows(plan.steps())
        manifest = bundle.check(reads_content=plan.copy.reads_content)
        with shown_progress() as progress:
            report = check_restore(plan, cloud, bundle, manifest, jobs=parsed_args.jobs, progress=progress)
        self.booted = report.result == "booted"
        if report.left:
            LOG.warning("These resources may still exist: %s", "; ".join(report.left))
        base.tell(restore_check_summary(report))
        fields = restore_check_fields(report, bundle.label)
        return tuple(fields), tuple(fields.values())

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.booted = True
        return super().run(parsed_args) or (0 if self.booted else 3)


def _add_evidence_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what proves that the copy has booted."""
    parser.add_argument(
        "--expect",
        metavar="<regex>",
        help="Text on a line of the console that proves the boot (default: login prompts, systemd targets, "
        "the end of cloud-init, the Windows SAC)",
    )
    parser.add_argument(
        "--timeout",
        metavar="<seconds>",
        type=base.positive(float, "seconds"),
        default=SECONDS,
        help=f"Maximum time to wait for that text, from the moment the copy is ACTIVE (default: {SECONDS})",
    )
    parser.add_argument(
        "--check",
        metavar="<program>",
        help="Program that examines the booted copy; its exit code decides",
    )
    parser.add_argument("--keep", action="store_true", help="Leave the copy in the cloud for a look")


def _add_copy_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the copy is created."""
    parser.add_argument(
        "--network",
        metavar="<network>",
        dest="networks",
        action="append",
        default=[],
        help="Isolated network in which the copy gets a port with new addresses (name or ID; repeat option "
        "for several networks; default: no ports)",
    )
    parser.add_argument(
        "--security-group",
        metavar="<group>",
        dest="security_groups",
        action="append",
        default=[],
        help="Security group for these ports (name or ID; repeat option for several; default: the project's "
        "default group)",
    )
    server.add_copy_options(parser)
    parser.add_argument(
        "--user-data",
        choices=("keep",),
        help="Give the copy the user data of the original (default: none, as its scripts may act on other "
        "systems)",
    )


def check_options(parsed_args: argparse.Namespace) -> RestoreCheckOptions:
    """The options as the plan takes them; wrong ones are refused before the bundle is read."""
    import re

    from osc_imagetools.errors import UsageError
    from osc_imagetools.restore_check.plan import RestoreCheckOptions
    from osc_imagetools.restore_check.program import find_program

    try:
        expect = None if parsed_args.expect is None else re.compile(parsed_args.expect)
    except re.error as exc:
        raise UsageError(f"--expect {parsed_args.expect}: not a regular expression: {exc}") from exc
    if parsed_args.security_groups and not parsed_args.networks:
        raise UsageError("--security-group: only with --network; without it there are no ports")
    return RestoreCheckOptions(
        flavor=parsed_args.flavor,
        networks=tuple(parsed_args.networks),
        volume_types=parsed_args.volume_types,
        availability_zone=parsed_args.availability_zone,
        security_groups=tuple(parsed_args.security_groups),
        boot_from=parsed_args.boot_from,
        user_data=parsed_args.user_data == "keep",
        expect=expect,
        timeout=parsed_args.timeout,
        program=None if parsed_args.check is None else find_program(parsed_args.check),
        keep=parsed_args.keep,
    )
