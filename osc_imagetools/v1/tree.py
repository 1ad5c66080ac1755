# SPDX-License-Identifier: Apache-2.0
"""The tree of a lineage on a terminal: two lines for each resource, its state in words and in colour.

Contract: a line holds one ID at most and is never wrapped here, so that an ID can be copied. Colours follow
rich's rules: none with ``NO_COLOR`` or ``TERM=dumb``; the words alone tell everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.text import Text

from osc_imagetools.cloud.names import printable
from osc_imagetools.v1 import base, lineage

if TYPE_CHECKING:
    from osc_imagetools.lineage.plan import Row

# What a service says of a resource that is as it should be; anything else is on the way or wrong.
GOOD = frozenset({"active", "available", "in-use", "shutoff", "paused", "suspended"})
RELATIONS = {
    "mapping": "points at it",
    "snapshot": "snapshot of it",
    "copy": "made from it",
    "boot": "server made from it",
    "attachment": "attached",
    "capture": "image taken of it",
    "base": "image of a server that was made from it",
}


def draw(rows: Iterable[Row], stdout: TextIO, *, long: bool) -> None:
    """Writes the tree; with *long* also how each resource hangs from its parent, and what depends on it."""
    console = Console(file=stdout, highlight=False, markup=False, emoji=False)
    tree = list(rows)
    for number, row in enumerate(tree):
        parent = number + 1 < len(tree) and tree[number + 1].depth > row.depth
        for line in _lines(row, parent, long):
            console.print(line, soft_wrap=True)


def _lines(row: Row, parent: bool, long: bool) -> Iterator[Text]:
    branch, below = lineage.branches(row, parent=parent)
    resource = row.resource
    first = Text(branch, style="dim").append(resource.kind, style="not dim bold")
    if resource.name:
        first.append(f" {printable(resource.name)}", style="not dim")
    first.append(": ", style="not dim")
    first.append_text(_state(row))
    if row.repeated:
        first.append(" (see above)")
    yield first
    yield Text(below, style="dim").append(resource.id, style="not dim")
    if long:
        facts = [RELATIONS.get(row.relation or "", row.relation), row.if_deleted]
        for fact in filter(None, facts):
            yield Text(below, style="dim").append(str(fact), style="not dim italic")


def _state(row: Row) -> Text:
    resource: Any = row.resource
    if resource.found is False:
        return Text("not found, BROKEN", style="not dim bold red")
    if resource.found is None:
        return Text("not known", style="not dim yellow")
    status = resource.status or "no status"
    good = status.lower() in GOOD
    text = Text(status, style=f"not dim {'green' if good else 'yellow'}")
    if resource.size is not None:
        text.append(f", {base.Size(resource.size).human_readable()}", style="not dim default")
    if row.broken:
        text.append(", BROKEN", style="not dim bold red")
    return text
