# SPDX-License-Identifier: Apache-2.0
"""Commands that copy bundles between directories and repositories, and remove them by rules."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base, repository_options
from osc_imagetools.v1.bundle import BUNDLE, place

if TYPE_CHECKING:
    from osc_imagetools.bundle.forgetting import Removal
    from osc_imagetools.bundle.repository.restic import Restic

LOG = logging.getLogger(__name__)


class CopyBundle(base.ShowOne):
    """Copy a bundle from a directory into a repository, or back.

    Without ``--output``, the bundle is a directory and is copied into the repository. With ``--output``, it
    is a bundle of the repository and is copied into a new directory. All data is compared with the hashes
    in the manifest. Run the same command again to resume an interrupted copy.
    """

    examples = (
        "openstack bundle copy web01.bundle --repository sftp:backup:/bundles",
        "openstack bundle copy web01 --repository /backup --output web01.bundle",
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("bundle", metavar="<bundle>", help=BUNDLE)
        parser.add_argument(
            "--output", metavar="<path>", help="Copy the bundle out of the repository into this new directory"
        )
        base.add_jobs_option(parser, "Maximum number of disks that are copied at the same time")
        base.add_dry_run_option(parser)
        repository_options.add_repository_options(parser, reads=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        import threading
        import time

        from osc_imagetools.progress import words
        from osc_imagetools.progress.display import shown_progress
        from osc_imagetools.run.interrupts import interrupts_set

        base.check_dry_run_format(parsed_args)
        restic = repository_options.needed_repository(parsed_args)
        started = time.monotonic()
        cancelled = threading.Event()
        with interrupts_set(cancelled), shown_progress() as progress:
            copy = _copy_out if parsed_args.output else _copy_in
            target, result = copy(restic, parsed_args, progress, cancelled)
        if parsed_args.dry_run:
            return base.plan_rows(result)
        manifest = result.manifest
        seconds = time.monotonic() - started
        self.summary = (
            f"Copied {manifest['kind']} {manifest['resource']['name'] or ''} to {target}: "
            f"{words.counted(len(result.disks), 'disk')}, "
            f"{words.transfer(sum(disk.size for disk in result.disks if not disk.reused), seconds)}, "
            "compared with the hashes in the manifest."
        )
        fields = {
            "bundle": result.bundle_id,
            "kind": manifest["kind"],
            "id": manifest["resource"]["id"],
            "name": manifest["resource"]["name"],
            "copy": target,
            "disks": len(result.disks),
            "bytes": base.Size(sum(disk.size for disk in result.disks)),
            "bytes_added": base.Size(sum(disk.added for disk in result.disks)),
            "bytes_reused": base.Size(sum(disk.size for disk in result.disks if disk.reused)),
            "hash_algorithm": manifest["hash_algorithm"],
            "seconds": round(seconds, 1),
        }
        return tuple(fields), tuple(fields.values())

    def run(self, parsed_args: argparse.Namespace) -> int:
        code = super().run(parsed_args)
        return 1 if code == 3 else code  # a bundle that is refused: nothing was copied


def _copy_in(
    restic: Restic, parsed_args: argparse.Namespace, progress: Any, cancelled: Any
) -> tuple[str, Any]:
    from pathlib import Path

    from osc_imagetools.bundle.repository.copy_in import copy_into_repository, read_source
    from osc_imagetools.bundle.repository.copying import plan_copy
    from osc_imagetools.errors import UsageError

    if parsed_args.at:
        raise UsageError("--at: only with --output <path>")
    source = read_source(Path(parsed_args.bundle))
    target = restic.address.label
    if parsed_args.dry_run:
        return target, plan_copy(source.manifest, target)
    jobs = parsed_args.jobs
    return target, copy_into_repository(source, restic, jobs=jobs, progress=progress, cancelled=cancelled)


def _copy_out(
    restic: Restic, parsed_args: argparse.Namespace, progress: Any, cancelled: Any
) -> tuple[str, Any]:
    from pathlib import Path

    from osc_imagetools.bundle.repository.catalog import complete_bundle, find_bundle
    from osc_imagetools.bundle.repository.copy_out import copy_to_directory
    from osc_imagetools.bundle.repository.copying import plan_copy

    bundle = complete_bundle(find_bundle(restic, parsed_args.bundle, parsed_args.at))
    output = Path(parsed_args.output)
    if parsed_args.dry_run:
        return str(output), plan_copy(bundle.manifest, str(output))
    jobs = parsed_args.jobs
    return str(output), copy_to_directory(
        bundle, restic, output, jobs=jobs, progress=progress, cancelled=cancelled
    )


class ForgetBundle(base.Lister):
    """Remove old bundles from a directory or a repository, by rules.

    The rules are those of ``restic forget``, applied to the complete bundles of each exported resource: each
    rule keeps the newest bundle of as many hours, days, weeks, months or years. The newest complete bundle of
    a resource and the newest one with a successful restore check are never removed.
    """

    examples = (
        "openstack bundle forget /backup --keep-daily 7 --dry-run",
        "openstack bundle forget --repository /backup --keep-last 3 --prune",
    )
    more = ("ID",)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from osc_imagetools.bundle.keep_rules import COUNTS

        parser = super().get_parser(prog_name)
        parser.add_argument("directory", metavar="<directory>", nargs="?", help="Directory to search (path)")
        for name in COUNTS:
            period = "" if name == "last" else f", of {_PERIODS[name]} each"
            parser.add_argument(
                f"--keep-{name}",
                metavar="<n>",
                type=_count,
                default=0,
                help=f"Keep the last <n> bundles{period} (unlimited: all of them)",
            )
        parser.add_argument(
            "--keep-within",
            metavar="<duration>",
            type=_span,
            help="Keep all bundles made within this time before the newest one: 1y6m7d12h",
        )
        parser.add_argument(
            "--keep-tag",
            metavar="<tag>[,<tag>...]",
            action="append",
            default=[],
            type=_tags,
            help="Keep bundles whose last snapshot has all of these restic tags (only in a repository; "
            "repeat the option for alternatives)",
        )
        parser.add_argument(
            "--resource",
            metavar="<id>",
            dest="resources",
            action="append",
            default=[],
            help="Leave all bundles alone that are not of this exported server, volume or image (ID; repeat "
            "option for several)",
        )
        parser.add_argument("--incomplete", action="store_true", help="Remove incomplete bundles too")
        parser.add_argument(
            "--prune", action="store_true", help="Give back the space in the repository (restic prune)"
        )
        base.add_dry_run_option(parser)
        repository_options.add_repository_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from osc_imagetools.errors import UsageError

        restic = place(parsed_args)
        if restic is None:
            for option, given in (("--keep-tag", parsed_args.keep_tag), ("--prune", parsed_args.prune)):
                if given:
                    raise UsageError(f"{option}: only with --repository <url>")
        removals = _forget_stored(restic, parsed_args) if restic else _forget_here(parsed_args)
        titles = ("Bundle", "Kind", "Name", "Created At", "Size", "Result", "Reason", *self.more)
        removed = "would be removed" if parsed_args.dry_run else "removed"
        return titles, [
            (
                *(
                    r.bundle.label,
                    r.bundle.kind,
                    r.bundle.name,
                    base.Age(r.bundle.created_at),
                    base.Size(r.bundle.size),
                ),
                *(removed if r.removed else "kept", r.reason, r.bundle.subject),
            )
            for r in removals
        ]


_PERIODS = {
    "hourly": "different hours",
    "daily": "different days",
    "weekly": "different weeks",
    "monthly": "different months",
    "yearly": "different years",
}


def _plan(bundles: Any, parsed_args: argparse.Namespace) -> list[Removal[Any]]:
    from datetime import UTC, datetime

    from osc_imagetools.bundle.forgetting import plan_removals
    from osc_imagetools.bundle.keep_rules import COUNTS, KeepRules

    counts = {name: getattr(parsed_args, f"keep_{name}") for name in COUNTS}
    rules = KeepRules(**counts, within=parsed_args.keep_within, tags=tuple(parsed_args.keep_tag))
    return plan_removals(bundles, rules, incomplete=parsed_args.incomplete, now=datetime.now(UTC))


def _forget_stored(restic: Restic, parsed_args: argparse.Namespace) -> list[Removal[Any]]:
    from osc_imagetools.bundle.repository.forgetting import kept_in_repository, prune, remove_stored
    from osc_imagetools.progress.display import shown_progress
    from osc_imagetools.run.interrupts import interrupts_set

    removals = _plan(kept_in_repository(restic, parsed_args.resources), parsed_args)
    if not parsed_args.dry_run:
        with interrupts_set():  # each signal ends restic first, so that it removes its lock
            remove_stored(restic, [removal.bundle.what for removal in removals if removal.removed])
            if parsed_args.prune:
                with shown_progress() as progress:
                    prune(restic, progress.count)
    return removals


def _forget_here(parsed_args: argparse.Namespace) -> list[Removal[Any]]:
    from dataclasses import replace
    from pathlib import Path

    from osc_imagetools.bundle.forgetting import kept_in_directory, remove_directory
    from osc_imagetools.errors import BundleBusy, OutputExists

    done = []
    wanted = parsed_args.resources
    found = kept_in_directory(Path(parsed_args.directory))
    for removal in _plan([b for b in found if not wanted or b.subject in wanted], parsed_args):
        if removal.removed and not parsed_args.dry_run:
            try:
                remove_directory(removal.bundle)
            except (BundleBusy, OutputExists) as exc:
                removal = replace(removal, removed=False, reason=exc.message)
        done.append(removal)
    return done


def _count(text: str) -> int:
    from osc_imagetools.bundle.keep_rules import ALL

    number = ALL if text == "unlimited" else int(text)
    if number < ALL or text == str(ALL):
        raise ValueError(text)
    return number


def _span(text: str) -> Any:
    from osc_imagetools.bundle.keep_rules import Span

    return Span.parse(text)


def _tags(text: str) -> frozenset[str]:
    tags = frozenset(part.strip() for part in text.split(",")) - {""}
    if not tags:
        raise ValueError(text)
    return tags


_count.__name__, _span.__name__, _tags.__name__ = "number", "duration", "list of tags"
