# SPDX-License-Identifier: Apache-2.0
"""The client's own commands with their hooks, as cliff runs both; the cloud's answers are mocked."""

import io
import json
import logging
import pathlib
import types
from typing import Any

import fixtures
import requests
from openstack import exceptions
from openstackclient.compute.v2 import server_backup, server_image
from openstackclient.image.v2 import image as client

from osc_imagetools.tests.unit.base import (
    COMPUTE,
    IMAGE,
    TestCase,
    image_document,
    mapping_entry,
    server_document,
)
from osc_imagetools.v1 import hooks


class HookCase(TestCase):
    def setUp(self):
        super().setUp()
        self.mocked = self.mocked_cloud(compute=True)
        self.log = self.useFixture(fixtures.FakeLogger(hooks.__name__, level=logging.DEBUG))
        self.out = io.StringIO()

    def command(self, kind, name):
        """The client's command with the hooks that cliff finds for it."""
        connection = self.mocked.cloud.connection
        app: Any = types.SimpleNamespace(
            client_manager=types.SimpleNamespace(
                image=connection.image,
                compute=connection.compute,
                sdk_connection=connection,
                _api_version={"image": "2"},
            ),
            command_manager=types.SimpleNamespace(namespace="openstack.cli"),
            stdout=self.out,
        )
        return kind(app, None, cmd_name=name)

    def switch_off(self):
        self.useFixture(fixtures.EnvironmentVariable(hooks.SWITCH, "0"))


class TestImageSave(HookCase):
    def setUp(self):
        super().setUp()
        self.file = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / "saved"

    def save(self, data=b"", **document):
        """Save an image with this document; gives what was logged."""
        document = image_document(checksum=None, os_hash_value=None, **document)
        path = f"{IMAGE}/v2/images/{document['id']}"
        self.mocked.http.get(path, json=document)
        self.mocked.http.get(f"{path}/file", content=data)
        command = self.command(client.SaveImage, "image save")
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

    def test_switched_off_it_asks_for_nothing(self):
        self.empty()  # finds out what versions there are
        counts = []
        for switch in ("1", "0"):
            self.useFixture(fixtures.EnvironmentVariable(hooks.SWITCH, switch))
            before = len(self.mocked.http.request_history)
            self.empty()
            counts.append(len(self.mocked.http.request_history) - before)
        self.assertEqual(1, counts[0] - counts[1])

    def test_switched_off(self):
        self.switch_off()
        self.assertEqual("", self.empty())

    def test_what_it_cannot_read_is_of_no_consequence(self):
        logged = self.save(size=0, block_device_mapping="no mapping")
        self.assertIn("a hook failed", logged)
        self.assertNotIn("0 bytes", logged)

    def test_the_name_comes_to_mean_another_image_meanwhile(self):
        first = image_document(name="web01", size=0, checksum=None, os_hash_value=None)
        other = image_document(name="web01", size=7)
        listed = [first]
        self.mocked.http.get(f"{IMAGE}/v2/images/web01", status_code=404)
        self.mocked.http.get(f"{IMAGE}/v2/images", json=lambda *_: {"images": listed})
        for document in (first, other):
            self.mocked.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)

        def download(request, context):
            listed.append(other)
            return b""

        self.mocked.http.get(f"{IMAGE}/v2/images/{first['id']}/file", content=download)
        command = self.command(client.SaveImage, "image save")
        command.run(command.get_parser("x").parse_args(["web01", "--file", str(self.file)]))
        self.assertIn(first["id"], self.log.output)

    def test_the_commands_own_errors_stay(self):
        self.mocked.http.get(f"{IMAGE}/v2/images", json={"images": []})
        self.mocked.http.get(f"{IMAGE}/v2/images/nothing", status_code=404)
        command = self.command(client.SaveImage, "image save")
        words = command.get_parser("x").parse_args(["nothing"])
        self.assertRaises(exceptions.NotFoundException, command.run, words)

    def test_the_clients_objects_stay_as_they_are(self):
        connection = self.mocked.cloud.connection
        self.empty()  # the proxies are made at their first use
        before = {key: value for key, value in vars(connection.image).items() if key != "_cache"}
        self.empty()
        self.assertEqual(before, {key: vars(connection.image)[key] for key in before})
        self.assertNotIn("find_image", vars(connection.image))
        self.assertNotIn("request", vars(connection.image))


