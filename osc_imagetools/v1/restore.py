# SPDX-License-Identifier: Apache-2.0
"""The way of an import from the bundle to the report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base

if TYPE_CHECKING:
    from osc_imagetools.bundle.reader import Bundle
    from osc_imagetools.cloud import Cloud
    from osc_imagetools.execution.import_report import ImportReport
    from osc_imagetools.plan.image_drafts import ImportOptions, ImportPlan
    from osc_imagetools.v1.image import ImportFullImage
    from osc_imagetools.v1.server import ImportFullServer
    from osc_imagetools.v1.volume import ImportFullVolume

LISTS = ("differences", "not_replayed", "mapped")


@contextmanager
def verified(parsed_args: argparse.Namespace) -> Iterator[tuple[Bundle, Any]]:
    """The bundle, which has been verified, and the progress to go on with."""
    from pathlib import Path

    from osc_imagetools.bundle.verification import verified_bundle
    from osc_imagetools.report.progress import terminal_progress

    with terminal_progress() as progress:
        yield verified_bundle(Path(parsed_args.bundle), progress), progress


def import_image(
    command: ImportFullImage, parsed_args: argparse.Namespace, options: ImportOptions
) -> tuple[Any, Any]:
    """The columns and the data of the report, or of the plan with ``--dry-run``."""
    from osc_imagetools.execution.image_import import import_image
    from osc_imagetools.inventory.destination import destination
    from osc_imagetools.plan.image_import import plan_image_import

    with verified(parsed_args) as (bundle, progress):
        cloud = command.cloud()
        members = [m["project_id"] for m in bundle.manifest["replayable"].get("members") or ()]
        to = destination(
            cloud,
            project=parsed_args.project,
            volumes=options.as_volumes,
            members=members,
        )
        plan = plan_image_import(bundle.manifest, to, options)
        if parsed_args.dry_run:
            return base.plan_rows(plan.steps())
        report = import_image(
            plan,
            cloud,
            bundle.path,
            jobs=parsed_args.jobs,
            timeout=parsed_args.timeout,
            purpose=f"image import-full {bundle.manifest['resource']['id']}",
            progress=progress,
        )
    return show(command, report)


def carry_out(
    command: ImportFullVolume | ImportFullServer,
    cloud: Cloud,
    plan: ImportPlan,
    parsed_args: argparse.Namespace,
    bundle: Bundle,
    progress: Any,
) -> tuple[Any, Any]:
    """The columns and the data of the report, or of the plan with ``--dry-run``."""
    if parsed_args.dry_run:
        return base.plan_rows(plan.steps())
    from osc_imagetools.execution.restore import RestoreOptions, restore

    options = RestoreOptions(
        jobs=parsed_args.jobs,
        timeout=parsed_args.timeout,
        wait=getattr(parsed_args, "wait", False),
        keep_on_failure=getattr(parsed_args, "keep_on_failure", False),
    )
    noun = "server" if plan.server is not None else "volume"
    purpose = f"{noun} import-full {bundle.manifest['resource']['id']}"
    report = restore(plan, cloud, bundle.path, options, purpose=purpose, progress=progress)
    return show(command, report)


def show(
    command: ImportFullImage | ImportFullVolume | ImportFullServer, report: ImportReport
) -> tuple[Any, Any]:
    """The columns and the data of a report; the command learns whether the copy is the same."""
    from osc_imagetools.report.restore import import_fields

    command.same = not report.differences
    fields = import_fields(report)
    fields["bytes"] = base.Size(fields["bytes"])
    fields.update({name: base.Texts(fields[name]) for name in LISTS})
    return tuple(fields), tuple(fields.values())


def user_data(path: str | None) -> str | None:
    """The content of a file in base64, as Nova wants it; None where there is no file."""
    if path is None:
        return None
    import base64
    from pathlib import Path

    from osc_imagetools.errors import UsageError

    try:
        data = Path(path).read_bytes()
    except OSError as exc:
        raise UsageError(f"--user-data {path}: {exc.strerror or exc}") from exc
    return base64.b64encode(data).decode()
