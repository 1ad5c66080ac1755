# SPDX-License-Identifier: Apache-2.0
"""The bundles of one server at the destination of a policy.

Contract: of what is there it reads the manifests of that server only, so that a run over many does not read
all bundles for each.
"""

from __future__ import annotations

import os

from osc_imagetools import errors
from osc_imagetools.backup_check.bundles import BundleCopy
from osc_imagetools.backup_run.destination import backup_destination
from osc_imagetools.backup_run.plan_policy import BackupPolicy


def copies_of(policy: BackupPolicy, server_id: str) -> list[BundleCopy]:
    """The bundles of a server; waits for nobody.

    :raises errors.RepositoryLocked: another process removes something.
    :raises errors.ImagetoolsError: they cannot be read.
    """
    return backup_destination(policy.target, os.environ).copies(server_id, wait=False)


def reservable(policy: BackupPolicy, server_id: str) -> bool:
    """Whether no command on this file system works on a server.

    :raises errors.ImagetoolsError: the destination cannot be written to.
    """
    try:
        os.close(backup_destination(policy.target, os.environ).reserve(server_id))
    except errors.BundleBusy:
        return False
    return True
