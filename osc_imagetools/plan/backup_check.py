# SPDX-License-Identifier: Apache-2.0
"""The verdicts of ``server backup-check``: every reason asked of every server.

Contract: pure. Verdicts are given one after the other, so that a fleet's are never all in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from osc_imagetools.inventory.fleet import Fleet, FleetVolume

# Importing these registers their functions.
from osc_imagetools.plan import backup_held, backup_of_server, backup_quota  # noqa: F401
from osc_imagetools.plan.backup_case import CHECKS, Case, Finding, Said
from osc_imagetools.plan.backup_commands import list_attachments
from osc_imagetools.plan.backup_copies import Backups
from osc_imagetools.plan.backup_reasons import REASONS, Severity


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of a server; ``newest`` in seconds since 1970.

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

    @property
    def severity(self) -> Severity:
        return max((finding.severity for finding in self.findings), default=Severity.info)


def judge(fleet: Fleet, backups: Backups, *, now: float, max_age: float | None) -> Iterator[Verdict]:
    """The verdict on each server, by name, and then on what belongs to none."""
    for server in sorted(fleet.servers, key=lambda server: (server.name, server.id)):
        case = Case(fleet, server, backups, now, max_age)
        findings = tuple(sorted(_findings(case), key=lambda finding: -finding.severity))
        if not case.is_known:
            yield Verdict(server.name, server.id, server.project_id, findings)
            continue
        newest = case.protection.newest_copy
        yield Verdict(
            server.name,
            server.id,
            server.project_id,
            findings,
            "volume" if case.boots_from_volume else "image",
            case.disk_count,
            newest.taken if newest else None,
        )
    yield from _strays(fleet, backups)


def _findings(case: Case) -> Iterator[Finding]:
    for code, check in CHECKS.items():
        if not case.is_known and code != "not-judged":
            continue
        reason = REASONS[code]
        severity = reason.severity
        if reason.covered is not None and case.is_covered:
            severity = reason.covered
        for said in check(case):
            yield Finding(reason, severity, said.message, said.action)


def _strays(fleet: Fleet, backups: Backups) -> Iterator[Verdict]:
    """What is wrong without a server to name: only where no server is left out."""
    if "servers" in fleet.trouble:
        said = Said(f"the list of servers broke off after {len(fleet.servers)}: {fleet.trouble['servers']}")
        yield _stray("not-judged", None, None, said)
    if "cells" in fleet.trouble:
        said = Said(fleet.trouble["cells"], "openstack compute service list")
        yield _stray("not-judged", None, None, said)
    if not fleet.whole:
        return
    for dead in backups.strays:
        image = dead.image
        said = Said(
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
            elif server in fleet.trouble:
                said = Said(
                    f"volume {volume.label} is attached to this server: {fleet.trouble[server]}",
                    f"openstack server show {server}",
                )
                yield _stray("not-judged", server, volume.project_id, said)


def _of(volume: FleetVolume, fleet: Fleet) -> Said:
    return Said(
        f"volume {volume.label} ({volume.size} GiB) is attached to this server, which does not exist",
        list_attachments(fleet, volume),
    )


def _stray(code: str, server_id: str | None, project_id: str | None, said: Said) -> Verdict:
    reason = REASONS[code]
    return Verdict(
        None, server_id, project_id, (Finding(reason, reason.severity, said.message, said.action),)
    )
