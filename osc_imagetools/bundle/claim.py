# SPDX-License-Identifier: Apache-2.0
"""Claims the output directory of an export: for one process at a time, and only if it is an export's.

Contract: nothing is changed in a directory that was not made by an export, or that another process holds. If
two processes start at the same time, the lock (``flock``) on ``.export.lock`` decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.bundle import durable
from osc_imagetools.bundle.layout import (
    DIRECTORIES,
    LOCK,
    MANIFEST,
    STATE,
    SUMS,
    is_work_file,
)
from osc_imagetools.bundle.state import ExportState, format_state, unfinished_state
from osc_imagetools.bundle.tree import Tree, TreeEntry
from osc_imagetools.cloud.names import printable

ELSEWHERE = "Choose another --output, or move the directory away."
LOG = logging.getLogger(__name__)


@dataclass
class Claim:
    """A directory held by this process: a file in it is open and locked."""

    path: Path
    state: ExportState
    mode: int  # of the directory, before it was claimed
    _lock: int = field(repr=False)

    def write(self, data: bytes) -> None:
        """Replace the content of the lock file, durably."""
        os.ftruncate(self._lock, 0)
        os.lseek(self._lock, 0, os.SEEK_SET)
        durable.write_all(self._lock, data)
        os.fsync(self._lock)

    def release(self) -> None:
        """Release the directory."""
        os.close(self._lock)

    def restore_mode(self) -> None:
        """Restore the mode of a directory that existed before."""
        os.chmod(self.path, self.mode)


def claim(path: Path, wanted: ExportState) -> Claim:
    """Claim *path* for the export *wanted*: a new or empty directory, or an earlier attempt of the same
    export.

    :raises errors.BundleBusy, errors.OutputExists: see :meth:`BundleWriter.open`.
    :raises OSError: the file system refuses something.
    """
    while True:
        created = durable.make_directory(path)
        try:
            mode = _look(path)
            lock = _lock(path)
        except FileNotFoundError:
            continue  # the other process has just removed it: try again
        if lock is None:
            continue
        try:
            state = _take(path, lock, replace(wanted, created=created))
            held = Claim(path, state, mode, lock)
            held.write(f"{os.getpid()}\n".encode())
            return held
        except BaseException:
            try:
                if created:
                    _leave(path)
            finally:
                os.close(lock)
            raise


def _leave(path: Path) -> None:
    """Remove a directory that was created for an export that cannot start; best effort."""
    with contextlib.suppress(OSError):
        with Tree(path) as tree:
            found = [entry.path for entry in tree.entries()]
        if any("/" in name or not is_work_file(name) for name in found):
            return  # another process was faster and has data in it
        for name in found:
            durable.remove_file(path / name)
        path.rmdir()


def _look(path: Path) -> int:
    """Refuse what cannot be the output of this export; return the mode of the directory.

    :raises errors.OutputExists: it is not a directory, or holds other files.
    """
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(facts.st_mode) else "not a directory"
        raise errors.OutputExists(f"{path} exists and is {what}", hint=ELSEWHERE)
    if os.path.lexists(path / MANIFEST):
        raise errors.OutputExists(
            f"{path} already has a manifest: it is a complete bundle or an unrelated directory",
            hint=f"To check it: openstack bundle verify {path}\n{ELSEWHERE}",
        )
    with Tree(path) as tree:
        entries = tree.entries()
    ours = any(entry.path in (LOCK, STATE) for entry in entries)
    foreign = [printable(e.path) for e in entries if not _is_possible(e, ours)]
    if foreign:
        raise errors.OutputExists(
            f"{path} exists and has files that are not from an export: {', '.join(foreign[:5])}",
            hint=ELSEWHERE,
        )
    return stat.S_IMODE(facts.st_mode)


def _is_possible(entry: TreeEntry, ours: bool) -> bool:
    """Whether the entry can be from an export; *ours*: the directory has the lock or state of an export."""
    if entry.path in DIRECTORIES:
        return ours and entry.kind == "directory"
    known = is_work_file(entry.path) or (ours and (entry.path in SUMS or "/" in entry.path))
    return known and entry.kind == "file"


def _lock(path: Path) -> int | None:
    """The descriptor of the locked lock file; None if the file has been replaced in the meantime.

    :raises errors.BundleBusy: another process holds it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    lock = os.open(path / LOCK, flags, durable.FILE_MODE)
    kept = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(lock, durable.FILE_MODE)
        now = os.stat(path / LOCK, follow_symlinks=False)
        kept = os.path.samestat(now, os.fstat(lock))
        return lock if kept else None
    except BlockingIOError:
        holder = re.fullmatch(rb"([0-9]{1,20})\n", os.pread(lock, 32, 0))
        who = f"process {holder[1].decode()}" if holder else "another process"
        raise errors.BundleBusy(
            f"{path} is being written by {who}",
            hint="Wait until it has ended, or choose another --output.",
        ) from None
    except FileNotFoundError:
        return None
    finally:
        if not kept:
            os.close(lock)


def _take(path: Path, lock: int, wanted: ExportState) -> ExportState:
    """Check the locked directory again, since another process may have ended in between; write and return its
    state."""
    try:
        _look(path)
        found = _found(path)
        if found is not None and not (found.same_source(wanted) or found.same_name(wanted)):
            raise errors.OutputExists(
                f"{path} holds an unfinished export of {found.label()}",
                hint=f"Choose another --output, or delete {path} if you do not need that export.",
            )
    except errors.OutputExists:
        if os.fstat(lock).st_size == 0:  # just created: leave the directory unchanged
            durable.remove_file(path / LOCK)
        raise
    if found is not None and not found.same_source(wanted):
        # The transfer detects by size and hash that the existing data cannot be used.
        LOG.warning(
            "%s holds an unfinished export of %s, but this name is now %s: starting over",
            path,
            found.label(),
            wanted.label(),
        )
    state = replace(wanted, created=found.created, files=found.files) if found else wanted
    with contextlib.suppress(PermissionError):  # a writable directory of another user
        os.chmod(path, durable.DIRECTORY_MODE)
    for name in SUMS:
        durable.remove_file(path / name)
    durable.write_atomic(path / STATE, format_state(state))
    return state


def _found(path: Path) -> ExportState | None:
    """The state of an earlier attempt; None if there was none.

    :raises errors.OutputExists: the state is invalid, or there are files without a state.
    """
    with Tree(path) as tree:
        if state := unfinished_state(tree):
            return state
        entries = {entry.path for entry in tree.entries()}
    if STATE in entries or any(path not in (LOCK,) and not is_work_file(path) for path in entries):
        raise errors.OutputExists(
            f"{path} holds an unfinished export of an unknown resource",
            hint=f"Choose another --output, or delete {path}.",
        )
    return None