class TestServerImageCreate(HookCase):
    """Of a server that boots from a volume; another image has the new one's name."""

    def setUp(self):
        super().setUp()
        volumes = [{"id": "volume-1"}]
        self.server = server_document(**{"os-extended-volumes:volumes_attached": volumes})
        self.new = image_document(name="web01", size=0, block_device_mapping=json.dumps([mapping_entry()]))
        self.other = image_document(name="web01", size=7)
        server = f"{COMPUTE}/servers/{self.server['id']}"
        self.mocked.http.get(server, json={"server": self.server})
        location = {"Location": f"{IMAGE}/v2/images/{self.new['id']}"}
        self.action = self.mocked.http.post(f"{server}/action", status_code=202, headers=location)
        self.mocked.http.get(f"{IMAGE}/v2/images", json={"images": [self.other, self.new]})
        for document in (self.other, self.new):
            self.mocked.http.get(f"{IMAGE}/v2/images/{document['id']}", json=document)

    def create(self):
        command = self.command(server_image.CreateServerImage, "server image create")
        words = command.get_parser("x").parse_args([self.server["id"], "--name", "web01", "-f", "json"])
        self.assertEqual(0, command.run(words))
        return self.log.output

    def test_it_is_the_new_image_that_is_judged(self):
        logged = self.create()
        self.assertIn("has no data of its own", logged)
        self.assertTrue(logged.strip().endswith(f"openstack image export-full {self.new['id']}"), logged)

    def test_the_output_is_the_same_without(self):
        outputs = []
        for switch in ("1", "0"):
            self.useFixture(fixtures.EnvironmentVariable(hooks.SWITCH, switch))
            self.create()
            outputs.append(self.out.getvalue())
            self.out.seek(0)
            self.out.truncate()
        self.assertEqual(outputs[0], outputs[1])
        self.assertEqual(self.new["id"], json.loads(outputs[0])["id"])

    def test_a_service_in_trouble_is_not_waited_for(self):
        calls = []

        def answer(request, context):
            calls.append(request)
            if len(calls) != 1:  # the second request is the command's own
                return {"server": self.server}
            raise requests.exceptions.ConnectionError("no route")

        self.mocked.http.get(f"{COMPUTE}/servers/{self.server['id']}", json=answer)
        self.assertNotIn("no data", self.create())
        self.assertEqual(1, self.action.call_count)
        self.assertEqual(10.0, calls[0].timeout)

    def test_a_result_without_an_id(self):
        hook = hooks.CreateServerImage(None)  # type: ignore[arg-type]
        for result in (0, None, ((), ()), (iter("a"), iter("b"))):
            self.assertIs(result, hook.after(None, result))  # type: ignore[arg-type]
        self.assertEqual("", self.log.output)


class TestServerBackupCreate(HookCase):
    def test_the_warning_stands_before_the_refusal(self):
        server = server_document()
        path = f"{COMPUTE}/servers/{server['id']}"
        self.mocked.http.get(path, json={"server": server})
        refused = {"badRequest": {"code": 400, "message": "Backup is not supported for volume-backed"}}

        def refuse(request, context):
            self.assertIn("the cloud makes no backup of such a server", self.log.output)
            context.status_code = 400
            return refused

        self.mocked.http.post(f"{path}/action", json=refuse)
        command = self.command(server_backup.CreateServerBackup, "server backup create")
        words = command.get_parser("x").parse_args([server["id"]])
        self.assertRaises(exceptions.BadRequestException, command.run, words)
