# SPDX-License-Identifier: Apache-2.0
"""Carries out the import of a volume and of a server: the disks first, then the server that has them.

Contract: the only caller of effects for these imports. Whatever ends the run before all is there, everything
that it made is removed again (or listed in the error), unless the user wants it kept.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.cloud.server import Server, get_server
from osc_imagetools.operations.drafts import ImageDraft, ImportPlan, NotReplayed, ServerDraft, VolumeDraft
from osc_imagetools.operations.services import services_of_kinds
from osc_imagetools.progress.model import Progress
from osc_imagetools.restore.result import ImportReport
from osc_imagetools.run.context import CreatedResource, RunContext, run_context
from osc_imagetools.run.effects.images import create_image, differences, protect_image, settle_image
from osc_imagetools.run.effects.new_server import (
    create_ports,
    create_server,
    server_differences,
    settle_server,
)
from osc_imagetools.run.effects.servers import await_server
from osc_imagetools.run.effects.volumes import restore_volume, settle_volume, volume_differences
from osc_imagetools.run.lanes import run_lanes

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoreOptions:
    """How to carry it out: *jobs* disks at a time, *timeout* seconds for each wait (None: no limit)."""

    jobs: int
    timeout: float | None
    wait: bool = False
    keep_on_failure: bool = False


def restore(
    plan: ImportPlan, cloud: Cloud, bundle: Path, options: RestoreOptions, *, purpose: str, progress: Progress
) -> ImportReport:
    """Makes what the plan says from the disks of *bundle*, which has been verified.

    :raises errors.ImagetoolsError: with ``left`` naming everything that remains in the cloud.
    """
    started = time.monotonic()
    with run_context(cloud, purpose, options.timeout) as context:
        kinds = ["image", *("volume" for _ in plan.volumes)]
        if plan.server is not None:
            kinds += ["server", *("port" for _ in plan.server.ports)]
        cloud.reach(*services_of_kinds(kinds))
        work = _DiskImport(plan, context, bundle, progress)
        try:
            work.disks(options.jobs)
            server = work.server(options.wait) if plan.server is not None else None
            refused = work.settle()
        except BaseException as exc:
            if options.keep_on_failure:
                _keep(work.kept, exc)
            raise
        for made in work.kept:
            assert made.entry is not None
            made.entry.keep()
        left = context.cleanup.unwind()
        try:
            found = work.differences(server, options.wait)
        except errors.ImagetoolsError as exc:  # it is there, and the user's
            found = [f"it could not be read back: {exc.message}"]
    kind, identifier, name = work.subject(server)
    return ImportReport(
        kind=kind,
        id=identifier,
        name=name,
        bytes=sum(v.image.size for v in plan.volumes) + sum(i.size for i in plan.images),
        disks=len(plan.volumes) + len(plan.images),
        differences=tuple(found),
        not_replayed=(*plan.not_replayed, *refused, *(NotReplayed(w, "left behind") for w in left)),
        mapped=(*plan.mapped, *work.made()),
        seconds=time.monotonic() - started,
    )


def _keep(kept: list[CreatedResource], exc: BaseException) -> None:
    """Nothing that was meant to stay is removed; what stays is told."""
    for made in kept:
        assert made.entry is not None
        made.entry.leave()
    left = tuple(f"{made.kind} {made.name} ({made.id})" for made in kept)
    if isinstance(exc, errors.ImagetoolsError):
        exc.left = (*exc.left, *left)
        hint = "It is kept: openstack leftover list shows it, openstack leftover delete removes it."
        exc.hint = "\n".join(filter(None, (exc.hint, hint if kept else None)))
    elif left:
        LOG.error("Kept: %s", "; ".join(left))


class _DiskImport:
    """What one import makes; ``kept`` is what will stay, in the order in which it was made."""

    def __init__(self, plan: ImportPlan, context: RunContext, bundle: Path, progress: Progress) -> None:
        self._plan = plan
        self._context = context
        self._bundle = bundle
        self._progress = progress
        self._volumes: list[tuple[CreatedResource, VolumeDraft]] = []
        self._images: list[tuple[CreatedResource, Image, ImageDraft]] = []
        self._ports: list[CreatedResource] = []
        self._server: CreatedResource | None = None
        self.kept: list[CreatedResource] = []

    def disks(self, jobs: int) -> None:
        """All volumes and images with their data; they are ours as yet."""
        lanes: list[Callable[[], None]] = [functools.partial(self._volume, v) for v in self._plan.volumes]
        lanes += [functools.partial(self._image, image) for image in self._plan.images]
        run_lanes(lanes, width=jobs, cancelled=self._context.deadline.cancelled)
        order = [id(draft) for draft in (*self._plan.volumes, *self._plan.images)]
        self._volumes.sort(key=lambda entry: order.index(id(entry[1])))
        self._images.sort(key=lambda entry: order.index(id(entry[2])))

    def server(self, wait: bool) -> Server:
        """The server, running where the user waits for that."""
        draft = self._draft
        sources = {
            "volume": [str(made.id) for made, _ in self._volumes],
            "image": [image.id for _, image, _ in self._images],
        }
        create_ports(self._context, draft, self._ports, self.kept)
        self._server = create_server(self._context, draft, sources, [str(port.id) for port in self._ports])
        self.kept.append(self._server)
        server_id = str(self._server.id)
        if wait:
            return await_server(self._context, server_id, "ACTIVE")
        server = get_server(self._context.cloud, server_id)
        if server is None:
            raise errors.CloudError(f"server {server_id} is gone as soon as it was made")
        return server

    def settle(self) -> list[NotReplayed]:
        """Makes it all the user's; what the cloud refuses to set, and why."""
        context = self._context
        refused = [r for _, image, draft in self._images for r in settle_image(context, image, draft)]
        for volume, draft in self._volumes:
            settle_volume(context, volume, draft)
        if self._server is not None:
            settle_server(context, str(self._server.id), self._draft, [str(port.id) for port in self._ports])
        return refused + [r for _, image, draft in self._images for r in protect_image(context, image, draft)]

    def differences(self, server: Server | None, wait: bool) -> list[str]:
        """How what was made differs from what it should be, read back."""
        context, algorithm = self._context, self._plan.algorithm
        found = [d for made, draft in self._volumes for d in volume_differences(context, str(made.id), draft)]
        for _, image, draft in self._images:
            found += differences(get_image(context.cloud, image.id), draft, algorithm)
        if server is not None:
            volumes = {draft.disk: str(made.id) for made, draft in self._volumes}
            found += server_differences(context, server.id, self._draft, volumes, running=wait)
        return found

    def made(self) -> list[str]:
        """What was made of each disk, where it is not the result itself."""
        if self._plan.server is None:
            return []
        return [
            *(f"disk {draft.disk}: volume {draft.name} ({made.id})" for made, draft in self._volumes),
            *(f"{draft.file}: {draft.title} ({image.id})" for _, image, draft in self._images),
        ]

    def subject(self, server: Server | None) -> tuple[str, str, str | None]:
        """(kind, ID, name) of the result."""
        if server is not None:
            return "server", server.id, server.name
        volume, draft = self._volumes[0]
        return "volume", str(volume.id), draft.name

    @property
    def _draft(self) -> ServerDraft:
        assert self._plan.server is not None
        return self._plan.server

    def _volume(self, draft: VolumeDraft) -> None:
        made = restore_volume(
            self._context, draft, self._bundle, algorithm=self._plan.algorithm, progress=self._progress
        )
        self.kept.append(made)
        self._volumes.append((made, draft))

    def _image(self, draft: ImageDraft) -> None:
        made, image = create_image(
            self._context,
            draft,
            self._bundle / str(draft.file),
            algorithm=self._plan.algorithm,
            digest=draft.digest,
            store=self._plan.store,
            owner=self._plan.owner,
            progress=self._progress,
        )
        self.kept.append(made)
        self._images.append((made, image, draft))
