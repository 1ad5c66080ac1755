# SPDX-License-Identifier: Apache-2.0
"""Releases: each has its requirements, all of them pinned, and nothing else."""

import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator.releases import RELEASES  # noqa: E402
from orchestrator.settings import ROOT  # noqa: E402

SERVICES = ("keystone", "glance", "cinder", "nova", "neutron", "openstack-placement")


class ReleasesTest(unittest.TestCase):
    def test_every_release_has_pinned_requirements(self) -> None:
        for name in RELEASES:
            text = (ROOT / "requirements" / f"{name}.txt").read_text()
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            with self.subTest(name):
                for line in lines:
                    self.assertRegex(line, re.compile(r"^[a-z0-9.-]+==[0-9a-z.]+$"))
                for service in SERVICES:
                    self.assertEqual(1, sum(line.startswith(f"{service}==") for line in lines))

    def test_each_names_the_applications_of_all_services(self) -> None:
        for name, release in RELEASES.items():
            with self.subTest(name):
                self.assertEqual(
                    {"keystone", "placement", "glance", "neutron"}, set(release.applications)
                )


if __name__ == "__main__":
    unittest.main()
