# SPDX-License-Identifier: Apache-2.0
"""The options of a server import, and the notes that its plan collects.

Contract: values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from osc_imagetools import errors
from osc_imagetools.operations.drafts import NotReplayed


@dataclass(frozen=True)
class ServerImportOptions:
    """The options of the user; None and empty mean as in the bundle.

    ``networks`` and ``volume_types`` map old names (or IDs) to new ones; ``user_data`` is base64; ``wait``:
    until the server is ACTIVE.
    """

    name: str | None = None
    flavor: str | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    volume_types: Mapping[str, str] = field(default_factory=dict)
    availability_zone: str | None = None
    key_name: str | None = None
    security_groups: tuple[str, ...] = ()
    user_data: str | None = None
    keep_addresses: bool = False
    boot_from: str | None = None
    wait: bool = False


@dataclass
class ImportNotes:
    """What a plan collects: problems to raise together, what cannot be restored, and what is mapped."""

    problems: list[errors.ImagetoolsError] = field(default_factory=list)
    lost: list[NotReplayed] = field(default_factory=list)
    mapped: list[str] = field(default_factory=list)

    def lose(self, what: str, reason: str) -> None:
        self.lost.append(NotReplayed(what, reason))
