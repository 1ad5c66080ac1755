# SPDX-License-Identifier: Apache-2.0
"""The bundles below a directory or in a repository, as copies of servers, volumes and images.

Contract: reads manifests and records only. What a bundle holds is taken from its own words; that its bytes
are whole is for ``bundle verify`` to say, but a missing disk or one of a wrong length is seen here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.backup_check.fleet import when
from osc_imagetools.bundle.reader import list_bundles, open_bundle
from osc_imagetools.bundle.records import BOOTED, RESTORE_CHECK, read_records
from osc_imagetools.bundle.repository.catalog import list_repository
from osc_imagetools.bundle.repository.restic import Restic


@dataclass(frozen=True, slots=True)
class BundleProof:
    """A restore check of a bundle; ``at`` in seconds since 1970."""

    at: float
    result: str

    @property
    def booted(self) -> bool:
        return self.result == BOOTED


@dataclass(frozen=True, slots=True)
class BundleCopy:
    """A bundle; ``taken`` is the moment that its data is of, in seconds since 1970.

    ``server_id`` where it says which server it is of; ``volumes`` are the IDs of those whose data it has;
    ``has_root``: it has a disk that is of no volume, so a server's root disk. ``proofs`` are its restore
    checks, oldest first; ``repository`` the label of the repository that it is in, where its path is its ID.
    """

    path: str
    kind: str
    resource_id: str
    complete: bool
    taken: float | None
    server_id: str | None
    volumes: tuple[str, ...]
    has_root: bool
    proofs: tuple[BundleProof, ...] = ()
    repository: str | None = None


def read_bundles(directory: Path) -> Iterator[BundleCopy]:
    """Those that are complete or are being made; broken ones do not say what they are.

    :raises errors.NoBundle: there is no such directory, or it cannot be read.
    """
    for listed in list_bundles(directory):
        try:
            bundle = open_bundle(listed.path)
        except (errors.NoBundle, errors.BundleRefused):
            continue
        checks = (r for r in read_records(listed.path) if r.type == RESTORE_CHECK)
        proofs = [BundleProof(at, r.result) for r in checks if (at := when(r.at)) is not None]
        whole = listed.state == "complete"
        copy = _read(str(bundle.path), bundle.manifest, bundle.summary(), whole=whole, proofs=proofs)
        if copy is not None:
            yield copy


def read_repository(restic: Restic, subjects: Collection[str] = ()) -> Iterator[BundleCopy]:
    """Those of a repository; of their records, what the tags say.

    :param subjects: only those of these exported resources, if any are named (IDs).
    :raises errors.RepositoryError: they cannot be listed.
    """
    for bundle in list_repository(restic, subjects):
        if bundle.state == "broken":
            continue
        proofs = [
            BundleProof(record.time.timestamp(), result)
            for record in bundle.stored.records
            if record.value("record") == RESTORE_CHECK and (result := record.value("result"))
        ]
        whole = bundle.state == "complete"
        copy = _read(bundle.id, bundle.manifest, bundle.summary(), whole=whole, proofs=proofs)
        if copy is not None:
            yield replace(copy, repository=restic.address.label)


def _read(
    path: str,
    manifest: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    whole: bool,
    proofs: Iterable[BundleProof],
) -> BundleCopy | None:
    kind, identifier = facts["kind"], facts["id"]
    if not kind or not identifier:
        return None
    disks = manifest.get("disks") or ()
    volumes = [disk["observed"].get("volume_id") for disk in disks]
    if kind == "volume":
        volumes.append(identifier)
    return BundleCopy(
        path=path,
        kind=kind,
        resource_id=identifier,
        complete=whole,
        taken=_taken(manifest),
        server_id=identifier if kind == "server" else _made_of(manifest),
        volumes=tuple(sorted({str(volume) for volume in volumes if volume})),
        has_root=kind in ("image", "server") and not all(volumes),
        proofs=tuple(sorted(proofs, key=lambda proof: proof.at)),
    )


def _made_of(manifest: Mapping[str, Any]) -> str | None:
    """The server that the exported image was made of, where Nova wrote it on it."""
    properties = manifest.get("replayable", {}).get("properties") or {}
    server = properties.get("instance_uuid")
    return str(server) if server else None


def _taken(manifest: Mapping[str, Any]) -> float | None:
    """That of the oldest snapshot, or when the image was made, or else when it was exported."""
    snapshots = manifest.get("consistency", {}).get("snapshots") or ()
    times = [when(snapshot.get("created_at")) for snapshot in snapshots]
    if times and None not in times:
        return min(time for time in times if time is not None)
    observed = manifest.get("observed", {})
    made = observed.get("created_at") if manifest.get("kind") == "image" else None
    return when(made) or when(manifest.get("created_at"))
