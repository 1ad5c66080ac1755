# SPDX-License-Identifier: Apache-2.0
"""Where a run's bundles go: a directory (``<directory>/<server ID>/<time>.bundle``) or a repository.

Contract: what is there is read from the bundles alone. Two runs on one machine never export one server into
one destination at the same time: who begins holds a lock, and so do the commands that it starts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from osc_imagetools import errors
from osc_imagetools.backup_check.bundles import BundleCopy, read_bundles, read_repository
from osc_imagetools.backup_run.plan_target import BackupTarget
from osc_imagetools.bundle import durable
from osc_imagetools.bundle.forgetting import Removal, kept_in_directory, plan_removals, remove_directory
from osc_imagetools.bundle.keep_rules import KeepRules
from osc_imagetools.bundle.repository.address import repository_address
from osc_imagetools.bundle.repository.locks import patiently, unlocked
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.resuming import claimed_name

LOCK = ".backup-run.lock"


class BackupDestination(Protocol):
    """Where bundles go."""

    def copies(self, server_id: str | None = None, *, wait: bool = True) -> list[BundleCopy]:
        """The bundles that are there; what is read of those of other servers is as little as possible.

        :param server_id: only those of this server.
        :param wait: for a while, where another process removes something.
        :raises errors.RepositoryLocked: it still does.
        :raises errors.ImagetoolsError: they cannot be read.
        """

    def reserve(self, server_id: str) -> int:
        """Keeps other runs from exporting a server to this destination, until the last copy of the descriptor
        that it gives is closed.

        :raises errors.BundleBusy: another run exports it.
        :raises errors.ImagetoolsError: the destination cannot be written to.
        """

    def new_bundle(self, server_id: str) -> Path | None:
        """Where a bundle of a server goes that is begun now; None where the export itself decides that."""


def backup_destination(target: BackupTarget, environment: Mapping[str, str]) -> BackupDestination:
    """What a target names.

    :raises errors.UsageError: nothing gets into the repository like this.
    :raises errors.ResticAbsent, errors.ResticTooOld: see :class:`Restic`.
    """
    if target.directory:
        return BundleDirectory(Path(target.directory))
    password = Path(target.password_file) if target.password_file else None
    address = repository_address(
        target.repository, environment=environment, password_file=password, cloud=target.cloud
    )
    return BundleRepository(Restic(address))


@dataclass(frozen=True)
class BundleRepository:
    """A repository; see :class:`BackupDestination`. An export goes on with what an earlier one has begun."""

    restic: Restic

    def copies(self, server_id: str | None = None, *, wait: bool = True) -> list[BundleCopy]:
        attempt = patiently if wait else unlocked
        subjects = () if server_id is None else (server_id,)
        return attempt(self.restic, lambda: list(read_repository(self.restic, subjects)))

    def new_bundle(self, server_id: str) -> None:
        return None

    def reserve(self, server_id: str) -> int:
        where = hashlib.sha256(self.restic.address.url.encode()).hexdigest()[:16]
        claimed = claimed_name(f"run-{where}-{server_id}")
        if claimed is None:
            raise errors.BundleBusy("another run exports this server")
        return claimed.detach()


@dataclass(frozen=True)
class BundleDirectory:
    """A directory of bundles; see :class:`BackupDestination`."""

    path: Path

    def copies(self, server_id: str | None = None, *, wait: bool = True) -> list[BundleCopy]:
        """None where there is no directory yet."""
        folder = self.path if server_id is None else self.path / server_id
        return list(read_bundles(folder)) if folder.exists() else []

    def new_bundle(self, server_id: str) -> Path:
        return self.path / server_id / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.bundle"

    def reserve(self, server_id: str) -> int:
        folder = self.path / server_id
        with durable.storing(folder):
            durable.make_directory(self.path)
            durable.make_directory(folder)
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise errors.BundleBusy("another run exports this server") from None
        return lock

    def forget(self, server_id: str, rules: KeepRules) -> list[Removal[Path]]:
        """Removes the bundles of a server that the rules do not keep; those, also the ones that could not go.

        :raises errors.ImagetoolsError: they cannot be listed.
        """
        kept = [b for b in kept_in_directory(self.path / server_id) if b.subject == server_id]
        done = []
        for removal in plan_removals(kept, rules, incomplete=False, now=datetime.now(UTC)):
            if removal.removed:
                try:
                    remove_directory(removal.bundle)
                except errors.ImagetoolsError as exc:
                    removal = replace(removal, removed=False, reason=exc.message)
                done.append(removal)
        return done
