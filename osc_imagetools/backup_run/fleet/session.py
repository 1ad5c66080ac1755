# SPDX-License-Identifier: Apache-2.0
"""The session of a worker with a jobboard, and the lease that its commands have from it.

Contract: the lease is extended only when ZooKeeper has proven that the session lives, and counted from the
moment of the question. So when ZooKeeper ends the session and another worker claims its jobs, no command
works on for longer than the lease after that, whatever has become of this process: each command looks at the
lease itself.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet.board import WORKERS, Jobboard
from osc_imagetools.backup_run.fleet.job import WorkerRecord, format_worker
from osc_imagetools.run.assignment import RunLease, lease_clock, new_lease

LOG = logging.getLogger(__name__)


class WorkerSession:
    """Takes part in the board for as long as the context lasts, which is entered with an open board.

    *timeout* is that of the session, in seconds, and the length of the lease.
    """

    def __init__(self, board: Jobboard, worker: WorkerRecord, timeout: float) -> None:
        self.board = board
        self.timeout = timeout
        self._worker = worker
        self._lease, self._file = new_lease()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._prove, name="session", daemon=True)

    def __enter__(self) -> Self:
        asked = lease_clock()
        self.board.create(format_worker(self._worker), WORKERS, self.board.owner, ephemeral=True)
        self._lease.extend(asked + self.timeout)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._lease.extend(0.0)
        self._thread.join()
        self._file.close()

    @property
    def lease(self) -> RunLease:
        """For the commands."""
        return self._lease

    def over(self) -> bool:
        """Whether nothing may be done any more that another worker may have begun."""
        return self.board.lost.is_set() or self._lease.over()

    def _prove(self) -> None:
        while not self._ended.wait(self.timeout / 10):
            asked = lease_clock()
            try:
                lives = self.board.session_has(WORKERS, self.board.owner)
            except errors.JobboardError as exc:
                LOG.debug("No proof of the session: %s", exc.message)
                continue
            if not lives:
                self.board.lost.set()
                return
            if not (self._ended.is_set() or self._lease.over()):
                self._lease.extend(asked + self.timeout)
