# SPDX-License-Identifier: Apache-2.0
"""The names in a bundle: its files, its work files, and the paths that it may contain.

Contract: pure. A bundle has two directories, ``disks`` and ``metadata``, with plain files in them, and two
files beside them: the manifest and the sums; ``records`` is no part of what they prove. No path that passes
:func:`path_problem` can leave the bundle, whatever wrote it.
"""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

MANIFEST = "manifest.json"
DISKS = "disks"
METADATA = "metadata"
DIRECTORIES = (DISKS, METADATA)
RECORDS = "records"  # what happened to the bundle later: optional, beside the proof

# Those with a program in coreutils (sha512sum), so that a bundle can be verified without this package.
ALGORITHMS = ("sha224", "sha256", "sha384", "sha512")

# Work files exist while an export runs, and after one that was interrupted.
WORK_PREFIX = ".export."
LOCK = WORK_PREFIX + "lock"
STATE = WORK_PREFIX + "json"

LONGEST_NAME = 200  # bytes of UTF-8, so that a suffix still fits into the 255 of a file name
LONGEST_FILE_NAME = 255


def sums_name(algorithm: str) -> str:
    """The name of the file with the hashes: ``SHA512SUMS`` for sha512."""
    return f"{algorithm.upper()}SUMS"


SUMS = tuple(sums_name(algorithm) for algorithm in ALGORITHMS)


def digest_length(algorithm: str) -> int:
    """The number of hexadecimal digits of a hash."""
    return hashlib.new(algorithm).digest_size * 2


def digest_of(data: bytes, algorithm: str) -> str:
    """The hash of bytes in memory, in hexadecimal digits."""
    return hashlib.new(algorithm, data).hexdigest()


def default_output(name: str | None, identifier: str) -> Path:
    """The default path of a bundle: ``./<name>.bundle``.

    In the name, ``/`` and control characters become ``_``. If it is empty, begins with a dot or is longer
    than 200 bytes, the ID is used.
    """
    plain = _plain(name or "")
    if not plain or plain.startswith(".") or len(plain.encode()) > LONGEST_NAME:
        plain = _plain(identifier)
    return Path(f"{plain}.bundle")


def _plain(text: str) -> str:
    return "".join("_" if c == "/" or unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def path_problem(path: str) -> str | None:
    """What is wrong with the path of a listed file, as the end of a sentence; None if it is valid."""
    if not path:
        return "is empty"
    if not path.isprintable():
        return "has unprintable characters"
    if "\\" in path:
        return "has a backslash"
    if path.startswith("/"):
        return "is absolute"
    parts = path.split("/")
    if ".." in parts:
        return "points outside the bundle"
    if len(parts) != 2 or parts[0] not in DIRECTORIES:
        return f"is not in {DISKS}/ or {METADATA}/"
    if not parts[1] or parts[1].startswith("."):
        return "has an empty or hidden name"
    if len(parts[1].encode()) > LONGEST_FILE_NAME:
        return f"has a name longer than {LONGEST_FILE_NAME} bytes"
    return None


def is_record(path: str) -> bool:
    """Whether a path below the bundle is that of a record, which nothing lists."""
    directory, _, name = path.partition("/")
    return directory == RECORDS and name.endswith(".json") and not name.startswith(".") and "/" not in name


def same_file_key(path: str) -> str:
    """Paths with the same key are the same file on some file systems (case, composed characters)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_work_file(path: str) -> bool:
    """Whether a path in the bundle is a work file of an export, and not part of the finished bundle."""
    directory, _, name = path.rpartition("/")
    if directory == DISKS:
        return name.startswith(".")
    return directory in ("", METADATA) and name.startswith(WORK_PREFIX)


def is_mark(name: str) -> bool:
    """Whether an entry with this name indicates that a directory is a bundle, complete or not."""
    return name in (MANIFEST, *DIRECTORIES, *SUMS) or name.startswith(WORK_PREFIX)
