# SPDX-License-Identifier: Apache-2.0
"""The formatters ``dot`` and ``svg`` of the lineage commands: a graph for Graphviz, and what it draws of it.

Contract: arrows lead from an origin to what was made from it. Broken resources are red and dashed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from cliff.formatters import base

SHAPES = {"image": "box", "volume": "cylinder", "snapshot": "folder", "server": "component"}
NEEDED = ("Type", "ID", "Name", "Status", "Size", "Parent", "Broken", "Direction", "Relation")


class DotFormatter(base.ListFormatter):
    """The rows of a lineage as a directed graph in the DOT language."""

    form = "dot"

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        """No options."""

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        """Write the graph, which needs all columns."""
        if missing := [name for name in NEEDED if name not in column_names]:
            from osc_imagetools.errors import UsageError

            raise UsageError(f"-f {self.form} needs the columns {', '.join(missing)}", hint="Leave out -c.")
        rows = [dict(zip(column_names, row, strict=True)) for row in data]
        stdout.write("digraph lineage {\n  rankdir=LR;\n  node [fontname=sans];\n  edge [fontname=sans];\n")
        for row in {row["ID"]: row for row in reversed(rows)}.values():
            stdout.write(f"  {_quoted(row['ID'])} [{_node(row, root=row['Parent'] is None)}];\n")
        for line in dict.fromkeys(_edge(row) for row in rows if row["Parent"]):
            stdout.write(f"  {line};\n")
        stdout.write("}\n")


class SvgFormatter(DotFormatter):
    """The graph as a picture, drawn by the program ``dot`` of Graphviz."""

    form = "svg"

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        """Writes the picture, in ASCII whatever the names are.

        :raises errors.ImagetoolsError: the program is not installed, or fails.
        """
        import io
        import subprocess

        from osc_imagetools.errors import ImagetoolsError

        graph = io.StringIO()
        super().emit_list(column_names, data, graph, parsed_args)
        try:
            drawn = subprocess.run(
                ["dot", "-Tsvg"], input=graph.getvalue().encode(), capture_output=True, check=False
            )
        except OSError as exc:
            raise ImagetoolsError(
                f"-f svg needs the program dot of Graphviz: {exc.strerror}",
                hint="Install the package graphviz, or write the graph with -f dot and draw it elsewhere.",
            ) from exc
        if drawn.returncode:
            said = drawn.stderr.decode(errors="replace").strip()
            raise ImagetoolsError(f"the program dot failed ({drawn.returncode}): {said}")
        stdout.write(drawn.stdout.decode().encode("ascii", "xmlcharrefreplace").decode())


def _node(row: dict[str, Any], *, root: bool) -> str:
    kind = row["Type"].machine_readable()
    lines = [f"{kind} {row['Name'] or ''}".rstrip(), row["ID"], _state(row)]
    facts = [f"label={_quoted(chr(10).join(filter(None, lines)))}", f"shape={SHAPES[kind]}"]
    if root:
        facts.append("penwidth=3")
    if row["Broken"]:
        facts.append("color=red, fontcolor=red, style=dashed")
    return ", ".join(facts)


def _state(row: dict[str, Any]) -> str:
    size = "" if row["Size"].machine_readable() is None else row["Size"].human_readable()
    return " ".join(filter(None, (row["Status"], size)))


def _edge(row: dict[str, Any]) -> str:
    parent, own = _quoted(row["Parent"]), _quoted(row["ID"])
    ends = (own, parent) if row["Direction"] == "from" else (parent, own)
    return f"{ends[0]} -> {ends[1]} [label={_quoted(row['Relation'])}]"


def _quoted(text: str) -> str:
    """A quoted DOT string; in labels a backslash starts an escape sequence."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
