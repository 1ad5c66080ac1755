# SPDX-License-Identifier: Apache-2.0
"""How a temporary resource is told to be ours: by its name and by metadata with the id of the run.

Contract: pure. Volumes and snapshots carry the metadata; an image that Cinder makes from a temporary
volume gets it as image properties in the moment it is made, because Cinder copies the volume's image
metadata to it (cinder/volume/api.py, copy_volume_to_image): there is no moment at which a temporary
resource exists without its mark.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

PREFIX = "osc-imagetools"
MARK = "osc_imagetools"  # "temporary" on everything of ours that may go
RUN = "osc_imagetools_run"
PURPOSE = "osc_imagetools_purpose"
SINCE = "osc_imagetools_since"


def now() -> str:
    """The time in UTC as RFC 3339 with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Run:
    """One run of a command that makes temporary resources."""

    purpose: str  # "image export-full web01"
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    since: str = field(default_factory=now)

    def name(self, role: str) -> str:
        """The name of a temporary resource: ``osc-imagetools-<run>-<role>``, at most 255 characters."""
        return f"{PREFIX}-{self.id}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', role)}"[:255]

    def marks(self) -> dict[str, str]:
        """The metadata of a temporary resource; values of at most 255 characters."""
        return {
            MARK: "temporary",
            RUN: self.id,
            PURPOSE: self.purpose[:255],
            SINCE: self.since,
        }
