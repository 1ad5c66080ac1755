# SPDX-License-Identifier: Apache-2.0
"""Commands on bundles: offline, without a cloud and without a login."""

from __future__ import annotations

import argparse
from typing import Any

from osc_imagetools.v1 import base


class ListBundle(base.Lister):
    """List the bundles in and below a directory (offline)

    The manifests are read, not the disks: whether every byte is right is for ``bundle verify`` to say.
    Links are not followed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("directory", metavar="<directory>", help="Directory to look in (path)")
        parser.add_argument(
            "--long",
            action="store_true",
            help="List where each one comes from too: the ID of what was exported, its cloud and project",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from pathlib import Path

        from osc_imagetools.bundle.reader import list_bundles
        from osc_imagetools.cloud.names import printable

        titles: tuple[str, ...] = ("Bundle", "State", "Kind", "Name", "Created At", "Size")
        more: tuple[str, ...] = ("ID", "Cloud", "Project ID") if parsed_args.long else ()
        rows = [
            (printable(str(b.path)), b.state, b.kind, b.name, b.created_at, base.Size(b.size))
            + ((b.id, b.cloud, b.project_id) if more else ())
            for b in list_bundles(Path(parsed_args.directory))
        ]
        return titles + more, rows


class ShowBundle(base.ShowOne):
    """Show what is in a bundle (offline)"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("bundle", metavar="<bundle>", help="Bundle to show (path)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from pathlib import Path

        from osc_imagetools.bundle.reader import open_bundle

        fields = dict(open_bundle(Path(parsed_args.bundle)).summary())
        fields["bytes"] = base.Size(fields["bytes"])
        fields["not_captured"] = base.Texts(fields["not_captured"])
        return tuple(fields), tuple(fields.values())


class VerifyBundle(base.Lister):
    """Verify every byte of a bundle against its hashes (offline)

    Exit code 0 when the bundle is whole, 3 when anything is wrong with it, 1 when there is no bundle.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("bundle", metavar="<bundle>", help="Bundle to verify (path)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from pathlib import Path

        from osc_imagetools.bundle.verification import verify
        from osc_imagetools.progress.bars import terminal_progress

        with terminal_progress() as progress:
            findings = verify(Path(parsed_args.bundle), progress)
        self.whole = all(finding.result == "ok" for finding in findings)
        return ("File", "Result", "Detail"), [(f.file, f.result, f.detail) for f in findings]

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.whole = True
        return super().run(parsed_args) or (0 if self.whole else 3)
