# SPDX-License-Identifier: Apache-2.0
"""The one interpreter of operations: exports, imports and conversions are carried out here.

Contract: runs the phases of a plan one after the other, the lanes of a phase at the same time, the
operations of a lane in their order. Each effect registers its clean-up before it takes place. The failure of
a lane stops the others and is raised; :func:`osc_imagetools.run.context.run_context` then cleans up.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Protocol

from osc_imagetools import errors
from osc_imagetools.data.disk_stream import DiskSource
from osc_imagetools.operations.drafts import ImageDraft, NotReplayed
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.services import services_of
from osc_imagetools.operations.steps import lane_name, step_name
from osc_imagetools.operations.vocabulary import (
    CreateMappingImage,
    CreatePort,
    CreateServer,
    CreateSnapshot,
    CreateVolume,
    FetchImage,
    Lane,
    Operation,
    Phase,
    Protect,
    ReformatImage,
    Remove,
    SendDisk,
    SetMetadata,
    SnapshotServer,
    StartServer,
    StopServer,
    UploadVolume,
    operations_of,
)
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import CreatedResource, RunContext
from osc_imagetools.run.effects import block_storage, images, new_server, servers, volumes
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.effects.reformat import reformat_image
from osc_imagetools.run.lanes import run_lanes

LOG = logging.getLogger(__name__)
IN_USE = 409  # Glance: a volume is a clone of the image


class Disks(Protocol):
    """The bundle of a run: where disks go to, and where they come from."""

    def fetch(self, operation: FetchImage, results: Results) -> Outcome:
        """Brings an image's data into the bundle."""

    def source(self, draft: ImageDraft) -> DiskSource:
        """The disk that an image is sent from."""

    @property
    def algorithm(self) -> str:
        """The hash algorithm of the bundle."""


class WithoutBundle:
    """Of a run whose plan neither fetches into a bundle nor sends from one."""

    algorithm = "sha512"

    def fetch(self, operation: FetchImage, results: Results) -> Outcome:
        raise AssertionError(operation)

    def source(self, draft: ImageDraft) -> DiskSource:
        raise AssertionError(draft)


class Interpreter:
    """Carries out the phases of one plan in one run; *jobs* lanes at a time where a phase does not say."""

    def __init__(self, context: RunContext, disks: Disks, *, jobs: int, progress: Progress) -> None:
        self._context = context
        self._disks = disks
        self._jobs = jobs
        self._progress = context.progress = progress

    def run(self, phases: Iterable[Phase]) -> Results:
        """All outcomes; each service that is needed is asked before the first effect.

        :raises errors.ImagetoolsError: of the first lane that failed.
        """
        phases = tuple(phases)
        self._context.cloud.reach(*services_of(operations_of(phases)))
        results = Results({})
        for phase in phases:
            lanes = [functools.partial(self._lane, lane, results) for lane in phase.lanes]
            width = phase.width or max(self._jobs, 1)
            for made, refused in run_lanes(lanes, width=width, cancelled=self._context.deadline.cancelled):
                results = results.with_outcomes(made, refused)
        return results

    def _lane(self, lane: Lane, before: Results) -> tuple[dict[Reference, Outcome], list[NotReplayed]]:
        """Runs one lane; what it created, and what the cloud refused to set."""
        made: dict[Reference, Outcome] = {}
        refused: list[NotReplayed] = []
        line, names = lane_name(lane), [*map(step_name, lane), None]
        for operation, name, then in zip(lane, names, names[1:], strict=False):
            self._context.deadline.check()
            results = before.with_outcomes(made, [])
            with self._progress.step(line, str(name), then=then):
                refused += self._carry_out(operation, results, made)
        return made, refused

    def _carry_out(
        self, operation: Operation, results: Results, made: dict[Reference, Outcome]
    ) -> list[NotReplayed]:
        """Carries out one operation; what it created goes into *made*. What the cloud refused to set."""
        match operation:
            case Remove(what) | StartServer(what):
                made.update(self._remove(what, results))
            case SetMetadata(what):
                return results[what].hand_over()
            case Protect(what):
                return results[what].protect()
            case _:
                made.update(self._create(operation, results))
        return []

    def _create(self, operation: Operation, results: Results) -> dict[Reference, Outcome]:
        """Carries out an operation that gives something."""
        context = self._context
        match operation:
            case StopServer(server):
                return {server: Outcome(servers.stop_server(context, str(server.id)))}
            case SnapshotServer():
                return servers.create_server_image(context, operation)
            case CreateSnapshot():
                outcome = block_storage.snapshot(context, operation, results)
            case CreateVolume():
                outcome = volumes.create_volume(context, operation, results)
            case UploadVolume():
                outcome = images.upload_volume(context, operation, results)
            case SendDisk() | CreateMappingImage() | ReformatImage():
                outcome = self._image(operation, results)
            case CreatePort():
                outcome = new_server.create_port(context, operation)
            case CreateServer():
                outcome = new_server.create_server(context, operation, results)
            case FetchImage():
                outcome = self._disks.fetch(operation, results)
            case _:
                raise AssertionError(operation)
        return {operation.makes: outcome}

    def _image(self, operation: SendDisk | CreateMappingImage | ReformatImage, results: Results) -> Outcome:
        context, algorithm = self._context, self._disks.algorithm
        match operation:
            case SendDisk():
                source = self._disks.source(operation.draft)
                return images.send_disk(
                    context, operation, source, algorithm=algorithm, progress=self._progress
                )
            case CreateMappingImage():
                return images.create_mapping_image(context, operation, results, progress=self._progress)
            case ReformatImage():
                return reformat_image(context, operation, jobs=self._jobs, progress=self._progress)

    def _remove(self, what: Reference, results: Results) -> dict[Reference, Outcome]:
        """It is no longer needed: what cannot be removed now is tried again at the end, and then told.

        :returns: what was made in the place of volumes that held it.
        """
        made = results.resource(what)
        assert made.entry is not None
        try:
            made.entry.run()
        except errors.Cancelled:
            raise
        except errors.ImagetoolsError as exc:
            clones = results.made_from(what) if getattr(exc, "status", None) == IN_USE else {}
            if clones:
                return self._remove_cloned(made, clones)
            LOG.warning("%s could not be removed: %s", made.label, exc.message)
        return {}

    def _remove_cloned(
        self, made: CreatedResource, clones: dict[Reference, Outcome]
    ) -> dict[Reference, Outcome]:
        """An image that volumes are clones of: it goes once volumes with data of their own replace them."""
        assert made.entry is not None
        again: dict[Reference, Outcome] = {}
        for volume, clone in clones.items():
            assert clone.written_anew is not None
            again[volume] = clone.written_anew()
        made.entry.run()
        return again
