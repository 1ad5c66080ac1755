# SPDX-License-Identifier: Apache-2.0
"""A step in words: ``0-vda  fetch 34 %, 118 MiB/s, 2 min left``.

Contract: pure.
"""

from __future__ import annotations

from osc_imagetools.progress import words
from osc_imagetools.progress.model import Step

LONG = 20.0  # seconds after which it is of use to know how long the same step took the last time


def state(step: Step, rate: float | None) -> str:
    """What a step does, and how far it is.

    :param rate: bytes a second of late, None where that is not known.
    """
    return f"{step.name} {how_far(step, rate)}".strip() + (f", then {step.then}" if step.then else "")


def how_far(step: Step, rate: float | None) -> str:
    """How far a step is: percent, speed and what is left; or what the cloud says, and since when."""
    if step.counted:
        return f"{step.moved:,}"
    parts = []
    if step.total:
        parts.append(f"{min(100, 100 * step.moved // step.total)} % of {words.size(step.total)}")
        if rate:
            parts.append(f"{words.size(rate)}/s")
            if step.moved < step.total:
                parts.append(f"{words.span((step.total - step.moved) / rate)} left")
    elif step.moved:
        parts.append(words.size(step.moved))
    if step.detail:
        parts.append(step.detail)
    if not rate:
        parts.append(words.span(step.seconds))
        if step.last and step.seconds > LONG and not step.total:
            parts.append(f"took {words.span(step.last)} the last time")
    return ", ".join(parts)
