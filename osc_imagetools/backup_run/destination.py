# SPDX-License-Identifier: Apache-2.0
"""Where a run's bundles go, as a directory: ``<directory>/<server ID>/<time>.bundle``.

Contract: what is there is read from the bundles alone. Two runs never export one server into one directory at
the same time: who begins holds a lock on the server's directory, and so do the commands that it starts.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.backup_check.bundles import BundleCopy, read_bundles
from osc_imagetools.bundle import durable
from osc_imagetools.bundle.forgetting import Removal, kept_in_directory, plan_removals, remove_directory
from osc_imagetools.bundle.keep_rules import KeepRules

LOCK = ".backup-run.lock"


@dataclass(frozen=True)
class BundleDirectory:
    """A directory of bundles."""

    path: Path

    def copies(self) -> list[BundleCopy]:
        """The bundles that are there; none where there is no directory yet.

        :raises errors.NoBundle: it cannot be read.
        """
        return list(read_bundles(self.path)) if self.path.exists() else []

    def new_bundle(self, server_id: str) -> Path:
        """Where a bundle of a server goes that is begun now."""
        return self.path / server_id / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.bundle"

    def reserve(self, server_id: str) -> int:
        """Keeps other runs from exporting a server into this directory, until the last copy of the descriptor
        that it gives is closed.

        :raises errors.BundleBusy: another run exports it.
        :raises errors.ImagetoolsError: the directory cannot be made or written to.
        """
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
