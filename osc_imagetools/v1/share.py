# SPDX-License-Identifier: Apache-2.0
"""Commands that share images with other projects."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from osc_imagetools.v1 import base

LOG = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser, *, help_text: str, required: bool) -> None:
    """Add the image and the projects."""
    parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
    parser.add_argument(
        "--project",
        metavar="<project>",
        dest="projects",
        action="append",
        default=[],
        required=required,
        help=help_text,
    )


class ShareImage(base.Lister):
    """Share an image with other projects.

    The visibility of a private image is set to ``shared``. A public or community image is not changed: every
    project can use it already.

    A project can use the image by ID at once, but must accept it before it appears in its image list. Use
    ``--accept`` to accept it on behalf of the projects in which you have a role.

    The image is shared with all projects or, if the cloud refuses one of them, with none. The command can be
    repeated.
    """

    more = ("Name", "Action")
    examples = (
        "openstack image share web01 --project acme --dry-run",
        "openstack image share web01 --project acme --project example --accept",
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = (
            "Project to share with (name or ID; repeat option for several projects). An ID is not checked if "
            "you are not allowed to look it up."
        )
        add_options(parser, help_text=text, required=True)
        parser.add_argument(
            "--accept",
            action="store_true",
            help="Accept the image on behalf of each of these projects in which you have a role",
        )
        base.add_dry_run_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.sharing.execute import share
        from osc_imagetools.sharing.inventory import sharing
        from osc_imagetools.sharing.plan import plan_share
        from osc_imagetools.sharing.report import COLUMNS, notes, share_rows

        found = sharing(cloud, parsed_args.image, parsed_args.projects, reach=parsed_args.accept)
        plan = plan_share(found, accept=parsed_args.accept)
        for text in plan.warnings():
            LOG.warning("%s", text)
        if parsed_args.dry_run:
            return base.plan_rows(plan.steps())
        report = share(cloud, plan)
        for text in notes(report):
            LOG.warning("%s", text)
        rows = list(share_rows(report))
        self.next_steps = [action for *_, action in rows if action]
        return COLUMNS, rows


class UnshareImage(base.Lister):
    """Stop sharing an image with other projects.

    Servers and volumes that a project has made from the image stay. A public or community image cannot be
    withdrawn from single projects.

    The visibility stays ``shared``; without members, only the owner can use such an image.
    """

    more = ("Name", "Action")
    examples = ("openstack image unshare web01 --project acme",)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = "Project to stop sharing with (name or ID; repeat option for several projects)"
        add_options(parser, help_text=text, required=True)
        base.add_dry_run_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.sharing.execute import unshare
        from osc_imagetools.sharing.inventory import sharing
        from osc_imagetools.sharing.plan import plan_unshare
        from osc_imagetools.sharing.report import COLUMNS, unshare_rows

        found = sharing(cloud, parsed_args.image, parsed_args.projects, reach=False)
        plan = plan_unshare(found)
        if parsed_args.dry_run:
            return base.plan_rows(plan.steps())
        return COLUMNS, list(unshare_rows(unshare(cloud, plan)))


class ShareCheckImage(base.Lister):
    """Check which projects can see, list, download and boot an image.

    Projects in which you have a role are checked with a token of their own. For the others, only what the
    owner of the image can see is known; the rest is shown as None. No data is downloaded.

    An image of 0 bytes points to volume snapshots, which cannot be shared: other projects can list such an
    image, but not boot from it.

    Exit codes: 0 if no project is known to be unable to boot the image, 3 if one of them cannot boot it.
    """

    more = ("Name", "Action")
    examples = (
        "openstack image share-check web01",
        "openstack image share-check web01 --project acme -f json",
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = (
            "Project to check (name or ID; repeat option for several projects; default: the owner and all "
            "members)"
        )
        add_options(parser, help_text=text, required=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.sharing.inventory_check import share_inventory
        from osc_imagetools.sharing.plan_check import judge

        with base.reading(f"image {parsed_args.image}"):
            found = share_inventory(cloud, parsed_args.image, parsed_args.projects)
        verdicts = judge(found)
        self.bootable = all(verdict.bootable is not False for verdict in verdicts)
        columns = ("Project", "Visible", "Listed", "Downloadable", "Bootable", "Reason", *self.more)
        self.next_steps = [verdict.action for verdict in verdicts if verdict.action]
        return columns, [
            (
                v.view.project.id,
                v.visible,
                v.listed,
                v.downloadable,
                v.bootable,
                v.reason,
                v.view.project.name,
                v.action,
            )
            for v in verdicts
        ]

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.bootable = True
        return super().run(parsed_args) or (0 if self.bootable else 3)
