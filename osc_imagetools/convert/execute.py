# SPDX-License-Identifier: Apache-2.0
"""Carries out a conversion plan: makes, verifies, and only then hands over what was made.

Contract: the only caller of effects for conversions. Until all is there and verified, everything is marked as
ours, and whatever ends the run before that removes it (or lists it in the error). What only was needed on
the way is removed; what cannot be removed is told, and fails nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.convert.plan_drafts import ConversionPlan
from osc_imagetools.operations.drafts import NotReplayed
from osc_imagetools.progress.model import Progress
from osc_imagetools.run.context import run_context
from osc_imagetools.run.effects.images import proof_of
from osc_imagetools.run.effects.interpreter import Interpreter, WithoutBundle


@dataclass(frozen=True)
class ConvertedResource:
    """Something that a conversion made and that stays; ``type`` is image, volume or snapshot."""

    type: str
    id: str
    name: str
    status: str
    bytes: int


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did: ``made`` is what was asked for; bytes and seconds as numbers.

    ``kept`` is what is there besides, and why; ``not_replayed`` what of the source the new resource does not
    have; ``retries`` how many requests were sent again.
    """

    made: ConvertedResource
    kept: tuple[str, ...]
    not_replayed: tuple[NotReplayed, ...]
    seconds: float
    retries: int


def convert(
    plan: ConversionPlan, cloud: Cloud, *, jobs: int, timeout: float | None, progress: Progress
) -> ConversionReport:
    """Creates what the plan says.

    :param jobs: streams at a time where an image is downloaded.
    :param timeout: seconds that a single wait for the cloud may take; None: as long as it takes.
    :raises errors.ImagetoolsError: with ``left`` naming everything that remains in the cloud.
    """
    started = time.monotonic()
    with run_context(cloud, plan.purpose, timeout) as context:
        results = Interpreter(context, WithoutBundle(), jobs=jobs, progress=progress).run(plan.phases)
        left = context.conclude()
    outcome = results[plan.result]
    kept = [f"{what.kind} {results[what].name} ({results.id(what)}): {reason}" for reason, what in plan.kept]
    unproven = []
    if plan.result.kind == "image" and proof_of(outcome.value) is None:
        unproven.append(NotReplayed("hash", "the cloud has none for it: its bytes are unproven"))
    value = outcome.value
    return ConversionReport(
        made=ConvertedResource(
            plan.result.kind, value.id, str(outcome.name), value.status, int(value.size or 0)
        ),
        kept=(*kept, *(f"{what}: it could not be removed" for what in left)),
        not_replayed=(*plan.not_replayed, *results.refused, *unproven),
        seconds=time.monotonic() - started,
        retries=context.retries,
    )
