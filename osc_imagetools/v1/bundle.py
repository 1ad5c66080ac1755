# SPDX-License-Identifier: Apache-2.0
"""Commands for bundles. They work offline: no cloud, no login."""

from __future__ import annotations

import argparse
from typing import Any

from osc_imagetools.v1 import base


class ListBundle(base.Lister):
    """List the bundles in and below a directory (offline).

    Only the manifests are read. Use ``openstack bundle verify`` to check the data. Symbolic links are not
    followed.
    """

    more = ("ID", "Cloud", "Project ID")
    examples = ("openstack bundle list /backup", "openstack bundle list /backup --long -f json")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("directory", metavar="<directory>", help="Directory to search (path)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from pathlib import Path

        from osc_imagetools.bundle.reader import list_bundles
        from osc_imagetools.cloud.names import printable

        rows = [
            (
                printable(str(b.path)),
                b.state,
                b.kind,
                b.name,
                base.Age(b.created_at),
                base.Size(b.size),
                b.id,
                b.cloud,
                b.project_id,
            )
            for b in list_bundles(Path(parsed_args.directory))
        ]
        return ("Bundle", "State", "Kind", "Name", "Created At", "Size", *self.more), rows


class ShowBundle(base.ShowOne):
    """Show the contents of a bundle (offline).

    Only the manifest is read. Use ``openstack bundle verify`` to check the data.
    """

    examples = ("openstack bundle show web01.bundle",)

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
    """Verify every byte of a bundle against its hashes (offline).

    Reports files that are changed, missing, unlisted or unsafe, and disks whose content does not match the
    manifest.

    Exit codes: 0 if the bundle is intact, 3 if anything is wrong with it, 1 if there is no bundle at the
    path.
    """

    examples = (
        "openstack bundle verify web01.bundle",
        "openstack bundle verify web01.bundle -f json -c File -c Result",
    )

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
