# SPDX-License-Identifier: Apache-2.0
"""Plans to share an image with projects, and to stop that: which members to add, accept and remove.

Contract: pure. What cannot work is found here, before any effect, and listed at once. An image that
everybody can use already is left alone: sharing it with some would take it away from all others.
Source: https://docs.openstack.org/api-ref/image/v2/#sharing (only the member's project sets its status).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.image import Image
from osc_imagetools.cloud.project import Project
from osc_imagetools.operations.steps import Step
from osc_imagetools.sharing.inventory import Sharing

OPEN = {
    "public": "public: every project sees, lists and uses it",
    "community": "community: every project can use it by its ID (its list: openstack image list --community)",
}
# States in which an image will never have data again.
DEAD = frozenset({"killed", "deleted", "pending_delete"})


@dataclass(frozen=True)
class Share:
    """What happens with one project: ``was`` is its status as a member, None where it is none.

    ``accept`` tells whether to accept in its name; ``obstacle`` why not, though it was asked for;
    ``exempt`` why nothing has to be done at all.
    """

    project: Project
    was: str | None
    add: bool
    accept: bool
    obstacle: str | None = None
    exempt: str | None = None


@dataclass(frozen=True)
class SharePlan:
    """``visibility`` is what the image's visibility is changed from, None where it stays."""

    image: Image
    visibility: str | None
    shares: tuple[Share, ...]

    def warnings(self) -> tuple[str, ...]:
        """What sharing will not do, though one might think so."""
        if self.image.size or not self.image.mapping or all(s.exempt for s in self.shares):
            return ()
        return (
            f"{self.image.label} has 0 bytes: its data is in volume snapshots, which are not shared with it. "
            "Other projects see the image and cannot boot it. What can: openstack image export-full "
            f"{self.image.id}; then openstack image import-full <bundle>, and share what that makes.",
        )

    def steps(self) -> tuple[Step, ...]:
        """The plan as rows for a dry run."""
        rows: list[tuple[str, str]] = []
        if self.visibility:
            rows.append(("set visibility", f"{self.image.label} from {self.visibility} to shared"))
        rows += [("add member", s.project.label) for s in self.shares if s.add]
        rows += [("accept", f"as {s.project.label}") for s in self.shares if s.accept]
        return _numbered(rows)


@dataclass(frozen=True)
class UnsharePlan:
    """The members to remove (project, status) and the projects that are none, with the reason."""

    image: Image
    members: tuple[tuple[Project, str], ...]
    not_members: tuple[tuple[Project, str], ...]

    def steps(self) -> tuple[Step, ...]:
        """The plan as rows for a dry run."""
        return _numbered([("remove member", project.label) for project, _ in self.members])


def _numbered(rows: Sequence[tuple[str, str]]) -> tuple[Step, ...]:
    return tuple(Step(n, action, text, False, None) for n, (action, text) in enumerate(rows, start=1))


def plan_share(found: Sharing, *, accept: bool) -> SharePlan:
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
        problems.append(_not_ours(image))
    _raise(f"{image.label} cannot be shared", problems)
    shares = tuple(_share(found, project, accept) for project in found.projects)
    change = image.visibility != "shared" and any(share.add for share in shares)
    return SharePlan(image, image.visibility if change else None, shares)


def _share(found: Sharing, project: Project, accept: bool) -> Share:
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


def plan_unshare(found: Sharing) -> UnsharePlan:
    """Plans ``image unshare``.

    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    image = found.image
    problems = list(found.problems)
    if image.visibility in OPEN:
        problems.append(
            errors.ResourceUnusable(
                f"{image.label} is {OPEN[image.visibility]}; it cannot be taken from single ones",
                hint=f"To let its members alone use it: openstack image set --shared {image.id}",
            )
        )
    if image.visibility == "shared" and image.members is None:
        problems.append(_not_ours(image))
    _raise(f"{image.label} cannot be unshared", problems)
    status = {m.project_id: m.status for m in image.members or ()}
    private = "the image is private" if image.visibility == "private" else "it was no member"
    return UnsharePlan(
        image=image,
        members=tuple((p, status[p.id]) for p in found.projects if p.id in status),
        not_members=tuple((p, private) for p in found.projects if p.id not in status),
    )


def _not_ours(image: Image) -> errors.ImagetoolsError:
    return errors.Forbidden(
        f"the members of {image.label} are its owner's matter, project {image.owner}",
        hint="Use an account of that project.",
    )


def _raise(what: str, problems: Sequence[errors.ImagetoolsError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise errors.Unready(what, problems)
