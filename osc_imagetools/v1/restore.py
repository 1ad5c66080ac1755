# SPDX-License-Identifier: Apache-2.0
"""The way of an import from the bundle to the report."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base

if TYPE_CHECKING:
    from osc_imagetools.plan.image_drafts import ImportOptions
    from osc_imagetools.v1.image import ImportFullImage

LISTS = ("differences", "not_replayed", "mapped")


def import_image(
    command: ImportFullImage, parsed_args: argparse.Namespace, options: ImportOptions
) -> tuple[Any, Any]:
    """The columns and the data of the report, or of the plan with ``--dry-run``."""
    from pathlib import Path

    from osc_imagetools.bundle.verification import verified_bundle
    from osc_imagetools.execution.image_import import import_image
    from osc_imagetools.inventory.destination import destination
    from osc_imagetools.plan.image_import import plan_image_import
    from osc_imagetools.report.image_import import import_fields
    from osc_imagetools.report.progress import terminal_progress

    with terminal_progress() as progress:
        bundle = verified_bundle(Path(parsed_args.bundle), progress)
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
    command.same = not report.differences
    fields = import_fields(report)
    fields["bytes"] = base.Size(fields["bytes"])
    fields.update({name: base.Texts(fields[name]) for name in LISTS})
    return tuple(fields), tuple(fields.values())
