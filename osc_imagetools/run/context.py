# SPDX-License-Identifier: Apache-2.0
"""The context of a run: the cloud, its marks, its journal, its clean-up, its deadlines.

Contract: what a run creates is registered here first: its clean-up, and a line in the journal, which
outlives the process. :func:`run_context` is the frame of every run that has effects on a cloud: however the
run ends, pending resources are removed.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from osc_imagetools import errors
from osc_imagetools.cloud.answers import may_exist
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.retries import RetryPhase
from osc_imagetools.progress.model import NullProgress, Progress
from osc_imagetools.run.assignment import lease_heeded, run_id
from osc_imagetools.run.cleanup import Cleanup, CleanupStep, clean_up_after
from osc_imagetools.run.deadline import Deadline
from osc_imagetools.run.identity import Run
from osc_imagetools.run.interrupts import interrupts_set
from osc_imagetools.run.journal import Journal, RunLocation

LOG = logging.getLogger(__name__)
SHORTEST_CLEANUP = 60.0  # seconds
KEPT_HINT = "openstack leftover list shows what is kept, openstack leftover delete removes it."


class Ending(enum.Enum):
    """What becomes of the resources that a plan keeps when its run ends, well or not.

    KEEP: they are the user's. REMOVE: they go, as temporary ones do. LEAVE: they stay marked as ours, and
    ``leftover list`` finds them.
    """

    KEEP = "keep"
    REMOVE = "remove"
    LEAVE = "leave"


@dataclass
class CreatedResource:
    """A resource that a run creates; ``id`` is None until it is known, ``keep``: it is meant to stay.

    ``may_exist`` is true from the request that creates it until an answer tells, ``created`` when that said
    so, ``absent`` when the request was refused or never left; ``number`` is that of its entry in the journal;
    ``parent`` is the volume of a snapshot that can only be found by name.
    """

    kind: str
    name: str
    entry: CleanupStep | None = None
    id: str | None = None
    may_exist: bool = False
    created: bool = False
    absent: bool = False
    number: int = 0
    parent: str | None = None
    keep: bool = False

    @property
    def label(self) -> str:
        if self.kind == "stopped-server":
            return f"server {self.id}, which was stopped"
        temporary = "" if self.keep else "temporary "
        return f"{temporary}{self.kind} {self.name}" + (f" ({self.id})" if self.id else "")


@dataclass
class RunContext:
    """What every effect needs: the cloud, the run's identity, its clean-up and journal, its deadlines.

    ``cleanup_deadline`` is that of the clean-up, which goes on after the interrupt of the run. ``progress``
    is told by whoever waits for the cloud what that says of how far it is.
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
    progress: Progress = field(default_factory=NullProgress)
    _clouds: list[Cloud] = field(default_factory=list)
    _created: list[CreatedResource] = field(default_factory=list)
    _journals: list[Journal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._journals.append(self.journal)

    @classmethod
    def of(cls, cloud: Cloud, purpose: str, timeout: float | None) -> RunContext:
        """That of a new run; *timeout* in seconds limits each single wait, None: no limit.

        Clean-up always gets at least 60 seconds.
        """
        run = Run(purpose, run_id())
        journal = Journal(run, location_of(cloud))
        end = Deadline(timeout=None if timeout is None else max(timeout, SHORTEST_CLEANUP))
        clouds = [cloud]
        cleanup = Cleanup(lambda: _patient(clouds, RetryPhase.CLEANING_UP, end.cancelled), end.cancelled)
        return cls(cloud, run, journal, cleanup, Deadline(timeout=timeout), end, _clouds=clouds)

    def at(self, cloud: Cloud) -> RunContext:
        """The same run in another cloud (or project, or region): with an ID and a journal of its own there,
        and the clean-up, the deadlines and the ending of this one.
        """
        run = Run(self.run.purpose)
        cloud.retries.enter(RetryPhase.WORKING, self.deadline.cancelled)
        self._clouds.append(cloud)
        return replace(self, cloud=cloud, run=run, journal=Journal(run, location_of(cloud)))

    def register(
        self,
        kind: str,
        name: str,
        remove: Callable[[RunContext, CreatedResource], None],
        *,
        identifier: str | None = None,
        parent: str | None = None,
        keep: bool = False,
    ) -> CreatedResource:
        """Registers what will be created next: its removal, and its line in the journal.

        :param keep: it is meant to stay (:class:`Ending`).
        :raises errors.JournalUnwritable: it must not be created.
        """
        made = CreatedResource(kind, name, id=identifier, parent=parent, keep=keep)
        made.number = self.journal.make(kind, name, identifier)
        made.entry = self.cleanup.register(
            lambda: made.label,
            lambda: remove(self, made),
            lambda: self.journal.settled(made.number),
            urgent=kind == "stopped-server",  # its users wait
            exists=lambda: not made.absent,
        )
        self._created.append(made)
        return made

    def identify(self, made: CreatedResource, identifier: str) -> str:
        """The cloud has said which ID it has; gives that ID."""
        made.id, made.may_exist, made.created = identifier, False, True
        self.journal.made(made.number, identifier)
        return identifier

    @property
    def retries(self) -> int:
        """How many requests were sent again, in all clouds of the run."""
        return sum(cloud.retries.count for cloud in self._clouds)

    def conclude(self, ending: Ending = Ending.KEEP) -> tuple[str, ...]:
        """All is done: what is meant to stay ends as *ending* says, everything else is removed.

        :returns: what could not be removed, and why.
        """
        for made in self._staying():
            assert made.entry is not None
            if ending is Ending.KEEP:
                made.entry.keep()
            elif ending is Ending.LEAVE:
                made.entry.leave()
        return self.cleanup.unwind(self.progress)

    def leave(self, exc: BaseException) -> None:
        """After a failure: what is meant to stay is left, and *exc* tells what that is."""
        left = self._staying()
        for made in left:
            assert made.entry is not None
            made.entry.leave()
        if not left:
            return
        texts = tuple(f"{made.kind} {made.name} ({made.id})" for made in left)
        if isinstance(exc, errors.ImagetoolsError):
            exc.left = (*exc.left, *texts)
            exc.hint = "\n".join(filter(None, (exc.hint, KEPT_HINT)))
        else:
            LOG.error("Kept: %s", "; ".join(texts))

    def close(self) -> None:
        """Closes the journals."""
        for journal in self._journals:
            journal.close()

    def _staying(self) -> list[CreatedResource]:
        """What is meant to stay and is there, in the order in which it was created."""
        there = (made for made in self._created if made.keep and made.created)
        return [made for made in there if made.entry is not None and not made.entry.done]


def location_of(cloud: Cloud) -> RunLocation:
    """Where a login works."""
    origin = cloud.origin
    return RunLocation(origin.auth_url, origin.region, origin.project_id)


@contextlib.contextmanager
def run_context(
    cloud: Cloud, purpose: str, timeout: float | None, *, failure: Ending = Ending.REMOVE
) -> Iterator[RunContext]:
    """The frame of a run. When it fails or is interrupted, what is pending is removed, last created first.

    :param purpose: what the run is for; it is written on what it creates.
    :param failure: what becomes then of what is meant to stay.
    :raises errors.ImagetoolsError: what the run raised, with ``left`` naming everything that remains.
    """
    context = RunContext.of(cloud, purpose, timeout)
    events = context.deadline.cancelled, context.cleanup_deadline.cancelled
    with (
        interrupts_set(*events, last_words=context.cleanup.last_words),
        cloud.retries.during(RetryPhase.WORKING, context.deadline.cancelled),
        lease_heeded(context.deadline.cancelled),
    ):
        try:
            yield context
        except BaseException as exc:
            if failure is Ending.LEAVE:
                context.leave(exc)
            clean_up_after(context.cleanup, exc, context.progress)
            raise
        finally:
            context.close()


@contextlib.contextmanager
def _patient(clouds: list[Cloud], phase: RetryPhase, cancelled: threading.Event) -> Iterator[None]:
    """Within it the requests to all clouds of a run are as patient as *phase* says."""
    with contextlib.ExitStack() as stack:
        for cloud in clouds:
            stack.enter_context(cloud.retries.during(phase, cancelled))
        yield


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
