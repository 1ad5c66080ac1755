# SPDX-License-Identifier: Apache-2.0
"""Where an export puts its bundle: what a directory and a repository have in common for it.

Contract: a store is opened before the run has any effect on a cloud and closed after its last one. What is
not finished stays incomplete, and the same export into the same place goes on with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from osc_imagetools.data.disk_format import DiskFacts
from osc_imagetools.data.download_source import DownloadSource, Fetched
from osc_imagetools.progress.model import Progress

if TYPE_CHECKING:
    from keystoneauth1.session import Session

    from osc_imagetools.export.plan import Subject


@dataclass(frozen=True)
class DiskTarget:
    """A disk of the bundle: its path in it, its formats as the cloud names them, the bundle's algorithm."""

    file: str
    disk_format: str
    container_format: str
    algorithm: str


@dataclass(frozen=True)
class TransferOptions:
    """What a store brings disks with: the login, *jobs* streams at a time, what ends them, who is told.

    ``folder`` gives an empty temporary directory, which ``leftover list`` finds after a kill. ``may_publish``
    is asked right before a bundle becomes complete; it raises where that must not happen.
    """

    session: Session
    jobs: int
    progress: Progress
    cancelled: threading.Event
    folder: Callable[[], AbstractContextManager[Path]]
    may_publish: Callable[[], None]


class OpenStore(Protocol):
    """A bundle that is written. Methods may be called from several threads."""

    @property
    def bundle(self) -> str:
        """What the bundle is called when it is read: a path, or an ID."""

    def begin(self, options: TransferOptions) -> None:
        """Before the first disk."""

    def fetch(self, source: DownloadSource, target: DiskTarget) -> tuple[Fetched, DiskFacts]:
        """Brings a disk, or keeps it where an earlier run has brought it.

        :raises errors.TransferError, errors.UnsafeDisk: nothing of it is kept then.
        """

    def add_document(self, name: str, document: object) -> None:
        """Adds ``metadata/<name>.json``."""

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Makes it a complete bundle; *manifest* is without ``files``."""


class ExportStore(Protocol):
    """A place for a bundle."""

    @property
    def label(self) -> str:
        """The place, for messages."""

    @property
    def resuming(self) -> str:
        """How an export that was interrupted goes on, as a sentence."""

    def open(self, subject: Subject) -> AbstractContextManager[OpenStore]:
        """Begins the bundle of a resource, or goes on with it.

        :raises errors.ImagetoolsError: it cannot be written there.
        """
