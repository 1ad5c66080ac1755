# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a bundle in a repository: every byte of it is read back.

Contract: reads only, through restic, which checks its own blobs as well; no local file, bounded memory. The
results are those of :mod:`osc_imagetools.bundle.verification`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle.layout import MANIFEST
from osc_imagetools.bundle.repository.catalog import RepositoryBundle
from osc_imagetools.bundle.repository.documents import judge_documents
from osc_imagetools.bundle.repository.reader import open_file, read_documents
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.verification import BundleFinding, Result
from osc_imagetools.cloud.names import printable
from osc_imagetools.data.disk_format import inspect_stream
from osc_imagetools.data.stream_edges import StreamEdges
from osc_imagetools.progress.model import Progress, TaskProgress

READERS = 2  # disks that are read at a time


def verify_stored(restic: Restic, bundle: RepositoryBundle, progress: Progress) -> list[BundleFinding]:
    """Checks a bundle; it is good if every result is ``ok``.

    :returns: at least one finding for each file that is listed or there, sorted by file.
    :raises errors.RepositoryError: restic cannot list or read the snapshots.
    """
    stored = bundle.stored
    if stored.last is None:
        findings = [
            BundleFinding(MANIFEST, "incomplete", "There is no manifest: the bundle was not finished.")
        ]
        return sorted([*findings, *_unlisted(stored.disks, ())])
    manifest, findings = judge_documents(*read_documents(restic, stored.last.id))
    findings += [BundleFinding(MANIFEST, "refused", problem) for problem in bundle.problems]
    if not manifest:
        return sorted(set(findings))
    disks = manifest["disks"]
    findings += _unlisted(stored.disks, [disk["file"] for disk in disks])
    task = progress.task(f"verify {bundle.id[:8]}", sum(disk["size"] for disk in disks))
    stop = threading.Event()

    def check(disk: Mapping[str, Any]) -> list[BundleFinding]:
        snapshot = stored.disks.get(disk["file"])
        if snapshot is None:
            return [BundleFinding(disk["file"], "missing", "It is listed, but not there.")]
        return _disk(restic, snapshot.id, disk, task, stop)

    pool = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="verify")
    try:
        for found in pool.map(check, disks):
            findings += found
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        task.done()
    wrong = {finding.file for finding in findings if finding.result != "ok"}
    return sorted(f for f in set(findings) if f.result != "ok" or f.file not in wrong)


def _unlisted(there: Iterable[str], listed: Iterable[str]) -> list[BundleFinding]:
    detail = "There is a snapshot of it, but the manifest does not list it."
    return [BundleFinding(printable(file), "unlisted", detail) for file in sorted(set(there) - set(listed))]


def _disk(
    restic: Restic, snapshot: str, disk: Mapping[str, Any], task: TaskProgress, stop: threading.Event
) -> list[BundleFinding]:
    """Runs in a worker: the findings of one disk."""
    file, size, digest = disk["file"], disk["size"], disk["hash"]
    edges = StreamEdges()
    try:
        with open_file(restic, snapshot, file, digest["algorithm"]) as reader:
            for piece in reader.pieces():
                edges.add(piece)
                task.advance(len(piece))
                if stop.is_set():
                    raise errors.Cancelled("interrupted")
                if reader.size > size:
                    break
    except errors.RepositoryError as exc:
        return [BundleFinding(file, "unreadable", f"restic cannot read it: {exc.message}.")]
    if reader.size != size:
        more = "more" if reader.size > size else str(reader.size)
        return [BundleFinding(file, "size", f"It has {more} bytes, {MANIFEST} says {size}.")]
    if problem := reader.problem(size, digest["value"]):
        return [BundleFinding(file, "changed", problem)]
    wrong = format_problem(edges, disk)
    return [BundleFinding(file, *wrong)] if wrong else [BundleFinding(file, "ok", "")]


def format_problem(edges: StreamEdges, disk: Mapping[str, Any]) -> tuple[Result, str] | None:
    """What is wrong with the format of a disk, of which the edges have been seen; None where nothing is."""
    try:
        facts = inspect_stream(
            edges.stream,
            disk["disk_format"],
            container_format=disk["container_format"] or "bare",
            label="The disk",
        )
    except errors.UnsafeDisk as exc:
        return "unsafe", f"{exc.message}."
    if edges.missed:
        return "unsafe", "Its format cannot be judged from its beginning and its end: copy it to a directory."
    if facts.content_format != disk["content_format"]:
        said = printable(disk["content_format"])
        return "format", f"Its content is {facts.content_format}, the manifest says {said}."
    if disk["virtual_size"] is not None and facts.virtual_size not in (None, disk["virtual_size"]):
        return "format", (
            f"Its virtual size is {facts.virtual_size} bytes, the manifest says {disk['virtual_size']}."
        )
    bare = disk["container_format"] in ("bare", None) and disk["disk_format"] != "raw"
    if facts.damage and bare:
        return "damaged", f"The disk {facts.damage}."
    return None
