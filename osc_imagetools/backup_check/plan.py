# SPDX-License-Identifier: Apache-2.0
"""The verdicts of ``server backup-check``: every reason asked of every server.

Contract: pure. Verdicts are given one after the other, so that a fleet's are never all in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Importing these registers their functions.
from osc_imagetools.backup_check import plan_existing, plan_new, plan_quota  # noqa: F401
from osc_imagetools.backup_check.fleet import Fleet, FleetVolume
from osc_imagetools.backup_check.plan_case import CHECKS, Finding, Observation, ServerAges, ServerCase
from osc_imagetools.backup_check.plan_commands import list_attachments
from osc_imagetools.backup_check.plan_copies import Backups
from osc_imagetools.backup_check.reasons import REASONS, Severity


@dataclass(frozen=True, slots=True)
class ServerVerdict:
    """What is to be said of a server; ``newest`` (copy) and ``proof`` (that one boots) in seconds since 1970.

    The name, the boot source (``image`` or ``volume``) and what follows are None for something that belongs
    to no server of the list.
    """

    server: str | None
    id: str | None
    project_id: str | None
    findings: tuple[Finding, ...]
    boot_source: str | None = None
    disks: int | None = None
    newest: float | None = None
    proof: float | None = None

    @property
    def severity(self) -> Severity:
        return max((finding.severity for finding in self.findings), default=Severity.info)


def judge(
    fleet: Fleet,
    backups: Backups,
    *,
    now: float,
    max_age: float | None,
    max_proof_age: float | None = None,
    ages: Mapping[str, ServerAges] | None = None,
) -> Iterator[ServerVerdict]:
    """The verdict on each server, by name, and then on what belongs to none.

    :param ages: by the ID of a server, in the place of *max_age* and *max_proof_age*.
    """
    usual, own = ServerAges(max_age, max_proof_age), ages or {}
    for server in sorted(fleet.servers, key=lambda server: (server.name, server.id)):
        case = ServerCase(fleet, server, backups, now, own.get(server.id, usual))
        findings = tuple(sorted(_findings(case), key=lambda finding: -finding.severity))
        if not case.is_known:
            yield ServerVerdict(server.name, server.id, server.project_id, findings)
            continue
        newest = case.protection.newest_copy
        yield ServerVerdict(
            server.name,
            server.id,
            server.project_id,
            findings,
            "volume" if case.boots_from_volume else "image",
            case.disk_count,
            newest.taken if newest else None,
            case.protection.newest_proof,
        )
    yield from _strays(fleet, backups)


def _findings(case: ServerCase) -> Iterator[Finding]:
    for code, check in CHECKS.items():
        if not case.is_known and code != "not-judged":
            continue
        reason = REASONS[code]
        severity = reason.severity
        if reason.covered is not None and case.is_covered:
            severity = reason.covered
        for said in check(case):
            yield Finding(reason, severity, said.message, said.action)


def _strays(fleet: Fleet, backups: Backups) -> Iterator[ServerVerdict]:
    """What is wrong without a server to name: only where no server is left out."""
    if "servers" in fleet.unread:
        said = Observation(
            f"the list of servers broke off after {len(fleet.servers)}: {fleet.unread['servers']}"
        )
        yield _stray("not-judged", None, None, said)
    if "cells" in fleet.unread:
        said = Observation(fleet.unread["cells"], "openstack compute service list")
        yield _stray("not-judged", None, None, said)
    if not fleet.whole:
        return
    for dead in backups.strays:
        image = dead.image
        said = Observation(
            f"image {image.name} ({image.id}) has 0 bytes and leads nowhere: {dead.why}",
            f"openstack image delete {image.id}",
        )
        yield _stray("dead-image", None, image.owner, said)
    known = {server.id for server in fleet.servers}
    for volume in fleet.volumes.values():
        servers = [attachment.server_id for attachment in volume.attachments]
        for server in servers if known.isdisjoint(servers) else ():
            if server in fleet.gone:
                yield _stray("attached-to-gone-server", server, volume.project_id, _of(volume, fleet))
            elif server in fleet.unread:
                said = Observation(
                    f"volume {volume.label} is attached to this server: {fleet.unread[server]}",
                    f"openstack server show {server}",
                )
                yield _stray("not-judged", server, volume.project_id, said)


def _of(volume: FleetVolume, fleet: Fleet) -> Observation:
    return Observation(
        f"volume {volume.label} ({volume.size} GiB) is attached to this server, which does not exist",
        list_attachments(fleet, volume),
    )


def _stray(code: str, server_id: str | None, project_id: str | None, said: Observation) -> ServerVerdict:
    reason = REASONS[code]
    return ServerVerdict(
        None, server_id, project_id, (Finding(reason, reason.severity, said.message, said.action),)
    )
