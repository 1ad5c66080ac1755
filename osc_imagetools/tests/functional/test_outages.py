# SPDX-License-Identifier: Apache-2.0
"""Services that fail now and then, and services that are out for a while: in the middle of each command.

``OSC_IMAGETOOLS_SEED`` chooses the faults; for ``OSC_IMAGETOOLS_OUTAGE`` seconds all services are out.
"""

from __future__ import annotations

import os
import pathlib
import random
import signal
import threading
import time
from typing import Any

from testtools import content

from osc_imagetools.cloud import ownership
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.cloud_proxy import CLOUD, CloudProxy, Seen, wait_until
from osc_imagetools.tests.functional.servers import ServerCase

SEED = int(os.environ.get("OSC_IMAGETOOLS_SEED", "1"))
DEAD = "0123456789ab"  # the ID of a run that nobody knows
OUTAGE = float(os.environ.get("OSC_IMAGETOOLS_OUTAGE", "12"))


class OutageCase(ServerCase):
    """A server on two volumes, behind proxies."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = self.useFixture(CloudProxy(self.dir))

    def make_server(self) -> tuple[str, pathlib.Path, pathlib.Path]:
        """(its ID, its boot disk as the guest leaves it, its data disk)."""
        boot, data, boot_image, data_image = self.two_disks()
        root = self.volume(image_id=boot_image, name=f"{self.name}-root")
        more = self.volume(image_id=data_image, name=f"{self.name}-data")
        mapping = [self.on_volume(root, boot=True), self.on_volume(more)]
        return self.create_server(block_device_mapping_v2=mapping), boot, data

    def behind(self, *words: Any, code: int = 0) -> base.Result:
        """The command through the proxies, in a process of its own."""
        process = base.start_openstack(*map(str, words), cloud=CLOUD)
        out, err = process.communicate(timeout=900)
        self.addDetail(f"{words[1]}", content.text_content(f"{self.proxy.faults()}\n{err}"))
        self.assertEqual(code, process.returncode, f"seed {SEED}")
        self.assertNotIn("Traceback", err)
        return base.Result(process.returncode, out, err)

    def mine(self) -> set[str]:
        """What this test and our commands have in the cloud; others may work in the project."""
        return {found for found in self.everything() if self.name in found or "osc-imagetools" in found}

    def leaves_nothing(self, before: set[str]) -> None:
        self.assertEqual(before, self.mine())
        self.assertEqual([], list((self.dir / "state").rglob("*.jsonl")))

    def comes_back(self, boot: pathlib.Path, data: pathlib.Path, report: dict[str, Any]) -> None:
        self.addCleanup(self.remove_imported, report, "devcloud-demo")
        self.assertEqual([], report["differences"])
        self.await_guest(report["id"])
        self.same_volume(self.devices(report["id"])["/dev/vda"], boot)
        self.same_volume(self.devices(report["id"])["/dev/vdb"], data)

    def killed(self, *words: Any) -> None:
        """Runs a command and kills it at the request that follows the first one that makes something."""
        self.proxy.on_request = lambda seen: None
        process = base.start_openstack(*map(str, words), cloud=CLOUD)
        self.addCleanup(process.communicate)

        made = threading.Event()

        def at(seen: Seen) -> None:
            if made.is_set():  # not before: the body of that request might not have come
                os.kill(process.pid, signal.SIGKILL)
            elif seen.service == "block-storage" and seen.path.endswith("/action"):
                made.set()

        self.proxy.on_request = at
        process.communicate(timeout=900)
        self.assertEqual(-signal.SIGKILL, process.returncode)
        self.proxy.on_request = lambda seen: None


class TestOneInSeven(OutageCase):
    """One request in seven fails, in each of the ways in which requests fail."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy.dice = random.Random(SEED)
        # Data on its way to the cloud is sent once.
        self.proxy.spare = lambda seen: seen.method == "PUT" and seen.path.endswith("/file")
        self.proxy.one_in = 7

    def test_server_out_and_back(self) -> None:
        server_id, boot, data = self.make_server()
        before = self.mine()
        bundle = self.dir / "bundle"
        report = self.behind("server", "export-full", server_id, "--output", bundle, "-f", "json").json
        self.assertNotEqual({}, self.proxy.faults())
        self.assertLess(0, report["retries"])
        self.leaves_nothing(before)
        self.openstack("bundle", "verify", bundle, cloud=None)
        self.same_disk(bundle / "disks" / "0-vda.qcow2", boot)
        self.same_disk(bundle / "disks" / "1-vdb.qcow2", data)
        self.remove_with_volumes(server_id)
        back = self.behind("server", "import-full", bundle, "--wait", "-f", "json").json
        self.assertLess(0, back["retries"])
        self.comes_back(boot, data, back)
        self.assertFalse([found for found in self.mine() if "osc-imagetools" in found])

    def test_image_to_volume_and_leftovers(self) -> None:
        disk = self.random_file(8 * base.MIB)
        image = self.image(disk)
        before = self.mine()
        words = ("image", "convert", image, "--to", "volume", "--name", f"{self.name}-volume")
        made = self.behind(*words, "-f", "json").json
        self.addCleanup(self.remove_volume, made["id"])
        self.same_volume(made["id"], disk)
        kept = self.mine()
        self.assertEqual(1, len(kept - before))
        self.proxy.one_in = 0
        self.killed("volume", "convert", made["id"], "--to", "volume", "--name", "x", "--type", "second")
        self.proxy.one_in = 7
        self.behind("leftover", "delete", "--yes")
        self.leaves_nothing(kept)


