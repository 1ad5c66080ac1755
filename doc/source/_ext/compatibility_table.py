# SPDX-License-Identifier: Apache-2.0
"""The directives ``compatibility-clouds`` and ``compatibility-commands``: where the commands were tested.

Their argument is a JSON file beside the document, which tools/compatibility.py writes from the results of the
functional tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes, statemachine
from docutils.parsers.rst import Directive

STORAGES = {"file": "files (NFS driver, file store)", "ceph": "Ceph RBD"}


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows, the first of which is the header, as a table of reStructuredText."""
    text = [".. list-table::", "   :header-rows: 1", ""]
    for first, *rest in rows:
        text += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
    return text


def cloud_rows(clouds: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each cloud."""
    rows: list[tuple[str, ...]] = [("Release", "Storage", "Tests passed", "Tests failed", "Date")]
    rows += [
        (c["release"], STORAGES[c["storage"]], str(c["passed"]), str(c["failed"]), c["date"]) for c in clouds
    ]
    return rows


def command_rows(clouds: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each command, a column for each cloud."""
    rows: list[tuple[str, ...]] = [
        ("Command", *(c["release"] + (", Ceph" if c["storage"] == "ceph" else "") for c in clouds))
    ]
    for command in sorted({command for cloud in clouds for command in cloud["commands"]}):
        rows.append((f"``{command}``", *(_cell(cloud["commands"].get(command)) for cloud in clouds)))
    return rows


def _cell(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "not tested"
    if counts["failed"]:
        return f"{counts['failed']} of {counts['passed'] + counts['failed']} failed"
    return f"works ({counts['passed']})"


class CompatibilityTable(Directive):
    """``.. compatibility-...:: <file>``"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        settings = self.state.document.settings
        path = Path(str(settings._source)).parent / self.arguments[0]
        settings.env.note_dependency(str(path))
        rows = command_rows if self.name == "compatibility-commands" else cloud_rows
        clouds = json.loads(path.read_text())
        lines = table(rows(clouds)) if clouds else ["No results are recorded yet."]
        text = statemachine.StringList(lines, str(path))
        node = nodes.Element()
        self.state.nested_parse(text, 0, node)
        return node.children


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    for name in ("compatibility-clouds", "compatibility-commands"):
        app.add_directive(name, CompatibilityTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
