# SPDX-License-Identifier: Apache-2.0
"""Reads bundles offline: the contents of one, and the list of those below a directory.

Contract: reads only, and only manifests; :func:`osc_imagetools.bundle.verification.verify` checks the disks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from osc_imagetools import errors
from osc_imagetools.bundle import strict_json
from osc_imagetools.bundle.layout import (
    DIRECTORIES,
    DISKS,
    LOCK,
    MANIFEST,
    STATE,
    SUMS,
    is_mark,
)
from osc_imagetools.bundle.manifest import UnreadableManifest, read_manifest
from osc_imagetools.bundle.state import ExportState, unfinished_state
from osc_imagetools.bundle.tree import NotAPlainFile, Tree, TreeEntry

MAX_DEPTH = 6  # levels of subdirectories
State = Literal["complete", "incomplete", "broken", "unreadable"]


@dataclass(frozen=True)
class Bundle:
    """A bundle, or an unfinished export.

    :param manifest: the valid manifest; empty for an unfinished export.
    :param bytes: size of the disks; for an unfinished export, the space they use so far.
    """

    path: Path
    complete: bool
    manifest: Mapping[str, Any]
    bytes: int
    state: ExportState | None = None

    def summary(self) -> dict[str, Any]:
        """The fields of ``bundle show``, in order; None if unknown, for an unfinished export.

        ``disks`` is a number, ``bytes`` an integer, ``not_captured`` a list of texts.
        """
        manifest = self.manifest
        identity = self.state.identity if self.state else {}
        resource = manifest.get("resource", identity)
        disks = manifest.get("disks")
        return {
            "format_version": manifest.get("format_version"),
            "kind": manifest.get("kind", self.state.kind if self.state else None),
            "id": resource.get("id"),
            "name": resource.get("name"),
            "created_at": manifest.get("created_at"),
            "cloud": manifest.get("source", {}).get("cloud"),
            "project_id": manifest.get("source", {}).get("project_id"),
            "consistency": manifest.get("consistency", {}).get("mode"),
            "complete": self.complete,
            "disks": None if disks is None else len(disks),
            "bytes": self.bytes,
            "not_captured": [
                f"{entry['name']}: {entry['reason']}" for entry in manifest.get("not_captured", ())
            ],
        }


@dataclass(frozen=True)
class ListedBundle:
    """A row of ``bundle list``; None if unknown; ``size`` as :attr:`Bundle.bytes`.

    An unreadable directory may be a bundle or contain bundles.
    """

    path: Path
    state: State
    kind: str | None = None
    name: str | None = None
    created_at: str | None = None
    size: int | None = None
    id: str | None = None
    cloud: str | None = None
    project_id: str | None = None


def complete_bundle(path: Path) -> Bundle:
    """A bundle whose export has ended.

    :raises errors.NoBundle: there is no bundle at *path*; :raises errors.BundleRefused: its manifest is not
        valid, or the export did not end.
    """
    bundle = open_bundle(path)
    if not bundle.complete:
        raise errors.BundleRefused(
            f"{path} is incomplete: its export did not end",
            hint="Run the export again with the same --output: it continues where it stopped.",
        )
    return bundle


def open_tree(path: Path) -> Tree:
    """Open the directory of a bundle.

    :raises errors.NoBundle: it does not exist, is not a directory, or cannot be read.
    """
    try:
        return Tree(path)
    except NotADirectoryError:
        raise errors.NoBundle(f"{path} is not a directory") from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise errors.NoBundle(f"There is no bundle at {path}: {reason}") from None


def bundle_entries(tree: Tree, path: Path) -> list[TreeEntry]:
    """The entries of a directory that looks like a bundle, complete or not.

    :raises errors.NoBundle: it does not look like a bundle, or cannot be read.
    """
    try:
        entries = tree.entries()
    except OSError as exc:
        raise errors.NoBundle(f"{path} cannot be read: {exc.strerror or exc}") from None
    if not any(is_mark(entry.path) for entry in entries):
        raise errors.NoBundle(f"{path} is not a bundle")
    return entries


def open_bundle(path: Path) -> Bundle:
    """Read the manifest of a bundle, or the state of an unfinished export.

    :raises errors.NoBundle: there is no bundle at *path*.
    :raises errors.BundleRefused: its manifest is invalid or in a newer format; all problems are listed.
    """
    with open_tree(path) as tree:
        entries = bundle_entries(tree, path)
        if not any(entry.path == MANIFEST for entry in entries):
            state = None
            with contextlib.suppress(OSError):
                state = unfinished_state(tree)
            return Bundle(path, False, {}, _occupied(entries), state)
        try:
            manifest = read_manifest(tree.read(MANIFEST, strict_json.MAX_BYTES + 1))
        except UnreadableManifest as exc:
            raise _refused(path, exc.problems) from None
        except NotAPlainFile:
            raise _refused(path, [f"{MANIFEST} is not a regular file."]) from None
        except OSError as exc:
            raise _refused(path, [f"{MANIFEST} cannot be read: {exc.strerror}"]) from None
        return Bundle(path, True, manifest, sum(disk["size"] for disk in manifest["disks"]))


def list_bundles(directory: Path) -> list[ListedBundle]:
    """The bundles in and below a directory, sorted by path; symbolic links are not followed.

    :raises errors.NoBundle: the directory does not exist or cannot be read.
    """
    with open_tree(directory):
        pass
    found: list[ListedBundle] = []
    for path in _candidates(directory, MAX_DEPTH, found):
        try:
            bundle = open_bundle(path)
        except errors.NoBundle:
            if path.exists():  # otherwise it has been deleted in the meantime
                found.append(ListedBundle(path, "unreadable"))
            continue
        except errors.BundleRefused:
            found.append(ListedBundle(path, "broken", size=_occupied(_entries(path))))
            continue
        found.append(_listed(bundle))
    return sorted(found, key=lambda bundle: bundle.path)


def _listed(bundle: Bundle) -> ListedBundle:
    facts = bundle.summary()
    state: State = "complete" if bundle.complete else "incomplete"
    if bundle.complete and _lacks_disks(bundle):
        state = "broken"
    told = {key: facts[key] for key in ("kind", "name", "created_at", "id", "cloud", "project_id")}
    return ListedBundle(bundle.path, state, size=bundle.bytes, **told)


def _refused(path: Path, problems: list[str] | tuple[str, ...]) -> errors.BundleRefused:
    listed = "".join(f"\n- {problem}" for problem in problems)
    return errors.BundleRefused(f"{path} is refused:{listed}")


def _occupied(entries: list[TreeEntry]) -> int:
    disks = [e for e in entries if e.kind == "file" and e.path.startswith(f"{DISKS}/")]
    return sum(min(entry.size, entry.occupied) for entry in disks)


def _entries(path: Path) -> list[TreeEntry]:
    """The entries of a bundle; none if it cannot be read."""
    try:
        with Tree(path) as tree:
            return tree.entries()
    except OSError:
        return []


def _lacks_disks(bundle: Bundle) -> bool:
    """Whether a disk is missing or has the wrong size, which can be told without reading it."""
    sizes = {entry.path: entry.size for entry in _entries(bundle.path) if entry.kind == "file"}
    return any(sizes.get(disk["file"]) != disk["size"] for disk in bundle.manifest["disks"])


def _candidates(directory: Path, depth: int, found: list[ListedBundle]) -> Iterator[Path]:
    """Directories that are bundles or unfinished exports; they are not searched any further.

    Unreadable directories are added to *found*.
    """
    try:
        with os.scandir(directory) as scan:
            entries = list(scan)
    except (FileNotFoundError, NotADirectoryError):
        return  # deleted in the meantime
    except OSError:
        found.append(ListedBundle(directory, "unreadable"))
        return
    names = {entry.name for entry in entries}
    marks = [
        MANIFEST in names,
        not names.isdisjoint(SUMS),
        *(name in names for name in DIRECTORIES),
    ]
    # A single one of these names is common; those of an unfinished export are used by this package only.
    if sum(marks) > 1 or STATE in names or LOCK in names:
        yield directory
        return
    if depth == 0:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _candidates(directory / entry.name, depth - 1, found)
