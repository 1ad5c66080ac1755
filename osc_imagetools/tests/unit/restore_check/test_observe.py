# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import re
import threading
import uuid

import fixtures

from osc_imagetools import errors
from osc_imagetools.bundle.records import BundleRecord, read_records
from osc_imagetools.restore.bundle_place import DirectoryPlace
from osc_imagetools.restore_check import observe
from osc_imagetools.restore_check.execute import _stored, verdict
from osc_imagetools.restore_check.observe import BootObservation, await_boot
from osc_imagetools.restore_check.program import check_environment, find_program, run_check
from osc_imagetools.run.assignment import LEASE
from osc_imagetools.run.context import RunContext
from osc_imagetools.tests.unit.base import COMPUTE, TestCase

SERVER = str(uuid.uuid4())


class ObservationCase(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud(compute=True)
        self.context = RunContext.of(self.mocked.cloud, "test", None)
        self.patch(observe, "PAUSE", 0.001)

    def server(self, *statuses, **facts):
        answers = [
            {"json": {"server": {"id": SERVER, "name": "copy", "status": s, **facts}}} for s in statuses
        ]
        self.mocked.http.get(f"{COMPUTE}/servers/{SERVER}", answers)

    def console(self, *answers):
        self.mocked.http.post(f"{COMPUTE}/servers/{SERVER}/action", list(answers))

    def said(self, text):
        return {"json": {"output": text}}


class TestWaiting(ObservationCase):
    def test_until_the_console_decides(self):
        self.server("ACTIVE")
        self.console(self.said(""), {"status_code": 404, "json": {}}, self.said("x\nready\n"))
        seen = await_boot(self.context, SERVER, re.compile("ready"), 60)
        self.assertEqual((True, "expected text: ready"), (seen.booted, seen.evidence))

    def test_no_longer_than_it_may(self):
        self.server("ACTIVE")
        self.console(self.said("GRUB loading\n"))
        seen = await_boot(self.context, SERVER, None, 0.01)
        self.assertIsNone(seen.booted)
        self.assertIn("its last line: GRUB loading", seen.evidence)

    def test_a_guest_that_is_switched_off_has_failed(self):
        self.server("ACTIVE", "SHUTOFF")
        self.console(self.said(""))
        seen = await_boot(self.context, SERVER, None, 60)
        self.assertEqual((False, "the server is SHUTOFF"), (seen.booted, seen.evidence))

    def test_a_server_in_error_says_why(self):
        self.server("ERROR", fault={"message": "no disk"})
        self.console(self.said(""))
        self.assertEqual("the server is ERROR: no disk", await_boot(self.context, SERVER, None, 60).evidence)

    def test_a_server_that_is_gone(self):
        self.mocked.http.get(f"{COMPUTE}/servers/{SERVER}", status_code=404, json={})
        self.console({"status_code": 404, "json": {}})
        self.assertEqual("the server is gone", await_boot(self.context, SERVER, None, 60).evidence)

    def test_a_console_that_the_cloud_does_not_have(self):
        self.server("ACTIVE")
        self.console({"status_code": 501, "json": {"e": {"message": "not supported"}}})
        seen = await_boot(self.context, SERVER, None, 0.01)
        self.assertIsNone(seen.booted)
        self.assertIn("cannot be read", seen.evidence)

    def test_an_interrupt_ends_it(self):
        self.server("ACTIVE")
        self.console(self.said(""))
        self.context.deadline.cancelled.set()
        self.assertRaises(errors.Cancelled, await_boot, self.context, SERVER, None, 60)


class TestProgram(ObservationCase):
    def seen(self, console="", **document):
        self.server("ACTIVE", **document)
        self.console(self.said(console))
        return await_boot(self.context, SERVER, re.compile(""), 60)

    def test_its_environment(self):
        addresses = {"net": [{"addr": "10.0.0.9"}, {"addr": "fd00::9"}]}
        seen = self.seen("a\0b" + "é" * 70000, addresses=addresses)
        told = check_environment(self.context, "web01", SERVER, seen)
        self.assertEqual(SERVER, told["OSC_IMAGETOOLS_SERVER_ID"])
        self.assertEqual("10.0.0.9 fd00::9", told["OSC_IMAGETOOLS_ADDRESSES"])
        self.assertEqual("booted", told["OSC_IMAGETOOLS_BOOT"])
        self.assertLessEqual(len(told["OSC_IMAGETOOLS_CONSOLE"].encode()), 64 * 1024)
        program = self.program(f'test "$OSC_IMAGETOOLS_SERVER_ID" = {SERVER} || exit 9\nexit 4\n')
        self.assertEqual(4, run_check(self.context, program, told))

    def test_the_lease_of_the_command_is_not_its(self):
        """It does not have the descriptor that the lease names."""
        self.useFixture(fixtures.EnvironmentVariable(LEASE, "7"))
        self.assertEqual(0, run_check(self.context, self.program(f'test -z "${LEASE}"\n'), {}))

    def test_a_signal(self):
        self.assertEqual(-9, run_check(self.context, self.program("kill -9 $$\n"), {}))

    def test_an_interrupt_ends_it(self):
        program = self.program("exec sleep 1000\n")
        threading.Timer(0.05, self.context.deadline.cancelled.set).start()
        self.assertRaises(errors.Cancelled, run_check, self.context, program, {})

    def test_one_that_is_not_there(self):
        error = self.assertRaises(errors.UsageError, find_program, "/no/such/program")
        self.assertEqual(2, error.exit_code)
        path = self.program("exit 0\n")
        self.assertEqual(path, find_program(path))

    def program(self, text):
        path = self.useFixture(fixtures.TempDir()).join("check")
        with open(path, "w") as file:
            file.write(f"#!/bin/sh\n{text}")
        os.chmod(path, 0o700)
        return path


class TestVerdict(TestCase):
    def test_each(self):
        for booted, code, wanted in (
            (True, None, "booted"),
            (False, None, "failed"),
            (None, None, "not-proven"),
            (True, 0, "booted"),
            (None, 0, "booted"),
            (True, 1, "failed"),
            (None, -9, "failed"),
        ):
            seen = BootObservation(booted, "text", "", None, 1.0)
            self.assertEqual(wanted, verdict(seen, code)[0], f"{booted} {code}")


class TestRecords(TestCase):
    def test_a_verdict_stands_although_it_cannot_be_recorded(self):
        record = BundleRecord("restore-check", "2026-01-02T03:04:05Z", "booted")
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (directory / "file").touch()
        with fixtures.FakeLogger() as log:
            self.assertIsNone(_stored(record, DirectoryPlace(directory / "file")))
        self.assertIn("could not be recorded", log.output)
        where = _stored(record, DirectoryPlace(directory))
        self.assertEqual(str(directory / "records" / "20260102T030405Z-restore-check.json"), where)
        self.assertEqual([record], read_records(directory))
