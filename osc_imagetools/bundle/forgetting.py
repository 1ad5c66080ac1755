# SPDX-License-Identifier: Apache-2.0
"""Which bundles of a store go, and how one in a directory does.

Contract: :func:`plan_removals` is pure. A directory is emptied of what a bundle has and of nothing else; it
is an incomplete bundle before anything but its records goes, so that nobody takes it for a whole one, and so
that it can be found again if the removal is cut off.
"""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from osc_imagetools import errors
from osc_imagetools.bundle import durable, strict_json
from osc_imagetools.bundle.keep_rules import Candidate, Decision, KeepRules, decide
from osc_imagetools.bundle.layout import (
    DIRECTORIES,
    LOCK,
    MANIFEST,
    RECORDS,
    STATE,
    SUMS,
    is_record,
    is_work_file,
)
from osc_imagetools.bundle.reader import list_bundles
from osc_imagetools.bundle.records import read_records
from osc_imagetools.bundle.state import ExportState, format_state, state_of_manifest, unfinished_state
from osc_imagetools.bundle.tree import NotAPlainFile, Tree, TreeEntry
from osc_imagetools.cloud.names import printable

T = TypeVar("T")


@dataclass(frozen=True)
class KeptBundle(Generic[T]):
    """A bundle that rules of keeping decide about.

    :param what: where it is.
    :param state: as ``bundle list`` shows it.
    :param created_at: as the manifest has it; None where it has none.
    :param tags: that ``--keep-tag`` is compared with.
    :param restored: whether a restore check of it succeeded.
    """

    what: T
    label: str
    state: str
    kind: str | None
    subject: str | None
    name: str | None
    created_at: str | None
    size: int | None
    tags: frozenset[str] = field(default=frozenset())
    restored: bool = False


@dataclass(frozen=True)
class Removal(Generic[T]):
    """What happens to a bundle, and why."""

    bundle: KeptBundle[T]
    removed: bool
    reason: str


def plan_removals(
    bundles: Sequence[KeptBundle[T]], rules: KeepRules, *, incomplete: bool, now: datetime
) -> list[Removal[T]]:
    """What happens to each bundle, subject by subject, newest first; what cannot be judged is kept.

    :param incomplete: whether the incomplete ones go.
    :raises errors.UsageError: there is nothing to do, or the rules would keep no bundle of a subject.
    """
    if rules.empty and not incomplete:
        raise errors.UsageError(
            "Without a rule nothing would be kept",
            hint="Use --keep-last 7, for example; --dry-run shows the result.",
        )
    groups: dict[tuple[str, str], list[KeptBundle[T]]] = defaultdict(list)
    others: list[Removal[T]] = []
    for bundle in bundles:
        if bundle.state == "complete" and bundle.kind and bundle.subject and bundle.created_at:
            groups[bundle.kind, bundle.subject].append(bundle)
        elif bundle.state == "incomplete":
            reason = "incomplete" if incomplete else "incomplete: --incomplete removes it"
            others.append(Removal(bundle, incomplete, reason))
        else:
            others.append(Removal(bundle, False, f"{bundle.state}: not judged"))
    planned: list[Removal[T]] = []
    unkept = []
    for group in groups.values():
        if rules.empty:
            planned += [Removal(bundle, False, "no rule was given") for bundle in group]
            continue
        decisions = decide([_candidate(bundle) for bundle in group], rules, now=now)
        if not any(decision.reasons for decision in decisions):
            unkept.append(f"{group[0].kind} {group[0].name or ''} ({group[0].subject})")
        planned += [_removal(decision) for decision in decisions]
    if unkept:
        listed = "".join(f"\n- {printable(one)}" for one in unkept)
        raise errors.UsageError(
            f"These rules would keep no bundle of:{listed}", hint="Add a rule: --keep-last 1, for example."
        )
    return planned + others


def _candidate(bundle: KeptBundle[T]) -> Candidate[KeptBundle[T]]:
    time = datetime.fromisoformat(bundle.created_at or "").astimezone(UTC)
    return Candidate(bundle, time, bundle.tags, bundle.restored)


def _removal(decision: Decision[KeptBundle[T]]) -> Removal[T]:
    reasons = ", ".join((*decision.reasons, *decision.protection))
    return Removal(decision.what, not decision.kept, reasons or "no rule keeps it")


