# SPDX-License-Identifier: Apache-2.0
"""What a cloud does not tell is told to be unreadable, and nothing else is."""

import uuid
from typing import Any

from osc_imagetools.cloud.server import ASKED_ZONE
from osc_imagetools.export.inventory_server import server_inventory
from osc_imagetools.tests.unit.base import COMPUTE, PROJECT, VOLUME, TestCase, volume_document

FLAVOR = {"original_name": "m1", "vcpus": 1, "ram": 512, "disk": 5, "ephemeral": 0, "swap": 0}
# Of which microversion each key is.
DOCUMENT: dict[str, dict[str, Any]] = {
    "2.71": {"server_groups": []},
    "2.90": {"OS-EXT-SRV-ATTR:hostname": "web01"},
    "2.96": {"pinned_availability_zone": None},
    "2.100": {"scheduler_hints": {}},
}


class TestUnreadable(TestCase):
    def unreadable(self, version, *, volumes=True):
        mocked = self.mocked_cloud(compute=True, compute_max=version)
        minor = int(version.partition(".")[2])
        server: dict[str, Any] = {"id": str(uuid.uuid4()), "name": "web01", "status": "ACTIVE"}
        server["flavor"] = FLAVOR
        documents: dict[str, Any] = dict(DOCUMENT)
        for since, facts in documents.items():
            if int(since.partition(".")[2]) <= minor:
                server.update(dict(facts))
        volume = volume_document(status="in-use")
        server["os-extended-volumes:volumes_attached"] = [{"id": volume["id"]}] if volumes else []
        path = f"{COMPUTE}/servers/{server['id']}"
        mocked.http.get(path, json={"server": server})
        attachment = {"volumeId": volume["id"], "device": "/dev/vda"}
        mocked.http.get(f"{path}/os-volume_attachments", json={"volumeAttachments": [attachment]})
        mocked.http.get(f"{COMPUTE}/flavors/detail", json={"flavors": []})
        mocked.http.get(f"{VOLUME}/volumes/{volume['id']}", json={"volume": volume})
        mocked.http.get(f"{VOLUME}/os-quota-sets/{PROJECT}", json={"quota_set": {}})
        found = server_inventory(mocked.cloud, server["id"]).unreadable
        return {fact: reason for fact, reason in found.items() if fact not in ("ports", "user data")}

    def test_by_the_age_of_the_cloud(self):
        hints, group, host, tags = "scheduler hints", "server group", "host name", "device tags"
        for version, facts in (
            ("2.100", set()),
            ("2.99", {hints}),
            ("2.95", {hints, ASKED_ZONE}),
            ("2.89", {hints, ASKED_ZONE, host}),
            ("2.70", {hints, ASKED_ZONE, host, group}),
            ("2.69", {hints, ASKED_ZONE, host, group, tags}),
        ):
            found = self.unreadable(version)
            self.assertEqual(facts, set(found), version)
        self.assertEqual("a cloud tells it from compute microversion 2.70 on", found[tags])
        self.assertNotIn(tags, self.unreadable("2.69", volumes=False))
