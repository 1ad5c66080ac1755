# SPDX-License-Identifier: Apache-2.0
"""Runs into a repository and restore checks out of one, on the real cloud: the state is the bundles there."""

from __future__ import annotations

import json
import pathlib
import signal
import time
import uuid
from typing import Any

import fixtures

from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.servers import BOOTED, ServerCase
from osc_imagetools.tests.functional.test_repository_export import RepositoryCloudCase
from osc_imagetools.tests.unit.bundle import samples

PANIC = "Kernel panic - not syncing"


class StoredRunCase(RepositoryCloudCase, ServerCase):
    def booting(self, *, says: str | None = None) -> str:
        """The ID of a server that boots from a volume."""
        path = self.dir / "guest"
        self.make_guest(path, 16, *(() if says is None else ("--says", says)))
        return self.server([self.volume(image_id=self.image(path))])

    def run_backup(self, *words: Any, cloud: str = "devcloud-demo") -> list[dict[str, Any]]:
        command = ("server", "backup-run", "--long", "-f", "json", *words)
        return self.openstack(*command, cloud=cloud).json  # type: ignore[no-any-return]

    def reasons(self, server_id: str, *words: Any) -> set[str]:
        """Of ``backup-check``."""
        command = ("server", "backup-check", server_id, "--fail-on", "never", "-f", "json", *words)
        return {row["Reason"] for row in self.openstack(*command).json}

    def stored(self) -> dict[str, str]:
        """The states of the bundles by their IDs."""
        return {row["Bundle"]: row["State"] for row in self.rows("bundle", "list")}

    def shown_records(self, bundle: str) -> list[str]:
        found = self.in_repository("bundle", "show", bundle, "-f", "json").json["records"]
        return [line.partition(" ")[2] for line in found]


class PoliciesWithRepository(StoredRunCase):
    def policies(self, **facts: Any) -> tuple[str, pathlib.Path]:
        """The option that names a file with one policy."""
        facts = {
            "servers": {"names": [self.name]},
            "max_age": "1d",
            "repository": self.url,
            "password_file": str(self.password),
            **facts,
        }
        path = self.dir / "policies.yaml"
        path.write_text(json.dumps({"version": 1, "policies": {"mine": facts}}))
        return "--policy-file", path

    def test_exported_proven_forgotten(self) -> None:
        more = self.volume()  # is removed after the server
        server = self.booting()
        before = self.everything()
        words = self.policies(keep={"last": 1}, prune=True, prove={"every": "30d", "expect": BOOTED})
        (planned, then) = self.run_backup(server, "--dry-run", *words)
        self.assertEqual(("export", "restore-check"), (planned["Action"], then["Action"]))
        self.assertIn(self.url, planned["Resource"])
        self.assertEqual([], self.snapshots())

        metrics, page = self.dir / "backup.prom", self.dir / "report.html"
        (row,) = self.run_backup(server, "--metrics", metrics, "--html", page, *words)
        self.assertEqual(("exported", "restore check: booted"), (row["Result"], row["Detail"]))
        proven = row["Bundle"]
        self.assertEqual({proven: "complete"}, self.stored())
        self.assertEqual(["restore-check: booted"], self.shown_records(proven))
        self.assertEqual(before, self.everything())
        self.assertIn('osc_imagetools_backup_run_servers{result="exported"} 1', metrics.read_text())
        self.assertIn("osc_imagetools_backup_proof_timestamp_seconds{", metrics.read_text())
        self.assertIn(server, page.read_text())
        bad = {"no-backup", "backup-too-old", "never-restored", "restore-failed", "restore-check-old"}
        self.assertEqual(set(), bad & self.reasons(server, *words))
        self.assertEqual(["fresh"], [r["Result"] for r in self.run_backup(server, *words)])

        # An older one without a proof goes; the proven one stays, whatever the rules say.
        older = self.older_copy(proven)
        self.assertEqual({proven, older}, set(self.stored()))
        self.grow(server, more)
        before = self.everything()
        (row,) = self.run_backup(server, *words)
        self.assertEqual(("exported", "old bundles removed: 1"), (row["Result"], row["Detail"]))
        self.assertEqual({proven: "complete", row["Bundle"]: "complete"}, self.stored())
        self.in_repository("bundle", "verify", row["Bundle"])
        self.sound()
        self.assertEqual(before, self.everything())

    def older_copy(self, bundle: str) -> str:
        """The ID of a bundle with the same data, made long ago and never restored."""
        path = self.dir / "older"
        self.in_repository("bundle", "copy", bundle, "--output", path)
        for record in (path / "records").iterdir():
            record.unlink()
        (path / "records").rmdir()
        document = samples.load(path)
        identifier = str(uuid.uuid4())
        document |= {"bundle_id": identifier, "created_at": "2020-01-01T00:00:00Z"}
        samples.reseal(path, format_manifest(document))
        self.copy_in(path)
        return identifier

    def grow(self, server: str, volume: str) -> None:
        """The server gets one more volume, which its bundles do not have: its export is due."""
        nova = self.connection().compute
        nova.create_volume_attachment(server, volume_id=volume)
        self.wait(lambda: self.connection().block_storage.get_volume(volume).status, "in-use")

    def test_a_repository_that_cannot_be_used(self) -> None:
        server = self.booting()
        self.url = str(self.dir / "nothing")
        refused = self.openstack("server", "backup-run", server, *self.policies(), code=1)
        self.assertIn("[repository-absent]", refused.err)
        password = self.dir / "absent"
        words = self.policies(password_file=str(password))
        refused = self.openstack("server", "backup-run", server, *words, code=2)
        self.assertIn(f"policies/mine: --password-file {password} cannot be read", refused.err)


