# SPDX-License-Identifier: Apache-2.0
"""Converts a disk on this machine with qemu-img, for an upload in another format.

Contract: the source has been inspected before (no backing file, no data file, no foreign extent), and its
format is given, never guessed. The result is temporary and removed by the undo of the run.
Source: https://www.qemu.org/docs/master/tools/qemu-img.html
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.execution.block_storage import Workshop

# Glance's disk_format -> qemu-img's format
FORMATS = {
    "raw": "raw",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vdi": "vdi",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "iso": "raw",
}


def check_converter() -> None:
    """:raises errors.ResourceUnusable: qemu-img is not installed."""
    if shutil.which("qemu-img") is None:
        raise errors.ResourceUnusable(
            "--disk-format needs qemu-img, which is not on PATH",
            hint="Install it: apt-get install qemu-utils",
        )


def convert(shop: Workshop, source: Path, content_format: str, disk_format: str) -> Path:
    """The path of a temporary file with the same disk in another format.

    :raises errors.ResourceUnusable: qemu-img cannot read the format, or fails.
    """
    if content_format not in FORMATS:
        raise errors.ResourceUnusable(f"{source.name}: {content_format} cannot be converted")
    folder = Path(tempfile.mkdtemp(prefix="osc-imagetools-"))
    shop.undo.register(f"directory {folder}", lambda: shutil.rmtree(folder, ignore_errors=True))
    target = folder / f"{source.stem}.{disk_format}"
    command = [
        "qemu-img", "convert", "-f", FORMATS[content_format], "-O", FORMATS[disk_format],
        str(source), str(target),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        shop.patience.until(f"{source.name} to be converted", lambda: process.poll() is not None)
    except errors.ImagetoolsError:
        process.kill()
        raise
    finally:
        _, said = process.communicate()
    if process.returncode:
        reason = said.decode(errors="replace").strip()[:300]
        raise errors.ResourceUnusable(f"{source.name} cannot be converted: {reason}")
    return target
