# SPDX-License-Identifier: Apache-2.0
"""What a run does with each server: export it, prove its newest bundle, leave it alone.

Contract: pure. The state is the backups themselves: a server is due when the target of its policy has no
complete bundle of it that is young enough and has all of its volumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from osc_imagetools.backup_check.bundles import BundleCopy
from osc_imagetools.backup_run.inventory import RunServer
from osc_imagetools.backup_run.plan_policy import BackupPolicy, policy_of
from osc_imagetools.backup_run.plan_target import BackupTarget


@dataclass(frozen=True)
class PlannedServer:
    """A server and what is due.

    ``newest`` is its newest complete bundle, ``unfinished`` the path of one whose export can go on (in a
    repository the export finds it). Without a policy nothing is done, and ``skipped`` says why; nor where the
    bundles of its policy cannot be read, and ``unread`` says why.
    """

    server: RunServer
    policy: BackupPolicy | None
    export: bool = False
    prove: bool = False
    newest: BundleCopy | None = None
    unfinished: str | None = None
    skipped: str = ""
    unread: str = ""

    @property
    def work(self) -> bool:
        """Whether there is anything to do."""
        return self.export or self.prove


def plan_run(
    servers: Iterable[RunServer],
    policies: tuple[BackupPolicy, ...],
    copies: Mapping[BackupTarget, Sequence[BundleCopy]],
    *,
    now: float,
    unread: Mapping[BackupTarget, str] | None = None,
) -> list[PlannedServer]:
    """The plan for each server: what is to be done first, those with the oldest copy (or none) before others.

    :param copies: the bundles by the target of a policy.
    :param now: seconds since 1970.
    :param unread: targets whose bundles cannot be read, and why.
    """
    of_server: dict[tuple[BackupTarget, str], list[BundleCopy]] = {}
    for target, bundles in copies.items():
        for bundle in bundles:
            if bundle.kind == "server" and bundle.server_id:
                of_server.setdefault((target, bundle.server_id), []).append(bundle)
    planned = []
    for server in servers:
        policy = policy_of(server, policies)
        if isinstance(policy, str):
            planned.append(PlannedServer(server, None, skipped=policy))
        elif problem := (unread or {}).get(policy.target):
            planned.append(PlannedServer(server, policy, unread=problem))
        else:
            planned.append(_plan(server, policy, of_server.get((policy.target, server.id), []), now))
    return sorted(planned, key=lambda p: (not p.work, _taken(p.newest), p.server.name, p.server.id))


def _plan(server: RunServer, policy: BackupPolicy, bundles: list[BundleCopy], now: float) -> PlannedServer:
    whole = [b for b in bundles if b.complete and b.taken is not None]
    newest = max(whole, key=_taken, default=None)
    fresh = newest is not None and now - _taken(newest) <= policy.max_age and _has_all(newest, server)
    rule = policy.prove
    proven = max((proof.at for b in whole for proof in b.proofs if proof.booted), default=None)
    unfinished = [b.path for b in bundles if not b.complete and b.repository is None]
    return PlannedServer(
        server,
        policy,
        export=not fresh,
        prove=rule is not None and (proven is None or now - proven > rule.every),
        newest=newest,
        unfinished=max(unfinished, default=None),
    )


def _taken(bundle: BundleCopy | None) -> float:
    return float("-inf") if bundle is None or bundle.taken is None else bundle.taken


def _has_all(bundle: BundleCopy, server: RunServer) -> bool:
    """Whether a bundle has all volumes that the server has now."""
    return set(server.volumes) <= set(bundle.volumes)
