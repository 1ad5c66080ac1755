# SPDX-License-Identifier: Apache-2.0
"""The directive ``error-table``: the errors of this package.

It has a row for each class of :mod:`osc_imagetools.errors`: its reference, its exit code and its docstring.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes, statemachine
from docutils.parsers.rst import Directive

from osc_imagetools import errors


def rows() -> list[tuple[str, int, str]]:
    """(reference, exit code, meaning) of each error, sorted by reference."""
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.ImagetoolsError)
    ]
    return sorted((c.reference, c.exit_code, inspect.getdoc(c) or "") for c in classes)


class ErrorTable(Directive):
    """``.. error-table::``, without arguments."""

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 25 10 65", ""]
        for row in (("Reference", "Exit code", "Meaning"), *rows()):
            first, *rest = row
            name = first if first == "Reference" else f"``{first}``"
            lines += [f"   * - {name}", *(f"     - {' '.join(str(cell).split())}" for cell in rest)]
        node = nodes.Element()
        self.state.nested_parse(statemachine.StringList(lines, "error-table"), 0, node)
        return node.children


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("error-table", ErrorTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
