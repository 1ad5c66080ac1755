# SPDX-License-Identifier: Apache-2.0
"""Templates: each renders, with nothing unresolved and the settings in it."""

import configparser
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator import configuration  # noqa: E402
from orchestrator.settings import TEMPLATES, Settings  # noqa: E402

SETTINGS = Settings.from_environment({"DEVCLOUD_STATE": "/state", "DEVCLOUD_HOST": "127.0.0.9"})
MORE = {
    "libvirt_host_uuid": "some-id",
    "mark": "# some mark",
    "kind": "object",
    "suffix": "-2",
}
INI = (
    "keystone.conf",
    "placement.conf",
    "glance-api.conf",
    "cinder.conf",
    "nova.conf",
    "neutron.conf",
    "swift.conf",
    "swift-proxy.conf",
    "swift-node.conf",
)


class ConfigurationTest(unittest.TestCase):
    def test_every_template_renders(self) -> None:
        for template in TEMPLATES.iterdir():
            with self.subTest(template.name):
                text = configuration.render(template.name, SETTINGS, **MORE)
                self.assertNotIn("$", text)

    def test_the_second_set_of_projects_has_the_same_names_of_clouds(self) -> None:
        first, second = (
            configuration.render("clouds.yaml", SETTINGS, suffix=s) for s in ("", "-2")
        )
        clouds = re.compile(r"^  devcloud-.*", re.MULTILINE)
        self.assertEqual(clouds.findall(first), clouds.findall(second))
        for kind in ("username", "project_name"):
            names = re.compile(rf"{kind}: (.*)")
            expected = [n if n == "admin" else f"{n}-2" for n in names.findall(first)]
            self.assertEqual(expected, names.findall(second))

    def test_an_unknown_name_is_an_error(self) -> None:
        with self.assertRaises(KeyError):
            configuration.render("libvirtd.conf", SETTINGS)

    def test_sections_are_whole(self) -> None:
        for name in INI:
            with self.subTest(name):
                parser = configparser.RawConfigParser()
                parser.read_string(configuration.render(name, SETTINGS, **MORE))
                for section in parser:
                    if parser.has_option(section, "auth_type"):
                        self.assertEqual(
                            "http://127.0.0.9:5000/v3", parser.get(section, "auth_url")
                        )

    def test_forced_uploads_are_off_unless_wanted(self) -> None:
        wanted = Settings.from_environment({"DEVCLOUD_FORCE_UPLOAD": "1"})
        for settings, value in ((SETTINGS, "False"), (wanted, "True")):
            text = configuration.render("cinder.conf", settings)
            self.assertIn(f"enable_force_upload = {value}\n", text)

    def test_databases_are_below_the_state_directory(self) -> None:
        self.assertEqual(
            "sqlite:////state/databases/nova_api.sqlite?timeout=60",
            configuration.database(SETTINGS, "nova_api"),
        )


if __name__ == "__main__":
    unittest.main()
