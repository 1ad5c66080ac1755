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
from orchestrator.storages import STORAGES  # noqa: E402

SETTINGS = Settings.from_environment({"DEVCLOUD_STATE": "/state", "DEVCLOUD_HOST": "127.0.0.9"})
MORE = {
    "libvirt_host_uuid": "some-id",
    "mark": "# some mark",
    "kind": "object",
    "suffix": "-2",
    "ceph_fsid": "some-id",
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
        for storage in STORAGES:
            settings = Settings.from_environment({"DEVCLOUD_STORAGE": storage})
            folders = (TEMPLATES, TEMPLATES / storage)
            for template in [file for folder in folders for file in folder.iterdir()]:
                if template.is_file():
                    with self.subTest(storage=storage, template=template.name):
                        name = str(template.relative_to(TEMPLATES))
                        self.assertNotIn("$", configuration.render(name, settings, **MORE))

    def test_a_cloud_on_ceph_names_no_other_storage(self) -> None:
        settings = Settings.from_environment({"DEVCLOUD_STORAGE": "ceph"})
        for name, wanted in (
            ("cinder.conf", "enabled_backends = rbd\n"),
            ("glance-api.conf", "enabled_backends = rbd:rbd,file:file\n"),
            ("glance-api.conf", "show_image_direct_url = True\n"),
            ("nova.conf", "images_type = rbd\n"),
        ):
            text = configuration.render(name, settings)
            self.assertIn(wanted, text)
            self.assertNotIn("nfs", text)

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
        for storage in STORAGES:
            settings = Settings.from_environment(
                {"DEVCLOUD_HOST": "127.0.0.9", "DEVCLOUD_STORAGE": storage}
            )
            for name in (*INI, "ceph/ceph.conf"):
                with self.subTest(name, storage=storage):
                    parser = configparser.RawConfigParser()
                    parser.read_string(configuration.render(name, settings, **MORE))
                    for section in parser:
                        if parser.has_option(section, "auth_type"):
                            found = parser.get(section, "auth_url")
                            self.assertEqual("http://127.0.0.9:5000/v3", found)

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
