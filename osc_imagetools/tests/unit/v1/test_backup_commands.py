# SPDX-License-Identifier: Apache-2.0
"""``server backup-check`` and ``server backup-run`` as they are typed: rows, exit codes, reports."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
from typing import Any

import fixtures

from osc_imagetools.tests.unit.base import AUTH, PROJECT
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.bundle.repository.stored import RepositoryCase
from osc_imagetools.tests.unit.served import ServedCase

ROOT = samples.qcow2(virtual_size=1 << 30)


class FleetCase(ServedCase):
    def server(self, name: str = "web01", **changes: Any) -> dict[str, Any]:
        """A server that boots from a volume."""
        volume = self.served.add_volume(ROOT, name=f"{name}-root", status="in-use", bootable="true")
        server = self.served.add_server(
            name=name, **{"os-extended-volumes:volumes_attached": [{"id": volume["id"]}], **changes}
        )
        volume["attachments"] = [{"server_id": server["id"], "device": "/dev/vda"}]
        return server

    def exported(self, server: dict[str, Any]) -> None:
        """A bundle of it in the directory of bundles."""
        path = self.dir / "bundles" / server["id"] / "b"
        path.parent.mkdir(parents=True)
        self.rows("server", "export-full", server["id"], "--output", path)


def policies_in(folder: pathlib.Path, **policies: Any) -> pathlib.Path:
    """A file with policies that have these facts besides; each is for the servers whose tag is its name."""
    path = folder / "policies.yaml"
    facts = {name: {"servers": {"tags": [name]}, "max_age": "1d", **more} for name, more in policies.items()}
    path.write_text(json.dumps({"version": 1, "policies": facts}))
    return path


class TestBackupCheck(FleetCase):
    def reasons(self, *words: Any, code: int = 0) -> set[str]:
        return {row["Reason"] for row in self.rows("server", "backup-check", *words, code=code)}

    def test_a_server_without_a_backup(self) -> None:
        server = self.server()
        rows = self.rows("server", "backup-check", "web01", "--long")
        found = {row["Reason"]: row for row in rows}
        self.assertIn("no-backup", found)
        row = found["no-backup"]
        self.assertEqual(
            ("web01", "warning", server["id"], PROJECT),
            (row["Server"], row["Severity"], row["ID"], row["Project"]),
        )
        self.assertIn(f"openstack server export-full {server['id']}", row["Action"])
        self.assertEqual([], self.served.changes())

    def test_exit_codes(self) -> None:
        self.server()
        self.reasons("web01")
        self.reasons("web01", "--fail-on", "warning", code=3)
        self.reasons("web01", "--max-age", "1d", code=3)
        self.reasons("web01", "--max-age", "1d", "--fail-on", "never")

    def test_a_fresh_bundle(self) -> None:
        server = self.server()
        self.exported(server)
        words = ("web01", "--bundles", self.dir / "bundles", "--max-age", "1d")
        self.assertNotIn("no-backup", self.reasons(*words))
        self.assertEqual(set(), self.reasons(*words, "--severity", "warning"))

    def test_what_is_ignored_and_what_is_not_shown(self) -> None:
        server = self.server()
        self.assertNotIn("no-backup", self.reasons("web01", "--ignore", "no-backup"))
        self.assertNotIn("no-backup", self.reasons("web01", "--ignore", f"no-backup:{server['id']}"))
        self.assertIn("no-backup", self.reasons("web01", "--ignore", "no-backup:another"))
        self.assertEqual(set(), self.reasons("web01", "--severity", "critical"))

    def test_the_summary(self) -> None:
        server = self.server()
        (row,) = self.rows("server", "backup-check", "--all", "--summary")
        self.assertEqual(
            ("web01", server["id"], "warning", "volume", 1, None),
            tuple(row[k] for k in ("Server", "ID", "Severity", "Boot Source", "Disks", "Newest Backup")),
        )
        self.assertIn("no-backup", row["Findings"])

    def test_findings_of_no_server_are_told_beside_the_summary(self) -> None:
        self.server()
        mapping = json.dumps([{"source_type": "snapshot", "snapshot_id": "gone", "boot_index": 0,
                               "destination_type": "volume"}])  # fmt: skip
        self.served.add_image(name="old", block_device_mapping=mapping, bdm_v2="True")
        code, _, err = self.run_openstack(
            "server", "backup-check", "--all", "--summary", "--fail-on", "never"
        )
        self.assertEqual(0, code, err)
        self.assertRegex(err, r"\d+ findings belong to no server and are not in the summary")

    def test_servers_by_filters(self) -> None:
        self.server("web01", tags=["blue"])
        self.server("web02")
        asked = self.rows("server", "backup-check", "--name", "web01", "--status", "ACTIVE", "--tags", "blue")
        self.assertTrue(asked)
        (query,) = [
            r.qs for r in self.http.request_history if r.path.endswith("/servers/detail") and "tags" in r.qs
        ]
        self.assertEqual((["blue"], ["active"]), (query["tags"], query["status"]))

    def test_servers_that_are_not_there_are_told_together(self) -> None:
        self.server()
        err = self.fails("server", "backup-check", "web01", "x1", "x2")
        self.assertIn("some servers were not found", err)
        for name in ("x1", "x2"):
            self.assertIn(f"no server has the name or ID '{name}'", err)
        err = self.fails("server", "backup-check", "x1")
        self.assertNotIn("some servers", err)

    def test_the_report_for_a_browser(self) -> None:
        self.server("web<01>")
        page = self.dir / "report.html"
        self.rows("server", "backup-check", "--all", "--html", page)
        text = page.read_text()
        self.assertIn("web&lt;01&gt;", text)
        self.assertIn("RegionOne", text)
        self.assertIn("no-backup", text)

    def test_usage(self) -> None:
        for words, said in (
            ((), "no server specified"),
            (("web01", "--all"), "<server> cannot be combined with --all"),
            (("--project", "x", "--all-projects"), "--project cannot be combined with --all-projects"),
            (("web01", "--policy-file", "x", "--max-age", "1d"), "cannot be combined with --max-age"),
            (("--explain", "no-backup", "web01"), "--explain is about a reason"),
            (("--all", "--html", self.dir / "no" / "x.html"), "x.html"),
        ):
            self.assertIn(said, self.fails("server", "backup-check", *words, code=2))
        self.assertEqual([], self.http.request_history)

    def test_by_the_policies_of_a_file(self) -> None:
        old, fresh = self.server("db01"), self.server("web01")
        self.exported(fresh)
        policies = self.dir / "policies.yaml"
        policies.write_text(
            'version: 1\npolicies:\n  daily:\n    servers: {names: [".*"]}\n    max_age: 1d\n'
            f"    output_directory: {self.dir / 'bundles'}\n"
        )
        words = ("--all", "--policy-file", policies, "--severity", "critical", "--long")
        rows = self.rows("server", "backup-check", *words, code=3)
        self.assertEqual({old["id"]}, {row["ID"] for row in rows})

    def test_bundles_of_policies_that_cannot_be_read_are_told_once_and_together(self) -> None:
        self.server()
        self.useFixture(fixtures.EnvironmentVariable("RESTIC_PASSWORD", "p"))
        names = ("one", "two")
        policies = policies_in(self.dir, **{name: {"repository": str(self.dir / name)} for name in names})
        err = self.fails("server", "backup-check", "--all", "--policy-file", policies)
        self.assertIn("no bundles can be read:\n- ", err)
        self.assertIn("[not-possible]", err)
        self.assertIn("restic -r", err)  # the advice
        for name in names:
            self.assertEqual(1, err.count(f"There is no restic repository at {self.dir / name},"), err)
        policies = policies_in(self.dir, one={"repository": str(self.dir / "one")})
        self.assertIn(
            "[repository-absent]", self.fails("server", "backup-check", "--all", "--policy-file", policies)
        )

    def test_one_project(self) -> None:
        self.server()
        self.http.get(re.compile(f"{AUTH}/projects/"), json={"project": {"id": PROJECT, "name": "demo"}})
        self.rows("server", "backup-check", "--project", "demo")
        (query,) = [r.qs for r in self.http.request_history if r.path.endswith("/servers/detail")]
        self.assertEqual([PROJECT], query["project_id"])


class TestRepository(RepositoryCase):
    def test_its_bundles_count(self) -> None:
        volume = self.served.add_volume(ROOT, name="root", status="in-use", bootable="true")
        attached = {"os-extended-volumes:volumes_attached": [{"id": volume["id"]}]}
        server = self.served.add_server(**attached)
        volume["attachments"] = [{"server_id": server["id"], "device": "/dev/vda"}]
        self.rows(*self.there("server", "export-full", "web01"))
        rows = self.rows(*self.there("server", "backup-check", "web01", "--max-age", "1d"))
        self.assertNotIn("no-backup", {row["Reason"] for row in rows})


class TestBackupRun(FleetCase):
    def words(self, *words: Any) -> tuple[Any, ...]:
        return ("server", "backup-run", *words, "--max-age", "1d", "--output-directory", self.dir / "bundles")

    def test_dry_run(self) -> None:
        self.server("web01")
        fresh = self.server("db01")
        self.exported(fresh)
        steps = self.rows(*self.words("--all", "--dry-run"))
        self.assertEqual(2, len(steps))
        by_name = {name: step for step in steps for name in ("web01", "db01") if name in step["Resource"]}
        self.assertIn("export", by_name["web01"]["Action"])
        self.assertNotIn("export", by_name["db01"]["Action"])

    def test_all_fresh_and_the_reports(self) -> None:
        server = self.server()
        self.exported(server)
        metrics, page = self.dir / "m.prom", self.dir / "report.html"
        (row,) = self.rows(*self.words("web01", "--metrics", metrics, "--html", page, "--long"))
        self.assertEqual(("web01", "fresh", server["id"]), (row["Server"], row["Result"], row["ID"]))
        self.assertIn(server["id"], metrics.read_text())
        self.assertIn("web01", page.read_text())

    def test_a_report_that_cannot_be_written_fails_the_run_and_not_its_rows(self) -> None:
        server = self.server()
        self.exported(server)
        folder = self.dir / "reports"
        folder.mkdir()
        read = self.served._list

        def listed(kind: str, request: Any) -> Any:
            shutil.rmtree(folder, ignore_errors=True)
            return read(kind, request)

        self.served._list = listed  # type: ignore[method-assign]
        page = self.dir / "report.html"
        code, out, err = self.run_openstack(
            *self.words("web01", "--metrics", folder / "m.prom", "--html", page), "-f", "json"
        )
        self.assertEqual(3, code)
        self.assertEqual(["fresh"], [row["Result"] for row in json.loads(out)])
        self.assertIn("m.prom", err)
        self.assertIn("web01", page.read_text())

    def test_bundles_of_one_policy_that_cannot_be_read(self) -> None:
        self.server("web01", tags=["one"])
        self.useFixture(fixtures.EnvironmentVariable("RESTIC_PASSWORD", "p"))
        one, there = {"repository": str(self.dir / "one")}, {"output_directory": str(self.dir / "bundles")}
        words = ("server", "backup-run", "--all", "--policy-file")
        code, out, err = self.run_openstack(*words, policies_in(self.dir, one=one, two=there), "-f", "json")
        self.assertEqual(3, code, err)
        (row,) = json.loads(out)
        self.assertEqual("failed", row["Result"])
        self.assertIn("[repository-absent]", row["Detail"])
        self.assertEqual(1, err.count(f"The bundles in {self.dir / 'one'} cannot be read"))
        self.assertIn("restic -r", err)  # the advice
        self.assertIn("[repository-absent]", self.fails(*words, policies_in(self.dir, one=one)))
        two = {"repository": str(self.dir / "two")}
        err = self.fails(*words, policies_in(self.dir, one=one, two=two))
        self.assertIn("no bundles can be read:\n- ", err)

    def test_servers_that_are_not_there(self) -> None:
        err = self.fails(*self.words("x1", "x2"))
        self.assertIn("some servers were not found", err)

    def test_a_policy_file_and_options(self) -> None:
        words = ("server", "backup-run", "--all", "--policy-file", self.dir / "no")
        for more, said in (
            (("--stop",), "--policy-file cannot be combined with --stop"),
            ((), "cannot read"),
        ):
            self.assertIn(said, self.fails(*words, *more, code=2))
        self.assertEqual([], self.http.request_history)
