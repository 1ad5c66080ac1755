# SPDX-License-Identifier: Apache-2.0
"""Where something comes from: one project in one region of one cloud.

Contract: a value; no secret in it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where something comes from, as the manifest of a bundle states it; no secret in it."""

    cloud: str | None
    region: str | None
    auth_url: str | None
    project_id: str | None
    project_name: str | None