class TestOutage(OutageCase):
    """All services are out for a while, in the middle of a command."""

    def out_at(self, number: int) -> None:
        """All are out at the request of that number of those that make or change something."""
        count = 0

        def at(seen: Seen) -> None:
            nonlocal count
            changes = seen.method in ("POST", "PUT", "DELETE") and not seen.path.endswith("/auth/tokens")
            count += changes and not seen.path.endswith("/file")
            if changes and count == number:
                count += 1
                self.proxy.out_for(OUTAGE)

        self.proxy.on_request = at

    def test_server_out_and_back(self) -> None:
        server_id, boot, data = self.make_server()
        before = self.mine()
        bundle = self.dir / "bundle"
        self.out_at(4)
        told = self.behind("server", "export-full", server_id, "--output", bundle).err
        self.assertIn("asking again for up to 10 minutes", told)
        self.assertIn("answers again, after", told)
        self.leaves_nothing(before)
        self.same_disk(bundle / "disks" / "0-vda.qcow2", boot)
        self.same_disk(bundle / "disks" / "1-vdb.qcow2", data)
        self.remove_with_volumes(server_id)
        self.out_at(5)
        back = self.behind("server", "import-full", bundle, "--wait", "-f", "json")
        self.assertIn("asking again for up to 10 minutes", back.err)
        self.comes_back(boot, data, back.json)

    def test_image_to_volume_and_leftovers(self) -> None:
        disk = self.random_file(8 * base.MIB)
        image = self.image(disk)
        self.out_at(1)
        words = ("image", "convert", image, "--to", "volume", "--name", f"{self.name}-volume")
        made = self.behind(*words, "-f", "json").json
        self.addCleanup(self.remove_volume, made["id"])
        self.same_volume(made["id"], disk)
        kept = self.mine()
        self.killed("volume", "convert", made["id"], "--to", "volume", "--name", "x", "--type", "second")
        self.out_at(1)
        self.assertIn("answers again, after", self.behind("leftover", "delete", "--yes").err)
        self.leaves_nothing(kept)


class TestAway(OutageCase):
    """A service that nobody can connect to, from the beginning."""

    def test_nothing_is_made_where_a_service_that_is_needed_later_is_away(self) -> None:
        volume = self.volume()
        before = self.mine()
        # The plan of a volume's export asks block storage alone; the image service is for later.
        self.proxy.down("image")
        words = ("volume", "export-full", volume, "--output", self.dir / "bundle")
        told = self.behind(*words, code=1).err
        self.assertRegex(
            told, r"image service: cannot connect to http://127.0.0.1:\d+: Connection refused \["
        )
        self.assertEqual([], [s for s in self.proxy.seen if s.method == "POST" and "tokens" not in s.path])
        self.assertEqual(before, self.mine())

    def test_leftovers_are_listed_as_far_as_services_answer(self) -> None:
        disk = self.random_file(base.MIB)
        image = self.image(disk, tags=self.dead_tags(), name=f"osc-imagetools-{DEAD}-{self.name}")
        self.proxy.down("network")
        result = self.behind("leftover", "list", "-f", "json", code=1)
        self.assertIn(image, [row["ID"] for row in result.json])
        self.assertRegex(result.err, r"list of ports: cannot connect to http://127.0.0.1:\d+")

    def dead_tags(self) -> list[str]:
        marks = {"": "temporary", "_run": DEAD}
        return [f"{ownership.MARK}{key}={value}" for key, value in marks.items()]

    def test_every_command_names_a_service_that_is_away_in_one_clause(self) -> None:
        image = self.image(self.random_file(base.MIB))
        commands = {
            "identity": ("leftover", "list"),
            "image": ("image", "export-full", image, "--output", self.dir / "b"),
            "compute": ("server", "export-full", self.name, "--output", self.dir / "b"),
            "block-storage": ("volume", "export-full", self.name, "--output", self.dir / "b"),
        }
        for service, words in commands.items():
            self.proxy.down(service)
            told = self.behind(*words, code=1).err
            self.assertRegex(told, r"cannot connect to http://127.0.0.1:\d+: Connection refused \[")
            self.assertIn("[service-unreachable]", told)
            self.proxy.up()


class TestHanging(OutageCase):
    def test_the_second_interrupt_ends_it_with_two_lanes_in_a_request(self) -> None:
        """And says what may be left; what then comes of the requests is found."""
        server_id, _, _ = self.make_server()
        before = self.mine()
        held, release = [], threading.Event()
        self.addCleanup(release.set)

        def hold(seen: Seen) -> None:
            if seen.method == "POST" and seen.path.endswith("/volumes"):
                held.append(seen)
                release.wait(600)

        self.proxy.on_request = hold
        words = ("server", "export-full", server_id, "--output", str(self.dir / "bundle"))
        process = base.start_openstack(*words, cloud=CLOUD)
        wait_until(lambda: len(held) == 2)
        process.send_signal(signal.SIGINT)
        time.sleep(1)  # a person's two key strokes are not one
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
        # It is 2 s; a machine that is busy gets more.
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(130, process.returncode)
        self.assertNotIn("Traceback", err)
        self.assertRegex(err, "These resources may still exist: temporary volume osc-imagetools-[^;]*; temp")
        self.proxy.on_request = lambda seen: None
        release.set()
        wait_until(lambda: len([found for found in self.mine() - before if found.startswith("volume")]) == 2)
        self.behind("leftover", "delete", "--yes")  # its journal is of the cloud behind the proxies
        self.leaves_nothing(before)
