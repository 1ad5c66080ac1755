# SPDX-License-Identifier: Apache-2.0
"""Runs over several servers on the real cloud: what is due is exported, what is fresh is left alone."""

import json
import pathlib
import shutil
import signal
import time
from typing import Any

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.servers import BOOTED, ServerCase

# Everything that can be wrong with a policy file, and how each error begins.
WRONG = """
version: 2
nights: 7
policies:
  "two words": {servers: {}, max_age: 1d, output_directory: /b}
  empty: {}
  a:
    servers: {name: web, names: ["(", "ok"], tags: [], projects: x, properties: {tier: 1}}
    max_age: soon
    output_directory: relative
    repository: somewhere
    stop: maybe
    allow_encrypted: 1
    keep: {last: -2, forever: 1, within: long}
    prove: {expect: "*", timeout: 0, flavor: "", networks: []}
    comment: x
  b: {servers: {}, max_age: 1d, output_directory: /b, password_file: p, repository_cloud: c, prune: true}
  c: {servers: {}, max_age: 1d, output_directory: /b, keep: {daily: 0}}
  d: {servers: {}, max_age: 1d, output_directory: /b, keep: {}}
"""
SAID = (
    "the file: Additional properties are not allowed ('nights' was unexpected)",
    "version: 1 was expected",
    "policies: 'two words' does not match",
    "policies/empty: 'servers' is a required",
    "policies/empty: 'max_age' is a required",
    "policies/empty: exactly one of output_directory and repository",
    "policies/a: exactly one of output_directory and repository",
    "policies/a: Additional properties are not allowed ('comment' was unexpected)",
    "policies/a/servers: Additional properties are not allowed ('name' was unexpected)",
    "policies/a/servers/tags: [] should be non-empty",
    "policies/a/servers/projects: 'x' is not of type 'array'",
    "policies/a/servers/properties/tier: 1 is not of type 'string'",
    "policies/a/servers/names/0: '(' is not a regular expression",
    "policies/a/max_age: 'soon' does not match",
    "policies/a/output_directory: 'relative' does not match",
    "policies/a/repository: 'somewhere' does not match",
    "policies/a/stop: 'maybe' is not of type 'boolean'",
    "policies/a/allow_encrypted: 1 is not of type 'boolean'",
    "policies/a/keep: Additional properties are not allowed ('forever' was unexpected)",
    "policies/a/keep/last: -2 is less than the minimum of -1",
    "policies/a/keep/within: 'long' is not a duration",
    "policies/a/prove: 'every' is a required",
    "policies/a/prove/expect: '*' is not a regular expression",
    "policies/a/prove/timeout: 0 is less than or equal to the minimum of 0",
    "policies/a/prove/flavor: '' should be non-empty",
    "policies/a/prove/networks: [] should be non-empty",
    "policies/b: 'repository' is a dependency of 'password_file'",
    "policies/b: 'repository' is a dependency of 'repository_cloud'",
    "policies/b: 'repository' is a dependency of 'prune'",
    "policies/b: 'keep' is a dependency of 'prune'",
    "policies/b/password_file: 'p' does not match",
    "policies/c/keep: these rules would keep nothing",
    "policies/d/keep: {} should be non-empty",
)


