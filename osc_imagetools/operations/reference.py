# SPDX-License-Identifier: Apache-2.0
"""How a plan names a resource: by its ID, or by its role until it has one.

Contract: a value.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A resource that exists (``id``) or that the plan creates (``id`` None, told apart by ``role``)."""

    kind: str  # image, volume, snapshot, server, port, file
    id: str | None
    role: str  # "snapshot of 0-vda", unique among what the plan creates
    temporary: bool = False

    @property
    def label(self) -> str:
        return f"{self.kind} {self.id}" if self.id else self.role
