#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The coverage of each package by the unit tests, and whether each has enough of it.

``coverage json -o - | tools/coverage_table.py`` prints a row for each directory directly below
osc_imagetools, the worst first; the exit code is 1 where one has less than :data:`LEAST` percent of its
lines.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

LEAST = 85.0  # percent of a package's lines
PACKAGE = "osc_imagetools"


def rows(report: Mapping[str, Any]) -> list[tuple[float, str, int, int]]:
    """(percent, package, lines, lines that no test reached) of each package, the worst first."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file, facts in report["files"].items():
        parts = PurePath(file).parts
        inner = parts[parts.index(PACKAGE) + 1 :]
        summary = facts["summary"]
        count = counts[inner[0] if len(inner) > 1 else "(modules)"]
        count[0] += summary["num_statements"]
        count[1] += summary["missing_lines"]
    return sorted(
        (100.0 * (lines - missing) / lines if lines else 100.0, package, lines, missing)
        for package, (lines, missing) in counts.items()
    )


def main() -> int:
    found = rows(json.load(sys.stdin))
    print(f"{'Package':16} {'Lines':>6} {'Missed':>6} {'Covered':>8}")
    for percent, package, lines, missing in found:
        print(f"{package:16} {lines:6} {missing:6} {percent:7.1f}%")
    low = [package for percent, package, _, _ in found if percent < LEAST]
    if low:
        print(f"below {LEAST:g} %: {', '.join(low)}", file=sys.stderr)
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
