# SPDX-License-Identifier: Apache-2.0
"""The state of an unfinished export, in the hidden file ``.export.json``: what it exports.

Contract: reads only. An invalid state is None: nothing is resumed on a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from osc_imagetools.bundle import strict_json
from osc_imagetools.bundle.layout import LOCK, STATE, path_problem
from osc_imagetools.bundle.manifest import UnreadableManifest, format_json, read_manifest
from osc_imagetools.bundle.tree import Tree

FORMAT = "osc-imagetools-export"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ExportState:
    """An unfinished export.

    :param identity: the same ``id`` means the same source; the same ``name`` with another ID means that the
    source has been replaced. :param created: whether the export created the directory, and may remove it.
    :param files: the paths of the disks and documents that it has started.
    """

    kind: str
    identity: Mapping[str, str]
    created: bool = False
    files: tuple[str, ...] = field(default=())

    def same_source(self, other: ExportState) -> bool:
        """Whether *other* is an export of the same resource."""
        return (self.kind, self.identity["id"]) == (other.kind, other.identity["id"])

    def same_name(self, other: ExportState) -> bool:
        """Whether *other* is an export of a resource with the same name, which may be another one now."""
        name = self.identity.get("name")
        return bool(name) and (self.kind, name) == (other.kind, other.identity.get("name"))

    def label(self) -> str:
        """The source, for messages: ``image web01 (ID)``."""
        identifier, name = self.identity["id"], self.identity.get("name")
        return f"{self.kind} {name} ({identifier})" if name else f"{self.kind} {identifier}"


def format_state(state: ExportState) -> bytes:
    """The content of the file."""
    return format_json({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(state)})


def parse_state(data: bytes) -> ExportState | None:
    """Parse the content of the file; None if it is invalid or of another version."""
    try:
        document = strict_json.parse(data)
    except strict_json.InvalidJSON:
        return None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return None
    if document.get("format_version") != FORMAT_VERSION or not _is_sound(document):
        return None
    return ExportState(
        kind=document["kind"],
        identity=document["identity"],
        created=document["created"],
        files=tuple(document["files"]),
    )


def state_of_manifest(data: bytes) -> ExportState | None:
    """The state of an export that was killed just before the manifest was renamed."""
    try:
        manifest = read_manifest(data)
    except UnreadableManifest:
        return None
    files = [disk["file"] for disk in manifest["disks"]]
    files += [entry["path"] for entry in manifest["files"]]
    return ExportState(manifest["kind"], {"id": manifest["resource"]["id"]}, files=tuple(files))


def unfinished_state(tree: Tree) -> ExportState | None:
    """What the unfinished export in a directory is of; its lock file tells after a kill in the last step.

    :raises OSError: a file cannot be read, or is none.
    """
    for name, parse in ((STATE, parse_state), (LOCK, state_of_manifest)):
        with suppress(FileNotFoundError):
            if state := parse(tree.read(name, strict_json.MAX_BYTES + 1)):
                return state
    return None


def _is_sound(document: Mapping[str, Any]) -> bool:
    identity, files = document.get("identity"), document.get("files")
    return (
        isinstance(document.get("kind"), str)
        and isinstance(identity, dict)
        and "id" in identity
        and all(isinstance(value, str) for value in identity.values())
        and isinstance(document.get("created"), bool)
        and isinstance(files, list)
        and all(isinstance(path, str) and path_problem(path) is None for path in files)
    )
