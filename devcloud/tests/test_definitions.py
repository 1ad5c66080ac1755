# SPDX-License-Identifier: Apache-2.0
"""libvirt's definitions: a cloud takes its own away and brings them back, and no others."""

import pathlib
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator import definitions  # noqa: E402
from orchestrator.settings import Settings  # noqa: E402


class DefinitionsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = pathlib.Path(folder.name) / "state"
        self.settings = Settings.from_environment({"DEVCLOUD_STATE": str(self.state)})
        self.libvirt = pathlib.Path(folder.name) / "etc"
        self.libvirt.mkdir()
        replaced = unittest.mock.patch.object(definitions, "LIBVIRT", self.libvirt)
        replaced.start()
        self.addCleanup(replaced.stop)
        for name, state in (("1", self.state), ("2", f"{self.state}-ceph")):
            text = f"<log file='{state}/instances/console.log'/>"
            (self.libvirt / f"instance-{name}.xml").write_text(text)

    def test_only_our_own_are_put_away_and_come_back(self) -> None:
        definitions.put_away(self.settings)
        self.assertEqual(["instance-2.xml"], [file.name for file in self.libvirt.iterdir()])
        definitions.put_away(self.settings)
        definitions.bring_back(self.settings)
        self.assertEqual(
            ["instance-1.xml", "instance-2.xml"],
            sorted(file.name for file in self.libvirt.iterdir()),
        )

    def test_a_new_cloud_has_none(self) -> None:
        definitions.bring_back(self.settings)
        self.assertEqual(2, len(list(self.libvirt.iterdir())))


if __name__ == "__main__":
    unittest.main()