class RunsIntoRepository(StoredRunCase):
    def application_credential(self) -> fixtures.Fixture:
        """A clouds.yaml with one cloud, ``backup``: an application credential with one role, as the page on
        nightly runs has it."""
        connection = self.connection()
        identity: Any = connection.identity
        user = connection.current_user_id
        made = identity.create_application_credential(user, self.name, roles=[{"name": "member"}])
        self.addCleanup(identity.delete_application_credential, user, made)
        auth = {
            "auth_url": connection.config.auth["auth_url"],
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        }
        region = {"auth_type": "v3applicationcredential", "auth": auth, "region_name": "RegionOne"}
        path = self.dir / "clouds.yaml"
        path.write_text(json.dumps({"clouds": {"backup": region}}))
        return fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(path))

    def test_killed_it_goes_on(self) -> None:
        server = self.booting()
        before = self.everything()
        words = ("server", "backup-run", server, "--max-age", "1d", *self.place(), "-f", "json")
        process = base.start_openstack(*words)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        end = time.monotonic() + base.PATIENCE
        while self.everything() == before and process.poll() is None:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.wait(lambda: self.everything() == before, True)  # its command cleans up
        self.assertNotIn("complete", self.stored().values())
        words = (server, "--max-age", "1d", *self.place())
        (row,) = self.run_backup(*words)
        self.assertEqual("exported", row["Result"], str(row))
        self.in_repository("bundle", "verify", row["Bundle"])

        # As if it was killed between the disk and the manifest: that bundle is finished, no new one is begun.
        self.restic("forget", *(s["id"] for s in self.snapshots("--tag", "complete")))
        self.assertEqual({row["Bundle"]: "incomplete"}, self.stored())
        with self.application_credential():
            (again,) = self.run_backup(*words, cloud="backup")
        self.assertEqual(("exported", row["Bundle"]), (again["Result"], again["Bundle"]))
        self.assertEqual({row["Bundle"]: "complete"}, self.stored())
        self.assertEqual(before, self.everything())
        self.sound()


class RestoreChecksFromRepository(StoredRunCase):
    def test_one_that_panics(self) -> None:
        server = self.booting(says=PANIC)
        bundle = self.with_cloud("server", "export-full", server)["bundle"]
        self.assertIn("never-restored", self.reasons(server, *self.place()))
        before, document = self.everything(), self.document(server)
        words = ("server", "restore-check", self.name, "-f", "json", *self.place())
        plan = self.openstack(*words, "--dry-run").json
        self.assertIn("wait", [row["Action"] for row in plan])
        report = self.openstack(*words, code=3).json
        self.assertEqual((bundle, "failed"), (report["bundle"], report["result"]))
        self.assertIn(PANIC, report["evidence"])
        self.assertRegex(report["record"], r"^records/\d{8}T\d{6}Z-restore-check\.json$")
        self.assertEqual((before, document), (self.everything(), self.document(server)))
        self.assertEqual(["restore-check: failed"], self.shown_records(bundle))
        self.assertIn("restore-failed", self.reasons(server, *self.place()))
        back = self.dir / "back"
        self.in_repository("bundle", "copy", bundle, "--output", back)
        record = json.loads((back / report["record"]).read_text())
        self.assertEqual(("failed", report["evidence"]), (record["result"], record["details"]["evidence"]))
        self.sound()
