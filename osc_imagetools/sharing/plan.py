# SPDX-License-Identifier: Apache-2.0
"""Plans to share an image with projects, or to stop sharing it: members to add, to accept and to remove.

Contract: pure. Problems are found here, before any effect, and reported together. An image that every project
can use already is not changed: sharing it with some would withdraw it from all others. Source:
https://docs.openstack.org/api-ref/image/v2/#sharing (only the member's project sets its status).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.project import Project
from osc_imagetools.operations.steps import PlanStep
from osc_imagetools.sharing.inventory import SharingInventory

OPEN = {
    "public": "public: every project can use it",
    "community": "community: every project can use it by ID (to list it: openstack image list --community)",
}
# Final states: the image will never have data again.
DEAD = frozenset({"killed", "deleted", "pending_delete"})


@dataclass(frozen=True)
class Share:
    """The plan for one project: ``was`` is its status as a member, None if it is not one.

    ``accept`` tells whether to accept on its behalf; ``obstacle`` why this is not possible although it was
    asked for; ``exempt`` why there is nothing to do.
    """

    project: Project
    was: str | None
    add: bool
    accept: bool
    obstacle: str | None = None
    exempt: str | None = None


@dataclass(frozen=True)
class SharePlan:
    """``visibility`` is the visibility to change, None if it stays."""

    image: Image
    visibility: str | None
    shares: tuple[Share, ...]

    def warnings(self) -> tuple[str, ...]:
        """What users might expect of sharing, but will not get."""
        if self.image.size or not self.image.mapping or all(s.exempt for s in self.shares):
            return ()
        return (
            f"{self.image.label} has 0 bytes: its data is in volume snapshots, which are not shared with it. "
            "Other projects can see the image but not boot from it. To share the data: openstack image "
            f"export-full {self.image.id}; then openstack image import-full <bundle>, and share the imported "
            "image.",
        )

    def steps(self) -> tuple[PlanStep, ...]:
        """The plan as rows for a dry run."""
        rows: list[tuple[str, str]] = []
        if self.visibility:
            rows.append(("set visibility", f"{self.image.label} from {self.visibility} to shared"))
        rows += [("add member", s.project.label) for s in self.shares if s.add]
        rows += [("accept", f"as {s.project.label}") for s in self.shares if s.accept]
        return _numbered(rows)


@dataclass(frozen=True)
class UnsharePlan:
    """The members to remove (project, status), and the projects that are not members, with the reason."""

    image: Image
    members: tuple[tuple[Project, str], ...]
    not_members: tuple[tuple[Project, str], ...]

    def steps(self) -> tuple[PlanStep, ...]:
        """The plan as rows for a dry run."""
        return _numbered([("remove member", project.label) for project, _ in self.members])


def _numbered(rows: Sequence[tuple[str, str]]) -> tuple[PlanStep, ...]:
    return tuple(PlanStep(n, action, text, False, None) for n, (action, text) in enumerate(rows, start=1))


def plan_share(found: SharingInventory, *, accept: bool) -> SharePlan:
    """Plans ``image share``.

    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    image = found.image
    problems = list(found.problems)
    if image.status in DEAD:
        problems.append(
            errors.ResourceUnusable(f"{image.label} is {image.status}: there is nothing to share")
        )
    if image.visibility == "shared" and image.members is None:
        problems.append(_not_owner(image))
    errors.raise_problems(f"{image.label} cannot be shared", problems)
    shares = tuple(_share(found, project, accept) for project in found.projects)
    change = image.visibility != "shared" and any(share.add for share in shares)
    return SharePlan(image, image.visibility if change else None, shares)


def _share(found: SharingInventory, project: Project, accept: bool) -> Share:
    image = found.image
    was = {m.project_id: m.status for m in image.members or ()}.get(project.id)
    exempt = None
    if project.id == image.owner:
        exempt = "it is the image's own project"
    elif image.visibility in OPEN:
        exempt = f"the image is {OPEN[image.visibility]}"
    if exempt:
        return Share(project, was, add=False, accept=False, exempt=exempt)
    obstacle = found.refused.get(project.id) if accept and was != "accepted" else None
    wanted = accept and was != "accepted" and not obstacle
    return Share(project, was, add=was is None, accept=wanted, obstacle=obstacle)


def plan_unshare(found: SharingInventory) -> UnsharePlan:
    """Plans ``image unshare``.

    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    image = found.image
    problems = list(found.problems)
    if image.visibility in OPEN:
        problems.append(
            errors.ResourceUnusable(
                f"{image.label} is {OPEN[image.visibility]}; it cannot be withdrawn from single projects",
                hint=f"To restrict it to its members: openstack image set --shared {image.id}",
            )
        )
    if image.visibility == "shared" and image.members is None:
        problems.append(_not_owner(image))
    errors.raise_problems(f"{image.label} cannot be unshared", problems)
    status = {m.project_id: m.status for m in image.members or ()}
    private = "the image is private" if image.visibility == "private" else "was not a member"
    return UnsharePlan(
        image=image,
        members=tuple((p, status[p.id]) for p in found.projects if p.id in status),
        not_members=tuple((p, private) for p in found.projects if p.id not in status),
    )


def _not_owner(image: Image) -> errors.ImagetoolsError:
    return errors.Forbidden(
        f"only its owner, project {image.owner}, can change the members of {image.label}",
        hint="Log in to that project.",
    )
