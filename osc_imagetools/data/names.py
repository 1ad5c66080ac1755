# SPDX-License-Identifier: Apache-2.0
"""The hidden files beside a file that is being fetched.

Contract: names only, no effects. All are in the directory of the target, and belong to it alone.
"""

from __future__ import annotations

from pathlib import Path


def part_path(target: Path) -> Path:
    """Where the bytes are until they are verified."""
    return target.with_name(f".{target.name}.part")


def map_path(target: Path) -> Path:
    """Where it is noted which blocks of the part were written."""
    return target.with_name(f".{target.name}.part.map")


def record_path(target: Path) -> Path:
    """Where it is noted what the finished file is, until its bundle is complete."""
    return target.with_name(f".{target.name}.done")
