# SPDX-License-Identifier: Apache-2.0
"""The options of ``server backup-check``."""

from __future__ import annotations

import argparse
import json
import uuid
from typing import Any

from osc_imagetools import errors
from osc_imagetools.backup_check.reasons import Severity
from osc_imagetools.tests.unit.base import COMPUTE, PROJECT
from osc_imagetools.tests.unit.v1.test_commands import CommandCase
from osc_imagetools.v1 import backup_check

NOTHING: dict[str, Any] = {
    "servers": [],
    "all": False,
    "all_projects": False,
    "project": None,
    "name": None,
    "status": None,
    "tags": [],
    "not_tags": [],
    "ip": None,
    "flavor": None,
    "image": None,
    "host": None,
    "explain": None,
    "html": None,
}


class TestFilters(CommandCase):
    def test_in_the_words_of_nova(self):
        mock = self.mocked_cloud(compute=True)
        mock.http.get(f"{COMPUTE}/flavors/m1", status_code=404)
        mock.http.get(f"{COMPUTE}/flavors?is_public=None", json={"flavors": [{"id": "7", "name": "m1"}]})
        options = {**NOTHING, "not_tags": ["a", "b"], "ip": "^10", "flavor": "m1", "host": "h"}
        scope = backup_check.filter_scope(mock.cloud, argparse.Namespace(**options))
        self.assertEqual({"not-tags": "a,b", "ip": "^10", "flavor": "7", "host": "h"}, scope.server_query())
        self.assertFalse(scope.whole)
        self.assertTrue(backup_check.filter_scope(mock.cloud, argparse.Namespace(**NOTHING)).whole)
        options = {**NOTHING, "flavor": "nothing"}
        mock.http.get(f"{COMPUTE}/flavors/nothing", status_code=404)
        gone = argparse.Namespace(**options)
        self.assertRaises(errors.ResourceNotFound, backup_check.filter_scope, mock.cloud, gone)


class TestOptions(CommandCase):
    def choice(self, **options: Any) -> None:
        backup_check.check_choice(argparse.Namespace(**{**NOTHING, **options}))

    def test_servers_are_named_or_chosen(self):
        for option in (
            {"all": True},
            {"name": "^web"},
            {"tags": ["a"]},
            {"project": "p"},
            {"status": "ERROR"},
            {"not_tags": ["a"]},
            {"ip": "^10"},
            {"flavor": "m1"},
            {"image": "i"},
            {"host": "h"},
        ):
            self.choice(**option)
            self.assertRaises(errors.UsageError, self.choice, servers=["web01"], **option)
            self.assertRaises(errors.UsageError, self.choice, explain="no-backup", **option)
        self.choice(servers=["web01", "web02"])
        self.choice(explain="no-backup")
        self.assertRaises(errors.UsageError, self.choice, explain="no-backup", servers=["web01"])
        self.assertRaises(errors.UsageError, self.choice)
        self.assertRaises(errors.UsageError, self.choice, project="p", all_projects=True)

    def test_contradictions_are_refused_before_any_login(self):
        code, _, err = self.run_openstack("server", "backup-check", "web01", "--all-projects")
        self.assertEqual(2, code)
        self.assertIn("--all-projects", err)
        self.assertNotIn("auth", err.lower())

    def test_all_servers_that_do_not_exist_are_told_at_once(self):
        mock = self.mocked_cloud(compute=True)
        server = {"id": str(uuid.uuid4()), "name": "web01", "tenant_id": PROJECT}
        mock.http.get(f"{COMPUTE}/servers/{server['id']}", json={"server": server})
        mock.http.get(f"{COMPUTE}/servers/detail", json={"servers": [server]})
        options = {"servers": ["web01", "web02", "web03"]}

        def scope() -> None:
            backup_check.read_scope(mock.cloud, argparse.Namespace(**{**NOTHING, **options}))

        error = self.assertRaises(errors.Unready, scope)
        self.assertIn("web02", str(error))
        self.assertIn("web03", str(error))
        options["servers"] = ["web01", "web02"]
        self.assertRaises(errors.ResourceNotFound, scope)

    def test_an_explanation_needs_no_login(self):
        code, out, err = self.run_openstack("server", "backup-check", "--explain", "backup-dead")
        self.assertEqual((0, ""), (code, err))
        self.assertTrue(out.startswith("backup-dead\n"), out)
        code, out, _ = self.run_openstack("server", "backup-check", "--explain", "backup-dead", "-f", "json")
        (row,) = json.loads(out)
        self.assertEqual(("backup-dead", "critical"), (row["Reason"], row["Severity"]))
        self.assertNotIn("``", row["What To Do"])
        self.assertEqual(2, self.run_openstack("server", "backup-check", "--explain", "nothing")[0])

    def test_what_is_ignored_is_checked_before_any_login(self):
        code, _, err = self.run_openstack("server", "backup-check", "web01", "--ignore", "nonsense")
        self.assertEqual(2, code)
        self.assertIn("there is no reason 'nonsense'", err)

    def test_durations(self):
        for text, seconds in (("90m", 5400), ("36h", 129600), ("7d", 604800), ("2w", 1209600)):
            self.assertEqual(seconds, backup_check.duration(text))
        for text in ("", "7", "d", "0d", "-1d", "1.5h", "7 d", "7y", "9999999d"):
            self.assertRaises(ValueError, backup_check.duration, text)
        code, _, err = self.run_openstack("server", "backup-check", "web01", "--max-age", "soon")
        self.assertEqual(2, code)
        self.assertIn("soon", err)

    def test_severities_are_sorted_by_rank_and_not_by_name(self):
        critical, info, warning = (
            backup_check.Rank(severity) for severity in (Severity.critical, Severity.info, Severity.warning)
        )
        self.assertEqual([info, warning, critical], sorted([critical, info, warning]))
        self.assertEqual("critical", critical.machine_readable())
