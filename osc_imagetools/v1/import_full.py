# SPDX-License-Identifier: Apache-2.0
"""What all ``import-full`` commands share: their options and their way from the bundle to the report."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.operations.drafts import ImportPlan
    from osc_imagetools.restore.result import ImportReport

LISTS = ("differences", "not_replayed", "mapped")


class ImportFull(base.ShowOne):
    """What all imports are: a bundle that has been verified, a plan for this cloud, and its execution.

    ``noun`` is what they make; ``bundles`` says of what the bundle must be.
    """

    noun: str
    bundles: str
    same = True  # what was read back is what the bundle says

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("bundle", metavar="<bundle>", help=f"Bundle of {self.bundles} (path)")
        parser.add_argument("--name", metavar="<name>", help="Name (default: the original's)")
        self.add_own_options(parser)
        base.add_run_options(parser)
        return parser

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        """The options that other imports do not have."""
        raise NotImplementedError

    def options(self, parsed_args: argparse.Namespace) -> Any:
        """What is wished for; refuses before the bundle is read what can never be done."""
        raise NotImplementedError

    def plan(self, cloud: Cloud, manifest: Mapping[str, Any], options: Any) -> ImportPlan:
        """Looks at the cloud that the bundle comes to, and plans its import."""
        raise NotImplementedError

    def execute(
        self, plan: ImportPlan, cloud: Cloud, bundle: Path, parsed_args: argparse.Namespace, **run: Any
    ) -> ImportReport:
        """Makes what the plan says; *run* has the ``purpose`` and the ``progress``."""
        from osc_imagetools.restore.execute import RestoreOptions, restore

        options = RestoreOptions(
            jobs=parsed_args.jobs,
            timeout=parsed_args.timeout,
            wait=getattr(parsed_args, "wait", False),
            keep_on_failure=getattr(parsed_args, "keep_on_failure", False),
        )
        return restore(plan, cloud, bundle, options, **run)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        options = self.options(parsed_args)
        from pathlib import Path

        from osc_imagetools.bundle.verification import verified_bundle
        from osc_imagetools.progress.bars import terminal_progress
        from osc_imagetools.restore.report import import_fields, import_summary

        with terminal_progress() as progress:
            bundle = verified_bundle(Path(parsed_args.bundle), progress)
            cloud = self.cloud()
            plan = self.plan(cloud, bundle.manifest, options)
            if parsed_args.dry_run:
                return base.plan_rows(plan.steps())
            purpose = f"{self.noun} import-full {bundle.manifest['resource']['id']}"
            report = self.execute(plan, cloud, bundle.path, parsed_args, purpose=purpose, progress=progress)
        self.same = not report.differences
        self.summary = import_summary(report)
        fields = import_fields(report)
        fields["bytes"] = base.Size(fields["bytes"])
        fields.update({name: base.Texts(fields[name]) for name in LISTS})
        return tuple(fields), tuple(fields.values())

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.same = True
        return super().run(parsed_args) or (0 if self.same else 3)


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
