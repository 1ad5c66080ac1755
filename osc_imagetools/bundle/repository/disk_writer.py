# SPDX-License-Identifier: Apache-2.0
"""One file on its way into a repository: a stream that becomes a snapshot only when its writer says so.

Contract: no local file, and no more memory than a pipe. There is a snapshot after
:meth:`RepositoryFileWriter.finish` and at no other time: neither after
:meth:`RepositoryFileWriter.abort`, nor after an error, nor when this process is killed (see the module
``guard``). A writer belongs to one thread at a time.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from osc_imagetools import errors
from osc_imagetools.bundle.repository.failures import Stderr
from osc_imagetools.bundle.repository.guard import BEGIN
from osc_imagetools.bundle.repository.guarded_process import GuardedProcess
from osc_imagetools.bundle.repository.restic import Restic, watch

POLL = 0.2  # seconds between two looks at whether all is over
PROGRESS = 5  # times a second that restic says how far it is: the first time, it has begun to read
LAST_WORDS = 30  # seconds for a restic that reads no more to end


@dataclass(frozen=True)
class StoredFile:
    """What restic says it has stored.

    :param snapshot: the beginning of the ID of the snapshot, or all of it.
    :param added: bytes that the repository did not have yet, before compression.
    """

    snapshot: str
    size: int
    added: int


class RepositoryFileWriter:
    """Feeds a ``restic backup --stdin``; a context manager that aborts what was not finished.

    :param path: that the file has in the bundle.
    :param tags: arguments of ``restic backup``.
    :param cancelled: when it is set, :meth:`write` raises :class:`errors.Cancelled`.
    :raises errors.RepositoryError: restic cannot be started.
    """

    def __init__(
        self,
        restic: Restic,
        path: str,
        tags: Sequence[str],
        *,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.path = path
        self.size = 0
        self.started = threading.Event()  # restic has its lock and reads, or has ended
        self._restic = restic
        self._cancelled = cancelled or threading.Event()
        self._summary: dict[str, object] = {}
        self._said = Stderr(restic.retried)
        self._open = True
        self._over = False  # restic has closed its stdout
        words = ("backup", "--stdin", "--stdin-filename", path, "--json", *tags)
        environment = restic.environment(PROGRESS)
        self._process = GuardedProcess(restic.command(*words), environment, fed=True)
        self._threads = [watch(self._process.stderr, self._said), self._watch_stdout(self._process.stdout)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Gives restic the next bytes.

        :raises errors.RepositoryError: restic has ended.
        :raises errors.Cancelled: ``cancelled`` was set.
        """
        rest = memoryview(data).cast("B")
        while rest:
            if self._cancelled.is_set():
                raise errors.Cancelled("interrupted")
            pipe = self._process.data
            try:
                written = os.write(pipe, rest)
            except BlockingIOError:
                select.select([], [pipe], [], POLL)
                continue
            except BrokenPipeError:
                failure = self.failure()
                if self._cancelled.is_set():
                    raise errors.Cancelled("interrupted") from None
                raise failure from None
            self.size += written
            rest = rest[written:]

    def finish(self) -> StoredFile:
        """Tells restic that the file ends here, and waits for the snapshot.

        To be called only when the bytes have been proven.

        :raises errors.RepositoryError: restic failed, or stored another number of bytes: what it made, if
            anything, must not be used.
        :raises errors.Cancelled: ``cancelled`` was set before restic had ended.
        """
        if self._cancelled.is_set():
            raise errors.Cancelled("interrupted")
        self._process.end_input()
        while not self.started.wait(POLL) and not self._cancelled.is_set():
            continue
        self.started.wait(BEGIN)
        self._release(self._cancelled)
        if self._cancelled.is_set() and (self._process.returncode or not self._summary):
            raise errors.Cancelled("interrupted")
        if self._process.returncode:
            raise self._failure()
        snapshot, size, added = (
            self._summary.get(key) for key in ("snapshot_id", "total_bytes_processed", "data_added")
        )
        if not isinstance(snapshot, str) or not isinstance(added, int) or size != self.size:
            raise errors.RepositoryError(
                f"restic stored {size} bytes of {self.path}, and {self.size} were sent",
                hint="Run the same command again.",
            )
        return StoredFile(snapshot, self.size, added)

    def abort(self) -> None:
        """Ends restic without a snapshot; does nothing after :meth:`finish` or a second time."""
        if self._open:
            self.started.wait(BEGIN)
            self._process.interrupt()
            self._release()

    def _release(self, cancelled: threading.Event | None = None) -> None:
        """Waits for restic, which ends by itself now or has been interrupted: then it never sees the end of
        its input."""
        self._open = False
        try:
            self._process.wait(cancelled)
        finally:
            self._process.kill()  # interrupted a second time
            self._process.close_input()
            for thread in self._threads:
                thread.join()

    @property
    def running(self) -> bool:
        """Whether restic has not ended by itself."""
        return not self._over and self._process.returncode is None

    def failure(self) -> errors.RepositoryError:
        """The error for a restic that has ended by itself, or does: it has stopped reading, and says why."""
        end = time.monotonic() + LAST_WORDS
        while self._process.returncode is None and time.monotonic() < end and not self._cancelled.is_set():
            time.sleep(POLL / 4)
        self.abort()
        return self._failure()

    def _failure(self) -> errors.RepositoryError:
        return self._restic.failure(self._process.wait(), self._said.text, f"to store {self.path}")

    def _watch_stdout(self, stream: IO[bytes]) -> threading.Thread:
        def read() -> None:
            with stream:
                for line in stream:
                    self._process.begun = True
                    self.started.set()
                    with suppress(ValueError):
                        document = json.loads(line)
                        if isinstance(document, dict) and document.get("message_type") == "summary":
                            self._summary = document
            self._over = True
            self.started.set()

        thread = threading.Thread(target=read, name="restic-stdout", daemon=True)
        thread.start()
        return thread


class RepositoryHold:
    """Keeps others from removing anything while a bundle is written, by a lock of restic's own.

    restic's lock lasts as long as one of its processes. Between two disks there is none, so this is one
    more: a ``backup --stdin`` that is fed nothing and aborted in the end. A context manager.

    :raises errors.RepositoryLocked: at the beginning of the context: another process removes something.
    """

    PATH = ".hold"

    def __init__(self, restic: Restic, cancelled: threading.Event) -> None:
        self._restic = restic
        self._cancelled = cancelled

    def __enter__(self) -> Self:
        writer = RepositoryFileWriter(self._restic, self.PATH, (), cancelled=self._cancelled)
        try:
            while not writer.started.wait(POLL):
                if self._cancelled.is_set():
                    raise errors.Cancelled("interrupted")
            if not writer.running:
                raise writer.failure()
        except BaseException:
            writer.abort()
            raise
        self._writer = writer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.abort()
