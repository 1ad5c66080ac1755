# SPDX-License-Identifier: Apache-2.0
"""Commands that show what came from what."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from cliff import columns

from osc_imagetools.v1 import base

GRAPHS = ("dot", "svg")
COLUMNS = (
    "Depth",
    "Type",
    "ID",
    "Name",
    "Status",
    "Size",
    "Parent",
    "Broken",
    "Direction",
    "Relation",
    "If Deleted",
)


class Branch(columns.FormattableColumn[Any]):
    """The type of a resource, for people with the branch of the tree that it hangs from.

    The arrow is that of time: ``<-`` an origin, ``->`` what came from the parent.
    """

    def __init__(self, row: Any) -> None:
        super().__init__(row.resource.kind)
        self._row = row

    def human_readable(self) -> str:
        again = " (see above)" if self._row.repeated else ""
        return f"{branches(self._row)[0]}{self._value}{again}"


def branches(row: Any, *, parent: bool = False) -> tuple[str, str]:
    """What stands before a row of the tree, and before what is written below it of the same row.

    :param parent: whether others hang from it.
    """
    through, branch, end, arrows = ("│  ", "├─", "└─", {"from": "←", "to": "→"})
    if not _can_print(through + branch + end + "←→"):
        through, branch, end, arrows = ("|  ", "|-", "`-", {"from": "<-", "to": "->"})
    inner = through[0] if parent else " "
    if not row.last:
        return "", f"{inner} "
    stem = "".join("   " if last else through for last in row.last[:-1])
    arrow = arrows[row.direction]
    first = f"{stem}{end if row.last[-1] else branch} {arrow} "
    return first, f"{stem}{'   ' if row.last[-1] else through}{inner}{' ' * len(arrow)}"


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


class LineageCommand(base.Lister):
    """The common part of the commands; ``kind`` is what they start from."""

    kind: str
    more = ("Direction", "Relation", "If Deleted")

    @property
    def formatter_namespace(self) -> str:
        """Those of cliff, and those of graphs."""
        return "osc_imagetools.formatter.lineage"

    @property
    def need_sort_by_cliff(self) -> bool:
        return False  # the order of the rows is the tree

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = f"{self.kind.capitalize()} to start from (name or ID)"
        parser.add_argument(self.kind, metavar=f"<{self.kind}>", help=text)
        parser.add_argument(
            "--all-projects",
            action="store_true",
            help="Look for what came from it in all projects (admin only)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.lineage.inventory import read_lineage
        from osc_imagetools.lineage.plan import lineage_rows

        name_or_id = getattr(parsed_args, self.kind)
        found = read_lineage(cloud, self.kind, name_or_id, all_projects=parsed_args.all_projects)
        base.tell_without_block_storage(cloud, "what is in volumes and snapshots is not known here")
        self.tree = lineage_rows(found)
        return COLUMNS, [_fields(row) for row in self.tree]

    def hidden(self, parsed_args: argparse.Namespace) -> tuple[str, ...]:
        return () if parsed_args.formatter in GRAPHS else super().hidden(parsed_args)

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        if parsed_args.formatter != "table" or parsed_args.columns or not sys.stdout.isatty():
            return super().produce_output(parsed_args, column_names, data)
        from osc_imagetools.v1.tree import draw

        draw(self.tree, self.app.stdout, long=parsed_args.long)
        return 0


def _fields(row: Any) -> tuple[Any, ...]:
    resource = row.resource
    return (
        row.depth,
        Branch(row),
        resource.id,
        resource.name,
        "not found" if resource.found is False else resource.status,
        base.Size(resource.size),
        row.parent.id if row.parent else None,
        row.broken,
        row.direction,
        row.relation,
        row.if_deleted,
    )


class LineageImage(LineageCommand):
    """Show what an image came from and what came from it

    The tree goes from the image to the snapshots, volumes and servers behind it, and to the volumes, servers
    and images that were made from it. "Broken" marks what is gone or has failed, and what is nothing without
    it. "If Deleted" says what would become of others if the image were deleted.
    """

    kind = "image"


class LineageVolume(LineageCommand):
    """Show what a volume came from and what came from it

    The tree goes from the volume to the image, snapshot or volume that it was made from, to the servers that
    have it, to its snapshots, and on to what was made from these.
    """

    kind = "volume"


class LineageVolumeSnapshot(LineageCommand):
    """Show what a volume snapshot came from and what came from it

    The tree goes from the snapshot to its volume and the origins of that, and to the images that point at the
    snapshot and the volumes that were made from it.
    """

    kind = "snapshot"


class LineageServer(LineageCommand):
    """Show what a server came from and what came from it

    The tree goes from the server to its image and its volumes, from these to their origins and to their
    snapshots, and to the images that were taken of the server or point at these snapshots.
    """

    kind = "server"
