# SPDX-License-Identifier: Apache-2.0
"""The file of policies: read, refused with all that is wrong with it, applied to servers."""

from __future__ import annotations

import textwrap
from typing import Any

from osc_imagetools import errors
from osc_imagetools.backup_run.plan_policy import BackupPolicy, parse_policies, policy_of, server_ages
from osc_imagetools.backup_run.plan_target import BackupTarget
from osc_imagetools.bundle.keep_rules import KeepRules, Span
from osc_imagetools.tests.unit.backup_run.samples import server
from osc_imagetools.tests.unit.base import TestCase

WHOLE = """
version: 1
policies:
  databases:
    servers:
      names: ["db-.*", "mysql"]
      tags: [backup]
      projects: [p]
      properties: {tier: gold}
    max_age: 26h
    output_directory: /backup/db
    stop: true
    allow_encrypted: true
    keep: {last: 3, daily: 7, within: 1m}
    prove: {every: 30d, expect: ready, timeout: 900, flavor: m1, networks: [isolated]}
  others:
    servers: {names: ["web-.*"]}
    max_age: 7d
    output_directory: /backup/others
"""


def parse(text: str) -> tuple[BackupPolicy, ...]:
    return parse_policies(textwrap.dedent(text), "policies.yaml")


class TestFile(TestCase):
    def test_everything_that_a_policy_can_say(self):
        first, second = parse(WHOLE)
        self.assertEqual(
            ("databases", 26 * 3600, "/backup/db"), (first.name, first.max_age, first.target.label)
        )
        self.assertEqual((True, True), (first.stop, first.allow_encrypted))
        self.assertEqual(KeepRules(last=3, daily=7, within=Span(months=1)), first.keep)
        assert first.prove is not None
        self.assertEqual(
            (30 * 86400, "ready", 900), (first.prove.every, first.prove.expect, first.prove.timeout)
        )
        self.assertEqual(("m1", ("isolated",)), (first.prove.flavor, first.prove.networks))
        self.assertEqual((False, None, None), (second.stop, second.keep, second.prove))

    def refused(self, text: str) -> str:
        error = self.assertRaises(errors.UsageError, parse, text)
        self.assertEqual(2, error.exit_code)
        return str(error.message)

    def test_all_errors_at_once(self):
        said = self.refused(
            """
            version: 1
            policies:
              one:
                servers: {name: x}
                max_age: soon
                output_directory: relative
                keep: {}
                prove: {expect: "("}
                repository: s3:x
                password_file: relative
              "two words":
                servers: {}
                prune: true
              three:
                servers: {names: ["["]}
                max_age: 1d
                repository: relative
                repository_cloud: ""
                keep: {within: forever}
            """
        )
        for place in ("policies/one/servers", "policies/one/max_age", "policies/one/output_directory"):
            self.assertIn(place, said)
        for what in ("'name' was unexpected", "policies/one/keep", "'every'", "policies/one/password_file"):
            self.assertIn(what, said)
        for name in ("one", "two words"):
            where = "exactly one of output_directory and repository is required"
            self.assertIn(f"policies/{name}: {where}", said)
        for what in ("'max_age' is a required", "'repository' is a dependency of 'prune'"):
            self.assertIn(f"policies/two words: {what}", said)
        # What no schema can say is in the same list.
        for place in ("one/prove/expect", "three/servers/names/0", "three/repository", "three/keep/within"):
            self.assertIn(f"policies/{place}", said)
        self.assertIn("policies/three/repository_cloud", said)

    def test_a_repository(self):
        (found,) = parse(
            """
            version: 1
            policies:
              one:
                servers: {}
                max_age: 1d
                repository: swift:bundles:/
                password_file: /etc/password
                repository_cloud: backup
                keep: {last: 3}
                prune: true
            """
        )
        self.assertEqual(BackupTarget("", "swift:bundles:/", "/etc/password", "backup"), found.target)
        self.assertEqual((KeepRules(last=3), True), (found.keep, found.prune))

    def test_what_a_schema_cannot_say_is_told_together_too(self):
        said = self.refused(
            """
            version: 1
            policies:
              one:
                servers: {names: ["(", "ok", "["]}
                max_age: 1d
                output_directory: /b
                keep: {within: forever}
                prove: {every: 1d, expect: "*"}
              two:
                servers: {}
                max_age: 1d
                output_directory: /b
                keep: {daily: 0}
            """
        )
        places = ("names/0", "names/2", "keep/within", "prove/expect", "policies/two/keep")
        for place in places:
            self.assertIn(place, said)
        self.assertNotIn("names/1", said)

    def test_what_is_no_mapping(self):
        for text in (
            "",
            "- 1",
            "version: 2\npolicies: {}",
            "a: [",
            "x: !!python/object:os.system {}",
            "a: &a [*a]",
        ):
            self.refused(text)

    def test_a_key_that_is_there_twice(self):
        self.assertIn(
            "'max_age' is there twice", self.refused(WHOLE.replace("    stop: true", "    max_age: 1h"))
        )


class TestChoice(TestCase):
    def of(self, **changes: object) -> BackupPolicy | str:
        return policy_of(server(**changes), parse(WHOLE))  # type: ignore[arg-type]

    def test_all_that_is_said_must_hold(self):
        facts = {"name": "db-1", "tags": frozenset({"backup", "x"}), "properties": {"tier": "gold"}}
        found = self.of(**facts)
        assert isinstance(found, BackupPolicy)
        self.assertEqual("databases", found.name)
        for wrong in (
            {"name": "a-db-1"},
            {"tags": frozenset({"x"})},
            {"properties": {"tier": "silver"}},
            {"project_id": "q"},
        ):
            self.assertEqual("no policy is for this server", self.of(**{**facts, **wrong}))

    def test_several(self):
        policies = parse(WHOLE + "  rest:\n    servers: {}\n    max_age: 1d\n    output_directory: /b\n")
        found = policy_of(server(name="web-1"), policies)
        self.assertEqual("several policies are for this server: others, rest", found)

    def test_what_a_check_demands(self):
        policies = parse(WHOLE)
        facts: dict[str, Any] = {"tags": frozenset({"backup"}), "properties": {"tier": "gold"}}
        found = server_ages(server(name="db-1", **facts), policies)
        self.assertEqual((26 * 3600, 30 * 86400, ""), (found.max_age, found.max_proof_age, found.problem))
        self.assertIsNone(server_ages(server(name="web-1"), policies).max_proof_age)
        self.assertIn("no policy", server_ages(server(name="x"), policies).problem)
