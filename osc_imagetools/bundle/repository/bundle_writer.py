# SPDX-License-Identifier: Apache-2.0
"""A bundle on its way into a repository: each disk a snapshot, and everything else in one more, last.

Contract: while it is written nobody can remove anything from the repository (see :class:`RepositoryHold`).
The bundle is incomplete until :meth:`RepositoryBundleWriter.finish` has made its last snapshot, whatever
happens. Methods may be called from several threads.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from osc_imagetools import errors
from osc_imagetools.bundle.layout import path_problem
from osc_imagetools.bundle.repository.catalog import stored_bundles
from osc_imagetools.bundle.repository.disk_writer import RepositoryFileWriter, RepositoryHold
from osc_imagetools.bundle.repository.locks import patiently
from osc_imagetools.bundle.repository.reader import open_file
from osc_imagetools.bundle.repository.restic import Restic
from osc_imagetools.bundle.repository.snapshots import COMPLETE, StoredBundle, bundle_tags

LOCK_PATIENCE = 600.0  # seconds that another process's lock is waited for, before anything is written


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".osc-imagetools-") as folder:
        yield Path(folder)


class RepositoryBundleWriter:
    """Writes one bundle; a context manager, at the end of which what is not finished stays to be gone on
    with.

    :param subject: the ID of what is exported.
    :param cancelled: when it is set, writing stops with :class:`errors.Cancelled`.
    :param new: nothing of it can be in the repository, which is not searched for it then.
    :raises errors.OutputExists: at the beginning of the context: the bundle is complete already.
    :raises errors.RepositoryLocked: another process is removing something.
    """

    def __init__(
        self,
        restic: Restic,
        *,
        bundle_id: str,
        kind: str,
        subject: str,
        cancelled: threading.Event,
        new: bool = False,
    ) -> None:
        self.bundle_id = bundle_id
        self._restic = restic
        self._kind = kind
        self._subject = subject
        self._cancelled = cancelled
        self._new = new
        self._hold = RepositoryHold(restic, cancelled)

    def __enter__(self) -> Self:
        patiently(self._restic, self._hold.__enter__, LOCK_PATIENCE, self._cancelled)
        try:
            self._found = None if self._new else self._stored()
            if self._found and self._found.last:
                raise errors.OutputExists(
                    f"Bundle {self.bundle_id} is in the repository {self._restic.address.label} already",
                    hint=f"Check it with: openstack bundle verify {self.bundle_id} "
                    f"--repository {self._restic.address.label}",
                )
        except BaseException as exc:
            self._hold.__exit__(type(exc), exc, exc.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hold.__exit__(kind, value, traceback)

    def is_stored(self, file: str, *, size: int, algorithm: str, digest: str) -> bool:
        """Whether an earlier attempt has stored this very disk; its bytes are read back.

        :raises errors.RepositoryError: restic cannot be used.
        """
        snapshot = self._found.disks.get(file) if self._found else None
        if snapshot is None:
            return False
        try:
            with open_file(self._restic, snapshot.id, file, algorithm) as reader:
                for _ in reader.pieces():
                    if self._cancelled.is_set():
                        raise errors.Cancelled("interrupted")
        except (errors.RepositoryAbsent, errors.RepositoryPassword):
            raise
        except errors.RepositoryError:
            return False
        return reader.problem(size, digest) is None

    def heed(self, cancelled: threading.Event) -> None:
        """From now on this event stops writing, in the place of the one that was given at the beginning."""
        self._cancelled = cancelled

    def stored(self, file: str) -> str | None:
        """The ID of the snapshot in which an earlier attempt has stored a disk; its bytes are not read."""
        snapshot = self._found.disks.get(file) if self._found else None
        return snapshot.id if snapshot else None

    def disk(self, file: str, *more: str) -> RepositoryFileWriter:
        """Begins to store a disk; what an earlier attempt stored of it is superseded.

        :param more: tags of its snapshot besides the usual ones.
        :raises errors.ImagetoolsError: a bundle can have no such file.
        """
        wrong = path_problem(file)
        if wrong:
            raise errors.ImagetoolsError(f"{file!r} cannot be a file of a bundle: it {wrong}")
        tags = bundle_tags(self.bundle_id, self._kind, self._subject, *more)
        return RepositoryFileWriter(self._restic, file, tags, cancelled=self._cancelled)

    def finish(
        self,
        files: Mapping[str, bytes],
        disks: Iterable[str],
        folder: Callable[[], AbstractContextManager[Path]] = _temporary_folder,
        may_publish: Callable[[], None] = lambda: None,
    ) -> None:
        """Stores everything else, which makes the bundle complete.

        :param files: the manifest, the sums and the metadata, by path.
        :param disks: the paths of all disks that the manifest lists.
        :param folder: gives an empty directory that only this user can read, and removes it.
        :param may_publish: called right before the bundle becomes complete; what it raises prevents that.
        :raises errors.RepositoryError: restic failed; or a disk is gone, which somebody else has removed.
        """
        stored = self._stored()
        missing = sorted(set(disks) - (stored.disks.keys() if stored else set()))
        if missing:
            raise errors.RepositoryError(
                f"Somebody has removed {', '.join(missing)} from the repository while the bundle was written",
                hint="Run the same command again.",
            )
        # Its own directory: restic stores the paths that it is given, and takes several files from disk only.
        with folder() as place:
            for path, data in files.items():
                (place / path).parent.mkdir(mode=0o700, exist_ok=True)
                descriptor = os.open(place / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
            if self._cancelled.is_set():
                raise errors.Cancelled("interrupted")
            may_publish()
            tags = bundle_tags(self.bundle_id, self._kind, self._subject, COMPLETE)
            words = ("backup", "--json", *tags, ".")
            self._restic.run(*words, doing="to store the manifest", cwd=place)

    def _stored(self) -> StoredBundle | None:
        return next((b for b in stored_bundles(self._restic) if b.id == self.bundle_id), None)