def kept_in_directory(directory: Path) -> list[KeptBundle[Path]]:
    """The bundles in and below a directory, for :func:`plan_removals`.

    :raises errors.NoBundle: there is no such directory, or it cannot be read.
    """
    return [
        KeptBundle(
            what=bundle.path,
            label=printable(str(bundle.path)),
            state=bundle.state,
            kind=bundle.kind,
            subject=bundle.id,
            name=bundle.name,
            created_at=bundle.created_at,
            size=bundle.size,
            restored=any(record.proves_restore for record in read_records(bundle.path)),
        )
        for bundle in list_bundles(directory)
    ]


def remove_directory(bundle: KeptBundle[Path]) -> None:
    """Removes a bundle, complete or not, with its directory.

    :raises errors.BundleBusy: an export writes into it.
    :raises errors.OutputExists: it has files that are not a bundle's, or cannot be told to be one's;
        nothing was removed.
    :raises errors.ImagetoolsError: the file system refuses it.
    """
    path = bundle.what
    with durable.storing(path):
        lock, created = _lock(path)
        try:
            state, found = _look(path)
            _empty(path, state, found)
        except errors.OutputExists:
            if created:
                durable.remove_file(path / LOCK)
            raise
        finally:
            os.close(lock)


def _look(path: Path) -> tuple[ExportState, list[str]]:
    """What the directory is a bundle of, and its files.

    :raises errors.OutputExists: see :func:`remove_directory`.
    """
    with Tree(path) as tree:
        entries = tree.entries()
        state = None
        with suppress(FileNotFoundError, NotAPlainFile):
            state = state_of_manifest(tree.read(MANIFEST, strict_json.MAX_BYTES + 1))
        with suppress(NotAPlainFile):
            state = state or unfinished_state(tree)
    if state is None and all(entry.path in DIRECTORIES or is_work_file(entry.path) for entry in entries):
        state = ExportState("image", {"id": "unknown"})  # an export or a removal was cut off at its very end
    if state is None:
        raise errors.OutputExists(f"{path} does not say whose export it is", hint="Remove it by hand.")
    known = {MANIFEST, *SUMS, *state.files}
    foreign = [entry.path for entry in entries if not _is_of_bundle(entry, known)]
    if foreign:
        raise errors.OutputExists(
            f"{path} has files that are not a bundle's: {', '.join(map(printable, foreign[:5]))}",
            hint="Move them away, or remove it by hand.",
        )
    return state, [entry.path for entry in entries if entry.kind != "directory"]


def _is_of_bundle(entry: TreeEntry, known: set[str]) -> bool:
    if entry.kind == "directory":
        return entry.path in (*DIRECTORIES, RECORDS)
    return entry.path in known or is_work_file(entry.path) or is_record(entry.path)


def _empty(path: Path, state: ExportState, found: list[str]) -> None:
    """Removes everything, the state and the lock last: until then it can be found and gone on with.

    The records go first: an export that goes on with an incomplete bundle takes none over.
    """
    for file in filter(is_record, found):
        _unlink(path, *file.split("/"))
    with suppress(FileNotFoundError):
        (path / RECORDS).rmdir()
    durable.write_atomic(path / STATE, format_state(state))
    durable.remove_file(path / MANIFEST)
    durable.sync_directory(path)
    for file in found:
        if file not in (MANIFEST, STATE, LOCK) and not is_record(file):
            directory, _, name = file.rpartition("/")
            _unlink(path, directory, name)
    for directory in DIRECTORIES:
        with suppress(FileNotFoundError):
            (path / directory).rmdir()
    for file in (STATE, LOCK):
        durable.remove_file(path / file)
    path.rmdir()
    durable.sync_directory(path.parent)


def _unlink(path: Path, directory: str, name: str) -> None:
    """Removes a file of the bundle, by way of no link."""
    parent = os.open(path / directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(parent)


def _lock(path: Path) -> tuple[int, bool]:
    """The descriptor of the lock file, locked against exports into the same directory; whether it is new."""
    created = not os.path.lexists(path / LOCK)
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, durable.FILE_MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise errors.BundleBusy(f"{path} is being written", hint="Wait until that export ends.") from None
    return lock, created
