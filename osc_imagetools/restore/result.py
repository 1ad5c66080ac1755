# SPDX-License-Identifier: Apache-2.0
"""What an import gives back, of whatever kind it is.

Contract: a value.
"""

from __future__ import annotations

from dataclasses import dataclass

from osc_imagetools.operations.drafts import NotReplayed


@dataclass(frozen=True)
class ImportReport:
    """What an import did; the resource is the one with the original's name; bytes and seconds as numbers.

    ``retries`` is how many requests were sent again.
    """

    kind: str
    id: str
    name: str | None
    bytes: int
    disks: int
    differences: tuple[str, ...]
    not_replayed: tuple[NotReplayed, ...]
    mapped: tuple[str, ...]
    seconds: float
    retries: int
