# SPDX-License-Identifier: Apache-2.0
"""Where the embedded cloud keeps its bytes, on files or on Ceph, and how a test reads them there.

Contract: what a test needs to know about the cloud's storage it asks here; ``devcloud env`` tells which one
that is. A disk is named as QEMU's programs name it: the path of a file, or the address of an RBD image.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tempfile

# The state directory of the cloud; the variable names another file where a test has a clouds.yaml of its own.
STATE = pathlib.Path(os.environ["OS_CLIENT_CONFIG_FILE"]).parent
CEPH = os.environ.get("DEVCLOUD_STORAGE", "file") == "ceph"
# Glance's stores: one that answers a Range with 206, one that refuses it, and where images go unless told.
RANGES = "file"
NO_RANGES = "rbd" if CEPH else "rbdlike"
DEFAULT = "rbd" if CEPH else "file"
# A store that keeps an image as a file, and the folder of these files.
FOLDERS = {"file": "images"} if CEPH else {"file": "images", "rbdlike": "images-rbdlike"}


def image_disk(image_id: str, store: str = DEFAULT) -> str:
    """The data of an image."""
    if store in FOLDERS:
        return str(STATE / FOLDERS[store] / image_id)
    return _rbd(f"images/{image_id}")


def volume_disk(volume_id: str) -> str:
    """The data of a volume; on files, of one that has no snapshot."""
    return _rbd(f"volumes/volume-{volume_id}") if CEPH else str(STATE / "share" / f"volume-{volume_id}")


def differs(disk: str, form: str, content: pathlib.Path) -> str:
    """How a disk differs from this content with zeros behind it, "" where it does not.

    The disk may be in use. An RBD image is always addressed as raw.
    """
    with tempfile.TemporaryDirectory() as folder:
        if disk.startswith("rbd:") and form != "raw":  # QEMU would need room to write for some formats
            copy = pathlib.Path(folder) / "disk"
            qemu_img("convert", "-f", "raw", "-O", "raw", disk, str(copy))
            disk = str(copy)
        command = ["qemu-img", "compare", "-U", "-f", form, "-F", "raw", disk, str(content)]
        compared = subprocess.run(command, capture_output=True, text=True)
        return "" if compared.returncode == 0 else compared.stdout + compared.stderr


def read(disk: str, offset: int, length: int) -> bytes:
    """Bytes of a raw disk, which may be in use; both are multiples of 512."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "bytes"
        words = ("bs=512", f"skip={offset // 512}", f"count={(offset + length) // 512}")
        qemu_img("dd", "-U", "-f", "raw", "-O", "raw", *words, f"if={disk}", f"of={copy}")
        return copy.read_bytes()


def size(disk: str) -> int:
    """The bytes that a raw disk shows."""
    words = ["qemu-img", "info", "-U", "-f", "raw", "--output", "json", disk]
    shown = subprocess.run(words, check=True, capture_output=True)
    return int(json.loads(shown.stdout)["virtual-size"])


def parent(volume_id: str) -> str | None:
    """On Ceph, the RBD image that a volume is a clone of."""
    conf = str(STATE / "conf" / "ceph.conf")
    shown = subprocess.run(
        ["rbd", "-c", conf, "info", f"volumes/volume-{volume_id}"], capture_output=True, text=True, check=True
    )
    parents = [line.split(":", 1)[1].strip() for line in shown.stdout.splitlines() if "parent:" in line]
    return parents[0] if parents else None


def _rbd(image: str) -> str:
    return f"rbd:{image}:conf={STATE / 'conf' / 'ceph.conf'}"


def qemu_img(*words: str) -> None:
    """Runs ``qemu-img``."""
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)
