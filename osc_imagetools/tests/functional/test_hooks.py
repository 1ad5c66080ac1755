# SPDX-License-Identifier: Apache-2.0
"""Warnings beside the client's own commands, which do what they do without them."""

import fixtures

from osc_imagetools.tests.functional import base

SWITCH = "OSC_IMAGETOOLS_HOOKS"


class TestHooks(base.TestCase):
    """One server that boots from a volume, one that boots from an image and has a volume."""

    of_volume: str
    of_image: str

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls.shared()
        image = made.image(made.guest_disk())
        root, data = made.volume(image_id=image), made.volume()
        cls.of_volume = made.server([root])
        nova = made.connection().compute
        flavor = nova.find_flavor("tiny-extra", ignore_missing=False)
        server = nova.create_server(name=made.name, image_id=image, flavor_id=flavor.id, networks="none")
        made.addCleanup(made.remove_server, server.id)
        made.wait(lambda: nova.get_server(server.id).status, "ACTIVE")
        nova.create_volume_attachment(server.id, volume_id=data)
        made.wait(lambda: len(nova.get_server(server.id).attached_volumes), 1)
        cls.of_image = server.id

    def server_image_create(self, server):
        """What the command printed on stdout, and its warnings."""
        words = ("server", "image", "create", server, "--name", self.name, "--wait", "-f", "json")
        result = self.openstack(*words)
        # With --wait the client writes a line end before the document.
        self.addCleanup(self.remove_image, result.json["id"])
        return result.json, result.err.splitlines()

    def test_an_image_without_data_and_what_is_saved_of_it(self):
        image, warnings = self.server_image_create(self.of_volume)
        self.assertEqual(0, image["size"])
        (warning,) = warnings
        self.assertIn("1 volume snapshot", warning)
        command = f"openstack image export-full {image['id']}"
        self.assertTrue(warning.endswith(command), warning)

        save = ("image", "save", image["id"], "--file", self.dir / "saved")
        saved = self.openstack(*save)
        self.assertEqual((b"", ""), ((self.dir / "saved").read_bytes(), saved.out))
        (warning,) = saved.err.splitlines()
        self.assertIn("has 0 bytes", warning)
        self.assertTrue(warning.endswith(command), warning)

        self.useFixture(fixtures.EnvironmentVariable(SWITCH, "0"))
        saved = self.openstack(*save)
        self.assertEqual(("", ""), (saved.out, saved.err))

        plan = self.openstack(*command.split()[1:], "--dry-run", "-f", "json").json
        self.assertIn("fetch", [step["Action"] for step in plan])

    def test_two_images_of_one_name(self):
        first, _ = self.server_image_create(self.of_image)
        second, warnings = self.server_image_create(self.of_volume)
        self.assertEqual(first["name"], second["name"])
        (warning,) = warnings
        self.assertTrue(warning.endswith(f"openstack image export-full {second['id']}"), warning)

    def test_an_image_of_the_root_disk_alone(self):
        image, warnings = self.server_image_create(self.of_image)
        self.assertLess(0, image["size"])
        (warning,) = warnings
        self.assertIn("1 attached volume and 1 GB of ephemeral disk", warning)
        self.assertIn(f"openstack server export-full {self.of_image}.", warning)

    def test_a_backup_that_is_refused(self):
        words = ("server", "backup", "create", self.of_volume, "--name", self.name)
        result = self.openstack(*words, code=1)
        warning, error = result.err.splitlines()
        self.assertTrue(warning.endswith(f"openstack server export-full {self.of_volume}"), warning)
        self.assertIn("Backup is not supported", error)
        self.useFixture(fixtures.EnvironmentVariable(SWITCH, "0"))
        self.assertEqual([error], self.openstack(*words, code=1).err.splitlines())
