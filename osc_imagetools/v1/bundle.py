# SPDX-License-Identifier: Apache-2.0
"""Commands for bundles: no login; those in a directory are read offline."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_imagetools.v1 import base, repository_options

if TYPE_CHECKING:
    from osc_imagetools.bundle.repository.restic import Restic

BUNDLE = (
    "Bundle: a path; with --repository its ID, the beginning of it, or the name or ID of what was exported"
)


class ListBundle(base.Lister):
    """List the bundles in and below a directory, or in a repository.

    Only the manifests are read. Use ``openstack bundle verify`` to check the data. Symbolic links are not
    followed.
    """

    more = ("ID", "Cloud", "Project ID")
    examples = ("openstack bundle list /backup", "openstack bundle list /backup --long -f json")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("directory", metavar="<directory>", nargs="?", help="Directory to search (path)")
        repository_options.add_repository_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from pathlib import Path

        from osc_imagetools.bundle.reader import list_bundles
        from osc_imagetools.cloud.names import printable

        titles = ("Bundle", "State", "Kind", "Name", "Created At", "Size", *self.more)
        restic = place(parsed_args)
        if restic:
            return titles, stored_rows(restic)
        rows = [
            (
                printable(str(b.path)),
                b.state,
                b.kind,
                b.name,
                base.Age(b.created_at),
                base.Size(b.size),
                b.id,
                b.cloud,
                b.project_id,
            )
            for b in list_bundles(Path(parsed_args.directory))
        ]
        return titles, rows


class ShowBundle(base.ShowOne):
    """Show the contents of a bundle.

    Only the manifest is read. Use ``openstack bundle verify`` to check the data.
    """

    examples = ("openstack bundle show web01.bundle", "openstack bundle show web01 --repository /backup")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("bundle", metavar="<bundle>", help=BUNDLE)
        repository_options.add_repository_options(parser, reads=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from pathlib import Path

        from osc_imagetools.bundle.reader import open_bundle
        from osc_imagetools.bundle.records import read_records

        restic = repository_options.repository(parsed_args, parsed_args.bundle)
        if restic:
            fields = stored_fields(restic, parsed_args)
        else:
            path = Path(parsed_args.bundle)
            fields = dict(open_bundle(path).summary())
            fields["records"] = [f"{r.at} {r.type}: {r.result}" for r in read_records(path)]
        fields["bytes"] = base.Size(fields["bytes"])
        for name in ("not_captured", "records"):
            fields[name] = base.Texts(fields[name])
        return tuple(fields), tuple(fields.values())


class VerifyBundle(base.Lister):
    """Verify every byte of a bundle against its hashes.

    Reports files that are changed, missing, unlisted or unsafe, and disks whose content does not match the
    manifest. A bundle in a repository is read back completely.

    Exit codes: 0 if the bundle is intact, 3 if anything is wrong with it, 1 if there is no bundle at the
    path.
    """

    examples = (
        "openstack bundle verify web01.bundle",
        "openstack bundle verify web01.bundle -f json -c File -c Result",
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("bundle", metavar="<bundle>", help=BUNDLE)
        repository_options.add_repository_options(parser, reads=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        import time
        from pathlib import Path

        from osc_imagetools.bundle.repository.catalog import find_bundle
        from osc_imagetools.bundle.repository.verification import verify_stored
        from osc_imagetools.bundle.verification import verify
        from osc_imagetools.progress import words
        from osc_imagetools.progress.display import shown_progress

        restic = repository_options.repository(parsed_args, parsed_args.bundle)
        started = time.monotonic()
        with shown_progress() as progress:
            if restic:
                found = find_bundle(restic, parsed_args.bundle, parsed_args.at)
                findings = verify_stored(restic, found, progress)
            else:
                findings = verify(Path(parsed_args.bundle), progress)
        wrong = sum(finding.result != "ok" for finding in findings)
        self.whole = not wrong
        self.summary = (
            f"Verified {parsed_args.bundle}: {words.counted(len(findings), 'file')} in "
            f"{words.span(time.monotonic() - started)}, {f'{wrong} not intact' if wrong else 'all intact'}."
        )
        return ("File", "Result", "Detail"), [(f.file, f.result, f.detail) for f in findings]

    def run(self, parsed_args: argparse.Namespace) -> int:
        self.whole = True
        return super().run(parsed_args) or (0 if self.whole else 3)


def place(parsed_args: argparse.Namespace) -> Restic | None:
    """The repository of a command on many bundles; None where it has a directory.

    :raises errors.UsageError: neither or both were given.
    """
    from osc_imagetools.errors import UsageError

    if parsed_args.directory and parsed_args.repository:
        raise UsageError("Use either <directory> or --repository <url>")
    if parsed_args.directory:
        # A directory that is named wins over the default, whether it is there or not.
        return repository_options.repository(parsed_args, f"{parsed_args.directory}/")
    restic = repository_options.repository(parsed_args)
    if restic is None:
        hint = f"Or set {repository_options.DEFAULT}."
        raise UsageError("Use <directory> or --repository <url>", hint=hint)
    return restic


def stored_rows(restic: Restic) -> list[tuple[Any, ...]]:
    """The rows of ``bundle list`` for a repository."""
    from osc_imagetools.bundle.repository.catalog import list_repository

    rows = []
    for bundle in list_repository(restic):
        facts = bundle.summary()
        rows.append(
            (
                bundle.id,
                bundle.state,
                facts["kind"],
                facts["name"],
                base.Age(facts["created_at"]),
                base.Size(facts["bytes"]),
                facts["id"],
                facts["cloud"],
                facts["project_id"],
            )
        )
    return rows


def stored_fields(restic: Restic, parsed_args: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``bundle show`` for a bundle in a repository."""
    from osc_imagetools.bundle.repository.catalog import complete_bundle, find_bundle
    from osc_imagetools.bundle.repository.snapshots import RECORD, RESULT

    bundle = find_bundle(restic, parsed_args.bundle, parsed_args.at)
    if bundle.state == "broken":
        complete_bundle(bundle)
    fields = dict(bundle.summary())
    fields["records"] = [
        f"{s.time:%Y-%m-%dT%H:%M:%SZ} {s.value(RECORD.rstrip('='))}: {s.value(RESULT.rstrip('='))}"
        for s in bundle.stored.records
    ]
    fields["bundle"] = bundle.id
    return fields
