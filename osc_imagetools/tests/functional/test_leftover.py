# SPDX-License-Identifier: Apache-2.0
"""What a killed run leaves: found from the journal and from the marks, and removed.

``OSC_IMAGETOOLS_KILLS`` steps of each command are tried, chosen by the dice of ``OSC_IMAGETOOLS_SEED``; as
many as there are, or more, are all of them.
"""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import fixtures

from osc_imagetools.cloud import ownership
from osc_imagetools.run.effects import removal
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.servers import ServerCase

KILLS = int(os.environ.get("OSC_IMAGETOOLS_KILLS", "2"))
SEED = int(os.environ.get("OSC_IMAGETOOLS_SEED", "1"))


class LeftoverCase(ServerCase):
    def leftover(self, cloud: str = "devcloud-demo") -> list[dict[str, Any]]:
        return self.openstack("leftover", "list", "-f", "json", cloud=cloud).json  # type: ignore[no-any-return]

    def delete(self, *words: str, cloud: str = "devcloud-demo", code: int = 0) -> list[dict[str, Any]]:
        words = ("leftover", "delete", "--yes", "-f", "json", *words)
        return self.openstack(*words, cloud=cloud, code=code).json  # type: ignore[no-any-return]

    def ids(self, cloud: str) -> set[str]:
        """The IDs of what is in a project; once more those of its stopped or marked servers."""
        lines = [line.split(" ", 2) for line in self.everything(cloud)]
        found = {identifier for kind, identifier, _ in lines if identifier != "is"}
        states = [(identifier, rest) for identifier, verb, rest in lines if verb == "is"]
        return found | {
            f"{i} stopped" for i, rest in states if "SHUTOFF" in rest or ownership.STOPPED in rest
        }


class TestKilled(LeftoverCase):
    """kill -9 at the steps of a server's export and of its import."""

    def run_killed(self, number: int, cloud: str, *words: str) -> tuple[list[str], int]:
        """(the names of the steps up to the one of this number, the exit code)."""
        names = self.dir / f"steps-{number}"
        names.unlink(missing_ok=True)
        command = [sys.executable, "-m", "osc_imagetools.tests.functional.killed", str(names), str(number)]
        done = subprocess.run(
            [*command, "--os-cloud", cloud, *words], capture_output=True, text=True, timeout=base.PATIENCE
        )
        if done.returncode != -signal.SIGKILL:
            self.assertEqual(0, done.returncode, done.stderr)
        return names.read_text().splitlines(), done.returncode

    def every_step(self, cloud: str, words: tuple[str, ...], after: Any) -> None:
        """Kills the command at its steps; each time the cloud comes back to what it was before."""
        before = self.ids(cloud)
        steps, _ = self.run_killed(0, cloud, *words)
        after()
        self.assertEqual(before, self.ids(cloud))
        numbers = list(range(1, len(steps) + 1))
        if len(numbers) > KILLS:
            numbers = sorted(random.Random(f"{SEED} {words[1]}").sample(numbers, KILLS))
        for number in numbers:
            told = f"seed {SEED}, killed at step {number} of {len(steps)}, {steps[number - 1]}"
            names, code = self.run_killed(number, cloud, *words)
            self.assertEqual((number, -signal.SIGKILL), (len(names), code), told)
            self.comes_back(before, cloud, told)

    def comes_back(self, before: set[str], cloud: str, told: str) -> None:
        earlier = self.ids(cloud)
        listed = {
            f"{row['ID']} stopped" if row["Type"] == "stopped-server" else row["ID"]
            for row in self.leftover(cloud)
        }
        later = self.ids(cloud)
        # What was being deleted when the run was killed may go on its own in between.
        self.assertLessEqual(later - before, listed, told)
        self.assertLessEqual(listed, earlier - before, told)
        self.delete(cloud=cloud)
        self.assertEqual(before, self.ids(cloud), told)
        self.assertEqual([], self.leftover(cloud), told)
        self.assertEqual([], list((self.dir / "state").rglob("*.jsonl")), told)

    def test_at_every_step(self) -> None:
        _, _, boot_image, data_image = self.two_disks()
        root, more = self.volume(image_id=boot_image), self.volume(image_id=data_image)
        network = self.connection().network.find_network("private", ignore_missing=False)
        server_id = self.create_server(
            block_device_mapping_v2=[self.on_volume(root, boot=True), self.on_volume(more)],
            networks=[{"uuid": network.id}],
        )
        cloud, bundle = "devcloud-demo", self.dir / "bundle"
        export = ("server", "export-full", server_id, "--stop", "--jobs", "1", "--output", str(bundle))
        kept = self.dir / "kept"
        self.every_step(cloud, export, lambda: bundle.rename(kept))
        self.assertEqual("ACTIVE", self.document(server_id)["status"])
        self.openstack("bundle", "verify", kept, cloud=None)

        self.remove_with_volumes(server_id)
        words = ("server", "import-full", str(kept), "--wait", "--jobs", "1", "--keep-addresses")
        self.every_step(cloud, words, lambda: self.remove_restored(cloud))

    def remove_restored(self, cloud: str) -> None:
        """Removes the server that an import has made, with all that came with it."""
        connection = self.connection(cloud)
        server = connection.compute.find_server(self.name, ignore_missing=False)
        self.remove_with_volumes(server.id, cloud)


