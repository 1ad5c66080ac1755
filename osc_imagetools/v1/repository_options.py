# SPDX-License-Identifier: Apache-2.0
"""The options of every command that reads or writes bundles in a restic repository.

Contract: like every module of this layer it imports no more at the top than argparse, logging and osc-lib.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osc_imagetools.bundle.repository.restic import Restic

DEFAULT = "OSC_IMAGETOOLS_REPOSITORY"


def add_repository_options(parser: argparse.ArgumentParser, *, reads: bool = False) -> None:
    """The options that name a repository.

    :param reads: whether the command looks for a bundle in it, so that ``--at`` has a meaning.
    """
    group = parser.add_argument_group("repository")
    group.add_argument(
        "--repository",
        metavar="<url>",
        help="Use this restic repository instead of a directory: a path, or a URL of sftp:, s3:, swift:, "
        f"rest: or rclone:, as restic takes it (default: {DEFAULT})",
    )
    group.add_argument(
        "--password-file",
        metavar="<file>",
        help="File with the password of the repository (default: restic's own variables, "
        "RESTIC_PASSWORD_FILE, RESTIC_PASSWORD_COMMAND or RESTIC_PASSWORD)",
    )
    group.add_argument(
        "--repository-cloud",
        metavar="<cloud>",
        help="Cloud in clouds.yaml whose login restic uses for a swift: repository",
    )
    if reads:
        group.add_argument(
            "--at",
            metavar="<time>",
            type=_time,
            help="Use the newest bundle that is not younger than this time, in UTC: 2026-01-31T04:00 (with "
            "the name or ID of what was exported; default: the newest bundle)",
        )


def repository(parsed_args: argparse.Namespace, directory: str | None = None) -> Restic | None:
    """The repository that a command uses; None where it uses a directory.

    :param directory: what the user gave as ``<bundle>``, ``<directory>`` or ``--output``. Without
        ``--repository``, a path (with a slash, or of an existing directory) wins over the default of the
        environment.
    :raises errors.UsageError: the options contradict each other.
    :raises errors.RepositoryError: restic is absent or too old.
    """
    url = parsed_args.repository
    if not url and not (directory and (os.sep in directory or os.path.isdir(directory))):
        url = os.environ.get(DEFAULT)
    if not url:
        _refuse_strays(parsed_args)
        return None
    return open_repository(parsed_args, url)


def needed_repository(parsed_args: argparse.Namespace) -> Restic:
    """The repository of a command that cannot do without one; raises as :func:`repository`."""
    from osc_imagetools.errors import UsageError

    url = parsed_args.repository or os.environ.get(DEFAULT)
    if not url:
        raise UsageError("This needs --repository <url>", hint=f"Or set {DEFAULT}.")
    return open_repository(parsed_args, url)


def open_repository(parsed_args: argparse.Namespace, url: str) -> Restic:
    """restic for a repository; raises as :func:`repository`."""
    from pathlib import Path

    from osc_imagetools.bundle.repository.address import repository_address
    from osc_imagetools.bundle.repository.restic import Restic

    password = parsed_args.password_file
    address = repository_address(
        url,
        environment=os.environ,
        password_file=Path(password) if password else None,
        cloud=parsed_args.repository_cloud,
    )
    return Restic(address)


def _refuse_strays(parsed_args: argparse.Namespace) -> None:
    from osc_imagetools.errors import UsageError

    options = ("password_file", "repository_cloud", "at")
    given = [f"--{name.replace('_', '-')}" for name in options if getattr(parsed_args, name, None)]
    if given:
        raise UsageError(f"{', '.join(given)}: only with --repository <url>")


def _time(text: str) -> Any:
    from datetime import UTC, datetime

    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_time.__name__ = "time"
