# SPDX-License-Identifier: Apache-2.0
"""What is known of a file that is finished: ``.{name}.done`` beside it, until the bundle is
complete.

Contract: written before the file gets its final name, so that whoever finds a file with a record
knows that this export made it, and of which data. The file is hashed again all the same before it
is kept.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from osc_imagetools.data.blockmap import open_private
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.names import record_path

_LONGEST = 64 * 1024


@dataclass(frozen=True)
class Record:
    """``proof`` is the hash that the cloud promised; ``digests`` what was computed, algorithm to
    hex.
    """

    proof: str | None
    size: int
    digests: Mapping[str, str]

    def belongs_to(self, source: DownloadSource) -> bool:
        """Whether the cloud promises the same data now; without a promise nobody can know."""
        return source.proof is not None and str(source.proof) == self.proof and source.size == self.size


def write_record(target: Path, source: DownloadSource, size: int, digests: Mapping[str, str]) -> None:
    """Write the record of a file that is about to get its final name. Raises OSError."""
    path = record_path(target)
    path.unlink(missing_ok=True)
    document = {
        "format": "osc-imagetools-done",
        "version": 1,
        "proof": str(source.proof) if source.proof else None,
        "size": size,
        "digests": dict(digests),
    }
    with open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file:
        file.write(json.dumps(document, sort_keys=True).encode())
        os.fsync(file.fileno())


def read_record(target: Path) -> Record | None:
    """The record of a file, or None if there is none that can be read. Raises OSError."""
    try:
        if not stat.S_ISREG(record_path(target).lstat().st_mode):
            return None
        with open_private(record_path(target), os.O_RDWR) as file:
            document = json.loads(file.read(_LONGEST) or b"")
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    match document:
        case {
            "format": "osc-imagetools-done",
            "version": 1,
            "proof": str() | None as proof,
            "size": int(size),
            "digests": dict(digests),
        }:
            return Record(proof, size, digests)
    return None
