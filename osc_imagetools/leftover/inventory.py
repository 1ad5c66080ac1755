# SPDX-License-Identifier: Apache-2.0
"""What runs that are over have left in a project: from their journals and from the marks in the cloud.

Contract: reads only. A resource is ours if it bears our mark, if its name says so where no mark can be set in
the moment it is made (a snapshot that Nova makes, a port), or if the journal of a run has its ID. What a run
that lives has made is not left over. Lists, not a request for each resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.ownership import MARK, PREFIX, PROCESS, RUN, STOPPED, TAG, of_image, run_of_name
from osc_imagetools.run.identity import is_alive
from osc_imagetools.run.journal import JournaledRun, RunLocation, journaled_runs
from osc_imagetools.run.qemu_img import DIRECTORY, is_ours

# Kind -> service, path of its list, key of the list, path of one, key of one.
KINDS: Mapping[str, tuple[str, str, str, str, str]] = {
    "server": ("compute", "/servers/detail", "servers", "/servers/", "server"),
    "port": ("network", "/ports", "ports", "/ports/", "port"),
    "image": ("image", "/images", "images", "/images/", ""),
    "volume": ("block-storage", "/volumes/detail", "volumes", "/volumes/", "volume"),
    "snapshot": ("block-storage", "/snapshots/detail", "snapshots", "/snapshots/", "snapshot"),
}
# The description of a server is 2.19
MICROVERSIONS = {"compute": "2.19"}
# Where the project stands in what a list may have of several projects.
OWNERS = {"image": "owner", "port": "project_id"}


@dataclass(frozen=True)
class Leftover:
    """A resource that is left over, or a server of the user's that is left stopped (``stopped-server``).

    A ``directory`` is one of temporary files on this machine.

    ``parents`` are the IDs of what cannot be removed before it; ``alive`` None where only another machine
    can tell whether the run is over.
    """

    kind: str
    id: str
    name: str
    status: str
    run: str
    created_at: str | None
    parents: frozenset[str]
    alive: bool | None


@dataclass(frozen=True)
class LeftoverInventory:
    """All that is left over, the runs that live, the journals that are over, and where other ones belong.

    ``unread`` says what could not be looked at, and why: there may be more.
    """

    resources: tuple[Leftover, ...]
    living: tuple[str, ...]
    journals: tuple[JournaledRun, ...]
    elsewhere: tuple[JournaledRun, ...]
    unread: tuple[str, ...] = ()


@dataclass
class _Search:
    cloud: Cloud
    journals: Mapping[str, JournaledRun]
    found: dict[tuple[str, str], Leftover] = field(default_factory=dict)
    living: set[str] = field(default_factory=set)
    unread: dict[str, str] = field(default_factory=dict)  # by service

    def add(self, kind: str, document: Mapping[str, Any], run: str, process: str | None) -> None:
        journal = self.journals.get(run)
        alive = journal.alive if journal else is_alive(process)
        if alive:
            self.living.add(run)
            return
        self.found[kind, document["id"]] = Leftover(
            kind=kind,
            id=document["id"],
            name=document.get("name") or "",
            status=str(document.get("status") or ""),
            run=run,
            created_at=document.get("created_at") or document.get("created"),
            parents=frozenset(_parents(kind, document)),
            alive=alive,
        )

    def add_directory(self, path: Path, journal: JournaledRun) -> None:
        """A directory of temporary files on this machine; its ID is its path."""
        size = sum(file.lstat().st_blocks * 512 for file in path.rglob("*"))
        self.found[DIRECTORY, str(path)] = Leftover(
            kind=DIRECTORY,
            id=str(path),
            name=path.name,
            status=f"{size} bytes",
            run=journal.run.id,
            created_at=journal.run.since,
            parents=frozenset(),
            alive=journal.alive,
        )


def leftover_inventory(cloud: Cloud) -> LeftoverInventory:
    """Everything of ours in the project of the login whose run is over.

    A service that does not answer, or refuses its list, hides nothing of the others.

    :raises errors.ImagetoolsError: there is no login, or the journals cannot be read.
    """
    origin = cloud.origin
    place = RunLocation(origin.auth_url, origin.region, origin.project_id)
    runs = journaled_runs()
    here = {run.run.id: run for run in runs if run.place == place}
    search = _Search(cloud, here)
    for kind in KINDS:
        service = KINDS[kind][0]
        if service not in search.unread and cloud.has_service(service):
            try:
                _by_marks(search, kind)
            except errors.ImagetoolsError as exc:
                search.unread[service] = exc.message
    for run in here.values():
        if run.alive:
            search.living.add(run.run.id)
        else:
            _by_journal(search, run)
    return LeftoverInventory(
        resources=tuple(sorted(search.found.values(), key=lambda r: (r.run, r.kind, r.id))),
        living=tuple(sorted(search.living)),
        journals=tuple(run for run in here.values() if not run.alive),
        elsewhere=tuple(run for run in runs if run.place != place and not run.alive),
        unread=tuple(search.unread.values()),
    )


def _by_marks(search: _Search, kind: str) -> None:
    """In the lists of the login's project; an administrator sees the images and ports of all others too."""
    service, path, key, _, _ = KINDS[kind]
    version = MICROVERSIONS.get(service)
    project = search.cloud.origin.project_id
    for document in search.cloud.list(
        service,
        path,
        key,
        what=f"list of {kind}s",
        params={OWNERS[kind]: project} if kind in OWNERS and project else None,
        microversion=search.cloud.microversion(service, version) if version else None,
    ):
        if kind in OWNERS and document.get(OWNERS[kind]) != project:
            continue
        for of_kind, run, process in _marks(kind, document):
            search.add(of_kind, document, run, process)


