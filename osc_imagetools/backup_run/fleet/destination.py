# SPDX-License-Identifier: Apache-2.0
"""The bundles of one server at the destination of a policy.

Contract: reads what concerns one server only, so that a run over many does not read all bundles for each.
"""

from __future__ import annotations

import os
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.backup_check.bundles import BundleCopy
from osc_imagetools.backup_run.destination import BundleDirectory
from osc_imagetools.backup_run.plan_policy import BackupPolicy


def copies_of(policy: BackupPolicy, server_id: str) -> list[BundleCopy]:
    """The bundles of a server.

    :raises errors.ImagetoolsError: they cannot be read.
    """
    return BundleDirectory(Path(policy.directory) / server_id).copies()


def reservable(policy: BackupPolicy, server_id: str) -> bool:
    """Whether no command on this file system works on a server.

    :raises errors.ImagetoolsError: the destination cannot be written to.
    """
    try:
        os.close(BundleDirectory(Path(policy.directory)).reserve(server_id))
    except errors.BundleBusy:
        return False
    return True
