# SPDX-License-Identifier: Apache-2.0
"""The journal of a run: what it makes in a cloud, written down before it is made.

Contract: standard library only; effects below one directory of the user's, ``osc-imagetools/runs`` in
``$XDG_STATE_HOME`` (default ``~/.local/state``). A journal is a file of JSON objects, one in a line, each on
the disk before the effect that it announces begins. A run that leaves nothing behind removes its journal;
one that was killed cannot, and so the next reader learns what it had made. No secret is in it.
Source: https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.run.identity import Run, is_alive

LOG = logging.getLogger(__name__)
SUFFIX = ".jsonl"
END = {"event": "end"}
# Of the journal's form; a reader takes newer ones for what it understands of them.
VERSION = 1


@dataclass(frozen=True)
class RunLocation:
    """Where a run works: what tells one project in one cloud from any other."""

    auth_url: str | None
    region: str | None
    project_id: str | None


@dataclass(frozen=True)
class JournalEntry:
    """Something that a run makes, as its journal has it; ``id`` None where no answer ever gave one.

    ``kind`` is image, volume, snapshot, server or port; ``directory``: a temporary one on this machine; or
    ``stopped-server``: a server of the user's that the run has stopped, and that is to be started again.
    """

    kind: str
    name: str
    id: str | None


@dataclass(frozen=True)
class JournaledRun:
    """A run that has not ended well, or not yet; ``alive`` None where another machine would have to tell."""

    run: Run
    place: RunLocation
    pending: tuple[JournalEntry, ...]
    alive: bool | None
    path: Path


class Journal:
    """The journal of one run; its file comes with the first thing that the run makes. Thread-safe."""

    def __init__(self, run: Run, place: RunLocation) -> None:
        self._run = run
        self._place = place
        self._file: int | None = None
        self._pending: dict[int, JournalEntry] = {}
        self._lost = False  # something could not be noted
        self._number = 0
        self._lock = threading.Lock()

    def make(self, kind: str, name: str, identifier: str | None) -> int:
        """Notes that something will be made now; gives the number of the entry.

        :raises errors.NoSpace, errors.JournalUnwritable: it cannot be written, so nothing may be made.
        """
        with self._lock:
            try:
                if self._file is None:
                    self._file = self._begin()
                self._number += 1
                noted = JournalEntry(kind, name, identifier)
                self._write(_make(self._number, noted))
            except OSError as exc:
                raise errors.JournalUnwritable(
                    f"what this run makes cannot be written down in {directory()}: {exc.strerror or exc}",
                    hint="Make room there, or name another directory: XDG_STATE_HOME.",
                ) from exc
            self._pending[self._number] = noted
            return self._number

    def made(self, entry: int, identifier: str) -> None:
        """The cloud has given it an ID."""
        with self._lock:
            self._pending[entry] = replace(self._pending[entry], id=identifier)
        self._note({"event": "made", "entry": entry, "id": identifier})

    def settled(self, entry: int) -> None:
        """It is gone, or the user's: nothing is left of it."""
        with self._lock:
            self._pending.pop(entry, None)
        self._note({"event": "settled", "entry": entry})

    def close(self) -> None:
        """Ends the journal: its file goes unless something of the run is left.

        Then it says that the run is over, whose process may live on.
        """
        with self._lock:
            if self._file is None:
                return
            try:
                self._write(END)
            except OSError:
                self._lost = True
            os.close(self._file)
            self._file = None
            if not self._pending:
                forget(path_of(self._run.id))
            elif self._lost:
                self._write_again()

    def _begin(self) -> int:
        path = path_of(self._run.id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            self._write(self._first(), number)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            # Without its first line nobody could read what later ones say.
            os.close(number)
            forget(path)
            raise
        return number

    def _first(self) -> dict[str, Any]:
        return {
            "event": "begin",
            "version": VERSION,
            "run": asdict(self._run),
            "place": asdict(self._place),
        }

    def _note(self, record: Mapping[str, Any]) -> None:
        """Where there is no room for it, it is made up for at the end."""
        with self._lock:
            try:
                self._write(record)
            except OSError:
                self._lost = True

    def _write(self, record: Mapping[str, Any], number: int | None = None) -> None:
        """A whole line or nothing: the next one must not be glued to half of it."""
        file = self._file if number is None else number
        if file is None:
            return
        line = _line(record)
        size = os.fstat(file).st_size
        try:
            if os.write(file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(file, size)
            raise
        os.fsync(file)

    def _write_again(self) -> None:
        """Only what is left, in the room that the file has: a kept resource must not be listed in it."""
        makes = (_make(number, noted) for number, noted in self._pending.items())
        records = [self._first(), *makes, END]
        text = b"".join(map(_line, records))
        path = path_of(self._run.id)
        try:
            with path.open("r+b", buffering=0) as file:
                file.write(text)
                file.truncate(len(text))
                os.fsync(file)
        except OSError as exc:
            LOG.error("The journal %s is not up to date (%s): delete it by hand", path, exc.strerror or exc)


def _make(number: int, noted: JournalEntry) -> dict[str, Any]:
    return {"event": "make", "entry": number, **asdict(noted)}


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record) + "\n").encode()


