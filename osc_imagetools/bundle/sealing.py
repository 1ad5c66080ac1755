# SPDX-License-Identifier: Apache-2.0
"""The small files that make a bundle complete: its manifest with the list of files, and the sums.

Contract: pure. What is given back passes for a manifest when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle.layout import MANIFEST, digest_of, sums_name
from osc_imagetools.bundle.manifest import UnreadableManifest, format_manifest, read_manifest
from osc_imagetools.bundle.sums import format_sums


def seal(manifest: Mapping[str, Any], documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """All files of a bundle but its disks, by path.

    :param manifest: without ``files``.
    :param documents: the metadata, by path.
    :raises errors.ImagetoolsError: the manifest is invalid.
    """
    algorithm = manifest["hash_algorithm"]
    digests = {path: digest_of(data, algorithm) for path, data in documents.items()}
    entries = [
        {"path": path, "size": len(data), "hash": {"algorithm": algorithm, "value": digests[path]}}
        for path, data in sorted(documents.items())
    ]
    data = format_manifest({**manifest, "files": entries})
    document = checked_manifest(data)
    sums = {disk["file"]: disk["hash"]["value"] for disk in document["disks"]}
    sums |= digests | {MANIFEST: digest_of(data, algorithm)}
    return {**documents, MANIFEST: data, sums_name(algorithm): format_sums(sums)}


def checked_manifest(data: bytes) -> dict[str, Any]:
    """The manifest that *data* is, which this package has made.

    :raises errors.ImagetoolsError: a reader would refuse it.
    """
    try:
        return read_manifest(data)
    except UnreadableManifest as exc:
        raise errors.ImagetoolsError(
            "The manifest is invalid, which is a bug in osc-imagetools:"
            + "".join(f"\n- {problem}" for problem in exc.problems),
            hint="Please report it. The data is kept: the same command resumes the export.",
        ) from None
