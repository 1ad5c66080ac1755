# SPDX-License-Identifier: Apache-2.0
"""Carries out an import plan: every disk is sent and proven, then everything is handed over and compared.

Contract: the only caller of effects for imports. Whatever ends the run before all is there, everything that
it created is removed again (or listed in the error), unless the user wants it kept. What becomes of it when
all is there is for whoever uses :func:`restored` to say.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.operations.drafts import NotReplayed
from osc_imagetools.progress.model import Progress
from osc_imagetools.restore.bundle_place import BundlePlace
from osc_imagetools.restore.disks import BundleDisks
from osc_imagetools.restore.plan import ImportPlan
from osc_imagetools.restore.result import ImportReport
from osc_imagetools.run.context import Ending, RunContext, run_context
from osc_imagetools.run.effects.interpreter import Interpreter
from osc_imagetools.run.effects.outcome import Results


@dataclass(frozen=True)
class RestoreOptions:
    """How to carry it out: *jobs* disks at a time, *timeout* seconds for each wait (None: no limit)."""

    jobs: int
    timeout: float | None
    keep_on_failure: bool = False


def restore(
    plan: ImportPlan,
    cloud: Cloud,
    bundle: BundlePlace,
    manifest: Mapping[str, Any],
    options: RestoreOptions,
    *,
    purpose: str,
    progress: Progress,
) -> ImportReport:
    """Creates what the plan says from the disks of *bundle*, whose manifest is valid.

    :raises errors.ImagetoolsError: with ``left`` naming everything that remains in the cloud.
    """
    started = time.monotonic()
    with restored(plan, cloud, bundle, manifest, options, purpose=purpose, progress=progress) as (
        context,
        results,
    ):
        left = context.conclude()
        found = _differences(results)
    result = results[plan.result]
    return ImportReport(
        kind=plan.result.kind,
        id=results.id(plan.result),
        name=result.name,
        bytes=plan.bytes,
        disks=plan.disks,
        differences=tuple(found),
        not_replayed=(*plan.not_replayed, *results.refused, *(NotReplayed(w, "left behind") for w in left)),
        mapped=(*plan.mapped, *(f"{text} ({results.id(what)})" for text, what in plan.listed)),
        seconds=time.monotonic() - started,
        retries=context.retries,
    )


@contextlib.contextmanager
def restored(
    plan: ImportPlan,
    cloud: Cloud,
    bundle: BundlePlace,
    manifest: Mapping[str, Any],
    options: RestoreOptions,
    *,
    purpose: str,
    progress: Progress,
) -> Iterator[tuple[RunContext, Results]]:
    """All that the plan creates is there, and the run goes on until it is concluded in this context.

    :raises errors.ImagetoolsError: as :func:`restore`.
    """
    failure = Ending.LEAVE if options.keep_on_failure else Ending.REMOVE
    with (
        bundle.open(reads_content=plan.reads_content) as place,
        run_context(cloud, purpose, options.timeout, failure=failure) as context,
    ):
        disks = BundleDisks(place, manifest, context)
        interpreter = Interpreter(context, disks, jobs=options.jobs, progress=progress)
        yield context, interpreter.run(plan.phases)


def _differences(results: Results) -> list[str]:
    """How what was created differs from what it should be, read back."""
    try:
        staying = (o for o in results.outcomes.values() if o.resource is not None and o.resource.keep)
        return [text for outcome in staying for text in outcome.differences()]
    except errors.ImagetoolsError as exc:  # it is there, and the user's
        return [f"it could not be read back: {exc.message}"]
