# SPDX-License-Identifier: Apache-2.0
"""Locks that dead processes have left in a repository.

Contract: a lock goes only if its process was one of this user's on this machine and exists no more; one of
anybody else is never touched, however old it is. restic can remove all stale locks or none (``restic
unlock``): where one of another would go as well, nothing is removed. Source: restic's
internal/restic/lock.go: stale is a lock that has not been refreshed for half an hour, or whose process on
the same machine does not exist.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from osc_imagetools import errors
from osc_imagetools.bundle.repository.restic import Restic, own_host
from osc_imagetools.bundle.repository.snapshots import parse_time

STALE = timedelta(minutes=30)
PATIENCE = 60.0  # seconds that another process's lock is waited for
PAUSE = 1.0
T = TypeVar("T")
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepositoryLock:
    """A lock as ``restic cat lock`` shows it."""

    time: datetime
    host: str
    user: str
    pid: int

    def is_old(self, now: datetime) -> bool:
        """Whether restic would remove it for its age."""
        return now - self.time > STALE


def removable(
    locks: Sequence[RepositoryLock], *, host: str, user: str, now: datetime, alive: Callable[[int], bool]
) -> bool:
    """Whether ``restic unlock`` removes something, and nothing but locks of this user's dead processes
    here."""
    dead = [lock for lock in locks if lock.host == host and not alive(lock.pid)]
    stale = dead + [lock for lock in locks if lock not in dead and lock.is_old(now)]
    return bool(stale) and all(lock in dead and lock.user == user for lock in stale)


def unlocked(restic: Restic, attempt: Callable[[], T]) -> T:
    """What *attempt* gives; made once more after locks of our own dead processes were removed.

    :raises errors.RepositoryLocked: somebody else's lock is there, or one of a living process.
    """
    try:
        return attempt()
    except errors.RepositoryLocked:
        if not remove_own_locks(restic):
            raise
    return attempt()


def patiently(
    restic: Restic,
    attempt: Callable[[], T],
    seconds: float = PATIENCE,
    cancelled: threading.Event | None = None,
) -> T:
    """As :func:`unlocked`, and made again as long as somebody else's lock is there, which is told once.

    :param seconds: after which that is given up.
    :raises errors.Cancelled: *cancelled* was set meanwhile.
    """
    cancelled = cancelled or threading.Event()
    until = time.monotonic() + seconds
    told = False
    while True:
        try:
            return unlocked(restic, attempt)
        except errors.RepositoryLocked as exc:
            if time.monotonic() > until:
                raise
            if not told:
                LOG.warning("%s; waiting for up to %.0f s", exc.message, seconds)
                told = True
            if cancelled.wait(PAUSE):
                raise errors.Cancelled("interrupted") from None


def remove_own_locks(restic: Restic) -> bool:
    """Removes the locks of our own dead processes; whether there were any and no others are stale."""
    locks = _locks(restic)
    now = datetime.now(UTC)
    if not removable(locks, host=own_host(), user=_user(), now=now, alive=_is_alive):
        return False
    restic.run("unlock", doing="to remove the lock of a process that has died")
    return True


def _locks(restic: Restic) -> list[RepositoryLock]:
    listed = restic.run("list", "locks", "--no-lock", doing="to list the locks").decode().split()
    found = []
    for identifier in listed:
        try:
            text = restic.run("cat", "lock", identifier, "--no-lock", doing="to read a lock")
        except errors.RepositoryError:
            continue  # gone in the meantime
        lock = _parse(text)
        if lock:
            found.append(lock)
    return found


def _parse(text: bytes) -> RepositoryLock | None:
    try:
        document: Any = json.loads(text)
        time = parse_time(document["time"])
        host, user, pid = document["hostname"], document["username"], document["pid"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if time is None or not isinstance(pid, int):
        return None
    return RepositoryLock(time, str(host), str(user), pid)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
