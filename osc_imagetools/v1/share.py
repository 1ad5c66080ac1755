# SPDX-License-Identifier: Apache-2.0
"""Commands that share images with other projects."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from osc_imagetools.v1 import base

LOG = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser, *, help_text: str, required: bool) -> None:
    """The image and the projects."""
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
    """Share an image with other projects

    A private image becomes a shared one; a public or community one, which every project can use already, is
    left alone. Each project has to accept the image before it lists it, though it can use it by its ID at
    once. With "--accept" this is done for each project in which this account has a role itself. A second
    run changes nothing. When the cloud refuses one of the projects, none is added.
    """

    more = ("Name", "Action")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = (
            "Project to share with (name or ID; repeat option to share with several). An ID that this "
            "account may not look up is taken as it is."
        )
        add_options(parser, help_text=text, required=True)
        parser.add_argument(
            "--accept",
            action="store_true",
            help="Accept on behalf of each of these projects in which this account has a role",
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
    """Stop sharing an image with other projects

    Servers and volumes that a project has made from the image stay. An image that is public or community
    cannot be taken from single projects. The visibility stays "shared": an image that is shared with nobody
    is as private as any other.
    """

    more = ("Name", "Action")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = "Project to take the image from (name or ID; repeat option to name several)"
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
    """Check which projects can see, list, download and boot an image

    Each project is asked with a token of its own where this account has a role in it; of the others only
    what the owner can tell is known, and what is not known is left open. Nothing is downloaded. An image of
    0 bytes points at volume snapshots, which cannot be shared: other projects list it and cannot boot it.
    The exit code is 3 if one of the projects cannot boot the image.
    """

    more = ("Name", "Action")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = (
            "Project to check for (name or ID; repeat option to name several; default: the owner and all "
            "members)"
        )
        add_options(parser, help_text=text, required=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.sharing.inventory_check import share_inventory
        from osc_imagetools.sharing.plan_check import judge

        verdicts = judge(share_inventory(cloud, parsed_args.image, parsed_args.projects))
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
