# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a bundle, found offline.

Contract: reads only; every byte of every listed file once, several files at a time; nothing in a
bundle is believed, and no problem hides another. Results:

=========== ========================================================================================
ok          nothing is wrong with the file
changed     its bytes are not those that were hashed
size        it is shorter or longer than listed
missing     it is listed, but not there
unlisted    it is there, but not listed
unsafe      it is a link or no regular file, or a disk that refers to other files or is damaged
format      the content of the disk is not what the manifest says
damaged     its bytes are those that were hashed, but its content cannot be read whole: it was cut short or
            corrupt when it was exported
refused     the manifest or the sums do not keep to the format, or contradict each other
incomplete  there is no manifest: the export did not end
unreadable  the operating system does not let it be read
=========== ========================================================================================
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from osc_imagetools import errors
from osc_imagetools.bundle import strict_json
from osc_imagetools.bundle.layout import (
    ALGORITHMS,
    DIRECTORIES,
    MANIFEST,
    RECORDS,
    digest_of,
    is_record,
    is_work_file,
    sums_name,
)
from osc_imagetools.bundle.manifest import NewerFormat, UnreadableManifest, read_manifest
from osc_imagetools.bundle.reader import Bundle, bundle_entries, open_bundle, open_tree
from osc_imagetools.bundle.sums import parse_sums
from osc_imagetools.bundle.tree import NotAPlainFile, Tree, TreeEntry
from osc_imagetools.cloud.names import printable
from osc_imagetools.data import qemu_img
from osc_imagetools.data.disk_format import DiskFacts, inspect_stream
from osc_imagetools.progress.model import Progress, TaskProgress

LOG = logging.getLogger(__name__)
Result = Literal[
    "ok",
    "changed",
    "size",
    "missing",
    "unlisted",
    "unsafe",
    "format",
    "damaged",
    "refused",
    "incomplete",
    "unreadable",
]
PIECE = 1024 * 1024  # bytes that are read at a time
READERS = 4  # files that are read at a time
PAUSE = 0.02  # seconds between two looks at qemu-img
UNCHECKED = "Whether its content is whole was not checked: qemu-img is not installed."


@dataclass(frozen=True, order=True)
class BundleFinding:
    """What is true of one file: its path in the bundle, printable; a result; a sentence."""

    file: str
    result: Result
    detail: str


@dataclass(frozen=True)
class _Claim:
    """What the manifest or the sums say of a file."""

    source: str
    digest: str
    size: int | None


def verify(path: Path, progress: Progress | None = None) -> list[BundleFinding]:
    """Checks a bundle; the bundle is good if every result is ``ok``.

    :returns: at least one finding for each file that is listed or there, sorted by file.
    :raises errors.NoBundle: there is no bundle at *path*.
    """
    with open_tree(path) as tree:
        return _Verification(tree, bundle_entries(tree, path), progress, path.absolute().name).run()


def check_bundle(path: Path, *, damaged_allowed: bool = False) -> Bundle:
    """The bundle at *path*, as far as sizes, headers and small files tell; its disks are not hashed.

    They prove themselves while they are sent (:class:`osc_imagetools.data.disk_stream.DiskStream`).

    :param damaged_allowed: the disks are sent byte for byte and their content is not read: what is wrong
        with that is a warning.
    :raises errors.NoBundle: there is no bundle at *path*.
    :raises errors.BundleRefused: anything is wrong with it; all of it is named.
    """
    with open_tree(path) as tree:
        entries = bundle_entries(tree, path)
        findings = _Verification(tree, entries, None, path.absolute().name, hash_disks=False).run()
    wrong = [finding for finding in findings if finding.result != "ok"]
    if damaged_allowed and all(finding.result == "damaged" for finding in wrong):
        for finding in wrong:
            LOG.warning("%s: %s", finding.file, finding.detail)
    elif wrong:
        listed = "".join(f"\n- {f.file}: {f.result}. {f.detail}" for f in wrong)
        raise errors.BundleRefused(
            f"{path} is refused, and nothing of it was sent:{listed}",
            hint=f"openstack bundle verify {path}",
        )
    return open_bundle(path)


