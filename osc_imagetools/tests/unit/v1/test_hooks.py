# SPDX-License-Identifier: Apache-2.0
"""The client's own command with its hook, as cliff runs both; the cloud's answers are mocked."""

import json
import logging
import pathlib
import types
from typing import Any

import fixtures
from openstack import exceptions
from openstackclient.image.v2 import image as client

from osc_imagetools.tests.unit.base import IMAGE, TestCase, image_document, mapping_entry
from osc_imagetools.v1 import hooks


class TestImageSave(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud()
        self.image = self.mocked.cloud.connection.image
        self.log = self.useFixture(fixtures.FakeLogger(hooks.__name__, level=logging.DEBUG))
        self.file = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / "saved"

    def command(self):
        """The client's command with the hooks that cliff finds for it."""
        app: Any = types.SimpleNamespace(
            client_manager=types.SimpleNamespace(image=self.image),
            command_manager=types.SimpleNamespace(namespace="openstack.cli"),
        )
        return client.SaveImage(app, None, cmd_name="image save")

    def save(self, data=b"", **document):
        """Save an image with this document, whose data is empty; gives what was logged."""
        document = image_document(checksum=None, os_hash_value=None, **document)
        path = f"{IMAGE}/v2/images/{document['id']}"
        self.mocked.http.get(path, json=document)
        self.mocked.http.get(f"{path}/file", content=data)
        command = self.command()
        words = command.get_parser("x").parse_args([document["id"], "--file", str(self.file)])
        self.assertEqual(0, command.run(words))
        self.assertEqual(data, self.file.read_bytes())
        return self.log.output

    def empty(self):
        mapping = json.dumps([mapping_entry()])
        return self.save(size=0, block_device_mapping=mapping, bdm_v2="True")

    def test_a_warning(self):
        self.assertIn("has 0 bytes", self.empty())
        self.assertEqual(1, len(self.log.output.splitlines()))

    def test_nothing_to_warn_of(self):
        self.assertEqual("", self.save(data=b"data", size=4))

    def test_it_asks_for_nothing(self):
        self.empty()  # finds out what versions there are
        counts = []
        for switch in ("1", "0"):
            self.useFixture(fixtures.EnvironmentVariable(hooks.SWITCH, switch))
            before = len(self.mocked.http.request_history)
            self.empty()
            counts.append(len(self.mocked.http.request_history) - before)
        self.assertEqual(counts[0], counts[1])

    def test_switched_off(self):
        self.useFixture(fixtures.EnvironmentVariable(hooks.SWITCH, "0"))
        self.assertEqual("", self.empty())

    def test_what_it_cannot_read_is_of_no_consequence(self):
        logged = self.save(size=0, block_device_mapping="no mapping")
        self.assertIn("a hook failed", logged)
        self.assertNotIn("0 bytes", logged)

    def test_it_leaves_the_client_as_it_was(self):
        self.empty()
        self.assertNotIn("find_image", vars(self.image))

    def test_the_commands_own_errors_stay(self):
        self.mocked.http.get(f"{IMAGE}/v2/images", json={"images": []})
        self.mocked.http.get(f"{IMAGE}/v2/images/nothing", status_code=404)
        command = self.command()
        words = command.get_parser("x").parse_args(["nothing"])
        self.assertRaises(exceptions.NotFoundException, command.run, words)
        self.assertNotIn("find_image", vars(self.image))
