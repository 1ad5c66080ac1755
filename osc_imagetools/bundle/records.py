# SPDX-License-Identifier: Apache-2.0
"""What happened to a bundle after its export: a JSON file each below ``records/``.

Contract: beside the proof, not part of it: no sum covers a record, no record makes a bundle better or
worse, and none is trusted for more than showing. A record that cannot be understood, half of one say, is
left out; a new one never replaces another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from osc_imagetools.bundle import durable, strict_json
from osc_imagetools.bundle.layout import RECORDS, is_record
from osc_imagetools.bundle.manifest import format_json
from osc_imagetools.bundle.tree import Tree

FORMAT = "osc-imagetools-record"
FORMAT_VERSION = 1
MAX_BYTES = 1024 * 1024
MAX_RECORDS = 1000  # the newest, by name
RESTORE_CHECK = "restore-check"
BOOTED, FAILED, NOT_PROVEN = "booted", "failed", "not-proven"  # its results
_WORD = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class BundleRecord:
    """Something that happened to a bundle.

    :param type: a word, as ``restore-check``.
    :param at: when: RFC 3339, in UTC, without fractions: ``2026-01-02T03:04:05Z``.
    :param result: a word, as ``booted``.
    :param details: anything else that JSON can carry.
    """

    type: str
    at: str
    result: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def proves_restore(self) -> bool:
        """Whether the bundle was restored and its server has booted."""
        return (self.type, self.result) == (RESTORE_CHECK, BOOTED)

    @property
    def file(self) -> str:
        """The path of the record in a bundle; another one where there is one already."""
        return f"{RECORDS}/{re.sub('[-:]', '', self.at)}-{self.type}.json"


def format_record(record: BundleRecord) -> bytes:
    """The content of the file.

    :raises ValueError: it could not be read again.
    """
    data = format_json(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "type": record.type,
            "at": record.at,
            "result": record.result,
            "details": dict(record.details),
        }
    )
    if parse_record(data) != record:
        raise ValueError(f"{record} cannot be a record")
    return data


def parse_record(data: bytes) -> BundleRecord | None:
    """The record in the bytes of a file; None where it is not one of this version."""
    if len(data) > MAX_BYTES:
        return None
    try:
        document = strict_json.parse(data)
    except strict_json.InvalidJSON:
        return None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return None
    kind, at, result, details = (document.get(key) for key in ("type", "at", "result", "details"))
    if document.get("format_version") != FORMAT_VERSION or not isinstance(details, dict):
        return None
    if not all(isinstance(word, str) and _WORD.fullmatch(word) for word in (kind, result)):
        return None
    return BundleRecord(kind, at, result, details) if _is_time(at) else None  # type: ignore[arg-type]


def write_record(bundle: Path, record: BundleRecord) -> Path:
    """Adds a record to the bundle in a directory; the path of its file.

    :raises errors.ImagetoolsError: the file system refuses it.
    """
    data = format_record(record)
    with durable.storing(bundle):
        durable.make_directory(bundle / RECORDS)
        for number in range(1, MAX_RECORDS):
            path = bundle / record.file
            if number > 1:
                path = path.with_name(f"{path.stem}-{number}.json")
            if _create(path, data):
                return path
    raise ValueError(f"{bundle} has too many records of {record.at}")


def read_records(bundle: Path) -> list[BundleRecord]:
    """The records of the bundle in a directory, oldest first; none where they cannot be read."""
    found = []
    try:
        with Tree(bundle) as tree:
            files = [e.path for e in tree.entries() if e.kind == "file" and is_record(e.path)]
            for file in sorted(files)[-MAX_RECORDS:]:
                record = parse_record(tree.read(file, MAX_BYTES + 1))
                if record:
                    found.append(record)
    except OSError:
        pass
    return sorted(found, key=lambda record: record.at)


def _create(path: Path, data: bytes) -> bool:
    """Writes a new file; False where there is one of this name."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, durable.FILE_MODE)
    except FileExistsError:
        return False
    try:
        os.fchmod(descriptor, durable.FILE_MODE)
        durable.write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    durable.sync_directory(path.parent)
    return True


def _is_time(text: Any) -> bool:
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
