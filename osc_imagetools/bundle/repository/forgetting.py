# SPDX-License-Identifier: Apache-2.0
"""Bundles go from a repository, and their space is given back.

Contract: the last snapshot of a bundle goes before its disks, so a removal that is cut off leaves
incomplete bundles and no broken ones. restic's exclusive lock keeps it from a repository that is being
written to.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Sequence

from osc_imagetools import errors
from osc_imagetools.bundle.forgetting import KeptBundle
from osc_imagetools.bundle.records import BOOTED, RESTORE_CHECK
from osc_imagetools.bundle.repository.catalog import RepositoryBundle, list_repository
from osc_imagetools.bundle.repository.locks import unlocked
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.snapshots import RECORD, RESULT
from osc_imagetools.cloud.names import printable

BATCH = 500  # snapshots in one command line
_STEP = re.compile(r"\[[\d:]+\]\s+[\d.]+%\s+(\d+) / (\d+) (.+)")


def kept_in_repository(restic: Restic, subjects: Collection[str] = ()) -> list[KeptBundle[RepositoryBundle]]:
    """The bundles of a repository, for :func:`osc_imagetools.bundle.forgetting.plan_removals`.

    :param subjects: see :func:`list_repository`.
    :raises errors.RepositoryError: they cannot be listed.
    """
    found = []
    for bundle in list_repository(restic, subjects):
        resource = bundle.manifest.get("resource", {})
        found.append(
            KeptBundle(
                what=bundle,
                label=bundle.id,
                state=bundle.state,
                kind=bundle.stored.kind,
                subject=resource.get("id", printable(bundle.stored.subject)),
                name=resource.get("name"),
                created_at=bundle.manifest.get("created_at"),
                size=bundle.size,
                tags=bundle.stored.user_tags,
                restored=is_restored(bundle),
            )
        )
    return found


def is_restored(bundle: RepositoryBundle) -> bool:
    """Whether one of its records tells, by its tags, of a restore check that succeeded."""
    proof = {f"{RECORD}{RESTORE_CHECK}", f"{RESULT}{BOOTED}"}
    return any(proof <= record.tags for record in bundle.stored.records)


def remove_stored(restic: Restic, bundles: Sequence[RepositoryBundle]) -> None:
    """Removes the snapshots of bundles.

    :raises errors.RepositoryLocked: something is being written to the repository.
    :raises errors.RepositoryError: restic failed. Their ``left`` says whether bundles are incomplete now.
    """
    last = [bundle.stored.last.id for bundle in bundles if bundle.stored.last]
    others = [snapshot for bundle in bundles for snapshot in bundle.stored.snapshot_ids()]
    batches = [ids[start : start + BATCH] for ids in (last, others) for start in range(0, len(ids), BATCH)]
    for number, batch in enumerate(batches):
        try:
            unlocked(restic, functools.partial(_forget, restic, batch))
        except (errors.RepositoryLocked, errors.RepositoryPassword, errors.RepositoryAbsent) as exc:
            if number == 0:  # restic opens the repository and locks it before it removes anything
                exc.left = ()
            raise


def _forget(restic: Restic, snapshots: Sequence[str]) -> None:
    left = "bundles that are incomplete now (openstack bundle list shows them)"
    restic.run("forget", *snapshots, doing="to remove snapshots", left=left)


def prune(restic: Restic, count: Callable[[str, int], None]) -> None:
    """Gives back the space of what no snapshot needs any more.

    :param count: is told how many of what restic has dealt with, as it goes on.
    :raises errors.RepositoryError: restic failed; nothing that a snapshot needs is lost.
    """

    left = "data of removed bundles (restic prune removes it)"

    def tell(line: str) -> None:
        match = _STEP.fullmatch(line.strip())
        if match:
            count(f"{match[3]} (of {match[2]})", int(match[1]))

    unlocked(restic, lambda: restic.run("prune", doing="to give back space", left=left, tell=tell))
