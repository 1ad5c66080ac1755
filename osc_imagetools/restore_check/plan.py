# SPDX-License-Identifier: Apache-2.0
"""Plans a restore check: the import of an isolated copy, every resource of which is temporary.

Contract: pure. The import itself is planned by :func:`osc_imagetools.restore.plan_server.plan_server_import`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from osc_imagetools import errors
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.steps import PlanStep
from osc_imagetools.operations.vocabulary import (
    CreatePort,
    CreateServer,
    CreateVolume,
    Operation,
    Phase,
    Protect,
    SendDisk,
    SetMetadata,
    operations_of,
)
from osc_imagetools.restore.inventory_server import ServerDestination
from osc_imagetools.restore.plan import ImportPlan
from osc_imagetools.restore.plan_server import plan_server_import
from osc_imagetools.restore.plan_server_options import ServerImportOptions
from osc_imagetools.restore_check.plan_isolation import isolated_server


@dataclass(frozen=True)
class RestoreCheckOptions:
    """What the user asked for; None and empty: as in the bundle, but for the networks, which are none.

    ``expect`` proves the boot in place of the usual texts, ``timeout`` is in seconds, ``program`` is the path
    of a check of the user's; ``keep``: the copy is left.
    """

    flavor: str | None = None
    networks: tuple[str, ...] = ()
    volume_types: Mapping[str, str] = field(default_factory=dict)
    availability_zone: str | None = None
    security_groups: tuple[str, ...] = ()
    boot_from: str | None = None
    user_data: bool = False
    expect: re.Pattern[str] | None = None
    timeout: float = 600.0
    program: str | None = None
    keep: bool = False


@dataclass(frozen=True)
class RestoreCheckPlan:
    """The copy that is created, and what is done with it."""

    copy: ImportPlan
    options: RestoreCheckOptions

    def steps(self) -> tuple[PlanStep, ...]:
        """The plan as rows for a dry run."""
        rows = [replace(s, temporary=s.action.startswith("create")) for s in self.copy.steps()]
        number = rows[-1].number
        for action, resource, temporary in self._after():
            number += 1
            rows.append(PlanStep(number, action, resource, temporary, None))
        return tuple(rows)

    def _after(self) -> Iterator[tuple[str, str, bool]]:
        options = self.options
        expected = f"{options.expect.pattern!r}" if options.expect else "that it has booted"
        yield "wait", f"at most {options.timeout:g} s until the console shows {expected}", False
        if options.program:
            yield "run", options.program, False
        if options.keep:
            return
        for reference in reversed(list(_kept(self.copy.phases))):
            yield f"delete {reference.kind}", reference.role, True


def plan_restore_check(
    manifest: Mapping[str, Any], to: ServerDestination, options: RestoreCheckOptions
) -> RestoreCheckPlan:
    """Plans ``server restore-check``.

    :param manifest: of a bundle of any kind, validated.
    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    _check_networks(to, options)
    server = isolated_server(manifest, networks=options.networks, user_data=options.user_data)
    imported = plan_server_import(
        server,
        to,
        ServerImportOptions(
            flavor=options.flavor,
            volume_types=options.volume_types,
            availability_zone=options.availability_zone,
            security_groups=options.security_groups if options.networks else (),
            boot_from=options.boot_from,
            wait=True,
        ),
    )
    return RestoreCheckPlan(temporary(imported), options)


def temporary(plan: ImportPlan) -> ImportPlan:
    """The same import, whose resources keep the names and marks of temporary ones."""
    phases = (
        Phase(
            tuple(lane for full in phase.lanes if (lane := tuple(o for o in full if _marked(o)))), phase.width
        )
        for phase in plan.phases
    )
    return replace(plan, phases=tuple(phase for phase in phases if phase.lanes))


def _marked(operation: Operation) -> bool:
    """Whether what an operation works on is still ours after it."""
    return not isinstance(operation, SetMetadata | Protect)


def _kept(phases: Iterable[Phase]) -> Iterator[Reference]:
    """What an import keeps of what it creates, in the order of its creation."""
    for operation in operations_of(phases):
        match operation:
            case CreateVolume() | CreatePort() | CreateServer():
                yield operation.makes
            case SendDisk() if not operation.makes.temporary:
                yield operation.makes


def _check_networks(to: ServerDestination, options: RestoreCheckOptions) -> None:
    """:raises errors.ImagetoolsError: a network is not there; all of them at once."""
    problems: list[errors.ImagetoolsError] = []
    for wanted in options.networks:
        found = [n for n in to.networks if n.id == wanted] or [n for n in to.networks if n.name == wanted]
        if len(found) != 1:
            listed = ", ".join(f"{n.name} ({n.id})" for n in to.networks) or "there are none"
            what = "several networks are" if found else "no network is"
            problems.append(
                errors.ResourceNotFound(
                    f"--network {wanted}: {what} called so here; candidates: {listed}",
                    hint="openstack network list",
                )
            )
    errors.raise_problems("it cannot be checked", problems)