class _Verification:
    def __init__(
        self,
        tree: Tree,
        entries: list[TreeEntry],
        progress: Progress | None,
        name: str,
        *,
        hash_disks: bool = True,
    ) -> None:
        self._hash_disks = hash_disks
        self._tree = tree
        self._entries = {entry.path: entry for entry in entries}
        self._progress = progress
        self._name = name
        self._findings: set[BundleFinding] = set()
        self._claims: dict[str, list[_Claim]] = {}
        self._disks: dict[str, Mapping[str, Any]] = {}
        self._algorithm = ALGORITHMS[-1]
        self._stop = threading.Event()

    def run(self) -> list[BundleFinding]:
        data = self._load(MANIFEST, strict_json.MAX_BYTES + 1)
        try:
            manifest = self._manifest(data)
        except NewerFormat as exc:  # what else it may have is not known here
            return [BundleFinding(MANIFEST, "refused", problem) for problem in exc.problems]
        in_progress = data is None and MANIFEST not in self._entries
        self._sums(manifest, data, in_progress)
        self._structure(in_progress)
        self._contents()
        wrong = {finding.file for finding in self._findings}
        for file in self._checked():
            if printable(file) not in wrong:
                self._find(file, "ok", "")
        return sorted(self._findings)

    def _find(self, file: str, result: Result, detail: str) -> None:
        self._findings.add(BundleFinding(printable(file), result, detail))

    def _checked(self) -> Iterable[str]:
        present = [p for p in (MANIFEST, sums_name(self._algorithm)) if p in self._entries]
        return [*present, *self._claims]

    def _load(self, file: str, limit: int) -> bytes | None:
        """The content of the manifest or of the sums; None where there is none, or it cannot be read."""
        if file not in self._entries or self._entries[file].kind != "file":
            return None
        try:
            return self._tree.read(file, limit)
        except OSError as exc:
            self._unreadable(file, exc)
            return None

    def _manifest(self, data: bytes | None) -> Mapping[str, Any] | None:
        if MANIFEST not in self._entries:
            self._find(
                MANIFEST,
                "incomplete",
                "There is no manifest: the export did not end. Run it again, and it goes on.",
            )
        if data is None:
            return None
        try:
            manifest = read_manifest(data)
        except NewerFormat:
            raise
        except UnreadableManifest as exc:
            for problem in exc.problems:
                self._find(MANIFEST, "refused", f"{problem.rstrip('.')}.")
            return None
        for disk in manifest["disks"]:
            self._disks[disk["file"]] = disk
            self._claim(disk["file"], MANIFEST, disk["hash"]["value"], disk["size"])
        for entry in manifest["files"]:
            self._claim(entry["path"], MANIFEST, entry["hash"]["value"], entry["size"])
        return manifest

    def _claim(self, file: str, source: str, digest: str, size: int | None) -> None:
        self._claims.setdefault(file, []).append(_Claim(source, digest, size))

    def _sums(self, manifest: Mapping[str, Any] | None, data: bytes | None, in_progress: bool) -> None:
        """Reads the sums, and compares what they list with what the manifest lists."""
        there = [a for a in reversed(ALGORITHMS) if sums_name(a) in self._entries]
        if manifest is not None:
            self._algorithm = manifest["hash_algorithm"]
        elif there:
            self._algorithm = there[0]
        name = sums_name(self._algorithm)
        if name not in self._entries and not in_progress:
            self._find(name, "missing", "There is no file of sums.")
        content = self._load(name, strict_json.MAX_BYTES + 1)
        if content is None:
            return
        if len(content) > strict_json.MAX_BYTES:
            self._find(name, "refused", f"It has more than {strict_json.MAX_BYTES} bytes.")
            return
        sums = parse_sums(content, self._algorithm)
        for problem in sums.problems:
            self._find(name, "refused", problem)
        listed = {MANIFEST, *self._claims} if manifest is not None else {MANIFEST}
        for file in sorted(listed - sums.digests.keys()):
            self._find(name, "refused", f"It does not list {file}.")
        for file, digest in sums.digests.items():
            if manifest is not None and file not in listed:
                self._find(file, "unlisted", f"{name} lists it, but the manifest does not.")
            if file != MANIFEST:
                self._claim(file, name, digest, None)
            elif data is None or len(data) > strict_json.MAX_BYTES:
                continue  # what is wrong with it is found already
            elif digest_of(data, self._algorithm) != digest:
                self._find(MANIFEST, "changed", f"Its {self._algorithm} is not the one in {name}.")

    def _structure(self, in_progress: bool) -> None:
        """Links, what is no file, what nobody lists, what is listed and not there."""
        known = {MANIFEST, sums_name(self._algorithm), *self._claims}
        nothing_listed = in_progress and not self._claims
        for file, entry in self._entries.items():
            if file in (*DIRECTORIES, RECORDS) and entry.kind == "directory":
                continue
            if entry.kind == "link":
                self._find(file, "unsafe", "It is a link.")
            elif entry.kind == "special":
                self._find(file, "unsafe", "It is a FIFO, a socket or a device.")
            elif (file in known or is_record(file)) and entry.kind == "file":
                continue
            elif entry.kind == "directory":
                self._find(file, "unlisted", "No bundle has this directory.")
            elif not nothing_listed and not (in_progress and is_work_file(file)):
                what = "It is left from an export" if is_work_file(file) else "It is not listed"
                self._find(file, "unlisted", f"{what}: remove it, or do not trust the bundle.")
        for file in self._claims:
            if file not in self._entries:
                self._find(file, "missing", "It is listed, but not there.")

    def _contents(self) -> None:
        """Reads every listed file, several at a time."""
        files = [
            entry for file, entry in self._entries.items() if entry.kind == "file" and file in self._claims
        ]
        total = sum(entry.size for entry in files)
        task = self._progress.task(f"verify {self._name}", total) if self._progress else None
        pool = ThreadPoolExecutor(max_workers=min(READERS, os.cpu_count() or 1))
        try:
            for found in pool.map(lambda entry: self._content(entry.path, task), files):
                self._findings.update(found)
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            if task:
                task.done()

    def _content(self, file: str, task: TaskProgress | None) -> list[BundleFinding]:
        """Runs in a worker: the findings of one file."""
        try:
            with self._tree.open(file) as stream:
                size = os.fstat(stream.fileno()).st_size
                found = list(self._judge_size(file, size))
                facts, disk = self._judge_disk(file, stream) if file in self._disks else (None, [])
                if found:  # of another length, it cannot have the same hash or the same virtual size
                    return [*found, *(f for f in disk if f.result == "unsafe")]
                if self._hash_disks or file not in self._disks:
                    found += self._judge_digest(file, self._digest(stream, task))
                found += disk
                return found or (self._judge_whole(file, stream, facts) if facts else [])
        except NotAPlainFile:
            return [BundleFinding(file, "unsafe", "It is no regular file.")]
        except OSError as exc:
            return [BundleFinding(file, "unreadable", f"It cannot be read: {exc.strerror or exc}.")]

    def _judge_size(self, file: str, size: int) -> Iterable[BundleFinding]:
        for claim in self._claims[file]:
            if claim.size not in (None, size):
                detail = f"It has {size} bytes, {claim.source} says {claim.size}."
                yield BundleFinding(file, "size", detail)

    def _digest(self, stream: BinaryIO, task: TaskProgress | None) -> str:
        stream.seek(0)
        digest = hashlib.new(self._algorithm)
        buffer = memoryview(bytearray(PIECE))
        while not self._stop.is_set():
            count = stream.readinto(buffer)  # type: ignore[attr-defined]
            if not count:
                break
            digest.update(buffer[:count])
            if task:
                task.advance(count)
        return digest.hexdigest()

    def _judge_digest(self, file: str, digest: str) -> Iterable[BundleFinding]:
        claims = self._claims[file]
        wrong = [claim for claim in claims if claim.digest != digest]
        if len(wrong) == len(claims):
            sources = " and ".join(sorted({claim.source for claim in wrong}))
            yield BundleFinding(file, "changed", f"Its {self._algorithm} is not the one in {sources}.")
            return
        for claim in wrong:
            right = next(c.source for c in claims if c.digest == digest)
            detail = f"Its {self._algorithm} of {file} is wrong: the file is as {right} says."
            yield BundleFinding(claim.source, "changed", detail)

    def _judge_disk(self, file: str, stream: BinaryIO) -> tuple[DiskFacts | None, list[BundleFinding]]:
        disk = self._disks[file]
        try:
            facts = inspect_stream(
                stream,
                disk["disk_format"],
                container_format=disk["container_format"] or "bare",
                label="The disk",
            )
        except errors.UnsafeDisk as exc:
            return None, [BundleFinding(file, "unsafe", f"{exc.message}.")]
        found = []
        if facts.content_format != disk["content_format"]:
            said = printable(disk["content_format"])
            detail = f"Its content is {facts.content_format}, the manifest says {said}."
            found.append(BundleFinding(file, "format", detail))
        claimed = disk["virtual_size"]
        if claimed is not None and facts.virtual_size not in (None, claimed):
            detail = f"Its virtual size is {facts.virtual_size} bytes, the manifest says {claimed}."
            found.append(BundleFinding(file, "format", detail))
        return facts, found

    def _judge_whole(self, file: str, stream: BinaryIO, facts: DiskFacts) -> list[BundleFinding]:
        """Of a disk that is the exported one: whether its content can be read to its end."""
        disk = self._disks[file]
        if disk["container_format"] not in ("bare", None) or disk["disk_format"] == "raw":
            return []
        if facts.damage is None and not qemu_img.is_installed():
            return [BundleFinding(file, "ok", UNCHECKED)] if facts.content_format in qemu_img.CHECKED else []
        damage = facts.damage or qemu_img.damage_of(stream, facts.content_format, wait=self._await)
        return [BundleFinding(file, "damaged", f"The disk {damage}.")] if damage else []

    def _await(self, ended: Callable[[], bool]) -> None:
        while not ended():
            if self._stop.wait(PAUSE):
                raise errors.Cancelled("interrupted")

    def _unreadable(self, file: str, exc: OSError) -> None:
        self._find(file, "unreadable", f"It cannot be read: {exc.strerror or exc}.")
