# SPDX-License-Identifier: Apache-2.0
"""The directive ``command-outcomes``: what each command does in a cloud without block storage.

Its argument is a JSON file beside the document. The functional tests run each of its entries and compare the
outcome, so that the page is true.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes, statemachine
from docutils.parsers.rst import Directive

OUTCOMES = {"works": "works", "told": "works in part, with a warning", "refused": "refused"}


def lines(entries: list[dict[str, str]]) -> list[str]:
    """The entries as a table of reStructuredText."""
    rows = [("Command", "Resource", "Result", "Reason")]
    rows += [(f"``{e['command']}``", e["on"], OUTCOMES[e["outcome"]], e["meaning"]) for e in entries]
    text = [".. list-table::", "   :header-rows: 1", "   :widths: 25 20 15 40", ""]
    for first, *rest in rows:
        text += [f"   * - {first}", *(f"     - {cell.replace('--', chr(92) + '-' * 2)}" for cell in rest)]
    return text


class CommandOutcomes(Directive):
    """``.. command-outcomes:: <file>``"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        settings = self.state.document.settings
        path = Path(str(settings._source)).parent / self.arguments[0]
        settings.env.note_dependency(str(path))
        node = nodes.Element()
        text = statemachine.StringList(lines(json.loads(path.read_text())), str(path))
        self.state.nested_parse(text, 0, node)
        return node.children


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-outcomes", CommandOutcomes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