def directory() -> Path:
    """The directory of all journals of this user."""
    base = os.environ.get("XDG_STATE_HOME") or ""
    state = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    return state / "osc-imagetools" / "runs"


def path_of(run_id: str) -> Path:
    """The journal of a run."""
    return directory() / f"{run_id}{SUFFIX}"


def forget(path: Path) -> None:
    """Removes a journal, whose run has nothing left."""
    path.unlink(missing_ok=True)


def journaled_runs() -> list[JournaledRun]:
    """All runs of this user that have a journal on this machine, in the order of their beginning.

    :raises errors.JournalUnwritable: the directory is there, and cannot be read.
    """
    try:
        paths = sorted(directory().glob(f"*{SUFFIX}"))
        found = [run for path in paths if (run := _read(path)) is not None]
    except OSError as exc:
        raise errors.JournalUnwritable(f"the journals in {directory()} cannot be read: {exc}") from exc
    return sorted(found, key=lambda entry: (entry.run.since, entry.run.id))


def _read(path: Path) -> JournaledRun | None:
    """A journal; None where it is gone meanwhile, or was not even begun.

    What a newer version has written besides is passed over: it hides neither the run nor the rest of it.
    """
    try:
        records = list(_records(path.read_text(errors="replace")))
    except FileNotFoundError:
        return None
    begin = next((record for record in records if record.get("event") == "begin"), None)
    if begin is None or not isinstance(begin.get("run"), dict):
        if records:
            LOG.warning("The journal %s cannot be read: it has no beginning", path)
        return None
    if begin.get("version", VERSION) != VERSION:
        LOG.warning("The journal %s is of a newer version of osc-imagetools", path)
    run = Run(**_known(Run, begin.get("run"), id=path.stem, purpose="", since="", process=""))
    place = RunLocation(
        **_known(RunLocation, begin.get("place"), auth_url=None, region=None, project_id=None)
    )
    entries: dict[Any, JournalEntry] = {}
    for record in records:
        entry = str(record.get("entry"))
        identifier = record.get("id")
        identifier = str(identifier) if identifier else None
        match record.get("event"):
            case "make":
                entries[entry] = JournalEntry(str(record.get("kind")), str(record.get("name")), identifier)
            case "made" if entry in entries:
                entries[entry] = replace(entries[entry], id=identifier)
            case "settled":
                entries.pop(entry, None)
    over = any(record.get("event") == END["event"] for record in records)
    alive = False if over else is_alive(run.process)
    return JournaledRun(run, place, tuple(entries.values()), alive, path)


def _known(kind: type[Any], told: Any, **default: Any) -> dict[str, Any]:
    """The fields of a class that a record has, and the default of each that it has not."""
    found = told if isinstance(told, dict) else {}
    return {f.name: found.get(f.name, default[f.name]) for f in fields(kind)}


def _records(text: str) -> Iterator[dict[str, Any]]:
    """The records; the last line may have been cut off."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record
