# SPDX-License-Identifier: Apache-2.0
"""Taking possession of the output of an export: one process at a time, and only what is ours.

Contract: nothing is changed in a directory that is not ours, or that somebody else holds. Two
processes that come at the same moment are told apart by the lock (``flock``) on ``.export.lock``.
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
from osc_imagetools.bundle import durable, strict_json
from osc_imagetools.bundle.layout import (
    DIRECTORIES,
    LOCK,
    MANIFEST,
    STATE,
    SUMS,
    is_work_file,
)
from osc_imagetools.bundle.state import ExportState, format_state, parse_state, state_of_manifest
from osc_imagetools.bundle.tree import Tree, TreeEntry
from osc_imagetools.cloud.names import printable

ELSEWHERE = "Choose another --output, or move it away."
LOG = logging.getLogger(__name__)


@dataclass
class Claim:
    """A directory that this process holds, by an open and locked file in it."""

    path: Path
    state: ExportState
    mode: int  # that the directory had before
    _lock: int = field(repr=False)

    def write(self, data: bytes) -> None:
        """Replaces the content of the lock file, durably."""
        os.ftruncate(self._lock, 0)
        os.lseek(self._lock, 0, os.SEEK_SET)
        durable.write_all(self._lock, data)
        os.fsync(self._lock)

    def release(self) -> None:
        """Lets go of the directory."""
        os.close(self._lock)

    def restore_mode(self) -> None:
        """Gives a directory that was there before its mode back."""
        os.chmod(self.path, self.mode)


def claim(path: Path, wanted: ExportState) -> Claim:
    """Holds *path* for the export *wanted*: new, empty, or left by an earlier attempt of the same
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
            continue  # the one who held it has just removed it: from the start
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
    """Removes a directory that was made for an export that cannot even begin; best effort."""
    with contextlib.suppress(OSError):
        with Tree(path) as tree:
            found = [entry.path for entry in tree.entries()]
        if any("/" in name or not is_work_file(name) for name in found):
            return  # another process was quicker, and has data in it
        for name in found:
            durable.remove_file(path / name)
        path.rmdir()


def _look(path: Path) -> int:
    """Refuses what cannot be the output of this export; the mode of the directory.

    :raises errors.OutputExists: it is something else than a directory, or holds something else.
    """
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        what = "a link" if stat.S_ISLNK(facts.st_mode) else "no directory"
        raise errors.OutputExists(f"{path} exists and is {what}", hint=ELSEWHERE)
    if os.path.lexists(path / MANIFEST):
        raise errors.OutputExists(
            f"{path} has a manifest already: it is a complete bundle, or somebody else's directory",
            hint=f"See what it is with: openstack bundle verify {path}\n{ELSEWHERE}",
        )
    with Tree(path) as tree:
        entries = tree.entries()
    ours = any(entry.path in (LOCK, STATE) for entry in entries)
    foreign = [printable(e.path) for e in entries if not _is_possible(e, ours)]
    if foreign:
        raise errors.OutputExists(
            f"{path} exists and has files that no export of ours made: {', '.join(foreign[:5])}",
            hint=ELSEWHERE,
        )
    return stat.S_IMODE(facts.st_mode)


def _is_possible(entry: TreeEntry, ours: bool) -> bool:
    """Whether an export can have left the entry; *ours*: beside a lock or a state of an export."""
    if entry.path in DIRECTORIES:
        return ours and entry.kind == "directory"
    known = is_work_file(entry.path) or (ours and (entry.path in SUMS or "/" in entry.path))
    return known and entry.kind == "file"


def _lock(path: Path) -> int | None:
    """The descriptor of the locked lock file; None when it was not the one of this name any more.

    :raises errors.BundleBusy: another process has it.
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
            hint="Wait until it ends, or choose another --output.",
        ) from None
    except FileNotFoundError:
        return None
    finally:
        if not kept:
            os.close(lock)


def _take(path: Path, lock: int, wanted: ExportState) -> ExportState:
    """The state of the export, written down, when the directory is locked; judged anew, for another
    process may have ended in between.
    """
    try:
        _look(path)
        found = _found(path)
        if found is not None and not (found.same_source(wanted) or found.same_name(wanted)):
            raise errors.OutputExists(
                f"{path} holds an export of {found.label()} that is not complete",
                hint=f"Choose another --output, or remove {path} if that export is not wanted.",
            )
    except errors.OutputExists:
        if os.fstat(lock).st_size == 0:  # made just now: nothing was changed
            durable.remove_file(path / LOCK)
        raise
    if found is not None and not found.same_source(wanted):
        # The transfer finds out by size and hash that nothing of what is there can be used.
        LOG.warning(
            "%s holds an unfinished export of %s; that name is now %s: starting over",
            path,
            found.label(),
            wanted.label(),
        )
    state = replace(wanted, created=found.created, files=found.files) if found else wanted
    with contextlib.suppress(PermissionError):  # somebody else's directory, in which we may write
        os.chmod(path, durable.DIRECTORY_MODE)
    for name in SUMS:
        durable.remove_file(path / name)
    durable.write_atomic(path / STATE, format_state(state))
    return state


def _found(path: Path) -> ExportState | None:
    """What an earlier attempt says of itself; None where there was none.

    :raises errors.OutputExists: it cannot be understood, or has no state but files.
    """
    with Tree(path) as tree:
        for name, parse in ((STATE, parse_state), (LOCK, state_of_manifest)):
            data = b""
            with contextlib.suppress(FileNotFoundError):
                data = tree.read(name, strict_json.MAX_BYTES + 1)
            state = parse(data) if data else None
            if state:
                return state
        entries = {entry.path for entry in tree.entries()}
    if STATE in entries or any(path not in (LOCK,) and not is_work_file(path) for path in entries):
        raise errors.OutputExists(
            f"{path} holds an export that is not complete, and it cannot be told of what",
            hint="Choose another --output, or remove it.",
        )
    return None
