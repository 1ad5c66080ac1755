# SPDX-License-Identifier: Apache-2.0
"""What became of a server in a run.

Contract: values.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from osc_imagetools.backup_run.inventory import RunServer

EXPORTED, FRESH, FAILED, SKIPPED = "exported", "fresh", "failed", "skipped"
RESULTS = (EXPORTED, FRESH, FAILED, SKIPPED)


@dataclass
class ServerResult:
    """A row of ``server backup-run``; seconds since 1970 for ``newest`` and ``proof``.

    ``bundle`` is the one that was made or found fresh, ``bytes`` of its disks; ``left`` is what commands
    have left in the cloud.
    """

    server: RunServer
    result: str
    bundle: str | None = None
    bytes: int | None = None
    seconds: float | None = None
    details: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    newest: float | None = None
    proof: float | None = None

    @property
    def detail(self) -> str:
        """What happened, and what may still exist."""
        return "; ".join((*self.details, *(f"these resources may still exist: {text}" for text in self.left)))
