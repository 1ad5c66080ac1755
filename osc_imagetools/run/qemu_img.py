# SPDX-License-Identifier: Apache-2.0
"""Converts a disk on this machine with qemu-img, for an upload in another format.

Contract: the source has been inspected before (no backing file, no data file, no foreign extent), and its
format is given, never guessed. The result is temporary: it goes as soon as it has been sent, and by the
undo of the run at the latest.
Source: https://www.qemu.org/docs/master/tools/qemu-img.html
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.operations.drafts import CONVERTIBLE
from osc_imagetools.run.context import RunContext

# By default a VHD has the size that old controllers can address, which is another one.
OPTIONS = {"vhd": ("-o", "force_size=on")}


def check_converter() -> None:
    """:raises errors.ResourceUnusable: qemu-img is not installed."""
    if shutil.which("qemu-img") is None:
        raise errors.ResourceUnusable(
            "--disk-format needs qemu-img, which is not on PATH",
            hint="Install it: apt-get install qemu-utils",
        )


@contextmanager
def converted(context: RunContext, source: Path, content_format: str, disk_format: str) -> Iterator[Path]:
    """The path of a file with the same disk in another format, as long as the context lasts.

    It is in ``TMPDIR``, or beside the bundle where that is not set; raises as :func:`convert_file`.
    """
    with temporary_folder(context, source.absolute().parents[2]) as folder:
        yield convert_file(context, source, folder, content_format, disk_format)


@contextmanager
def temporary_folder(context: RunContext, beside: Path) -> Iterator[Path]:
    """A directory of our own in ``TMPDIR``, or in *beside* where that is not set and can be written to.

    :raises errors.ResourceUnusable: it cannot be made.
    """
    parent = None if "TMPDIR" in os.environ or not os.access(beside, os.W_OK) else beside
    try:
        folder = Path(tempfile.mkdtemp(prefix=".osc-imagetools-", dir=parent))
    except OSError as exc:
        raise errors.ResourceUnusable(
            f"no temporary directory can be made: {exc}", hint="Set TMPDIR."
        ) from exc
    entry = context.cleanup.register(f"directory {folder}", functools.partial(_remove, folder))
    yield folder
    entry.run()


def convert_file(
    context: RunContext, source: Path, folder: Path, content_format: str, disk_format: str
) -> Path:
    """The path of a file in *folder* with the same disk in another format (both as Glance calls them).

    :raises errors.NoSpace: not even the source's size is free there.
    :raises errors.ResourceUnusable: qemu-img fails.
    """
    free, size = shutil.disk_usage(folder).free, source.stat().st_size
    if free < size:
        raise errors.NoSpace(
            f"{folder.parent}: {size - free} bytes are missing to convert {source.name}",
            hint="Set TMPDIR to a directory with more room.",
        )
    target = folder / f"{source.stem}.{disk_format}"
    command = [
        *("qemu-img", "convert", "-f", CONVERTIBLE[content_format], "-O", CONVERTIBLE[disk_format]),
        *OPTIONS.get(disk_format, ()),
        *(str(source), str(target)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        context.deadline.until(f"{source.name} to be converted", lambda: process.poll() is not None)
    except errors.ImagetoolsError:
        process.kill()
        raise
    finally:
        _, said = process.communicate()
    if process.returncode:
        reason = said.decode(errors="replace").strip()[:300]
        raise errors.ResourceUnusable(f"{source.name} cannot be converted: {reason}")
    return target


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
