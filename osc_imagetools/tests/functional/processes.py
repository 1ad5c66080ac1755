# SPDX-License-Identifier: Apache-2.0
"""The processes that a process has started."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator


def descendants(pid: int) -> Iterator[int]:
    """The processes below a process, deepest first."""
    for task in pathlib.Path("/proc").glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):  # this thread is over
            for child in map(int, task.read_text().split()):
                yield from descendants(child)
                yield child


def program(pid: int) -> str:
    """The name of its program; empty when it is over."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
