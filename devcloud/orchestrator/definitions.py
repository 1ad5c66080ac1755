# SPDX-License-Identifier: Apache-2.0
"""What libvirt keeps about the cloud's servers, in the one place that it keeps such things in.

Contract: after ``put_away`` nothing of this cloud is left there, and ``bring_back`` puts it there
again. Nova numbers the servers of each cloud from one: a definition that stayed would be in the way
of the first servers of another cloud, or of this one after its data is removed. Call both while
libvirtd does not run.
"""

from __future__ import annotations

import pathlib
import shutil

from orchestrator.settings import Settings

LIBVIRT = pathlib.Path("/etc/libvirt/qemu")


def put_away(settings: Settings) -> None:
    """Move the definitions that name a file of this cloud below its state directory."""
    kept = _kept(settings)
    kept.mkdir(parents=True, exist_ok=True)
    for file in LIBVIRT.glob("*.xml"):
        # Each server has a console log below the state directory, wherever its disks are.
        if f"{settings.state}/" in file.read_text():
            shutil.move(file, kept / file.name)


def bring_back(settings: Settings) -> None:
    """Move them back."""
    LIBVIRT.mkdir(parents=True, exist_ok=True)
    for file in _kept(settings).glob("*.xml"):
        shutil.move(file, LIBVIRT / file.name)


def _kept(settings: Settings) -> pathlib.Path:
    return settings.state / "libvirt" / "definitions"
