# SPDX-License-Identifier: Apache-2.0
"""How a resource that a run makes is told to be ours: by its name and by metadata with the id of the run.

Contract: pure, but for the time. Volumes, snapshots and servers
carry the metadata; an image that Cinder makes from a temporary volume gets it as image properties in the
moment it is made, because Cinder copies the volume's image metadata to it (cinder/volume/api.py,
copy_volume_to_image); a snapshot that Nova makes for a server image has the image's name in its own
(nova/compute/api.py, snapshot_volume_backed). So there is no moment at which a temporary resource exists
without its mark.

Properties of an image go on and on: to the volumes and servers that are made of it, and to their images. So
an image that will be the user's bears its marks as tags, which nothing inherits; and properties alone,
without a name of ours, make no image ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

PREFIX = "osc-imagetools"
MARK = "osc_imagetools"  # "temporary" on everything of ours that may go
RUN = "osc_imagetools_run"
PURPOSE = "osc_imagetools_purpose"
SINCE = "osc_imagetools_since"
PROCESS = "osc_imagetools_process"
# On a server of the user's that a run has stopped and will start again: the id of the run.
STOPPED = "osc_imagetools_stopped"
TAG = f"{MARK}=temporary"
NAMED = re.compile(rf"\b{PREFIX}-([0-9a-f]{{12}})-")


def now() -> str:
    """The time in UTC as RFC 3339 with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def of_image(document: Mapping[str, Any]) -> dict[str, str]:
    """The marks that an image bears, as tags or as properties; nothing where its name is not ours."""
    tags = (tag.partition("=") for tag in document.get("tags") or () if tag.startswith(MARK))
    marks = {key: value for key, _, value in tags}
    marks |= {key: str(value) for key, value in document.items() if key.startswith(MARK)}
    ours = marks.get(RUN) is not None and run_of_name(document.get("name")) == marks[RUN]
    return marks if ours else {}


def without_marks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata or properties without ours: a copy of what was marked is not ours."""
    return {key: value for key, value in metadata.items() if not key.startswith(MARK)}


def plain_description(description: str | None) -> str | None:
    """A description, None where it is a mark of ours."""
    return None if description and description.startswith(f"{PREFIX}-") else description


def run_of_name(name: str | None) -> str | None:
    """The id of the run whose temporary resource has this name, or a name made from one."""
    found = NAMED.search(name or "")
    return found[1] if found else None
