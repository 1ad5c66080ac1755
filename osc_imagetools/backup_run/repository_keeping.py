# SPDX-License-Identifier: Apache-2.0
"""Applies the rules of keeping in a repository, when nothing of a run writes there any more.

Contract: removing needs the repository for itself, so this comes last: one ``bundle forget`` for all servers
of a policy that were exported. As long as somebody else uses the repository it is tried again, for a while.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.backup_run.child import ChildCommand, ChildLogin, ChildResult
from osc_imagetools.backup_run.plan_commands import forget_words
from osc_imagetools.backup_run.plan_policy import BackupPolicy
from osc_imagetools.backup_run.result import EXPORTED, FAILED, ServerResult

PATIENCE = 600.0  # seconds that others may use the repository
PAUSE = 10.0  # seconds between two attempts
LOCKED = f"[{errors.RepositoryLocked.reference}]"


@dataclass
class RepositoryKeeping:
    """The removal of old bundles of one policy; begins with the first :meth:`advance`."""

    policy: BackupPolicy
    results: Sequence[ServerResult]
    login: ChildLogin
    interrupted: int = 0
    _child: ChildCommand | None = None
    _until: float = 0.0
    _next: float = 0.0

    def advance(self) -> bool:
        """Goes on as far as it can; whether all is done."""
        now = time.monotonic()
        if self._child is None:
            if self.interrupted:
                self._failed("interrupted")
                return True
            if now < self._next:
                return False
            self._until = self._until or now + PATIENCE
            return self._started()
        if not self._child.ended():
            return False
        result, self._child = self._child.result(), None
        if result.code == 0:
            self._told(result)
        elif LOCKED in result.failure and now < self._until and not self.interrupted:
            self._next = now + PAUSE
            return False
        else:
            self._failed(result.failure)
        return True

    def interrupt(self) -> None:
        """Asks what runs to end."""
        self.interrupted += 1
        if self._child is not None:
            self._child.interrupt()

    def wait(self) -> None:
        """Until what runs has ended."""
        if self._child is not None:
            self._child.result()

    def _started(self) -> bool:
        """Whether it is over, since it cannot be started."""
        words = forget_words((result.server.id for result in self.results), self.policy)
        try:
            self._child = ChildCommand(self.login, words)
        except (OSError, subprocess.SubprocessError) as exc:
            self._failed(f"the command cannot be started: {exc}")
        return self._child is None

    def _told(self, child: ChildResult) -> None:
        removed = Counter(row.get("ID") for row in child.rows if row.get("Result") == "removed")
        for result in self.results:
            if number := removed[result.server.id]:
                result.details.append(f"old bundles removed: {number}")

    def _failed(self, reason: str) -> None:
        for result in self.results:
            result.result = FAILED
            result.details.append(f"exported, but old bundles were not removed: {reason}")


def repository_keepings(
    exported: Iterable[tuple[BackupPolicy, ServerResult]], login: ChildLogin
) -> Iterator[RepositoryKeeping]:
    """What is to be removed from repositories after these servers are done."""
    groups: dict[str, tuple[BackupPolicy, list[ServerResult]]] = {}
    for policy, result in exported:
        if policy.target.repository and policy.keep is not None and result.result == EXPORTED:
            groups.setdefault(policy.name, (policy, []))[1].append(result)
    for policy, results in groups.values():
        yield RepositoryKeeping(policy, results, login.with_more(policy.target.environment))
