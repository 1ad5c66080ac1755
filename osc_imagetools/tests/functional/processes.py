# SPDX-License-Identifier: Apache-2.0
"""The processes that a process has started."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator


def descendants(pid: int) -> Iterator[int]:
    """The processes below a process, deepest first."""
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield from descendants(child)
                yield child


def program(pid: int) -> str:
    """The name of its program; empty when it is over."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
