# SPDX-License-Identifier: Apache-2.0
"""Carries out a restore check: the copy is created, watched, checked and removed; the result is recorded.

Contract: the copy goes whatever happens, unless it is to be kept and all went well. The original is not
touched.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osc_imagetools import errors
from osc_imagetools.bundle.records import BOOTED, FAILED, NOT_PROVEN, RESTORE_CHECK, BundleRecord
from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.ownership import now
from osc_imagetools.progress.model import Progress
from osc_imagetools.restore.bundle_place import BundlePlace
from osc_imagetools.restore.execute import RestoreOptions, restored
from osc_imagetools.restore_check.observe import BootObservation, await_boot
from osc_imagetools.restore_check.plan import RestoreCheckPlan
from osc_imagetools.restore_check.program import check_environment, run_check
from osc_imagetools.run.context import Ending, RunContext

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoreCheckReport:
    """What a restore check found.

    ``copy`` is the ID of a copy that is kept, ``check`` the exit code of the user's program, ``left`` what
    could not be removed, ``record`` where the result is written; ``seconds`` of the boot and of all.
    """

    server: str
    result: str
    evidence: str
    boot_seconds: float
    check: int | None
    copy: str | None
    record: str | None
    left: tuple[str, ...]
    seconds: float


def check_restore(
    plan: RestoreCheckPlan,
    cloud: Cloud,
    bundle: BundlePlace,
    manifest: Mapping[str, Any],
    *,
    jobs: int,
    progress: Progress,
) -> RestoreCheckReport:
    """Restores, watches, removes, records.

    :raises errors.ImagetoolsError: the copy could not be created, or it is not known what became of it;
        nothing is recorded then.
    """
    started = time.monotonic()
    options, resource = plan.options, manifest["resource"]
    name = str(resource["name"] or resource["id"])
    purpose = f"server restore-check {resource['id']}"
    run = RestoreOptions(jobs=jobs, timeout=None)
    with restored(plan.copy, cloud, bundle, manifest, run, purpose=purpose, progress=progress) as (
        context,
        results,
    ):
        server_id = results.id(plan.copy.result)
        seen = await_boot(context, server_id, options.expect, options.timeout)
        code = None
        if options.program and seen.booted is not False:
            code = run_check(context, options.program, check_environment(context, name, server_id, seen))
        left = context.conclude(Ending.LEAVE if options.keep else Ending.REMOVE)
        copy = server_id if options.keep else None
        record = _record(context, plan, seen, code)
    return RestoreCheckReport(
        server=name,
        result=record.result,
        evidence=str(record.details["evidence"]),
        boot_seconds=seen.seconds,
        check=code,
        copy=copy,
        record=_stored(record, bundle),
        left=left,
        seconds=time.monotonic() - started,
    )


def verdict(seen: BootObservation, code: int | None) -> tuple[str, str]:
    """(result, evidence): what the user's program says, or else what the console says."""
    if code is not None:
        ended = f"the check ended with exit code {code}" if code >= 0 else f"signal {-code} ended the check"
        return (FAILED if code else BOOTED), f"{ended}; {seen.evidence}"
    if seen.booted is None:
        return NOT_PROVEN, seen.evidence
    return (BOOTED if seen.booted else FAILED), seen.evidence


def _record(
    context: RunContext, plan: RestoreCheckPlan, seen: BootObservation, code: int | None
) -> BundleRecord:
    result, evidence = verdict(seen, code)
    origin = context.cloud.origin
    details = {
        "evidence": evidence,
        "boot_seconds": round(seen.seconds, 1),
        "check": None if code is None else {"program": plan.options.program, "exit_code": code},
        "cloud": origin.cloud,
        "region": origin.region,
        "project_id": origin.project_id,
    }
    return BundleRecord(RESTORE_CHECK, now(), result, details)


def _stored(record: BundleRecord, bundle: BundlePlace) -> str | None:
    """Where the record is; None where it cannot be written: what was found is true all the same."""
    try:
        return bundle.keep_record(record)
    except errors.ImagetoolsError as exc:
        LOG.warning("The result could not be recorded: %s", exc.message)
        return None
