# SPDX-License-Identifier: Apache-2.0
"""What a reason means and what to do, as text for a terminal and for the report.

Contract: pure. The user's guide has the same sections, from the same table and with the same words on the
severity.
"""

from __future__ import annotations

import re
import textwrap
from html import escape

from osc_imagetools.backup_check.reasons import Reason

LITERAL = re.compile(r"``(.*?)``")
INSEPARABLE = "\N{NO-BREAK SPACE}"


def severity_text(reason: Reason) -> str:
    """The severity in words, also the lower one of a server with a backup."""
    text = f"Severity: {reason.severity.name}"
    if reason.covered is not None:
        text += f"; {reason.covered.name} for a server with a complete backup that is not too old"
    return f"{text}."


def plain(text: str) -> str:
    """A paragraph of the table of reasons without its marks: commands stand in quotes."""
    return LITERAL.sub(r'"\1"', text)


def section(reason: Reason, width: int) -> str:
    """The section of a reason in lines of this width; a command that is longer stays whole."""
    todo = f"What to do: {reason.way_out}"
    return "\n\n".join(
        [reason.code, *(_wrapped(t, width) for t in (reason.meaning, severity_text(reason), todo))]
    )


def _wrapped(text: str, width: int) -> str:
    whole = LITERAL.sub(lambda found: f'"{found[1]}"'.replace(" ", INSEPARABLE), text)
    lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(INSEPARABLE, " ")


def html_paragraph(text: str) -> str:
    """A paragraph of the table of reasons as HTML."""
    return LITERAL.sub(r"<code>\1</code>", escape(text, quote=False))