class TestRuns(ServerCase):
    def setUp(self) -> None:
        super().setUp()
        self.backup = self.dir / "backup"
        self.guest = self.guest_disk()
        self.image_id = self.image(self.guest)

    def servers(self, count: int) -> list[str]:
        """The IDs of servers that boot from volumes; their guests have written."""
        return [
            self.create_server(
                block_device_mapping_v2=[self.on_volume(self.volume(image_id=self.image_id), boot=True)],
                name=f"{self.name}-{number}",
            )
            for number in range(count)
        ]

    def run_backup(self, *words: Any, code: int = 0, cloud: str = "devcloud-demo") -> list[dict[str, Any]]:
        command = ("server", "backup-run", "--long", "-f", "json", *words)
        return self.openstack(*command, code=code, cloud=cloud).json  # type: ignore[no-any-return]

    def options(self) -> tuple[Any, ...]:
        return "--max-age", "1d", "--output-directory", self.backup

    def bundles(self) -> list[pathlib.Path]:
        return sorted(self.backup.glob("*/*.bundle"))

    def test_due_fresh_and_failed(self) -> None:
        one, two, three = self.servers(3)
        before = self.everything()
        planned = self.run_backup(one, two, "--dry-run", *self.options())
        self.assertEqual(["export", "export"], [row["Action"] for row in planned])
        self.assertFalse(self.backup.exists())

        self.backup.mkdir()
        (self.backup / three).write_text("in the way")
        metrics, page = self.dir / "backup.prom", self.dir / "report.html"
        words = ("--parallel", "2", "--metrics", metrics, "--html", page)
        rows = {row["ID"]: row for row in self.run_backup(one, two, three, *words, *self.options(), code=3)}
        self.assertEqual(["exported", "exported", "failed"], [rows[i]["Result"] for i in (one, two, three)])
        self.assertEqual(before, self.everything())
        boot = self.guest
        self.written_by_guest(boot)
        for server_id in (one, two):
            bundle = pathlib.Path(rows[server_id]["Bundle"])
            self.openstack("bundle", "verify", bundle, cloud=None)
            self.same_disk(bundle / "disks" / "0-vda.qcow2", boot)
        self.assertIn('osc_imagetools_backup_run_servers{result="failed"} 1', metrics.read_text())
        self.assertIn(one, page.read_text())

        (self.backup / three).unlink()
        made = self.bundles()
        # An administrator, whose login is in another project: the export is done in that of the server.
        chosen = ("--project", base.project("demo"), "--name", self.name, *self.options())
        rows = {row["ID"]: row for row in self.run_backup(*chosen, cloud="devcloud-admin")}
        self.assertEqual(["fresh", "fresh", "exported"], [rows[i]["Result"] for i in (one, two, three)])
        self.assertEqual(3, len(self.bundles()))
        self.assertLessEqual(set(made), set(self.bundles()))
        self.assertEqual([], self.openstack("leftover", "list", "-f", "json").json)

    def test_policies_prove_and_forget(self) -> None:
        (one,) = self.servers(1)
        before = self.everything()
        policies = self.dir / "policies.yaml"
        facts = {
            "servers": {"names": [f"{self.name}.*"]},
            "max_age": "1m",
            "output_directory": str(self.backup),
            "keep": {"last": 1},
            "prove": {"every": "30d", "expect": BOOTED},
        }
        policies.write_text(json.dumps({"version": 1, "policies": {"mine": facts}}))
        words = (one, "--policy-file", policies)
        (row,) = self.run_backup(*words)
        self.assertEqual(("exported", "restore check: booted"), (row["Result"], row["Detail"]))
        first = pathlib.Path(row["Bundle"])
        self.assertEqual(1, len(list((first / "records").iterdir())))

        # An older one without a proof goes, the proven one stays whatever the rules say.
        unproven = first.with_name("20200101T000000Z.bundle")
        shutil.copytree(first, unproven)
        shutil.rmtree(unproven / "records")
        facts["max_age"] = "1d"
        del facts["prove"]
        policies.write_text(json.dumps({"version": 1, "policies": {"mine": facts}}))
        self.assertEqual("fresh", self.run_backup(*words)[0]["Result"])
        self.assertEqual(2, len(self.bundles()))  # nothing is forgotten without a success
        for path in (first, unproven):
            self.age(path)
        (row,) = self.run_backup(*words)
        self.assertEqual(("exported", "old bundles removed: 1"), (row["Result"], row["Detail"]))
        self.assertEqual([str(first), row["Bundle"]], list(map(str, self.bundles())))
        self.assertEqual(before, self.everything())

    def test_a_policy_file_with_every_error(self) -> None:
        policies = self.dir / "policies.yaml"
        policies.write_text(WRONG)
        for command in ("backup-run", "backup-check"):
            refused = self.openstack("server", command, "--all", "--policy-file", policies, code=2).err
            for what in SAID:
                self.assertIn(f"\n- {what}", refused)
            self.assertEqual(len(SAID), refused.count("\n- "), refused)
        self.assertFalse(self.backup.exists())

    def age(self, bundle: pathlib.Path) -> None:
        """Makes a bundle one of long ago, by a volume that it does not have: the rest stays as it was."""
        text = (bundle / "manifest.json").read_text()
        manifest = json.loads(text)
        for snapshot in manifest["consistency"]["snapshots"]:
            snapshot["created_at"] = "2020-01-01T00:00:00.000000"
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    def test_interrupted_and_killed_it_goes_on(self) -> None:
        servers = self.servers(2)
        before = self.everything()
        words = ("server", "backup-run", *servers, "--parallel", "2", *map(str, self.options()))
        for number in (signal.SIGINT, signal.SIGKILL):
            process = base.start_openstack(*words, "-f", "json")
            end = time.monotonic() + base.PATIENCE
            while self.everything() == before and process.poll() is None:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.3)
            process.send_signal(number)
            _, err = process.communicate(timeout=base.PATIENCE)
            self.assertEqual(130 if number is signal.SIGINT else -9, process.returncode, err)
            self.wait(lambda: self.everything() == before, True)  # its commands clean up
        rows = self.run_backup(*servers, "--parallel", "2", *self.options())
        self.assertEqual(["exported", "exported"], [row["Result"] for row in rows])
        self.assertEqual(2, len(self.bundles()))
        for bundle in self.bundles():
            self.openstack("bundle", "verify", bundle, cloud=None)
        self.assertEqual(before, self.everything())
        self.assertEqual([], self.openstack("leftover", "list", "-f", "json").json)
