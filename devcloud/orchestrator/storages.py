# SPDX-License-Identifier: Apache-2.0
"""Where a cloud can keep its images, volumes and servers' disks.

Contract: ``STORAGES`` has every value that ``DEVCLOUD_STORAGE`` may have, and all that depends on
it, but for the templates in ``conf/``, of which each storage has a folder.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Storage:
    """One kind of storage."""

    # Of the default state directory.
    suffix: str
    # Glance's stores, and the default one of them; the other way round for ranges: which of them
    # answers a Range with 206, and which with 400.
    glance_stores: tuple[str, ...]
    glance_default: str
    serves_ranges: str
    refuses_ranges: str
    # Cinder's section, and what its volume types name.
    cinder_backend: str
    # Can Nova attach an encrypted volume?
    attaches_encrypted: bool
    debian_packages: tuple[str, ...] = ()


STORAGES = {
    "file": Storage(
        suffix="",
        glance_stores=("file", "rbdlike"),
        glance_default="file",
        serves_ranges="file",
        refuses_ranges="rbdlike",
        cinder_backend="nfs",
        attaches_encrypted=False,
    ),
    "ceph": Storage(
        suffix="-ceph",
        glance_stores=("rbd", "file"),
        glance_default="rbd",
        serves_ranges="file",
        refuses_ranges="rbd",
        cinder_backend="rbd",
        attaches_encrypted=True,
        debian_packages=(
            "ceph-mon",
            "ceph-mgr",
            "ceph-osd",
            "python3-rados",
            "python3-rbd",
            "qemu-block-extra",  # QEMU's RBD driver
        ),
    ),
}
