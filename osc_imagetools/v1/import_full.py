# SPDX-License-Identifier: Apache-2.0
"""The common part of the ``import-full`` commands: their options, and the steps from bundle to report."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base, repository_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from osc_imagetools.cloud.connection import Cloud
    from osc_imagetools.restore.bundle_place import BundlePlace
    from osc_imagetools.restore.plan import ImportPlan

BUNDLE = "a path; with --repository its ID, the beginning of it, or the name or ID of what was exported"
LISTS = ("differences", "not_replayed", "mapped")


class ImportFull(base.ShowOne):
    """The common part of the imports: a bundle, a plan for this cloud, and its execution.

    ``noun`` is what they create; ``bundles`` tells of what the bundle must be.
    """

    noun: str
    bundles: str
    same = True  # what was read back is what the bundle says

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "bundle", metavar="<bundle>", help=f"Bundle of {self.bundles} to import: {BUNDLE}"
        )
        parser.add_argument(
            "--name", metavar="<name>", help=f"Name of the {self.noun} (default: as in the bundle)"
        )
        self.add_own_options(parser)
        base.add_run_options(parser)
        repository_options.add_repository_options(parser, reads=True)
        return parser

    def add_own_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options that only this import has."""
        raise NotImplementedError

    def options(self, parsed_args: argparse.Namespace) -> Any:
        """The options as the plan takes them; contradictory ones are refused before the bundle is read."""
        raise NotImplementedError

    def plan(self, cloud: Cloud, manifest: Mapping[str, Any], options: Any) -> ImportPlan:
        """Read what the plan needs to know about the target cloud, and plan the import."""
        raise NotImplementedError

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        base.check_dry_run_format(parsed_args)
        options = self.options(parsed_args)
        from osc_imagetools.progress.display import shown_progress
        from osc_imagetools.restore.execute import RestoreOptions, restore
        from osc_imagetools.restore.report import import_fields, import_summary

        place = bundle_place(parsed_args)
        manifest = place.read()
        cloud = self.cloud()
        with base.reading(f"{self.noun} of {parsed_args.bundle}"):
            plan = self.plan(cloud, manifest, options)
        if parsed_args.dry_run:
            return base.plan_rows(plan.steps())
        run = RestoreOptions(
            jobs=parsed_args.jobs,
            timeout=parsed_args.timeout,
            keep_on_failure=getattr(parsed_args, "keep_on_failure", False),
        )
        purpose = f"{self.noun} import-full {manifest['resource']['id']}"
        manifest = place.check(reads_content=plan.reads_content)
        with shown_progress() as progress:
            report = restore(plan, cloud, place, manifest, run, purpose=purpose, progress=progress)
        self.same = not report.differences
        self.summary = import_summary(report)
        fields = import_fields(report)
        fields["bytes"] = base.Size(fields["bytes"])
        fields.update({name: base.Texts(fields[name]) for name in LISTS})
        return tuple(fields), tuple(fields.values())

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.same = True
        return super().run(parsed_args) or (0 if self.same else 3)


def bundle_place(parsed_args: argparse.Namespace) -> BundlePlace:
    """Where the bundle is.

    :raises errors.NoBundle, errors.ResourceAmbiguous, errors.RepositoryError: it is not in the repository.
    """
    from pathlib import Path

    from osc_imagetools.restore.bundle_place import DirectoryPlace, RepositoryPlace

    restic = repository_options.repository(parsed_args, parsed_args.bundle)
    if restic is None:
        return DirectoryPlace(Path(parsed_args.bundle))
    from osc_imagetools.bundle.repository.catalog import find_bundle

    return RepositoryPlace(restic, find_bundle(restic, parsed_args.bundle, parsed_args.at))


def user_data(path: str | None) -> str | None:
    """The content of a file in base64, as Nova expects it; None without a file."""
    if path is None:
        return None
    import base64
    from pathlib import Path

    from osc_imagetools.errors import UsageError

    try:
        data = Path(path).read_bytes()
    except OSError as exc:
        raise UsageError(f"--user-data: cannot read {path}: {exc.strerror or exc}") from exc
    return base64.b64encode(data).decode()
