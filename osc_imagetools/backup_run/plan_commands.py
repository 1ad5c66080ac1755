# SPDX-License-Identifier: Apache-2.0
"""The commands that a run carries out for a server, as words.

Contract: pure. A command on a repository needs :attr:`BackupTarget.environment` as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from osc_imagetools.backup_run.plan_policy import BackupPolicy
from osc_imagetools.bundle.keep_rules import ALL, COUNTS


def export_words(server_id: str, output: str | None, policy: BackupPolicy, jobs: int) -> list[str]:
    """``server export-full`` as a policy wants it.

    :param output: the path of the bundle; None in a repository.
    """
    words = ["server", "export-full", server_id, "--jobs", str(jobs), "-f", "json"]
    words += policy.target.words if output is None else ["--output", output]
    words += ["--stop"] if policy.stop else []
    words += ["--allow-encrypted"] if policy.allow_encrypted else []
    return words


def proof_words(bundle: str, policy: BackupPolicy, jobs: int) -> list[str]:
    """``server restore-check`` as a policy wants it.

    :param bundle: its path, or its ID in a repository.
    """
    words = ["server", "restore-check", bundle, "--jobs", str(jobs), "-f", "json", *policy.target.words]
    rule = policy.prove
    if rule is None:
        return words
    for option, value in (("--expect", rule.expect), ("--timeout", rule.timeout), ("--flavor", rule.flavor)):
        words += [] if value is None else [f"{option}={value}"]
    for network in rule.networks:
        words += ["--network", network]
    return words


def forget_words(server_ids: Iterable[str], policy: BackupPolicy) -> list[str]:
    """``bundle forget`` in the repository of a policy, for these servers alone."""
    rules = policy.keep
    assert rules is not None
    words = ["bundle", "forget", "--long", "-f", "json", *policy.target.words]
    for name in COUNTS:
        if number := getattr(rules, name):
            words += [f"--keep-{name}", "unlimited" if number == ALL else str(number)]
    words += ["--keep-within", str(rules.within)] if rules.within else []
    words += ["--prune"] if policy.prune else []
    for server_id in server_ids:
        words += ["--resource", server_id]
    return words