class TestAlive(LeftoverCase):
    """Whose run is alive is left alone; what only another machine can know, too."""

    def setUp(self) -> None:
        super().setUp()
        self.volume_id = self.volume()
        self.process = base.start_openstack(
            *("volume", "export-full", self.volume_id, "--output", str(self.dir / "bundle"))
        )
        self.addCleanup(self.process.communicate)
        self.addCleanup(self.process.kill)
        cinder = self.connection().block_storage
        self.wait(lambda: any(ownership.RUN in v.metadata for v in cinder.volumes()), True)
        self.process.send_signal(signal.SIGSTOP)

    def marked(self) -> set[str]:
        cinder = self.connection().block_storage
        kinds = (cinder.volumes(), cinder.snapshots())
        return {r.id for resources in kinds for r in resources if ownership.RUN in r.metadata}

    def test_a_run_that_lives(self) -> None:
        before = self.marked()
        for state in (self.dir / "state", self.dir / "another-account"):
            self.useFixture(fixtures.EnvironmentVariable("XDG_STATE_HOME", str(state)))
            result = self.openstack("leftover", "list", "-f", "json")
            self.assertEqual([], result.json)
            self.assertIn("active runs", result.err)
            self.assertEqual([], self.delete())
        self.assertEqual(before, self.marked())
        self.process.send_signal(signal.SIGCONT)
        self.assertEqual(0, self.process.wait(base.PATIENCE))
        self.assertEqual(set(), self.marked())

    def test_from_the_marks_alone(self) -> None:
        """On another machine: nothing is known of the process, so the run must be named."""
        self.process.kill()
        self.process.wait()
        self.useFixture(fixtures.EnvironmentVariable("XDG_STATE_HOME", str(self.dir / "elsewhere")))
        self.useFixture(fixtures.MonkeyPatch("osc_imagetools.run.identity._machine", lambda: "0123456789ab"))
        left = self.leftover()
        self.assertEqual(self.marked(), {r["ID"] for r in left if r["Type"] in ("volume", "snapshot")})
        (run,) = {r["Run"] for r in left}
        asked = self.openstack("leftover", "delete", "--run", run, code=2)
        self.assertIn("--yes", asked.err)
        self.assertEqual({"skipped"}, {r["Result"].partition(":")[0] for r in self.delete()})
        plan = self.openstack("leftover", "delete", "--run", run, "--dry-run", "-f", "json").json
        self.assertEqual(len(left), len(plan))
        self.assertEqual(self.marked(), {r["ID"] for r in left if r["Type"] in ("volume", "snapshot")})
        self.assertEqual({"deleted"}, {r["Result"] for r in self.delete("--run", run)})
        self.assertEqual(([], set()), (self.leftover(), self.marked()))
        self.assertEqual([], self.delete())

    def test_what_bears_our_name_and_not_our_mark_is_not_ours(self) -> None:
        self.process.kill()
        self.process.wait()
        (run,) = {r["Run"] for r in self.leftover()}
        foreign = self.volume(name=f"osc-imagetools-{run}-volume")
        self.assertNotIn(foreign, {r["ID"] for r in self.leftover()})
        self.delete()
        self.assertEqual("available", self.connection().block_storage.get_volume(foreign).status)


