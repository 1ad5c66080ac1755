# SPDX-License-Identifier: Apache-2.0
"""How a fleet is asked for: many requests side by side, none of which ends the run when it fails.

Contract: read-only. Whatever a service answers, an error or something that makes no sense, is noted in the
fleet's ``unread``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from osc_imagetools import errors
from osc_imagetools.backup_check.fleet import Fleet
from osc_imagetools.cloud.connection import PAGE, Cloud

# The first one that answers for a single server of a cell that is down, with next to nothing in it, and that
# tells administrators which services are in such a cell (nova/api/openstack/compute/views/servers.py,
# services.py). No page of a list has these servers: with a limit, and with any filter but all_tenants, Nova
# leaves them out (servers.py, _is_cell_down_supported).
SERVERS = "2.69"
# Service, path and microversion of each list, by the name under which the answer has it.
LISTS = {
    "servers": ("compute", "/servers/detail", SERVERS),
    "volumes": ("block-storage", "/volumes/detail", None),
    "snapshots": ("block-storage", "/snapshots/detail", None),
    "backups": ("block-storage", "/backups/detail", None),
    "images": ("image", "/images", None),
    "flavors": ("compute", "/flavors", None),
}
# What reading a document raises that is not as the API describes it.
SENSELESS = (AttributeError, LookupError, OverflowError, TypeError, ValueError)

# Tells how many of a kind were read so far.
Count = Callable[[str, int], None]


class ListRequests:
    """Reads into a fleet; the tasks run in threads, each of which fills a field of its own."""

    def __init__(self, cloud: Cloud, count: Count, found: Fleet) -> None:
        self.cloud = cloud
        self.found = found
        self._count = count
        self._stopped = Event()
        self.failures: dict[str, errors.ImagetoolsError] = {}

    def all_of(self, pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], None]]) -> None:
        """Runs tasks side by side; an interrupt ends them at their next page."""
        futures = [pool.submit(task) for task in list(tasks)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    def get(self, service: str, path: str, what: str, microversion: str | None = None) -> Any:
        """The document at a path, by the newest microversion up to the one that is wanted."""
        return self.cloud.get(service, path, what=what, microversion=self._known(service, microversion))

    def _known(self, service: str, wanted: str | None) -> str | None:
        return self.cloud.microversion(service, wanted) if wanted else None

    def read(self, name: str, query: Mapping[str, str], keep: Callable[[dict[str, Any]], Any]) -> None:
        """Gives each document of a list to *keep*, until the list ends or fails, which is noted."""
        service, path, version = LISTS[name]

        def read() -> None:
            known = self._known(service, version)
            documents = self.cloud.list(
                service, path, name, what=f"list of {name}", params=query, microversion=known
            )
            for number, document in enumerate(documents, 1):
                keep(document)
                if number % PAGE == 0 or number == 1:
                    self._count(name, number)
                if self._stopped.is_set():
                    return

        self.noting(name, read)

    def noting(self, key: str, read: Callable[[], Any], *, gone: bool = False) -> None:
        """Reads, and notes under *key* why that failed; *gone*: what is not found does not exist."""
        try:
            read()
        except errors.ImagetoolsError as exc:
            if gone and isinstance(exc, errors.ResourceNotFound):
                self.found.gone.add(key)
                return
            self.failures[key] = exc
            self.found.unread[key] = exc.message
        except SENSELESS as exc:
            self.found.unread[key] = f"{key}: an answer that cannot be read ({exc!r})"
