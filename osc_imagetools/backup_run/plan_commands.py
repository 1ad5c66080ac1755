# SPDX-License-Identifier: Apache-2.0
"""The commands that a run carries out for a server, as words.

Contract: pure.
"""

from __future__ import annotations

from osc_imagetools.backup_run.plan_policy import BackupPolicy


def export_words(server_id: str, output: str, policy: BackupPolicy, jobs: int) -> list[str]:
    """``server export-full`` as a policy wants it."""
    words = ["server", "export-full", server_id, "--output", output, "--jobs", str(jobs), "-f", "json"]
    words += ["--stop"] if policy.stop else []
    words += ["--allow-encrypted"] if policy.allow_encrypted else []
    return words


def proof_words(bundle: str, policy: BackupPolicy, jobs: int) -> list[str]:
    """``server restore-check`` as a policy wants it."""
    words = ["server", "restore-check", bundle, "--jobs", str(jobs), "-f", "json"]
    rule = policy.prove
    if rule is None:
        return words
    for option, value in (("--expect", rule.expect), ("--timeout", rule.timeout), ("--flavor", rule.flavor)):
        words += [] if value is None else [f"{option}={value}"]
    for network in rule.networks:
        words += ["--network", network]
    return words
