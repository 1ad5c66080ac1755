# SPDX-License-Identifier: Apache-2.0
"""Records of a bundle in a repository: a snapshot each, with the type and the result in its tags as well.

Contract: as :mod:`osc_imagetools.bundle.records`; what the tags say is enough to show a record, so nothing
has to be read for a list.
"""

from __future__ import annotations

from osc_imagetools.bundle.records import MAX_BYTES, BundleRecord, format_record, parse_record
from osc_imagetools.bundle.repository.catalog import RepositoryBundle
from osc_imagetools.bundle.repository.disk_writer import RepositoryFileWriter
from osc_imagetools.bundle.repository.reader import read_file
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.snapshots import RECORD, RESULT, ROOT, bundle_tags


def store_record(restic: Restic, record: BundleRecord, *, bundle_id: str, kind: str, subject: str) -> None:
    """Adds a record to the bundle with this ID.

    :param subject: the ID of what it was exported of.
    :raises errors.RepositoryError: restic failed; there is no record then.
    """
    words = (f"{RECORD}{record.type}", f"{RESULT}{record.result}")
    tags = bundle_tags(bundle_id, kind, subject, *words)
    with RepositoryFileWriter(restic, record.file, tags) as writer:
        writer.write(format_record(record))
        writer.finish()


def stored_records(restic: Restic, bundle: RepositoryBundle) -> list[BundleRecord]:
    """The records of a bundle with their details, oldest first; what is not understood is left out.

    :raises errors.RepositoryError: restic failed.
    """
    found = []
    for snapshot in bundle.stored.records:
        for path in snapshot.paths[:1]:
            record = parse_record(read_file(restic, snapshot.id, path.removeprefix(ROOT), MAX_BYTES + 1))
            if record:
                found.append(record)
    return found
