# SPDX-License-Identifier: Apache-2.0
"""``server restore-check`` as it is typed: the copy, the verdict, the record, and that all of it goes."""

from __future__ import annotations

import pathlib
from typing import Any

from osc_imagetools.bundle.records import read_records
from osc_imagetools.restore_check import observe
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.tests.unit.base import COMPUTE, VOLUME
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.served import ServedCase, each, encoded

ROOT = samples.qcow2(virtual_size=1 << 30)


class RestoreCheckCase(ServedCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(observe, "PAUSE", 0.001)
        self.path = self.dir / "web01.bundle"
        self.bundle_of(self.path, "restore-check", self.export)

    def export(self) -> None:
        """A server with metadata, user data and a port."""
        volume = self.served.add_volume(ROOT, name="root", status="in-use", bootable="true")
        attached = [{"id": volume["id"], "delete_on_termination": False}]
        server = self.served.add_server(
            metadata={"role": "web"},
            **{"os-extended-volumes:volumes_attached": attached,
               "OS-EXT-SRV-ATTR:user_data": encoded("#!/bin/sh")},
        )  # fmt: skip
        self.served.add_port(device_id=server["id"])
        self.rows("server", "export-full", "web01", "--output", self.path)

    def check(self, *words: Any, code: int = 0) -> Any:
        return self.rows("server", "restore-check", self.path, *words, code=code)

    def nothing_is_left(self) -> None:
        served = self.served
        for documents in (served.images, served.volumes, served.snapshots, served.servers, served.ports):
            self.assertEqual({}, documents)
        self.assertEqual([], journaled_runs())

    def created(self) -> Any:
        """The request that made the copy."""
        ((_, body),) = [s for s in self.served.sent("POST") if s[0].endswith("/servers")]
        return body["server"]

    def program(self, text: str) -> pathlib.Path:
        file = self.dir / "check.sh"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return file


class TestVerdict(RestoreCheckCase):
    def test_booted(self) -> None:
        told = self.check()
        self.assertEqual(
            ("web01", "booted", None, None), tuple(told[k] for k in ("server", "result", "check", "copy"))
        )
        self.assertIn("web01 login:", told["evidence"])
        (record,) = read_records(self.path)
        self.assertEqual(("restore-check", "booted"), (record.type, record.result))
        self.assertEqual("RegionOne", record.details["region"])
        self.assertEqual(told["evidence"], record.details["evidence"])
        self.nothing_is_left()

    def test_the_copy_is_isolated(self) -> None:
        self.check()
        created = self.created()
        self.assertEqual("none", created["networks"])
        self.assertEqual([], [k for k in ("user_data", "key_name") if created.get(k)])
        self.assertNotIn("role", created.get("metadata") or {})

    def test_with_a_network_and_its_user_data(self) -> None:
        self.check("--network", "net-a", "--security-group", "default", "--user-data", "keep")
        created = self.created()
        self.assertEqual(encoded("#!/bin/sh"), created["user_data"])
        self.assertEqual([{"uuid": "n1"}], created["networks"])
        self.assertEqual([{"name": "g1"}], created["security_groups"])
        self.nothing_is_left()

    def test_failed(self) -> None:
        self.served.console = "Kernel panic - not syncing: VFS: Unable to mount root fs"
        told = self.check(code=3)
        self.assertEqual("failed", told["result"])
        self.assertIn("Kernel panic", told["evidence"])
        self.assertEqual(["failed"], [record.result for record in read_records(self.path)])
        self.nothing_is_left()

    def test_not_proven(self) -> None:
        self.served.console = "loading"
        told = self.check("--timeout", "0.01", code=3)
        self.assertEqual("not-proven", told["result"])
        self.assertIn("its last line: loading", told["evidence"])
        self.nothing_is_left()

    def test_what_is_expected(self) -> None:
        self.served.console = "ready for work"
        self.assertEqual("booted", self.check("--expect", "ready for w.rk")["result"])

    def test_a_program_decides(self) -> None:
        told = self.dir / "told"
        names = ("SERVER_NAME", "BOOT", "ADDRESSES")
        words = " ".join(f"$OSC_IMAGETOOLS_{name}" for name in names)
        program = self.program(f'echo "{words}" > {told}; exit 4')
        found = self.check("--check", program, code=3)
        self.assertEqual(("failed", 4), (found["result"], found["check"]))
        self.assertIn("the check ended with exit code 4", found["evidence"])
        self.assertEqual("web01 booted 10.0.0.5\n", told.read_text())
        (record,) = read_records(self.path)
        self.assertEqual({"program": str(program), "exit_code": 4}, record.details["check"])

    def test_a_program_is_not_asked_about_a_copy_that_failed(self) -> None:
        self.served.console = "grub rescue> "
        witness = self.dir / "witness"
        told = self.check("--check", self.program(f"touch {witness}"), code=3)
        self.assertEqual((None, False), (told["check"], witness.exists()))

    def test_kept(self) -> None:
        told = self.check("--keep")
        self.assertEqual([told["copy"]], list(self.served.servers))
        self.assertEqual(1, len(self.served.volumes))
        (run,) = journaled_runs()
        self.assertIn(told["copy"], {entry.id for entry in run.pending})


class TestFaults(RestoreCheckCase):
    def test_a_copy_that_cannot_be_created_is_no_verdict(self) -> None:
        refusal = {"badRequest": {"message": "no valid host"}}
        self.http.post(f"{COMPUTE}/servers", status_code=400, json=refusal)
        err = self.fails("server", "restore-check", self.path)
        self.assertIn("no valid host", err)
        self.assertEqual([], list(read_records(self.path)))
        self.nothing_is_left()

    def test_what_cannot_be_removed_is_told_with_the_verdict(self) -> None:
        self.http.delete(each(VOLUME, "volumes"), status_code=403, json={"forbidden": {"message": "no"}})
        code, _, err = self.run_openstack("server", "restore-check", self.path)
        self.assertEqual(0, code, err)
        (volume,) = self.served.volumes
        self.assertIn("These resources may still exist: ", err)
        self.assertIn(volume, err)

    def test_a_bundle_that_was_changed(self) -> None:
        (self.path / "metadata" / "server.json").write_text("{}")
        self.assertIn("[bundle-refused]", self.fails("server", "restore-check", self.path))
        self.assertEqual([], self.served.changes())

    def test_dry_run(self) -> None:
        steps = self.rows("server", "restore-check", self.path, "--dry-run")
        actions = [step["Action"] for step in steps if step["Step"]]
        self.assertLess(actions.index("create server"), actions.index("delete server"))
        self.assertEqual("delete volume", actions[-1])
        self.assertEqual(([], []), (self.served.changes(), list(read_records(self.path))))

    def test_usage(self) -> None:
        for words, text in (
            (("--expect", "("), "not a regular expression"),
            (("--security-group", "x"), "only with --network"),
            (("--check", "/no/such/program"), "chmod +x /no/such/program"),
            (("--dry-run", "-f", "shell"), "Use -f json"),
        ):
            self.assertIn(text, self.fails("server", "restore-check", self.path, *words, code=2))
