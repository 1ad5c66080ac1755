# SPDX-License-Identifier: Apache-2.0
"""What is due, and in which order."""

from __future__ import annotations

from typing import Any

from osc_imagetools.backup_check.bundles import BundleCopy, BundleProof
from osc_imagetools.backup_run.plan import PlannedServer, plan_run
from osc_imagetools.backup_run.plan_commands import export_words, forget_words, proof_words
from osc_imagetools.backup_run.plan_policy import ProofRule, ServerChoice
from osc_imagetools.backup_run.plan_target import REPOSITORY, BackupTarget
from osc_imagetools.backup_run.report import run_steps
from osc_imagetools.bundle.keep_rules import ALL, KeepRules, Span
from osc_imagetools.tests.unit.backup_run.samples import DAY, NOW, TARGET, bundle, policy, server
from osc_imagetools.tests.unit.base import TestCase
from osc_imagetools.v1 import repository_options


def planned(*bundles: BundleCopy, **changes: Any) -> PlannedServer:
    (found,) = plan_run([server()], (policy(**changes),), {TARGET: bundles}, now=NOW)
    return found


class TestDue(TestCase):
    def test_by_age(self):
        self.assertTrue(planned().export)
        self.assertFalse(planned(bundle(0.5), bundle(9)).export)
        self.assertTrue(planned(bundle(1.5), bundle(9)).export)
        self.assertFalse(planned(bundle(1.0)).export)

    def test_what_is_not_a_complete_copy_of_it_does_not_count(self):
        for other in (
            bundle(complete=False),
            bundle(volumes=()),
            bundle(server_id="t"),
            bundle(kind="image"),
            bundle(taken=None),
        ):
            self.assertTrue(planned(other).export, other)

    def test_what_lies_elsewhere_does_not_count(self):
        other = BackupTarget("/other")
        (found,) = plan_run([server()], (policy(target=other),), {TARGET: [bundle()], other: []}, now=NOW)
        self.assertTrue(found.export)

    def test_the_newest_unfinished_export_goes_on(self):
        found = planned(
            bundle(9, complete=False, path="/backup/s/1"), bundle(8, complete=False, path="/backup/s/2")
        )
        self.assertEqual("/backup/s/2", found.unfinished)

    def test_in_a_repository_the_export_finds_what_it_goes_on_with(self):
        stored = bundle(9, complete=False, path="an ID", repository="rest:https://host/")
        self.assertIsNone(planned(stored).unfinished)

    def test_where_bundles_cannot_be_read_nothing_is_exported(self):
        other = BackupTarget(repository="rest:https://me:secret@host/")
        policies = (policy("a", servers=ServerChoice(tags=frozenset({"x"})), target=other), policy("b"))
        servers = [server("s", tags=frozenset({"x"}))]
        (found,) = plan_run(servers, policies[:1], {}, now=NOW, unread={other: "it is locked"})
        self.assertEqual((False, "it is locked"), (found.work, found.unread))
        (row,) = run_steps([found])
        self.assertEqual("server web-s (s): it is locked", row.resource)

    def test_a_proof_is_due(self):
        rule = ProofRule(every=30 * DAY)
        self.assertTrue(planned(bundle(), prove=rule).prove)
        self.assertFalse(planned(bundle()).prove)
        for age, result, due in ((29, "booted", False), (31, "booted", True), (1, "failed", True)):
            proof = BundleProof(NOW - age * DAY, result)
            found = planned(bundle(), bundle(9, proofs=(proof,)), prove=rule)
            self.assertEqual((False, due), (found.export, found.prove))

    def test_the_oldest_first_and_what_is_fresh_last(self):
        servers = [server(name) for name in ("fresh", "old", "none", "older")]
        ages = {"fresh": 0.5, "old": 2, "older": 3}
        bundles = [bundle(age, server_id=name) for name, age in ages.items()]
        found = plan_run(servers, (policy(),), {TARGET: bundles}, now=NOW)
        self.assertEqual(["none", "older", "old", "fresh"], [p.server.id for p in found])

    def test_the_rows_of_a_dry_run(self):
        servers = [server("s"), server("fresh")]
        policies = (policy(prove=ProofRule(every=DAY)),)
        proven = bundle(server_id="fresh", proofs=(BundleProof(NOW, "booted"),))
        rows = list(run_steps(plan_run(servers, policies, {TARGET: [proven]}, now=NOW)))
        self.assertEqual(
            [(1, "export"), (2, "restore-check"), (0, "leave")], [(r.number, r.action) for r in rows]
        )
        (skipped,) = run_steps(plan_run([server()], (), {}, now=NOW))
        self.assertEqual("server web-s (s): no policy is for this server", skipped.resource)


class TestCommands(TestCase):
    def test_as_the_policy_says(self):
        words = export_words("s", "/backup/x", policy(stop=True, allow_encrypted=True), 2)
        self.assertEqual({"--stop", "--allow-encrypted"}, set(words[-2:]))
        rule = ProofRule(DAY, expect="-ready", timeout=5.0, flavor="m1", networks=("a", "b"))
        words = proof_words("/backup/x", policy(prove=rule), 2)
        for word in ("--expect=-ready", "--timeout=5.0", "--flavor=m1"):
            self.assertIn(word, words)
        self.assertEqual(["--network", "a", "--network", "b"], words[-4:])

    def test_in_a_repository(self):
        url = "rest:https://me:secret@host/"
        target = BackupTarget(repository=url, password_file="/etc/password", cloud="backup")
        chosen = policy(target=target, keep=KeepRules(last=3, daily=ALL, within=Span(months=1)), prune=True)
        options = ["--password-file", "/etc/password", "--repository-cloud", "backup"]
        export, prove = export_words("s", None, chosen, 2), proof_words("an ID", chosen, 2)
        forget = forget_words(["s", "t"], chosen)
        for words in (export, prove, forget):
            self.assertNotIn("secret", " ".join(words))
            place = words.index("--password-file")
            self.assertEqual(options, words[place : place + 4])
        self.assertNotIn("--output", export)
        self.assertEqual("an ID", prove[2])
        rules = "--keep-last 3 --keep-daily unlimited --keep-within 1m --prune --resource s --resource t"
        self.assertEqual(rules, " ".join(forget[-11:]))
        self.assertEqual({repository_options.DEFAULT: url}, target.environment)
        self.assertEqual(REPOSITORY, repository_options.DEFAULT)
        self.assertEqual("rest:https://***@host/", target.label)
        self.assertNotIn("secret", repr(target))
        self.assertEqual(([], {}), (policy().target.words, policy().target.environment))