class TestQuota(LeftoverCase):
    """A project that may have 1 volume, 1 snapshot and 2 GB."""

    cloud = "devcloud-small"

    def allow(self, **limits: int) -> None:
        cinder = self.connection("devcloud-admin").block_storage
        project = self.connection(self.cloud).current_project_id
        answer = cinder.put(f"/os-quota-sets/{project}", json={"quota_set": limits})
        self.assertEqual(200, answer.status_code, answer.text)

    def test_too_small_and_filled_up_in_between(self) -> None:
        disk = self.guest_disk()
        root = self.volume(cloud=self.cloud, image_id=self.image(disk, cloud=self.cloud))
        mapping = [self.on_volume(root, boot=True)]
        server_id = self.create_server(self.cloud, block_device_mapping_v2=mapping)
        before = self.everything(self.cloud)
        output = self.dir / "bundle"
        words = ("server", "export-full", server_id, "--output", output)
        refused = self.openstack(*words, cloud=self.cloud, code=1)
        for text in ("[quota-too-small]", "volumes", "gigabytes"):
            self.assertIn(text, refused.err)
        self.assertEqual((before, False), (self.everything(self.cloud), output.exists()))

        self.addCleanup(self.allow, volumes=1, snapshots=1, gigabytes=2)
        self.allow(volumes=2, snapshots=1, gigabytes=3)
        from osc_imagetools.run.effects import servers

        real = servers.create_server_image

        def and_then_it_is_full(*args: Any) -> Any:
            made = real(*args)
            self.allow(volumes=1)
            return made

        with fixtures.MonkeyPatch(
            "osc_imagetools.run.effects.servers.create_server_image", and_then_it_is_full
        ):
            failed = self.openstack(*words, cloud=self.cloud, code=1)
        self.assertIn("Maximum number of volumes allowed (1) exceeded", failed.err)
        self.assertEqual(before, self.everything(self.cloud))
        self.assertEqual([], self.leftover(self.cloud))
        self.allow(volumes=2)
        report = self.openstack(*words, "-f", "json", cloud=self.cloud).json
        self.assertEqual("os_hash", report["verified"])
        self.written_by_guest(disk)
        self.same_disk(pathlib.Path(output) / "disks" / "0-vda.qcow2", disk)
        self.assertEqual(before, self.everything(self.cloud))
        self.one_server_too_many(output, before)

    def one_server_too_many(self, bundle: pathlib.Path, before: set[str]) -> None:
        """The project has a server; that it may have no second one turns out when the volume is there."""
        self.allow(volumes=2, gigabytes=4)
        self.addCleanup(self.allow_servers, 1)
        self.assertIn("Quota exceeded for instances", self.cut_short(bundle))
        self.assertEqual((before, []), (self.everything(self.cloud), self.leftover(self.cloud)))
        told = self.cut_short(bundle, "--keep-on-failure")
        (row,) = self.leftover(self.cloud)
        self.assertEqual("volume", row["Type"])
        self.assertIn(f"These resources may still exist: volume {row['Name']} ({row['ID']})", told)
        self.same_volume(row["ID"], self.dir / "guest")
        self.assertEqual(["deleted"], [r["Result"] for r in self.delete(cloud=self.cloud)])
        self.assertEqual(before, self.everything(self.cloud))

    def allow_servers(self, limit: int) -> None:
        nova = self.connection("devcloud-admin").compute
        project = self.connection(self.cloud).current_project_id
        answer = nova.put(f"/os-quota-sets/{project}", json={"quota_set": {"instances": limit}})
        self.assertEqual(200, answer.status_code, answer.text)

    def cut_short(self, bundle: pathlib.Path, *more: str) -> str:
        """What an import says that may make its server no more as soon as its volume is there."""
        cinder = self.connection(self.cloud).block_storage
        self.allow_servers(2)
        words = ("server", "import-full", str(bundle), "--name", f"{self.name}-again", *more)
        process = base.start_openstack(*words, cloud=self.cloud)
        self.addCleanup(process.kill)
        self.wait(lambda: any(ownership.RUN in v.metadata for v in cinder.volumes()), True)
        self.allow_servers(1)
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(1, process.returncode, err)
        return err


