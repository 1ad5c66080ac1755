# SPDX-License-Identifier: Apache-2.0
"""Restore checks on the real cloud: what boots, what does not, what says nothing, what panics."""

import json
import pathlib
import signal
import time
from typing import Any

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.servers import BOOTED, ServerCase

PANIC = "Kernel panic - not syncing"


class RestoreCheckCase(ServerCase):
    """Bundles of servers, without waiting for what their guests say."""

    def booting(self, path: pathlib.Path, *, says: str | None = None) -> str:
        """The ID of a server that boots from a volume with a guest that says something else."""
        self.make_guest(path, 16, *(() if says is None else ("--says", says)))
        return self.running(path)

    def running(self, disk: pathlib.Path) -> str:
        return self.server([self.volume(image_id=self.image(disk))])

    def check(self, *words: object, code: int = 0, cloud: str = "devcloud-demo") -> Any:
        words = ("server", "restore-check", self.dir / "bundle", "-f", "json", *words)
        return self.openstack(*words, code=code, cloud=cloud).json

    def records(self) -> list[dict[str, Any]]:
        files = sorted((self.dir / "bundle" / "records").glob("*.json"))
        return [json.loads(file.read_text()) for file in files]


class TestEvidence(RestoreCheckCase):
    def test_one_that_boots(self) -> None:
        server_id = self.booting(self.dir / "guest")
        self.export_server(server_id)
        before, document = self.everything(), self.document(server_id)
        plan = self.check("--dry-run", "--expect", BOOTED)
        self.assertEqual("wait", next(row["Action"] for row in plan if "console" in row["Resource"]))
        self.assertEqual(before, self.everything())

        report = self.check("--expect", BOOTED)
        self.assertEqual(("booted", self.name), (report["result"], report["server"]))
        self.assertIn(BOOTED, report["evidence"])
        self.assertEqual(before, self.everything())
        self.assertEqual(document, self.document(server_id))
        (record,) = self.records()
        self.assertEqual(("restore-check", "booted"), (record["type"], record["result"]))
        self.assertEqual(report["record"], str(next((self.dir / "bundle" / "records").iterdir())))
        self.openstack("bundle", "verify", self.dir / "bundle", cloud=None)
        self.assertEqual([], self.openstack("leftover", "list", "-f", "json").json)

    def test_one_that_panics_ends_at_once(self) -> None:
        self.export_server(self.booting(self.dir / "guest", says=PANIC))
        before = self.everything()
        report = self.check("--timeout", "100000", code=3)
        self.assertEqual("failed", report["result"])
        self.assertIn(PANIC, report["evidence"])
        self.assertEqual(before, self.everything())
        self.assertEqual("failed", self.records()[0]["result"])

    def test_one_without_a_boot_device_ends_at_once(self) -> None:
        self.export_server(self.booting(self.dir / "guest", says="No bootable device."))
        self.assertEqual("failed", self.check("--timeout", "100000", code=3)["result"])

    def test_a_login_prompt_is_enough_by_itself(self) -> None:
        self.export_server(self.booting(self.dir / "guest", says="web01 login: "))
        self.assertIn("login prompt", self.check()["evidence"])

    def test_one_that_says_nothing(self) -> None:
        self.export_server(self.booting(self.dir / "guest", says=""))
        before = self.everything()
        report = self.check("--timeout", "3", code=3)
        self.assertEqual(("not-proven", "the console is empty"), (report["result"], report["evidence"]))
        self.assertGreaterEqual(report["boot_seconds"], 3)
        self.assertEqual(before, self.everything())
        self.assertEqual("not-proven", self.records()[0]["result"])

    def test_an_empty_disk_proves_nothing(self) -> None:
        """What the firmware says of it is on the screen alone (QEMU's SeaBIOS without sercon)."""
        disk = self.dir / "empty"
        disk.write_bytes(bytes(2 * base.MIB))
        self.export_server(self.running(disk))
        self.assertEqual("not-proven", self.check("--timeout", "3", code=3)["result"])


