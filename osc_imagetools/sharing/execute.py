# SPDX-License-Identifier: Apache-2.0
"""Shares an image with projects, accepts it on their behalf, and stops sharing it.

Contract: an image is shared with all projects or, if the cloud refuses one of them, with none: what was done
before is undone. It is not a failure if a project could not accept; the reason is reported. If unsharing
fails halfway, the error names the projects that were removed; it can be repeated. Source:
https://docs.openstack.org/api-ref/image/v2/#sharing
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.answers import StatusError
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, get_image
from osc_imagetools.cloud.project import Project
from osc_imagetools.run.cleanup import Cleanup, CleanupStep, clean_up_after
from osc_imagetools.run.deadline import Deadline
from osc_imagetools.run.interrupts import interrupts_set
from osc_imagetools.sharing.plan import Share, SharePlan, UnsharePlan


@dataclass(frozen=True)
class ShareResult:
    """The result for one project; ``status`` as a member, ``obstacle`` why it could not accept."""

    share: Share
    added: bool
    status: str
    obstacle: str | None


@dataclass(frozen=True)
class ShareReport:
    """``visibility`` is the previous visibility of the image, None if it has not changed.

    ``former_members`` are IDs of projects that were not asked for: they were members when the image was
    shared before, and can use it again now.
    """

    image: Image
    visibility: str | None
    projects: tuple[ShareResult, ...]
    former_members: tuple[str, ...]


def share(cloud: Cloud, plan: SharePlan) -> ShareReport:
    """Carry out a plan.

    :raises errors.ImagetoolsError: nothing has changed, or ``left`` says what has.
    """
    work = _Sharing(cloud, plan)
    deadline = Deadline()
    with interrupts_set(deadline.cancelled):
        try:
            work.open()
            for item in plan.shares:
                deadline.check()
                work.add(item)
            projects = []
            for item in plan.shares:
                deadline.check()
                projects.append(work.accept(item))
        except BaseException as exc:
            clean_up_after(work.cleanup, exc)
            raise
    asked = {item.project.id for item in plan.shares}
    former = tuple(p for p in work.members if p not in asked) if plan.visibility else ()
    return ShareReport(plan.image, plan.visibility, tuple(projects), former)


class _Sharing:
    """One run; ``members`` maps project IDs to their previous status."""

    def __init__(self, cloud: Cloud, plan: SharePlan) -> None:
        self._cloud = cloud
        self._plan = plan
        self._image = plan.image
        self.cleanup = Cleanup()
        self.members: Mapping[str, str] = {m.project_id: m.status for m in plan.image.members or ()}
        self._added: set[str] = set()

    def open(self) -> None:
        """Set the visibility if necessary; only then the members of an earlier sharing can be read."""
        before = self._plan.visibility
        if before is None:
            return
        entry = self.cleanup.register(
            f"visibility of {self._image.label}", lambda: self._set_visibility(before)
        )
        with _unless_refused(entry):
            self._set_visibility("shared")
        image = get_image(self._cloud, self._image.id)
        self.members = {m.project_id: m.status for m in image.members or ()}

    def add(self, item: Share) -> None:
        project = item.project.id
        if not item.add or project in self.members:
            return
        entry = self.cleanup.register(
            f"{item.project.label}, now a member of {self._image.label}", lambda: self._remove(project)
        )
        path, body = _path(self._image), {"member": project}
        try:
            with _unless_refused(entry):
                self._cloud.request("image", "POST", path, what=self._what(item), json=body)
            self._added.add(project)
        except StatusError as exc:
            if exc.status != 409:  # somebody else has added it in the meantime
                raise

    def accept(self, item: Share) -> ShareResult:
        project = item.project.id
        before = self.members.get(project, "pending")
        if item.exempt or not item.accept or before == "accepted":
            return ShareResult(item, project in self._added, before, item.obstacle)
        text = f"status of {item.project.label} as a member of {self._image.label}"
        entry = self.cleanup.register(text, lambda: self._set_status(item, before))
        try:
            with _unless_refused(entry):
                self._set_status(item, "accepted")
        except errors.ImagetoolsError as exc:
            return ShareResult(item, project in self._added, before, exc.message)
        return ShareResult(item, project in self._added, "accepted", None)

    def _set_status(self, item: Share, status: str) -> None:
        path = _path(self._image, item.project.id)
        there = self._cloud.in_project(item.project.id)
        there.request("image", "PUT", path, what=self._what(item), json={"status": status})

    def _remove(self, project: str) -> None:
        try:
            self._cloud.request("image", "DELETE", _path(self._image, project), what=self._image.label)
        except errors.ResourceNotFound:
            return

    def _set_visibility(self, visibility: str) -> None:
        change = {"op": "replace", "path": "/visibility", "value": visibility}
        self._cloud.patch_image(self._image.id, [change], what=self._image.label)

    def _what(self, item: Share) -> str:
        return f"{self._image.label} for {item.project.label}"


@contextlib.contextmanager
def _unless_refused(entry: CleanupStep) -> Iterator[None]:
    """Around an effect: if the cloud refuses it, nothing has to be undone."""
    try:
        yield
    except StatusError as exc:
        if exc.status < 500:
            entry.keep()
        raise
    except (errors.Forbidden, errors.ResourceNotFound):
        entry.keep()
        raise


@dataclass(frozen=True)
class UnshareResult:
    """The result for one project; ``was`` is its previous status as a member, None if it was not one."""

    project: Project
    was: str | None
    detail: str


def unshare(cloud: Cloud, plan: UnsharePlan) -> tuple[UnshareResult, ...]:
    """Remove the members of a plan.

    :raises errors.ImagetoolsError: the message names those that have been removed before.
    """
    done: list[UnshareResult] = []
    for project, status in plan.members:
        try:
            cloud.request("image", "DELETE", _path(plan.image, project.id), what=plan.image.label)
        except errors.ResourceNotFound:
            pass  # somebody else has removed it in the meantime
        except errors.ImagetoolsError as exc:
            names = ", ".join(u.project.label for u in done) or "none"
            exc.message += f" (removed before the failure: {names})"
            raise
        done.append(UnshareResult(project, status, f"was {status}"))
    return (*done, *(UnshareResult(project, None, detail) for project, detail in plan.not_members))


def _path(image: Image, project: str | None = None) -> str:
    path = f"/images/{quote(image.id, safe='')}/members"
    return path if project is None else f"{path}/{quote(project, safe='')}"
