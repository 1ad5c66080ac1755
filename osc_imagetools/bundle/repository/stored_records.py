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


def store_record(restic: Restic, bundle: RepositoryBundle, record: BundleRecord) -> None:
    """Adds a record to a bundle.

    :raises errors.RepositoryError: restic failed; there is no record then.
    """
    subject = bundle.manifest["resource"]["id"]
    words = (f"{RECORD}{record.type}", f"{RESULT}{record.result}")
    tags = bundle_tags(bundle.id, bundle.stored.kind, subject, *words)
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
