# SPDX-License-Identifier: Apache-2.0
"""Reads a disk in any format as a stream of raw bytes, without a file in between.

Contract: ``qemu-nbd`` reads the open file, with the limits of :mod:`osc_imagetools.data.qemu_img`, and
``nbdcopy`` writes its bytes to a pipe, in order. The end of the stream counts only when both programs ended
well and the original has the hash that it must have, which a thread of its own computes meanwhile. The caller
has inspected the same open file. Where nbdcopy is not installed, disks are converted into a temporary file:
whoever has a small disk needs no more packages, whoever has a large one needs no more space.
Source: https://libguestfs.org/nbdcopy.1.html , https://www.qemu.org/docs/master/tools/qemu-nbd.html
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, BinaryIO

from osc_imagetools import errors
from osc_imagetools.data import qemu_img
from osc_imagetools.data.download_source import Proof

READER, COPIER = "qemu-nbd", "nbdcopy"
LOWEST = 10  # the first descriptors are those of the protocol between the two
PIECE = 1 << 20  # bytes that are hashed at a time


def is_installed() -> bool:
    """Whether both programs are on PATH."""
    return all(shutil.which(program) for program in (READER, COPIER))


class RawReader:
    """The raw bytes; see :class:`osc_imagetools.data.disk_stream.DiskReader`."""

    def __init__(self, pipe: IO[bytes], ended: Callable[[], None]) -> None:
        self._pipe = pipe
        self._ended = ended

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes; none at the end, which is checked.

        :raises errors.ImagetoolsError: a program failed, or the original is not what it must be.
        """
        data = self._pipe.read(size)
        if not data:
            self._ended()
        return data


@contextmanager
def raw_stream(
    stream: BinaryIO,
    content_format: str,
    *,
    label: str,
    proof: Proof | None,
    cancelled: threading.Event,
    mismatch: Callable[[str], errors.TransferError],
) -> Iterator[RawReader]:
    """The raw bytes of a disk.

    :param stream: an open regular file, which has been inspected.
    :param content_format: what it is, as Glance calls it.
    :param proof: what the file itself must hash to; None: it was proven when it came.
    :param mismatch: makes the error for a file that has another hash.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hash")
    over = threading.Event()
    file = fcntl.fcntl(stream.fileno(), fcntl.F_DUPFD_CLOEXEC, LOWEST)
    try:
        hashed = pool.submit(_hash, file, proof.algorithm, over, cancelled) if proof else None
        source = qemu_img.source_node(file, content_format)
        command = [COPIER, "--", "[", READER, "--read-only", source, "]", "-"]
        with qemu_img.started(command, file, stderr=subprocess.PIPE) as process:
            said = qemu_img.Output(process.stderr)
            assert process.stdout is not None

            def ended() -> None:
                if process.wait():
                    raise errors.ResourceUnusable(
                        f"{label} cannot be read: {said.text() or COPIER + ' failed'}"
                    )
                if hashed is not None and proof is not None:
                    _compare(hashed, proof, mismatch)

            with process.stdout:
                yield RawReader(process.stdout, ended)
                over.set()
    finally:
        over.set()
        pool.shutdown()
        os.close(file)


def _compare(hashed: Future[str], proof: Proof, mismatch: Callable[[str], errors.TransferError]) -> None:
    digest = hashed.result()
    if digest != proof.value:
        raise mismatch(f"its {proof.algorithm} is {digest}")


def _hash(file: int, algorithm: str, over: threading.Event, cancelled: threading.Event) -> str:
    """The hash of an open file, read beside whoever else reads it."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    position = 0
    while data := os.pread(file, PIECE, position):
        if over.is_set() or cancelled.is_set():
            break
        digest.update(data)
        position += len(data)
    return digest.hexdigest()
