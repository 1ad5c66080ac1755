# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults, what the environment changes, and what it may not."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator.releases import NEWEST, RELEASES  # noqa: E402
from orchestrator.settings import Settings  # noqa: E402


class SettingsTest(unittest.TestCase):
    def test_state_follows_the_base_directory_specification(self) -> None:
        found = Settings.from_environment({"HOME": "/home/u"})
        self.assertEqual("/home/u/.local/state/osc-imagetools/devcloud", str(found.state))
        found = Settings.from_environment({"HOME": "/home/u", "XDG_STATE_HOME": "/s"})
        self.assertEqual("/s/osc-imagetools/devcloud", str(found.state))
        self.assertEqual(found.state / "venv", found.venv)

    def test_environment_overrides(self) -> None:
        found = Settings.from_environment(
            {
                "DEVCLOUD_STATE": "/a",
                "DEVCLOUD_VENV": "/b",
                "DEVCLOUD_GLANCE_PORT": "1",
                "DEVCLOUD_FORCE_UPLOAD": "1",
                "DEVCLOUD_TOKEN_EXPIRATION": "60",
            }
        )
        self.assertEqual(("/a", "/b"), (str(found.state), str(found.venv)))
        self.assertEqual("http://127.0.0.1:1", found.url("glance"))
        self.assertTrue(found.force_upload)
        self.assertEqual(60, found.token_expiration)

    def test_an_empty_value_is_none(self) -> None:
        self.assertEqual(
            5000, Settings.from_environment({"DEVCLOUD_KEYSTONE_PORT": ""}).keystone_port
        )

    def test_a_switch_is_on_or_off(self) -> None:
        self.assertFalse(Settings.from_environment({"DEVCLOUD_SWIFT": "0"}).swift)
        with self.assertRaises(ValueError):
            Settings.from_environment({"DEVCLOUD_SWIFT": "maybe"})

    def test_clouds_on_other_storage_share_nothing_but_the_environment(self) -> None:
        files = Settings.from_environment({"HOME": "/home/u"})
        ceph = Settings.from_environment({"HOME": "/home/u", "DEVCLOUD_STORAGE": "ceph"})
        self.assertEqual("/home/u/.local/state/osc-imagetools/devcloud-ceph", str(ceph.state))
        self.assertEqual(files.venv, ceph.venv)

    def test_a_state_directory_of_ones_own_has_the_environment_in_it(self) -> None:
        found = Settings.from_environment({"DEVCLOUD_STATE": "/a", "DEVCLOUD_STORAGE": "ceph"})
        self.assertEqual(("/a", "/a/venv"), (str(found.state), str(found.venv)))

    def test_an_unknown_storage_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "DEVCLOUD_STORAGE is 'lvm': want file or ceph"):
            Settings.from_environment({"DEVCLOUD_STORAGE": "lvm"})

    def test_releases_share_nothing(self) -> None:
        old = {"HOME": "/home/u", "DEVCLOUD_RELEASE": "2023.1"}
        files = Settings.from_environment(old)
        ceph = Settings.from_environment(old | {"DEVCLOUD_STORAGE": "ceph"})
        home = "/home/u/.local/state/osc-imagetools"
        self.assertEqual(f"{home}/devcloud-2023.1", str(files.state))
        self.assertEqual(f"{home}/devcloud-2023.1-ceph", str(ceph.state))
        for found in (files, ceph):
            self.assertEqual(f"{home}/devcloud-2023.1/venv", str(found.venv))

    def test_the_newest_release_is_the_default(self) -> None:
        found = Settings.from_environment({"HOME": "/home/u"})
        named = Settings.from_environment({"HOME": "/home/u", "DEVCLOUD_RELEASE": NEWEST})
        self.assertEqual(found, named)
        self.assertEqual(max(RELEASES), NEWEST)

    def test_an_unknown_release_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "DEVCLOUD_RELEASE is 'queens': want 2026.2 or"):
            Settings.from_environment({"DEVCLOUD_RELEASE": "queens"})

    def test_a_limit_is_a_version(self) -> None:
        found = Settings.from_environment({"DEVCLOUD_NOVA_MAX": "2.60"})
        self.assertEqual(("2.60", ""), (found.nova_max, found.cinder_max))
        for name, text in (("NOVA", "60"), ("CINDER", "v3.50"), ("GLANCE", "2.7")):
            with self.assertRaisesRegex(ValueError, f"DEVCLOUD_{name}_MAX is '{text}': want"):
                Settings.from_environment({f"DEVCLOUD_{name}_MAX": text})

    def test_services_read_the_same_settings(self) -> None:
        found = Settings.from_environment({"DEVCLOUD_STATE": "/a", "DEVCLOUD_SWIFT": "1"})
        self.assertEqual(found, Settings.from_environment(found.as_environment()))


if __name__ == "__main__":
    unittest.main()
