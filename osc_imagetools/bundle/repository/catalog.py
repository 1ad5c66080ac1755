# SPDX-License-Identifier: Apache-2.0
"""The bundles of a repository: listed, and found by an ID or by the name of what was exported.

Contract: reads only: restic's list of snapshots, and of each bundle its manifest, several at a time. A
manifest is read with the same suspicion as one in a directory, and must be that of the bundle that its
snapshot's tags name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle.bundle_id import bundle_id_of
from osc_imagetools.bundle.layout import MANIFEST
from osc_imagetools.bundle.manifest import UnreadableManifest, read_manifest
from osc_imagetools.bundle.reader import Bundle, State
from osc_imagetools.bundle.repository.reader import read_file
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.snapshots import (
    TAG,
    StoredBundle,
    group_bundles,
    parse_snapshots,
    subject_value,
)
from osc_imagetools.cloud.names import printable

READERS = 4  # manifests that are read at a time
SHORTEST_ID = 4  # characters of the beginning of an ID


@dataclass(frozen=True)
class RepositoryBundle:
    """A bundle in a repository, or one that was not finished.

    :param manifest: valid in every respect; empty where there is none.
    :param problems: sentences, why it cannot be used; none where its state is complete or incomplete.
    """

    stored: StoredBundle
    state: State
    manifest: Mapping[str, Any]
    problems: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Of the bundle."""
        return self.stored.id

    @property
    def time(self) -> datetime:
        """When it was exported; where that is not known, when it was stored."""
        text = self.manifest.get("created_at")
        return datetime.fromisoformat(text) if text else self.stored.time

    @property
    def size(self) -> int | None:
        """Bytes of its disks."""
        return sum(disk["size"] for disk in self.manifest["disks"]) if self.manifest else None

    def summary(self) -> dict[str, Any]:
        """The fields of ``bundle show``, as :meth:`osc_imagetools.bundle.reader.Bundle.summary` has them."""
        facts = Bundle(None, self.state == "complete", self.manifest, self.size or 0).summary()  # type: ignore[arg-type]
        if not self.manifest:
            facts |= {"kind": self.stored.kind, "id": self.stored.subject, "bytes": None}
        return facts


def stored_bundles(restic: Restic) -> list[StoredBundle]:
    """The bundles that the tags of the snapshots tell of, oldest first.

    :raises errors.RepositoryError: the snapshots cannot be listed.
    """
    document = restic.json("snapshots", "--no-lock", "--tag", TAG, doing="to list the snapshots")
    return group_bundles(parse_snapshots(document))


def list_repository(restic: Restic, subjects: Collection[str] = ()) -> list[RepositoryBundle]:
    """All bundles, with their manifests, oldest first.

    :param subjects: only those of these exported resources, if any are named (IDs).
    :raises errors.RepositoryError: as :func:`stored_bundles`, or a manifest cannot be read.
    """
    wanted = set(map(subject_value, subjects))
    stored = [bundle for bundle in stored_bundles(restic) if not wanted or bundle.subject in wanted]
    return sorted(_opened(restic, stored), key=lambda bundle: (bundle.time, bundle.id))


def open_stored(restic: Restic, stored: StoredBundle) -> RepositoryBundle:
    """A bundle with its manifest.

    :raises errors.RepositoryError: restic cannot read it.
    """
    if stored.last is None:
        return RepositoryBundle(stored, "incomplete", {})
    data = read_file(restic, stored.last.id, MANIFEST)
    try:
        manifest = read_manifest(data)
    except UnreadableManifest as exc:
        return RepositoryBundle(stored, "broken", {}, exc.problems)
    problems = list(_contradictions(stored, manifest, data))
    return RepositoryBundle(stored, "broken" if problems else "complete", manifest, tuple(problems))


def find_bundle(restic: Restic, text: str, at: datetime | None = None) -> RepositoryBundle:
    """The bundle that a user means.

    :param text: the ID of a bundle or the beginning of it, or the ID or the name of what was exported.
    :param at: with the ID or the name of what was exported: the newest bundle that is not younger.
    :raises errors.NoBundle: there is none.
    :raises errors.ResourceAmbiguous: it fits several.
    :raises errors.RepositoryError: see :func:`stored_bundles`.
    """
    stored = stored_bundles(restic)
    if at is None and len(text) >= SHORTEST_ID:
        fitting = [bundle for bundle in stored if bundle.id.startswith(text.lower())]
        if len(fitting) > 1:
            raise _ambiguous(text, [f"{b.id} ({b.kind} {b.subject})" for b in fitting])
        if fitting:
            return open_stored(restic, fitting[0])
    complete = [bundle for bundle in stored if bundle.last]
    of_subject = [bundle for bundle in complete if bundle.subject == subject_value(text)]
    opened = _opened(restic, of_subject or complete)
    named = [b for b in opened if b.state == "complete" and (of_subject or _name(b) == text)]
    subjects = {(b.stored.kind, b.stored.subject) for b in named}
    if len(subjects) > 1:
        raise _ambiguous(text, [f"{kind} {subject}" for kind, subject in sorted(subjects)])
    named = [b for b in named if at is None or b.time <= at]
    if not named:
        when = f" of {at.isoformat()} or before" if at else ""
        raise errors.NoBundle(
            f"There is no complete bundle of {printable(text)}{when} in {restic.address.label}",
            hint=f"See what there is with: openstack bundle list --repository {restic.address.label}",
        )
    return max(named, key=lambda bundle: (bundle.time, bundle.id))


def complete_bundle(bundle: RepositoryBundle) -> RepositoryBundle:
    """The same bundle, if it can be used.

    :raises errors.BundleRefused: it is incomplete or broken; all problems are named.
    """
    if bundle.state == "complete":
        return bundle
    listed = "".join(f"\n- {problem}" for problem in bundle.problems or ("It is incomplete.",))
    raise errors.BundleRefused(f"Bundle {bundle.id} is refused:{listed}")


def _opened(restic: Restic, stored: Sequence[StoredBundle]) -> list[RepositoryBundle]:
    pool = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="manifest")
    try:
        return list(pool.map(lambda bundle: open_stored(restic, bundle), stored))
    finally:
        pool.shutdown(cancel_futures=True)


def _name(bundle: RepositoryBundle) -> str | None:
    name = bundle.manifest["resource"]["name"]
    return name if name is None else str(name)


def _contradictions(stored: StoredBundle, manifest: Mapping[str, Any], data: bytes) -> Iterable[str]:
    identifier = bundle_id_of(manifest, data)
    if identifier != stored.id:
        yield f"The snapshot is tagged as bundle {stored.id}, its manifest is that of {identifier}."
    subject = subject_value(manifest["resource"]["id"])
    if (manifest["kind"], subject) != (stored.kind, stored.subject):
        tagged = f"{stored.kind} {printable(stored.subject)}"
        yield f"The snapshot is tagged {tagged}, its manifest says otherwise."
    for disk in manifest["disks"]:
        if disk["file"] not in stored.disks:
            yield f"There is no snapshot of {disk['file']}."


def _ambiguous(text: str, found: list[str]) -> errors.ResourceAmbiguous:
    listed = "".join(f"\n- {printable(one)}" for one in found)
    return errors.ResourceAmbiguous(
        f"{printable(text)} fits several:{listed}", hint="Use the ID of the bundle, or more of it."
    )
