# SPDX-License-Identifier: Apache-2.0
"""Looks into Ceph: what a volume shares its data with."""

import rados
import rbd


def parent(settings, volume):
    """Pool and name of what a volume is a clone of; None if it is no clone."""
    with (
        rados.Rados(conffile=str(settings.conf / "ceph.conf"), rados_id="admin") as cluster,
        cluster.open_ioctx("volumes") as pool,
        rbd.Image(pool, f"volume-{volume}", read_only=True) as image,
    ):
        try:
            return image.parent_info()[:2]
        except rbd.ImageNotFound:
            return None
