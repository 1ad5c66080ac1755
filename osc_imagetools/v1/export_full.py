# SPDX-License-Identifier: Apache-2.0
"""The common part of the ``export-full`` commands: their options, and the steps from plan to report."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base, repository_options

if TYPE_CHECKING:
    from osc_imagetools.bundle.repository.restic import Restic
    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.export.plan import ExportPlan
    from osc_imagetools.export.store import ExportStore

LOG = logging.getLogger(__name__)
NOUNS = {"snapshot": "volume snapshot"}
BYTES = ("bytes", "bytes_fetched", "bytes_reused")


class ExportFull(base.ShowOne):
    """The common part of the exports: inventory, plan, execution. ``noun`` is what they export."""

    noun: str

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        text = f"{self.noun.capitalize()} to export (name or ID)"
        parser.add_argument("source", metavar=f"<{self.noun}>", help=text)
        self.add_own_options(parser)
        add_options(parser)
        return parser

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options that only this export has."""

    def plan(self, cloud: Cloud, parsed_args: argparse.Namespace) -> ExportPlan:
        """Read the source and plan its export."""
        raise NotImplementedError

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        restic = repository(parsed_args)
        cloud = self.cloud()
        with base.reading(f"{self.noun} {parsed_args.source}"):
            plan = self.plan(cloud, parsed_args)
        return carry_out(self, cloud, plan, parsed_args, restic)


def repository(parsed_args: argparse.Namespace) -> Restic | None:
    """The repository to export to; None for a directory."""
    from osc_imagetools.errors import UsageError

    if parsed_args.output and parsed_args.repository:
        raise UsageError("Use either --output <path> or --repository <url>")
    # A directory that is named wins over the default, whether it is there or not.
    return repository_options.repository(
        parsed_args, f"{parsed_args.output}/" if parsed_args.output else None
    )


def volume_options(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """The options for volume data, as the plans take them."""
    return {
        "disk_format": parsed_args.disk_format,
        "jobs": parsed_args.jobs,
        "allow_encrypted": parsed_args.allow_encrypted,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all exports have."""
    parser.add_argument(
        "--output",
        metavar="<path>",
        help="Directory of the bundle (default: ./<name>.bundle). Run the same export with the same output "
        "again to resume it.",
    )
    parser.add_argument(
        "--disk-format",
        choices=("source", "raw", "qcow2"),
        help="Disk format of volume data: qcow2 (default; converted in the cloud, so that less data is "
        "transferred), raw, or source (the volume's own format, which is raw). "
        "Image data is always exported as it is stored.",
    )
    parser.add_argument(
        "--allow-encrypted",
        action="store_true",
        help="Also export encrypted volumes. The copy stays encrypted and is useless without the key.",
    )
    base.add_run_options(parser)
    repository_options.add_repository_options(parser)


def carry_out(
    command: ExportFull,
    cloud: Cloud,
    plan: ExportPlan,
    parsed_args: argparse.Namespace,
    restic: Restic | None = None,
) -> tuple[Any, Any]:
    """Columns and data of the report, or of the plan with ``--dry-run``."""
    for warning in plan.warnings:
        LOG.warning("%s", warning)
    if parsed_args.dry_run:
        return base.plan_rows(plan.steps())
    from osc_imagetools.export.execute import export
    from osc_imagetools.export.report import export_fields, export_summary
    from osc_imagetools.progress.display import shown_progress

    store = export_store(plan, parsed_args, restic)
    with shown_progress() as progress:
        report = export(
            plan,
            cloud,
            store,
            jobs=parsed_args.jobs,
            timeout=parsed_args.timeout,
            purpose=f"{NOUNS.get(plan.subject.kind, plan.subject.kind)} export-full {plan.subject.id}",
            progress=progress,
        )
    if report.left:
        LOG.warning("The bundle is complete, but these resources may still exist: %s", "; ".join(report.left))
    command.summary = export_summary(report)
    fields = export_fields(report)
    fields.update({name: base.Size(fields[name]) for name in BYTES})
    fields["not_captured"] = base.Texts(fields["not_captured"])
    return tuple(fields), tuple(fields.values())


def export_store(plan: ExportPlan, parsed_args: argparse.Namespace, restic: Restic | None) -> ExportStore:
    """Where the bundle goes."""
    from pathlib import Path

    from osc_imagetools.bundle.layout import default_output
    from osc_imagetools.export.directory_store import DirectoryStore
    from osc_imagetools.export.repository_store import RepositoryStore

    if restic:
        return RepositoryStore(restic)
    return DirectoryStore(Path(parsed_args.output or default_output(plan.subject.name, plan.subject.id)))
