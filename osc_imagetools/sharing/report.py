# SPDX-License-Identifier: Apache-2.0
"""The results of sharing as rows: what was done for each project, and who still has to accept.

Contract: pure. The rows have the columns of ``image share``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from osc_imagetools.sharing.execute import ShareReport, ShareResult, UnshareResult

COLUMNS = ("Project", "Result", "Detail", "Name", "Action")
Row = tuple[str, str, str, str | None, str]


def share_rows(report: ShareReport) -> Iterator[Row]:
    """One row for each project.

    Result is added (is a member now, has not accepted yet), accepted, pending or rejected (was a member
    before and has not accepted), or exempt (the owner; every project if the image is public or community).
    """
    for shared in report.projects:
        project = shared.share.project
        detail = "; ".join(_details(report, shared))
        yield project.id, _result(shared), detail, project.name, _action(report, shared)


def unshare_rows(unshared: Sequence[UnshareResult]) -> Iterator[Row]:
    """One row for each project; Result is removed or no-member."""
    for entry in unshared:
        yield entry.project.id, "removed" if entry.was else "no-member", entry.detail, entry.project.name, ""


def notes(report: ShareReport) -> Iterator[str]:
    """Side effects on the image as a whole."""
    if report.visibility:
        yield f"The visibility of {report.image.label} was {report.visibility}; it is shared now."
    if report.former_members:
        yield (
            f"These projects were members before and can use it again: {', '.join(report.former_members)}. "
            "To remove them: openstack image unshare"
        )


def _result(shared: ShareResult) -> str:
    if shared.share.exempt:
        return "exempt"
    if shared.status == "accepted":
        return "accepted"
    return "added" if shared.added else shared.status


def _action(report: ShareReport, shared: ShareResult) -> str:
    """What a user of the project types."""
    if shared.share.exempt or shared.status == "accepted":
        return ""
    return f"openstack image set --accept {report.image.id}"


def _details(report: ShareReport, shared: ShareResult) -> Iterator[str]:
    if shared.share.exempt:
        yield shared.share.exempt
        return
    before = shared.share.was
    if shared.status == "accepted":
        if shared.added:
            yield "added and accepted"
        elif before is None:
            yield "was a member before"
        else:
            yield "unchanged" if before == "accepted" else f"was {before}"
    else:
        if shared.obstacle:
            yield f"not accepted here: {shared.obstacle}"
        if shared.status == "rejected":
            yield "the project has rejected it"
        yield "a user of the project has to accept it"
    if report.visibility:
        yield f"the image was {report.visibility}"
