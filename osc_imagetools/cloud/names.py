# SPDX-License-Identifier: Apache-2.0
"""Names of resources, which anybody may have given: how they are shown, and what can be an ID.

Contract: pure. What is shown on a terminal is printable: a name may hold what a terminal obeys.
"""

from __future__ import annotations

import re

# What Cinder, Glance and Nova make. No name is put into the path of a request: in the place of an ID,
# "detail" is a list, and "a/file" the data of an image.
IDENTIFIER = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


def is_identifier(text: str) -> bool:
    """Whether a text can be the ID of a resource."""
    return IDENTIFIER.fullmatch(text) is not None


def printable(text: str) -> str:
    """A text that nobody vouches for, safe to show on a terminal, in one line."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def label_of(kind: str, name: str | None, identifier: str) -> str:
    """How messages call a resource: ``volume data (1234)``, or ``volume 1234`` where it has no name."""
    return f"{kind} {printable(name)} ({identifier})" if name else f"{kind} {identifier}"
