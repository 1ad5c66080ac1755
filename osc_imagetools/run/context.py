# SPDX-License-Identifier: Apache-2.0
"""The context of a run: the cloud, its marks, its journal, its clean-up, its deadlines.

Contract: what a run creates is registered here first: its clean-up, and a line in the journal, which
outlives the process. :func:`run_context` is the frame of every run that has effects on a cloud: however the
run ends, pending resources are removed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from osc_imagetools.cloud.answers import may_exist
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.retries import Phase
from osc_imagetools.run.cleanup import Cleanup, CleanupStep, clean_up_after
from osc_imagetools.run.deadline import Deadline
from osc_imagetools.run.identity import Run
from osc_imagetools.run.interrupts import interrupts_set
from osc_imagetools.run.journal import Journal, RunLocation

SHORTEST_CLEANUP = 60.0  # seconds


@dataclass
class CreatedResource:
    """A resource that a run makes; ``id`` is None until it is known.

    ``may_exist`` is true from the request that creates it until an answer tells; ``absent`` is true when that
    request was refused or never left; ``number`` is that of its entry in the journal; ``parent`` is the
    volume of a snapshot that can only be found by name.
    """

    kind: str
    name: str
    entry: CleanupStep | None = None
    id: str | None = None
    may_exist: bool = False
    absent: bool = False
    number: int = 0
    parent: str | None = None

    @property
    def label(self) -> str:
        if self.kind == "stopped-server":
            return f"server {self.id}, which was stopped"
        return f"temporary {self.kind} {self.name}" + (f" ({self.id})" if self.id else "")


@dataclass
class RunContext:
    """What every effect needs: the cloud, the run's identity, its clean-up and journal, its deadlines.

    ``cleanup_deadline`` is that of the clean-up, which goes on after the interrupt of the run.
    """

    cloud: Cloud
    run: Run
    journal: Journal
    cleanup: Cleanup = field(default_factory=Cleanup)
    deadline: Deadline = field(default_factory=Deadline)
    cleanup_deadline: Deadline = field(default_factory=Deadline)
    # Removing two snapshots of one running server at a time makes two block jobs in its hypervisor, of which
    # QEMU 7.2 has been seen to crash, and the guest with it: one at a time.
    one_snapshot: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, cloud: Cloud, purpose: str, timeout: float | None) -> RunContext:
        """That of a new run; *timeout* in seconds limits each single wait, None: no limit.

        Clean-up always gets at least 60 seconds.
        """
        run = Run(purpose)
        journal = Journal(run, location_of(cloud))
        end = Deadline(timeout=None if timeout is None else max(timeout, SHORTEST_CLEANUP))
        cleanup = Cleanup(lambda: cloud.retries.during(Phase.CLEANING_UP, end.cancelled), end.cancelled)
        return cls(cloud, run, journal, cleanup, Deadline(timeout=timeout), end)

    def register(
        self,
        kind: str,
        name: str,
        remove: Callable[[RunContext, CreatedResource], None],
        *,
        identifier: str | None = None,
        parent: str | None = None,
    ) -> CreatedResource:
        """Registers what will be made next: its removal, and its line in the journal.

        :raises errors.JournalUnwritable: it must not be made.
        """
        made = CreatedResource(kind, name, id=identifier, parent=parent)
        made.number = self.journal.make(kind, name, identifier)
        made.entry = self.cleanup.register(
            lambda: made.label,
            lambda: remove(self, made),
            lambda: self.journal.settled(made.number),
            urgent=kind == "stopped-server",  # its users wait
            exists=lambda: not made.absent,
        )
        return made

    def identify(self, made: CreatedResource, identifier: str) -> str:
        """The cloud has said which ID it has; gives that ID."""
        made.id, made.may_exist = identifier, False
        self.journal.made(made.number, identifier)
        return identifier


def location_of(cloud: Cloud) -> RunLocation:
    """Where a login works."""
    origin = cloud.origin
    return RunLocation(origin.auth_url, origin.region, origin.project_id)


@contextlib.contextmanager
def run_context(cloud: Cloud, purpose: str, timeout: float | None) -> Iterator[RunContext]:
    """The frame of a run. When it fails or is interrupted, what is pending is removed, last made first.

    :param purpose: what the run is for; it is written on what it makes.
    :raises errors.ImagetoolsError: what the run raised, with ``left`` naming everything that remains.
    """
    context = RunContext.of(cloud, purpose, timeout)
    events = context.deadline.cancelled, context.cleanup_deadline.cancelled
    with (
        interrupts_set(*events, last_words=context.cleanup.last_words),
        cloud.retries.during(Phase.WORKING, context.deadline.cancelled),
    ):
        try:
            yield context
        except BaseException as exc:
            clean_up_after(context.cleanup, exc)
            raise
        finally:
            context.journal.close()


@contextlib.contextmanager
def creating(made: CreatedResource) -> Iterator[None]:
    """The request that makes it: without a clear answer it may be there, or come into being later."""
    made.may_exist = True
    try:
        yield
    except BaseException as exc:
        made.may_exist = may_exist(exc)
        made.absent = not made.may_exist
        raise
    made.may_exist = False
