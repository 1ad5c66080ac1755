# SPDX-License-Identifier: Apache-2.0
"""The directive ``backup-reasons``: a section for each reason of ``server backup-check``.

The sections are made from the table that the code uses, so none can be missing. The argument selects the
reasons whose usual severity it names: ``.. backup-reasons:: critical``.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes, statemachine
from docutils.parsers.rst import Directive

from osc_imagetools.backup_check.explanation import severity_text
from osc_imagetools.backup_check.reasons import REASONS, Reason, Severity


def lines(reason: Reason) -> list[str]:
    """The section of a reason, as reStructuredText."""
    return [
        f".. _backup-check-{reason.code}:",
        "",
        reason.code,
        "~" * len(reason.code),
        "",
        reason.meaning,
        "",
        f"*{severity_text(reason)}*",
        "",
        f"What to do: {reason.way_out}",
        "",
    ]


class BackupReasons(Directive):
    """``.. backup-reasons:: <severity>``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        wanted = Severity[self.arguments[0]]
        text = [
            line
            for code in sorted(REASONS)
            if REASONS[code].severity == wanted
            for line in lines(REASONS[code])
        ]
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(statemachine.StringList(text, "backup-reasons"), 0, node, match_titles=True)
        return node.children


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("backup-reasons", BackupReasons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
