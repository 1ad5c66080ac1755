# SPDX-License-Identifier: Apache-2.0
"""What every effect of a run needs: the cloud, its marks, its journal, its undo, its patience.

Contract: what a run makes is registered here first: its removal in the undo, and a line in the journal,
which outlives the process. :func:`workshop` is the frame of every run that has effects on a cloud: whatever
ends it, what is pending then is removed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from osc_imagetools import errors
from osc_imagetools.cloud import Cloud, StatusError
from osc_imagetools.execution.interrupt import interrupts_set
from osc_imagetools.execution.undo import Entry, Undo, unwind_after
from osc_imagetools.execution.wait import Patience
from osc_imagetools.journal import Journal, Place
from osc_imagetools.marks import Run

LEAST_FOR_REMOVAL = 60.0  # seconds


@dataclass
class Made:
    """A resource that a run makes; ``id`` is None until it is known.

    ``unsure`` from the request that makes it until an answer tells whether it did; ``number`` is that of its
    entry in the journal; ``parent`` is the volume of a snapshot that can only be found by name.
    """

    kind: str
    name: str
    entry: Entry | None = None
    id: str | None = None
    unsure: bool = False
    number: int = 0
    parent: str | None = None

    @property
    def label(self) -> str:
        if self.kind == "stopped-server":
            return f"server {self.id}, which was stopped"
        return f"temporary {self.kind} {self.name}" + (f" ({self.id})" if self.id else "")


@dataclass
class Workshop:
    """What every effect needs: the cloud, the run that it belongs to, its undo and journal, its patience.

    ``removal`` is the patience of the clean-up: it goes on after the interrupt that it is there for.
    """

    cloud: Cloud
    run: Run
    journal: Journal
    undo: Undo = field(default_factory=Undo)
    patience: Patience = field(default_factory=Patience)
    removal: Patience = field(default_factory=Patience)
    # Removing two snapshots of one running server at a time makes two block jobs in its hypervisor, of which
    # QEMU 7.2 has been seen to crash, and the guest with it: one at a time.
    one_snapshot: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, cloud: Cloud, purpose: str, timeout: float | None) -> Workshop:
        """That of a new run; *timeout* in seconds limits each single wait, None: no limit.

        A removal gets a minute at least: a short limit must not be what leaves something behind.
        """
        run = Run(purpose)
        journal = Journal(run, place_of(cloud))
        removal = None if timeout is None else max(timeout, LEAST_FOR_REMOVAL)
        return cls(cloud, run, journal, Undo(), Patience(timeout=timeout), Patience(timeout=removal))

    def register(
        self,
        kind: str,
        name: str,
        remove: Callable[[Workshop, Made], None],
        *,
        identifier: str | None = None,
        parent: str | None = None,
    ) -> Made:
        """Registers what will be made next: its removal, and its line in the journal.

        :raises errors.JournalUnwritable: it must not be made.
        """
        made = Made(kind, name, id=identifier, parent=parent)
        made.number = self.journal.make(kind, name, identifier)
        made.entry = self.undo.register(
            made.label,
            lambda: remove(self, made),
            lambda: self.journal.settled(made.number),
            urgent=kind == "stopped-server",  # its users wait
        )
        return made

    def identify(self, made: Made, identifier: str) -> str:
        """The cloud has said which ID it has; gives that ID."""
        made.id, made.unsure = identifier, False
        self.journal.made(made.number, identifier)
        return identifier


def place_of(cloud: Cloud) -> Place:
    """Where a login works."""
    origin = cloud.origin
    return Place(origin.auth_url, origin.region, origin.project_id)


@contextlib.contextmanager
def workshop(cloud: Cloud, purpose: str, timeout: float | None) -> Iterator[Workshop]:
    """The frame of a run. When it fails or is interrupted, what is pending is removed, last made first.

    :param purpose: what the run is for; it is written on what it makes.
    :raises errors.ImagetoolsError: what the run raised, with ``left`` naming everything that remains.
    """
    shop = Workshop.of(cloud, purpose, timeout)
    with interrupts_set(shop.patience.cancelled, shop.removal.cancelled):
        try:
            yield shop
        except BaseException as exc:
            unwind_after(shop.undo, exc)
            raise
        finally:
            shop.journal.close()


@contextlib.contextmanager
def making(made: Made) -> Iterator[None]:
    """The request that makes it: without a clear answer it may be there, or come into being later."""
    made.unsure = True
    try:
        yield
    except StatusError as exc:
        made.unsure = exc.status >= 500
        raise
    except (errors.Forbidden, errors.ResourceNotFound):
        made.unsure = False
        raise
    made.unsure = False
