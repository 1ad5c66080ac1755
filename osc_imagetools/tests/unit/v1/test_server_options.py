# SPDX-License-Identifier: Apache-2.0
"""Options of the server commands reach what carries them out."""

from __future__ import annotations

import types
from typing import Any, cast

import fixtures
import testtools

from osc_imagetools.export.plan_server import ServerExportOptions
from osc_imagetools.operations.steps import PlanStep
from osc_imagetools.v1 import export_full
from osc_imagetools.v1.server import ExportFullServer


class TestExport(testtools.TestCase):
    def options(self, *words: str) -> ServerExportOptions:
        app: Any = types.SimpleNamespace(options=types.SimpleNamespace())
        command = ExportFullServer(app, None)
        return command.options(command.get_parser("openstack").parse_args(["web01", *words]))

    def test_nothing_asked_for(self) -> None:
        self.assertEqual(ServerExportOptions(), self.options())

    def test_each(self) -> None:
        words = ("--stop", "--no-user-data", "--allow-encrypted", "--disk-format", "raw")
        self.assertEqual(
            ServerExportOptions(
                "raw", allow_encrypted=True, stop=True, user_data=False, disks=("vda", "vdb")
            ),
            self.options(*words, "--disk", "vda", "--disk", "vdb"),
        )


class TestDryRun(testtools.TestCase):
    def test_the_warnings_of_the_plan_are_told(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        step = PlanStep(1, "fetch", "disks/0-vda.qcow2", False, 5)
        plan: Any = types.SimpleNamespace(warnings=("the key is needed",), steps=lambda: [step])
        options: Any = types.SimpleNamespace(dry_run=True)
        app: Any = types.SimpleNamespace(options=types.SimpleNamespace())
        command = ExportFullServer(app, None)
        _, rows = export_full.carry_out(command, cast(Any, None), plan, options)
        self.assertEqual((1, "the key is needed\n"), (len(rows), log.output))
