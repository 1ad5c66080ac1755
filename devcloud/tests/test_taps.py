# SPDX-License-Identifier: Apache-2.0
"""Network devices: those of this cloud's ports are named and removed, no others."""

import pathlib
import sqlite3
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator import steps, taps  # noqa: E402
from orchestrator.settings import Settings  # noqa: E402

PORT = "ca37a65f-9c36-4a05-a2c1-ce2a893b5a61"
UNPLUGGED = "ff297ee5-f6a1-4d0c-9ad4-e3d1b0ba2a44"


class TapsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.settings = Settings.from_environment({"DEVCLOUD_STATE": folder.name})
        self.settings.databases.mkdir()
        self.settings.log.mkdir()
        self.devices = pathlib.Path(folder.name) / "devices"
        for name in ("lo", "tapca37a65f-9c", "tap11111111-11"):
            (self.devices / name).mkdir(parents=True)
        replaced = unittest.mock.patch.object(taps, "DEVICES", self.devices)
        replaced.start()
        self.addCleanup(replaced.stop)

    def make_ports(self) -> None:
        connection = sqlite3.connect(self.settings.databases / "neutron.sqlite")
        connection.execute("create table ports (id text)")
        connection.executemany("insert into ports values (?)", [(PORT,), (UNPLUGGED,)])
        connection.commit()
        connection.close()
        (self.settings.databases / "complete").touch()

    def removed(self) -> list[str]:
        """The devices that "ip" is told to remove."""
        with unittest.mock.patch.object(steps, "run_logged") as run:
            taps.remove(self.settings)
        return [call.args[0][-1] for call in run.call_args_list]

    def test_a_device_is_named_as_nova_names_it(self) -> None:
        self.assertEqual("tapca37a65f-9c", taps.device_name(PORT))

    def test_only_devices_of_our_ports_are_removed(self) -> None:
        self.make_ports()
        self.assertEqual(["tapca37a65f-9c"], self.removed())

    def test_a_cloud_without_databases_has_none(self) -> None:
        self.assertEqual([], self.removed())


if __name__ == "__main__":
    unittest.main()
