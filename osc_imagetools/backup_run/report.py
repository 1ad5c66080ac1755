# SPDX-License-Identifier: Apache-2.0
"""What ``server backup-run`` prints: a row for each server, and a line that sums it up.

Contract: pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from osc_imagetools.backup_run.plan import PlannedServer
from osc_imagetools.backup_run.result import RESULTS, ServerResult
from osc_imagetools.operations.steps import PlanStep

COLUMNS = ("Server", "Result", "Bundle", "Bytes", "Seconds", "Detail", "ID", "Project", "Host")


def run_rows(results: Iterable[ServerResult]) -> Iterator[tuple[Any, ...]]:
    """The rows of :data:`COLUMNS`; bytes and seconds as numbers."""
    for r in results:
        server, seconds = r.server, None if r.seconds is None else round(r.seconds, 1)
        yield (
            *(server.name or server.id, r.result, r.bundle, r.bytes, seconds, r.detail),
            *(server.id, server.project_id, server.host),
        )


def run_summary(results: Sequence[ServerResult], seconds: float) -> str:
    """How many servers there were, and what became of them."""
    counts = Counter(result.result for result in results)
    said = ", ".join(f"{counts[name]} {name}" for name in RESULTS if counts[name]) or "none"
    return f"{len(results)} servers in {seconds:.0f} s: {said}."


def run_steps(planned: Iterable[PlannedServer]) -> Iterator[PlanStep]:
    """The rows of a dry run; what is left alone has the number 0."""
    number = 0
    for plan in planned:
        server = f"server {plan.server.name} ({plan.server.id})"
        if plan.policy is None or plan.unread:
            yield PlanStep(0, "skip", f"{server}: {plan.unread or plan.skipped}", False, None)
            continue
        if not plan.work:
            yield PlanStep(0, "leave", f"{server}: {plan.newest.path if plan.newest else ''}", False, None)
        for wanted, action in ((plan.export, "export"), (plan.prove, "restore-check")):
            if wanted:
                number += 1
                where = plan.unfinished or plan.policy.target.label
                yield PlanStep(number, action, f"{server} in {where}", False, None)
