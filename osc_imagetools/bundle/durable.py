# SPDX-License-Identifier: Apache-2.0
"""Files that are either complete and durable under their name, or do not exist.

Contract: nothing is written through a symbolic link; directories get mode 0700 and files 0600 whatever the
umask; a function returns when its effect would survive a power failure. Callers hold the lock of the bundle,
so an existing temporary file is from an export that was killed.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.bundle.layout import WORK_PREFIX

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that says what to do.

    :raises errors.NoSpace: the file system or its quota is full.
    :raises errors.ImagetoolsError: anything else.
    """
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno in NO_ROOM:
            raise errors.NoSpace(
                f"Cannot write to {path}: {reason}",
                hint="Free some space and run the same command again: it resumes the export.",
            ) from exc
        if exc.errno == errno.ENOENT and not path.parent.is_dir():
            raise errors.ImagetoolsError(
                f"Cannot write into {path}: the directory {path.parent} does not exist",
                hint=f"Make it: mkdir -p {shlex.quote(str(path.parent))}",
            ) from exc
        raise errors.ImagetoolsError(
            f"Cannot write to {path}: {exc.filename or path}: {reason}",
            hint="Choose another --output, or make the directory writable.",
        ) from exc


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> bool:
    """Create a private directory; False if the name exists already."""
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        return False
    os.chmod(path, DIRECTORY_MODE)
    sync_directory(path.parent)
    return True


def write_atomic(path: Path, data: bytes) -> None:
    """Write a private file under a temporary name, and rename it when it is durable."""
    temporary = path.parent / f"{WORK_PREFIX}{path.name}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    sync_directory(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all data; continue after short writes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def remove_file(path: Path) -> None:
    """Remove a file, which may not exist."""
    with suppress(FileNotFoundError):
        os.unlink(path)
