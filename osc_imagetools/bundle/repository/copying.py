# SPDX-License-Identifier: Apache-2.0
"""What copies between a directory and a repository have in common: their result, and disks side by side.

Contract: all disks have ended when :func:`each_disk` returns or raises; the first failure stops the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle.verification import BundleFinding

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CopiedDisk:
    """A disk that has arrived, proven.

    :param added: bytes that the place did not have yet.
    :param reused: whether an earlier attempt had brought it already.
    """

    size: int
    added: int
    reused: bool = False


@dataclass(frozen=True)
class CopyStep:
    """A row of a dry run."""

    number: int
    action: str
    resource: str
    bytes: int | None
    temporary: bool = False


def plan_copy(manifest: Mapping[str, Any], target: str) -> list[CopyStep]:
    """What a copy of a bundle into *target* does, in order."""
    steps = [
        CopyStep(number, "copy disk", disk["file"], disk["size"])
        for number, disk in enumerate(manifest["disks"], 1)
    ]
    return [*steps, CopyStep(len(steps) + 1, "complete bundle", target, None)]


@dataclass(frozen=True)
class CopyResult:
    """A bundle that has arrived: its manifest, its ID, and its disks in the order of the manifest."""

    bundle_id: str
    manifest: Mapping[str, Any]
    disks: tuple[CopiedDisk, ...]


def each_disk(
    disks: Sequence[Mapping[str, Any]],
    copy: Callable[[Mapping[str, Any]], CopiedDisk],
    *,
    jobs: int,
    cancelled: threading.Event,
) -> tuple[CopiedDisk, ...]:
    """What *copy* gives for each disk; *jobs* run at a time.

    :raises errors.ImagetoolsError: the first failure, in the order of the disks.
    """

    def guarded(disk: Mapping[str, Any]) -> CopiedDisk:
        if cancelled.is_set():
            raise errors.Cancelled("interrupted")
        try:
            return copy(disk)
        except BaseException:
            cancelled.set()
            raise

    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="copy") as pool:
        futures = [pool.submit(guarded, disk) for disk in disks]
    failures = [exc for future in futures if (exc := future.exception()) is not None]
    for failure in sorted(failures, key=lambda exc: isinstance(exc, errors.Cancelled)):
        raise failure
    return tuple(future.result() for future in futures)


def refuse_findings(label: str, findings: Sequence[BundleFinding]) -> None:
    """:raises errors.BundleRefused: a finding is not ``ok``; all of them are named."""
    wrong = [finding for finding in findings if finding.result != "ok"]
    if wrong:
        listed = "".join(f"\n- {f.file}: {f.result}. {f.detail}" for f in wrong)
        raise errors.BundleRefused(f"{label} is refused, and was not copied:{listed}")


@contextmanager
def copying_records(label: str) -> Iterator[None]:
    """Within it the records of a bundle that has arrived are copied: what fails then is a warning."""
    try:
        yield
    except errors.ImagetoolsError as exc:
        LOG.warning("The records of %s were not all copied: %s", label, exc.message)
