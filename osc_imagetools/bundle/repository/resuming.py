# SPDX-License-Identifier: Apache-2.0
"""Which bundle an export into a repository writes: one that it began before, or a new one.

Contract: no two living exports write one bundle. An incomplete bundle of the same resource is gone on with if
exports on this machine have stored all of it and no process on this machine writes it now: a name that the
kernel gives to one process at a time, and takes back when that ends, however it ends. A bundle that another
machine has begun is left alone: nobody here can tell whether it is still written.
Source: unix(7), abstract sockets.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from osc_imagetools.bundle.repository.catalog import stored_bundles
from osc_imagetools.bundle.repository.restic import Restic, own_host
from osc_imagetools.bundle.repository.snapshots import subject_value


@contextmanager
def export_bundle_id(restic: Restic, kind: str, subject: str) -> Iterator[tuple[str, bool]]:
    """The ID of the bundle, which is this process's within the context; whether the ID is a new one.

    :raises errors.RepositoryError: the snapshots cannot be listed.
    """
    for found in reversed(_incomplete(restic, kind, subject)):
        claimed = claimed_name(f"bundle-{found}")
        if claimed is None:
            continue
        with claimed:
            # Whoever had it may have finished it before its name was free.
            if found in _incomplete(restic, kind, subject):
                yield found, False
                return
    new = str(uuid.uuid4())
    claimed = claimed_name(f"bundle-{new}")
    assert claimed is not None
    with claimed:
        yield new, True


def _incomplete(restic: Restic, kind: str, subject: str) -> list[str]:
    """The IDs of bundles that may be gone on with, oldest first."""
    wanted, host = (kind, subject_value(subject)), own_host()
    return [
        bundle.id
        for bundle in stored_bundles(restic)
        if (bundle.kind, bundle.subject) == wanted and bundle.begun_by_export(host)
    ]


def claimed_name(name: str) -> socket.socket | None:
    """A name on this machine: closing all copies gives it up; None where another process has it."""
    claimed = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claimed.bind(f"\0osc-imagetools-{name}")
    except OSError:
        claimed.close()
        return None
    return claimed