class TestStillStopped(LeftoverCase):
    def test_a_server_that_cannot_be_started_again(self) -> None:
        """Somebody locks it while it is stopped."""
        root = self.volume(image_id=self.image(self.guest_disk()))
        server_id = self.create_server(block_device_mapping_v2=[self.on_volume(root, boot=True)])
        admin = self.connection("devcloud-admin").compute
        self.addCleanup(admin.unlock_server, server_id)
        output = self.dir / "bundle"
        process = base.start_openstack("server", "export-full", server_id, "--stop", "--output", str(output))
        self.addCleanup(process.kill)
        self.wait(lambda: self.document(server_id)["status"], "SHUTOFF")
        admin.lock_server(server_id)
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(1, process.returncode, err)
        for text in ("is complete", "could not be started again", f"openstack server start {server_id}"):
            self.assertIn(text, err)
        self.openstack("bundle", "verify", output, cloud=None)
        (row,) = self.leftover()
        self.assertEqual(("stopped-server", "SHUTOFF"), (row["Type"], row["Status"]))
        self.assertIn("failed", self.delete(code=1)[0]["Result"])
        admin.unlock_server(server_id)
        self.assertEqual(["started"], [r["Result"] for r in self.delete()])
        after = self.document(server_id)
        self.assertEqual(("ACTIVE", {}), (after["status"], after["metadata"]))
        self.assertEqual([], self.leftover())

    def test_a_server_that_its_user_has_stopped_meanwhile(self) -> None:
        """It ran again, and was stopped again: it is not the run's any more."""
        root = self.volume(image_id=self.image(self.guest_disk()))
        server_id = self.create_server(block_device_mapping_v2=[self.on_volume(root, boot=True)])
        nova = self.connection().compute
        words = ("server", "export-full", server_id, "--stop", "--output", str(self.dir / "bundle"))
        step = "answered: block-storage POST /snapshots/ID/metadata"
        process = base.start_killed(self.dir / "steps", f"SIGSTOP={step}", *words, cloud="devcloud-demo")
        self.addCleanup(process.kill)
        self.wait(lambda: self.noted(self.dir / "steps", step), True)
        cinder = self.connection().block_storage
        self.wait(lambda: [snapshot.status for snapshot in cinder.snapshots(volume_id=root)], ["available"])
        time.sleep(removal.SETTLE)  # no API tells when Nova has followed
        nova.start_server(server_id)
        self.wait(lambda: self.document(server_id)["status"], "ACTIVE")
        nova.stop_server(server_id)
        self.wait(lambda: self.document(server_id)["status"], "SHUTOFF")
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(0, process.returncode, err)
        after = self.document(server_id)
        self.assertEqual(("SHUTOFF", {}), (after["status"], after["metadata"]))
        self.assertEqual([], self.leftover())

    def noted(self, names: pathlib.Path, step: str) -> bool:
        """Whether a command has come to a step."""
        return names.exists() and step in names.read_text().splitlines()
