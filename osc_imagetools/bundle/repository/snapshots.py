# SPDX-License-Identifier: Apache-2.0
"""restic's snapshots, grouped into bundles by their tags.

Contract: pure. One snapshot holds one disk, one holds everything else and is tagged ``complete``, and each
record has one of its own. Nothing in a tag is trusted: what is not of this form belongs to no bundle, and
only its manifest says what a bundle is.
"""

from __future__ import annotations

import re
import urllib.parse
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from osc_imagetools.bundle.layout import DISKS

TAG = "osc-imagetools"
COMPLETE = "complete"
EXPORT = "export"  # on the disks that an export has stored, which another export may go on with
RECORD = "record="
RESULT = "result="
KINDS = ("image", "volume", "snapshot", "server")
ROOT = "/"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class RepositorySnapshot:
    """A snapshot of restic's; ``paths`` as restic has them, absolute; ``host`` made it."""

    id: str
    time: datetime
    tags: frozenset[str]
    paths: tuple[str, ...]
    host: str = ""

    def value(self, name: str) -> str | None:
        """Of the tag ``<name>=<value>``; None where there is none, or several."""
        found = [tag.partition("=")[2] for tag in self.tags if tag.startswith(f"{name}=")]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class StoredBundle:
    """The snapshots of one bundle.

    :param disks: the newest snapshot of each disk, by its path in the bundle.
    :param last: the snapshot of everything else; None where the bundle is incomplete.
    :param records: oldest first.
    :param others: snapshots that newer ones have superseded.
    """

    id: str
    kind: str
    subject: str
    disks: Mapping[str, RepositorySnapshot]
    last: RepositorySnapshot | None
    records: tuple[RepositorySnapshot, ...]
    others: tuple[RepositorySnapshot, ...]

    @property
    def time(self) -> datetime:
        """When its newest snapshot was made; records apart."""
        made = [s.time for s in (*self.disks.values(), *self.others)]
        return self.last.time if self.last else max(made, default=datetime.min.replace(tzinfo=UTC))

    @property
    def user_tags(self) -> frozenset[str]:
        """The tags of the last snapshot that somebody has added (``restic tag``)."""
        if self.last is None:
            return frozenset()
        ours = ("bundle=", "kind=", "subject=")
        return frozenset(t for t in self.last.tags if t not in (TAG, COMPLETE) and not t.startswith(ours))

    def begun_by_export(self, host: str) -> bool:
        """Whether it is incomplete, and exports on that machine have stored all that is there."""
        made = (*self.disks.values(), *self.others)
        return not self.last and all(EXPORT in s.tags and s.host == host for s in made)

    def snapshot_ids(self) -> list[str]:
        """Of all its snapshots but the last one."""
        return [s.id for s in (*self.disks.values(), *self.others, *self.records)]


def bundle_tags(bundle_id: str, kind: str, subject: str, *more: str) -> list[str]:
    """The arguments of ``restic backup`` for the tags of a snapshot."""
    tags = [TAG, f"bundle={bundle_id}", f"kind={kind}", f"subject={subject_value(subject)}", *more]
    return ["--tag", ",".join(tags)]


def subject_value(identifier: str) -> str:
    """The ID of what was exported, as it stands in a tag, which can have no comma."""
    return urllib.parse.quote(identifier, safe="-._~:")


def parse_snapshots(document: Any) -> list[RepositorySnapshot]:
    """What ``restic snapshots --json`` gave, oldest first; entries of another form are left out."""
    found = [_snapshot(entry) for entry in document] if isinstance(document, list) else []
    return sorted((s for s in found if s), key=lambda s: (s.time, s.id))


def group_bundles(snapshots: Iterable[RepositorySnapshot]) -> list[StoredBundle]:
    """The bundles that the snapshots make, oldest first."""
    groups: dict[tuple[str, str, str], list[RepositorySnapshot]] = defaultdict(list)
    for snapshot in snapshots:
        bundle, kind, subject = (snapshot.value(name) for name in ("bundle", "kind", "subject"))
        if TAG in snapshot.tags and bundle and is_bundle_id(bundle) and kind in KINDS and subject:
            groups[bundle, kind, subject].append(snapshot)
    return sorted((_bundle(*key, group) for key, group in groups.items()), key=lambda b: (b.time, b.id))


def is_bundle_id(text: str) -> bool:
    """Whether a text is a UUID in its usual form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def parse_time(text: str) -> datetime | None:
    """A time of restic's, which has up to nine digits after the second."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(
            f"{match[1]}.{(match[2] or '0')[:6]:0<6}{match[3].replace('Z', '+00:00')}"
        )
    except ValueError:
        return None


def _bundle(bundle: str, kind: str, subject: str, group: list[RepositorySnapshot]) -> StoredBundle:
    disks: dict[str, RepositorySnapshot] = {}
    last: RepositorySnapshot | None = None
    records: list[RepositorySnapshot] = []
    others: list[RepositorySnapshot] = []
    for snapshot in group:  # oldest first: a newer one supersedes
        path = snapshot.paths[0].removeprefix(ROOT) if len(snapshot.paths) == 1 else ""
        if COMPLETE in snapshot.tags:
            others += [last] if last else []
            last = snapshot
        elif any(tag.startswith(RECORD) for tag in snapshot.tags):
            records.append(snapshot)
        elif path.startswith(f"{DISKS}/"):
            others += [disks[path]] if path in disks else []
            disks[path] = snapshot
        else:
            others.append(snapshot)
    return StoredBundle(bundle, kind, subject, disks, last, tuple(records), tuple(others))


def _snapshot(entry: Any) -> RepositorySnapshot | None:
    if not isinstance(entry, dict):
        return None
    identifier, time = entry.get("id"), entry.get("time")
    tags, paths = entry.get("tags") or [], entry.get("paths") or []
    if not isinstance(identifier, str) or not re.fullmatch("[0-9a-f]{64}", identifier):
        return None
    moment = parse_time(time) if isinstance(time, str) else None
    if moment is None or not _are_texts(tags) or not _are_texts(paths):
        return None
    host = str(entry.get("hostname") or "")
    return RepositorySnapshot(identifier, moment, frozenset(tags), tuple(paths), host)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
