# SPDX-License-Identifier: Apache-2.0
"""Sizes, spans of time and rates as people say them, and spans as they type them.

Contract: pure; bytes and seconds in, texts out, but for :func:`seconds_of`.
"""

from __future__ import annotations

import re

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SPANS = (("d", 86400), ("h", 3600), ("min", 60))


def size(count: float) -> str:
    """``1.5 GiB``: bytes in the largest binary unit of which there is one or more."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{int(value)} B"


def rate(count: int, seconds: float) -> str:
    """``61.4 MiB/s``; empty where no time has passed."""
    return f"{size(count / seconds)}/s" if seconds > 0 else ""


def span(seconds: float) -> str:
    """``3 min 20 s``: in the two largest units."""
    rest = max(0, round(seconds))
    for number, (unit, length) in enumerate(SPANS):
        if rest >= length:
            smaller, below = SPANS[number + 1] if number + 1 < len(SPANS) else ("s", 1)
            more = rest % length // below
            return f"{rest // length} {unit}" + (f" {more} {smaller}" if more else "")
    return f"{rest} s"


def seconds_of(text: str) -> int:
    """``36h`` or ``7d`` in seconds.

    :raises ValueError: it is not of that form, or nothing.
    """
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if not found or not int(found[1]):
        raise ValueError(text)
    return int(found[1]) * SECONDS[found[2]]


def ago(seconds: float) -> str:
    """``3 h ago``: in the largest unit of which there are two or more."""
    if seconds < 0:  # the clocks differ
        return "just now" if seconds > -3600 else "in the future"
    for unit, length in SPANS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago"


def transfer(count: int, seconds: float) -> str:
    """``3.0 GiB in 50 s (61.4 MiB/s)``."""
    speed = rate(count, seconds)
    return f"{size(count)} in {span(seconds)}" + (f" ({speed})" if speed else "")


def counted(number: int, what: str) -> str:
    """``1 disk``, ``2 disks``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