def _marks(kind: str, document: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """(kind, run, process) that the marks of a resource tell; nothing where it is not ours."""
    if kind in ("image", "volume", "snapshot"):
        marks = of_image(document) if kind == "image" else document.get("metadata") or {}
        if marks.get(MARK) == "temporary" and marks.get(RUN):
            yield kind, marks[RUN], marks.get(PROCESS)
        elif kind == "snapshot" and (run := run_of_name(document.get("name"))):
            yield kind, run, None
        elif kind == "image" and not _marked(document):
            # What Cinder makes of a user's volume has our name before it can have a mark.
            name = document.get("name") or ""
            if name.startswith(PREFIX) and (run := run_of_name(name)):
                yield kind, run, None
    elif kind == "port":
        name = document.get("name") or ""
        if name.startswith(PREFIX) and (run := run_of_name(name)):
            yield kind, run, document.get("description") or None
    elif kind == "server":
        description = document.get("description") or ""
        if description.startswith(PREFIX) and (run := run_of_name(description)):
            yield kind, run, description.partition(" ")[2] or None
        if stopped := (document.get("metadata") or {}).get(STOPPED):
            words = str(stopped).split(" ")
            yield "stopped-server", words[0], words[1] if len(words) > 1 else None


def _marked(document: Mapping[str, Any]) -> bool:
    """Whether an image has a mark at all, its own or one that it has inherited."""
    return MARK in document or TAG in (document.get("tags") or ())


def _by_journal(search: _Search, run: JournaledRun) -> None:
    """What the journal alone knows: a resource whose mark was already taken off."""
    for noted in run.pending:
        if noted.kind == DIRECTORY and is_ours(Path(noted.name)):
            search.add_directory(Path(noted.name), run)
        kind = "server" if noted.kind == "stopped-server" else noted.kind
        if noted.id is None or kind not in KINDS or (noted.kind, noted.id) in search.found:
            continue
        service, _, _, path, key = KINDS[kind]
        if service in search.unread or not search.cloud.has_service(service):
            continue
        what = f"{kind} {noted.id}"
        try:
            document = search.cloud.get(service, path + quote(noted.id, safe=""), what=what, key=key)
        except errors.ResourceNotFound:
            continue
        except errors.ImagetoolsError as exc:
            search.unread[service] = exc.message
            continue
        if noted.kind == "stopped-server" and document.get("status") != "SHUTOFF":
            continue
        search.add(noted.kind, document, run.run.id, run.run.process)


def _parents(kind: str, document: Mapping[str, Any]) -> Iterator[str]:
    keys = {"volume": ("snapshot_id", "source_volid"), "snapshot": ("volume_id",)}
    for key in keys.get(kind, ()):
        if document.get(key):
            yield document[key]
    if kind == "volume":  # where storage makes clones, the image cannot be removed before it
        image = (document.get("volume_image_metadata") or {}).get("image_id")
        if image:
            yield str(image)
    if kind == "server":
        yield from (v["id"] for v in document.get("os-extended-volumes:volumes_attached") or ())
