# SPDX-License-Identifier: Apache-2.0
"""Commands that show the lineage of a resource."""

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
    """The type of a resource; in tables with its branch of the tree.

    The arrow follows time: ``<-`` is an origin of the parent, ``->`` was made from the parent.
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
    """The common part of the commands; ``kind`` is the type of the resource they start from."""

    kind: str
    more = ("Direction", "Relation", "If Deleted")

    @property
    def formatter_namespace(self) -> str:
        """The formatters of cliff, and those that draw graphs."""
        return "osc_imagetools.formatter.lineage"

    @property
    def need_sort_by_cliff(self) -> bool:
        return False  # the order of the rows makes the tree

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = f"{self.kind.capitalize()} to start with (name or ID)"
        parser.add_argument(self.kind, metavar=f"<{self.kind}>", help=text)
        parser.add_argument(
            "--all-projects",
            action="store_true",
            help="Search all projects for related resources (admin only)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        cloud = self.cloud()
        from osc_imagetools.lineage.inventory import read_lineage
        from osc_imagetools.lineage.plan import lineage_rows

        name_or_id = getattr(parsed_args, self.kind)
        with base.reading(f"{self.kind} {name_or_id}"):
            found = read_lineage(cloud, self.kind, name_or_id, all_projects=parsed_args.all_projects)
        base.tell_without_block_storage(cloud, "volumes and snapshots cannot be read")
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
    """Show what an image was made from and what was made from it.

    The tree leads from the image to the snapshots, volumes and servers behind it, and to the volumes, servers
    and images made from it.

    ``Broken`` marks resources that are missing or failed, and those that cannot be used without them.
    ``If Deleted`` tells what would happen to each resource if the image were deleted.
    """

    examples = (
        "openstack image lineage web01-backup",
        "openstack image lineage web01-backup -f dot | dot -Tsvg > web01.svg",
    )

    kind = "image"


class LineageVolume(LineageCommand):
    """Show what a volume was made from and what was made from it.

    The tree leads from the volume to the image, snapshot or volume that it was made from, to the servers it
    is attached to, to its snapshots, and to everything made from them.

    ``Broken`` marks resources that are missing or failed, and those that cannot be used without them.
    ``If Deleted`` tells what would happen to each resource if the volume were deleted.
    """

    examples = (
        "openstack volume lineage web01-root",
        "openstack volume lineage web01-root --all-projects -f json",
    )

    kind = "volume"


class LineageVolumeSnapshot(LineageCommand):
    """Show what a volume snapshot was made from and what was made from it.

    The tree leads from the snapshot to its volume and the origins of the volume, to the images that point to
    the snapshot, and to the volumes made from it.

    ``Broken`` marks resources that are missing or failed, and those that cannot be used without them.
    ``If Deleted`` tells what would happen to each resource if the snapshot were deleted.
    """

    examples = (
        "openstack volume snapshot lineage before-upgrade",
        'openstack volume snapshot lineage "snapshot for web01-backup" -f json',
    )

    kind = "snapshot"


class LineageServer(LineageCommand):
    """Show what a server was made from and what was made from it.

    The tree leads from the server to its image and its volumes, to their origins and snapshots, and to the
    images made of the server or pointing to these snapshots.

    ``Broken`` marks resources that are missing or failed, and those that cannot be used without them.
    ``If Deleted`` tells what would happen to each resource if the server were deleted.
    """

    examples = (
        "openstack server lineage web01",
        "openstack server lineage web01 -f dot | dot -Tsvg > web01.svg",
    )

    kind = "server"