class TestCopies(RestoreCheckCase):
    """What is restored, of which bundles, and how it differs from the original."""

    def test_in_a_network_with_a_program(self) -> None:
        network = self.connection().network.find_network("private", ignore_missing=False)
        disk = self.guest_disk()
        image = self.image(disk, hw_disk_bus="virtio")
        server_id = self.create_server(
            imageRef=image,
            flavor="tiny-1g",
            networks=[{"uuid": network.id}],
            metadata={"role": "web"},
            tags=["backup"],
        )
        self.export_server(server_id)
        before, seen = self.everything(), self.dir / "seen"
        program = self.dir / "check"
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$OSC_IMAGETOOLS_SERVER_ID $OSC_IMAGETOOLS_ADDRESSES $OS_CLOUD" > {seen}\n'
            f'echo "$OSC_IMAGETOOLS_CONSOLE" | grep -q {BOOTED} || exit 1\n'
            f'openstack server show "$OSC_IMAGETOOLS_SERVER_ID" -f json >> {seen}\n'
            "exit 7\n"
        )
        program.chmod(0o700)
        words = ("--expect", BOOTED, "--network", "private", "--check", program)
        report = self.check(*words, code=3)
        self.assertEqual(("failed", 7), (report["result"], report["check"]))
        first, _, rest = seen.read_text().partition("\n")
        copy_id, address, cloud = first.split()
        copy, original = json.loads(rest), self.document(server_id)
        self.assertEqual("devcloud-demo", cloud)
        self.assertNotEqual(server_id, copy_id)
        addresses = [a["addr"] for listed in original["addresses"].values() for a in listed]
        self.assertNotIn(address, addresses)
        self.assertEqual(f"restore-check-{self.name}", copy["name"])
        self.assertEqual(({}, [], None), (copy["properties"], copy["tags"], copy["key_name"]))
        self.assertEqual(before, self.everything())
        self.assertEqual(7, self.records()[0]["details"]["check"]["exit_code"])

        program.write_text("#!/bin/sh\nexit 0\n")
        self.assertEqual("booted", self.check(*words)["result"])
        self.assertEqual(["failed", "booted"], sorted(r["result"] for r in self.records())[::-1])

    def test_kept_and_then_removed_as_a_leftover(self) -> None:
        self.export_server(self.booting(self.dir / "guest"))
        before = self.everything()
        process = base.start_openstack(
            "server", "restore-check", str(self.dir / "bundle"), "-f", "json", "--expect", BOOTED, "--keep"
        )
        out, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(0, process.returncode, err)
        copy = json.loads(out)["copy"]
        self.assertEqual("ACTIVE", self.document(copy)["status"])
        self.assertIn(BOOTED, self.console(copy))
        left = self.openstack("leftover", "list", "-f", "json").json
        self.assertIn(copy, [row["ID"] for row in left])
        self.openstack("leftover", "delete", "--yes")
        self.assertEqual(before, self.everything())

    def test_interrupted_it_leaves_nothing(self) -> None:
        self.export_server(self.booting(self.dir / "guest", says=""))
        before = self.everything()
        words = ("server", "restore-check", str(self.dir / "bundle"), "--timeout", "1000")
        process = base.start_openstack(*words)
        nova = self.connection().compute
        name = f"restore-check-{self.name}"
        end = time.monotonic() + base.PATIENCE
        while not any(s.name == name and s.status == "ACTIVE" for s in nova.servers()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(130, process.returncode, err)
        self.assertEqual(before, self.everything())
        self.assertEqual([], self.records())

    def test_of_an_image_of_0_bytes(self) -> None:
        server_id = self.booting(self.dir / "guest")
        self.export(self.server_image(server_id))
        before = self.everything()
        refused = self.openstack("server", "restore-check", self.dir / "bundle", code=1)
        self.assertIn("the bundle names no flavor; candidates: tiny", refused.err)
        report = self.check("--expect", BOOTED, "--flavor", "tiny")
        self.assertEqual("booted", report["result"])
        self.assertEqual(before, self.everything())

    def test_of_an_image_with_data(self) -> None:
        self.export(self.image(self.guest_disk()))
        before = self.everything()
        report = self.check("--expect", BOOTED, "--flavor", "tiny-1g")
        self.assertEqual("booted", report["result"])
        # A server with a disk of its own is DELETED a moment before it is in no list.
        self.wait(lambda: self.everything() == before, True)

    def test_of_a_volume(self) -> None:
        volume = self.volume(image_id=self.image(self.guest_disk()))
        self.openstack("volume", "export-full", volume, "--output", self.dir / "bundle")
        before = self.everything()
        self.assertEqual("booted", self.check("--expect", BOOTED, "--flavor", "tiny")["result"])
        self.assertEqual(before, self.everything())
        self.connection().block_storage.set_volume_bootable_status(volume, False)
        data = self.dir / "data"
        self.openstack("volume", "export-full", volume, "--output", data)
        refused = self.openstack("server", "restore-check", data, "--flavor", "tiny", code=2)
        self.assertIn("not bootable", refused.err)
