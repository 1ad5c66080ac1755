# SPDX-License-Identifier: Apache-2.0
"""The policies of a run, from a file or from options, and the bundles that they are judged by.

Contract: like every module of this layer it imports no more at the top than argparse, logging and osc-lib.
"""

from __future__ import annotations

import argparse
import logging
import os
from typing import TYPE_CHECKING

from osc_imagetools.v1 import repository_options

if TYPE_CHECKING:
    from osc_imagetools.backup_check.bundles import BundleCopy
    from osc_imagetools.backup_run.plan_policy import BackupPolicy
    from osc_imagetools.backup_run.plan_target import BackupTarget
    from osc_imagetools.errors import ImagetoolsError

LOG = logging.getLogger(__name__)
# Options that make a policy, as argparse names them.
POLICY_OPTIONS = (
    *("max_age", "output_directory", "stop", "allow_encrypted"),
    *("repository", "password_file", "repository_cloud"),
)


def read_policies(parsed_args: argparse.Namespace) -> tuple[BackupPolicy, ...]:
    """The policies of the file, or the one of the options."""
    from osc_imagetools.backup_run.plan_policy import BackupPolicy, ServerChoice
    from osc_imagetools.errors import UsageError

    given = [f"--{name.replace('_', '-')}" for name in POLICY_OPTIONS if getattr(parsed_args, name)]
    if parsed_args.policy_file:
        if given:
            raise UsageError(f"--policy-file cannot be combined with {', '.join(given)}")
        return policies_of_file(parsed_args.policy_file)
    target = _target(parsed_args)
    if not (parsed_args.max_age and target):
        raise UsageError(
            "--max-age and --output-directory or --repository, or else --policy-file, are required"
        )
    policy = BackupPolicy(
        "",
        ServerChoice(),
        parsed_args.max_age,
        target,
        stop=parsed_args.stop,
        allow_encrypted=parsed_args.allow_encrypted,
    )
    return (policy,)


def _target(parsed_args: argparse.Namespace) -> BackupTarget | None:
    """Where the options say that bundles go; None where they do not."""
    from osc_imagetools.backup_run.plan_target import BackupTarget
    from osc_imagetools.errors import UsageError

    directory = parsed_args.output_directory
    if directory and parsed_args.repository:
        raise UsageError("Use either --output-directory <directory> or --repository <url>")
    # A directory that is named wins over the default, whether it is there or not.
    restic = repository_options.repository(parsed_args, f"{directory}/" if directory else None)
    if restic:
        password = parsed_args.password_file
        return BackupTarget(
            repository=restic.address.url,
            password_file=os.path.abspath(password) if password else None,
            cloud=parsed_args.repository_cloud,
        )
    return BackupTarget(os.path.abspath(directory)) if directory else None


def policies_of_file(name: str) -> tuple[BackupPolicy, ...]:
    """The policies in a file; everything that is wrong with it is told at once."""
    from pathlib import Path

    from osc_imagetools.backup_run.destination import backup_destination
    from osc_imagetools.backup_run.plan_policy import parse_policies
    from osc_imagetools.errors import UsageError

    try:
        policies = parse_policies(Path(name).read_text(), name)
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"--policy-file: cannot read {name}: {exc}") from exc
    problems = []
    for policy in policies:
        try:
            backup_destination(policy.target, os.environ)
        except UsageError as exc:
            problems.append(f"\n- policies/{policy.name}: {exc.message}")
    if problems:
        raise UsageError(f"{name}: these repositories cannot be used:{''.join(problems)}")
    return policies


def read_copies(
    policies: tuple[BackupPolicy, ...],
) -> tuple[dict[BackupTarget, list[BundleCopy]], dict[BackupTarget, ImagetoolsError]]:
    """The bundles of the policies by their targets, and why those of others cannot be read.

    :raises errors.ImagetoolsError: not one target can be read.
    """
    from osc_imagetools.backup_run.destination import backup_destination
    from osc_imagetools.errors import ImagetoolsError, raise_problems

    found: dict[BackupTarget, list[BundleCopy]] = {}
    problems: dict[BackupTarget, ImagetoolsError] = {}
    for target in dict.fromkeys(policy.target for policy in policies):
        try:
            found[target] = backup_destination(target, os.environ).copies()
        except ImagetoolsError as exc:
            problems[target] = exc
    if not found:
        raise_problems("no bundles can be read", list(problems.values()))
    return found, problems


def readable_copies(
    policies: tuple[BackupPolicy, ...],
) -> tuple[dict[BackupTarget, list[BundleCopy]], dict[BackupTarget, str]]:
    """As :func:`read_copies`, but each problem is told here."""
    found, problems = read_copies(policies)
    for target, problem in problems.items():
        LOG.error("The bundles in %s cannot be read: %s", target.label, problem)
    return found, {target: f"{p.message} [{p.reference}]" for target, p in problems.items()}
