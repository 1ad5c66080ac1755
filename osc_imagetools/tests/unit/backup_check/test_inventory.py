# SPDX-License-Identifier: Apache-2.0
"""How a fleet is read: which requests are made, and what is made of failures."""

from __future__ import annotations

import functools
import json
import tracemalloc
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fixtures

from osc_imagetools import errors
from osc_imagetools.backup_check.fleet import Fleet, Traits, read_server
from osc_imagetools.backup_check.inventory import Scope, read_fleet
from osc_imagetools.cloud import ownership
from osc_imagetools.tests.unit.base import (
    COMPUTE,
    IMAGE,
    PROJECT,
    VOLUME,
    TestCase,
    image_document,
    snapshot_document,
    volume_document,
)

GLANCE = f"{IMAGE}/v2"
SERVICES = f"{COMPUTE}/os-services"
PAGE = 1000


def server_document(*volumes: str, **changes: Any) -> dict[str, Any]:
    """An entry of GET /servers/detail as Nova 34 gives it with microversion 2.69, links left out."""
    return {
        "id": str(uuid.uuid4()),
        "name": "web01",
        "status": "ACTIVE",
        "tenant_id": PROJECT,
        "created": "2026-01-01T00:00:00Z",
        "flavor": {
            "vcpus": 1,
            "ram": 64,
            "disk": 1,
            "ephemeral": 0,
            "swap": 0,
            "original_name": "tiny-1g",
            "extra_specs": {},
        },
        "image": "",
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:vm_state": "active",
        "locked": False,
        "os-extended-volumes:volumes_attached": [
            {"id": volume, "delete_on_termination": False} for volume in volumes
        ],
        **changes,
    }


class FleetCase(TestCase):
    """``lists`` are the documents that the lists of the mocked cloud give, by name."""

    def setUp(self) -> None:
        super().setUp()
        self.mock = self.mocked_cloud(compute=True)
        self.lists: dict[str, list[dict[str, Any]]] = {}
        for name, url in (
            ("servers", f"{COMPUTE}/servers/detail"),
            ("flavors", f"{COMPUTE}/flavors"),
            ("volumes", f"{VOLUME}/volumes/detail"),
            ("snapshots", f"{VOLUME}/snapshots/detail"),
            ("backups", f"{VOLUME}/backups/detail"),
            ("images", f"{GLANCE}/images"),
        ):
            self.lists[name] = []
            self.mock.http.get(url, json=functools.partial(self.page, name))
        self.mock.http.get(f"{GLANCE}/info/usage", json={"usage": {}})
        self.mock.http.get(SERVICES, status_code=403, json={"message": "no"})
        self.quota(PROJECT)

    def quota(self, project: str) -> None:
        url = f"{VOLUME}/os-quota-sets/{project}"
        self.mock.http.get(url, json={"quota_set": {"snapshots": {"limit": 9, "in_use": 2, "reserved": 0}}})

    def page(self, name: str, request: Any, context: Any) -> dict[str, Any]:
        """One page of a list, which says that there is more when it is full, as the services do."""
        query = parse_qs(urlsplit(request.url).query)
        documents = [
            d
            for d in self.lists[name]
            if query.get("os_hidden", ["false"])[0] == str(d.get("os_hidden", False)).lower()
        ]
        start = 0
        if "marker" in query:
            start = 1 + [document["id"] for document in documents].index(query["marker"][0])
        page = documents[start : start + PAGE]
        more = {"next": "more"} if name == "images" else {f"{name}_links": [{"rel": "next"}]}
        return {name: page, **(more if len(page) == PAGE else {})}

    def read(self, **scope: Any) -> Fleet:
        self.mock.http.reset_mock()
        return read_fleet(self.mock.cloud, Scope(**scope), lambda kind, number: None)

    def again(self, document: dict[str, Any]) -> None:
        """What a server is when it is asked for by itself."""
        self.mock.http.get(f"{COMPUTE}/servers/{document['id']}", json={"server": document})

    def asked(self) -> list[str]:
        """What was asked, but for the login and the versions: path and query."""
        return sorted(
            r.path + (f"?{r.query}" if r.query else "")
            for r in self.mock.http.request_history
            if "identity" not in r.hostname and r.path not in ("/", "/v2.1", "/v2.1/", "/v3", "/v3/")
        )


class TestRequests(FleetCase):
    def test_they_grow_with_the_pages(self):
        def requests(servers: int) -> int:
            volumes = [volume_document() for _ in range(servers)]
            self.lists["volumes"] = volumes
            self.lists["servers"] = [server_document(volume["id"]) for volume in volumes]
            self.read(all_projects=True)
            return len(self.asked())

        few = requests(10)
        # Two more pages of servers and of volumes.
        self.assertEqual(few + 4, requests(10 + 2 * PAGE))

    def test_what_is_asked_of_a_project(self):
        self.lists["servers"] = [server_document()]
        self.read()
        lists = [path for path in self.asked() if "limit=1000" in path]
        self.assertEqual(7, len(lists))
        self.assertFalse([path for path in lists if "all_tenants" in path])
        self.read(project="p", name="^web", status="ACTIVE", tags=("a", "b"))
        (path,) = (path for path in self.asked() if path.startswith("/v2.1/servers/detail"))
        for part in ("all_tenants=1", "project_id=p", "name=%5eweb", "status=active", "tags=a%2cb"):
            self.assertIn(part, path.lower())

    def test_single_servers(self):
        volume = volume_document()
        self.mock.http.get(f"{VOLUME}/volumes/{volume['id']}", json={"volume": volume})
        server = read_server(server_document(volume["id"]))
        found = self.read(servers=(server,))
        self.assertEqual([volume["id"]], list(found.volumes))
        self.assertFalse([p for p in self.asked() if "servers/detail" in p or "volumes/detail" in p])
        self.assertEqual(4, len([p for p in self.asked() if p.startswith("/v2/images?")]))

    def test_a_server_of_another_project(self):
        self.quota("other")
        self.read(servers=(read_server(server_document(tenant_id="other")),))
        self.check_that_copies_are_of_all_projects()

    def test_what_an_administrator_has_made_is_in_the_own_project(self):
        self.read(project="other")
        self.check_that_copies_are_of_all_projects()
        (path,) = (path for path in self.asked() if path.startswith("/v3/volumes/detail"))
        self.assertIn("project_id=other", path)

    def check_that_copies_are_of_all_projects(self) -> None:
        for kind in ("snapshots", "backups"):
            (path,) = (path for path in self.asked() if path.startswith(f"/v3/{kind}/detail"))
            self.assertIn("all_tenants=1", path)
            self.assertNotIn("project_id", path)
        for path in self.asked():
            if path.startswith("/v2/images"):
                self.assertNotIn("owner", path)


class TestCells(FleetCase):
    """Servers of a cell that is down, which no page of a list has."""

    def setUp(self) -> None:
        super().setUp()
        self.server = str(uuid.uuid4())
        self.lists["volumes"] = [volume_document(attachments=[{"server_id": self.server}])]
        # As nova/api/openstack/compute/views/servers.py makes it (show).
        self.minimal = {"id": self.server, "status": "UNKNOWN", "tenant_id": PROJECT}
        self.mock.http.get(f"{COMPUTE}/servers/{self.server}", json=self.one)

    def one(self, request: Any, context: Any) -> Any:
        if request.headers.get("OpenStack-API-Version") == "compute 2.69":
            return {"server": self.minimal}
        context.status_code = 500
        return {"computeFault": {"message": "the cell is down"}}

    def test_administrators_are_told(self):
        down = {"binary": "nova-compute", "host": "host-9", "status": "UNKNOWN"}
        up = {"binary": "nova-compute", "host": "host-1", "status": "enabled", "state": "up"}
        self.mock.http.get(SERVICES, json={"services": [up, down]})
        found = self.read()
        self.assertIn("host-9", found.unread["cells"])
        self.assertNotIn("host-1", found.unread["cells"])
        (request,) = (r for r in self.mock.http.request_history if r.path == "/v2.1/os-services")
        self.assertEqual("compute 2.69", request.headers["OpenStack-API-Version"])
        self.mock.http.get(SERVICES, json={"services": [up]})
        self.assertNotIn("cells", self.read().unread)

    def test_others_are_not(self):
        self.assertNotIn("cells", self.read().unread)
        self.mock.http.get(SERVICES, status_code=500, text="broken")
        self.assertIn("broken", self.read().unread["cells"])
        self.mock.http.get(SERVICES, json=[])
        self.assertIn("cannot be read", self.read().unread["cells"])

    def test_a_server_that_a_volume_names_is_one_of_them(self):
        self.assertEqual([(self.server, "UNKNOWN")], [(s.id, s.status) for s in self.read().servers])
        self.assertEqual([], self.read(name="web").servers)
        self.minimal["tenant_id"] = "other"
        self.assertEqual([], self.read().servers)
        self.quota("other")
        self.assertEqual(1, len(self.read(all_projects=True).servers))

    def test_where_servers_are_left_out_it_is_not_added(self):
        chosen = str(uuid.uuid4())
        both = [{"server_id": server} for server in (chosen, self.server)]
        shared = volume_document(attachments=both)
        self.lists["volumes"] = [shared]
        self.lists["servers"] = [server_document(shared["id"], id=chosen)]
        found = self.read(name="web")
        self.assertEqual([chosen], [server.id for server in found.servers])
        self.assertEqual((set(), {}), (found.gone, found.unread))

    def test_a_new_server_comes_with_its_volumes(self):
        late = volume_document()
        self.minimal |= server_document(late["id"], id=self.server)
        self.mock.http.get(f"{VOLUME}/volumes/{late['id']}", json={"volume": late})
        found = self.read()
        self.assertEqual(["ACTIVE"], [server.status for server in found.servers])
        self.assertIn(late["id"], found.volumes)

    def test_one_that_cannot_be_asked_for_is_not_forgotten(self):
        url = f"{COMPUTE}/servers/{self.server}"
        self.mock.http.get(url, status_code=500, text="broken")
        found = self.read()
        self.assertIn("broken", found.unread[self.server])
        self.assertEqual((set(), []), (found.gone, found.servers))
        self.assertEqual(1, len([path for path in self.asked() if self.server in path]))


class TestMeanwhile(FleetCase):
    """What is deleted between two lists is not called broken."""

    def missing(self, url: str) -> None:
        self.mock.http.get(url, status_code=404, json={})

    def test_a_server_and_its_volume(self):
        lost = str(uuid.uuid4())
        server = server_document(lost)
        self.lists["servers"] = [server]
        self.missing(f"{VOLUME}/volumes/{lost}")
        self.missing(f"{COMPUTE}/servers/{server['id']}")
        self.assertEqual([], self.read().servers)

    def test_a_server_that_was_named_is_not_dropped_without_a_word(self):
        lost = str(uuid.uuid4())
        server = server_document(lost)
        self.missing(f"{VOLUME}/volumes/{lost}")
        self.missing(f"{COMPUTE}/servers/{server['id']}")
        found = self.read(servers=(read_server(server),))
        self.assertEqual([server["id"]], [s.id for s in found.servers])
        self.assertIn("deleted", found.unread[server["id"]])

    def test_a_volume_that_was_detached_and_another_that_was_attached(self):
        lost, new = str(uuid.uuid4()), volume_document()
        server = server_document(lost)
        self.lists["servers"] = [server]
        self.missing(f"{VOLUME}/volumes/{lost}")
        self.mock.http.get(f"{VOLUME}/volumes/{new['id']}", json={"volume": new})
        self.again(server_document(new["id"], id=server["id"]))
        found = self.read()
        self.assertEqual([new["id"]], [volume.id for s in found.servers for volume in s.volumes])
        self.assertIn(new["id"], found.volumes)

    def test_a_server_that_its_volumes_still_had(self):
        nobody = str(uuid.uuid4())
        kept, lost = (volume_document(attachments=[{"server_id": nobody}]) for _ in range(2))
        self.lists["volumes"] = [kept, lost]
        self.missing(f"{COMPUTE}/servers/{nobody}")
        self.missing(f"{VOLUME}/volumes/{lost['id']}")
        self.mock.http.get(f"{VOLUME}/volumes/{kept['id']}", json={"volume": {**kept, "attachments": []}})
        found = self.read()
        self.assertEqual([()], [volume.attachments for volume in found.volumes.values()])

    def image(self, snapshot_id: str) -> dict[str, Any]:
        mapping = json.dumps([{"source_type": "snapshot", "snapshot_id": snapshot_id}])
        return image_document(size=0, bdm_v2="True", block_device_mapping=mapping)

    def test_an_image_and_its_snapshots(self):
        whole, rotated, dead = (self.image(snapshot) for snapshot in (str(uuid.uuid4()) for _ in range(3)))
        snapshot = json.loads(whole["block_device_mapping"])[0]["snapshot_id"]
        self.lists["snapshots"] = [snapshot_document(id=snapshot, status="restoring")]
        self.lists["images"] = [whole, rotated, dead]
        self.missing(f"{GLANCE}/images/{rotated['id']}")
        self.mock.http.get(f"{GLANCE}/images/{dead['id']}", json=dead)
        found = self.read()
        self.assertEqual({whole["id"], dead["id"]}, found.images.keys())
        self.assertEqual(2, len([path for path in self.asked() if path.startswith("/v2/images/")]))
        # Where servers are left out, nothing is said of an image that is of none of them.
        self.assertEqual(3, len(self.read(name="web").images))

    def test_what_cannot_be_asked_for_again_stays_as_it_was(self):
        lost = str(uuid.uuid4())
        server = server_document(lost)
        self.lists["servers"] = [server]
        self.missing(f"{VOLUME}/volumes/{lost}")
        answers: tuple[dict[str, Any], ...] = ({"status_code": 500, "text": "broken"}, {"json": []})
        for answer in answers:
            self.mock.http.get(f"{COMPUTE}/servers/{server['id']}", **answer)
            found = self.read()
            self.assertEqual([server["id"]], [s.id for s in found.servers])
            self.assertEqual({lost}, found.gone)


class TestGone(FleetCase):
    def test_a_volume_that_is_in_no_list(self):
        late, lost = volume_document(), str(uuid.uuid4())
        self.lists["servers"] = [server_document(late["id"], lost)]
        self.mock.http.get(f"{VOLUME}/volumes/{late['id']}", json={"volume": late})
        self.mock.http.get(f"{VOLUME}/volumes/{lost}", status_code=404, json={})
        self.again(self.lists["servers"][0])
        found = self.read()
        self.assertEqual({lost}, found.gone)
        self.assertIn(late["id"], found.volumes)
        self.assertEqual({}, found.unread)

    def test_a_boot_image_that_is_gone_is_asked_for_once(self):
        image = str(uuid.uuid4())
        servers = [server_document(image={"id": image}) for _ in range(3)]
        self.lists["servers"] = servers
        self.mock.http.get(f"{GLANCE}/images/{image}", status_code=404, json={})
        properties = {"hw_qemu_guest_agent": "yes"}
        for document in servers:
            more = {"server": {**document, "image": {"id": image, "properties": properties}}}
            self.mock.http.get(f"{COMPUTE}/servers/{document['id']}", json=more)
        found = self.read()
        self.assertEqual({image}, found.gone)
        self.assertEqual({image: Traits(guest_agent=True)}, found.boot_traits)
        self.assertEqual(
            2, len([p for p in self.asked() if image in p or ("/servers/" in p and "detail" not in p)])
        )

    def test_an_older_nova_does_not_tell(self):
        image = str(uuid.uuid4())
        document = server_document(image={"id": image})
        self.lists["servers"] = [document]
        self.mock.http.get(f"{GLANCE}/images/{image}", status_code=404, json={})
        self.mock.http.get(f"{COMPUTE}/servers/{document['id']}", status_code=406, json={})
        found = self.read()
        self.assertEqual(({}, {}), (found.boot_traits, found.unread))

    def test_a_server_that_a_volume_is_attached_to(self):
        nobody, somebody = str(uuid.uuid4()), str(uuid.uuid4())
        attachments = [{"server_id": s, "device": "/dev/vdb"} for s in (nobody, somebody)]
        self.lists["volumes"] = [volume_document(attachments=attachments)]
        (volume,) = self.lists["volumes"]
        self.mock.http.get(f"{VOLUME}/volumes/{volume['id']}", json={"volume": volume})
        self.mock.http.get(f"{COMPUTE}/servers/{nobody}", status_code=404, json={})
        self.again(server_document(id=somebody))
        self.assertEqual({nobody}, self.read().gone)
        # Where servers are left out, it is only asked about those that are there.
        self.assertEqual(set(), self.read(name="web").gone)

    def test_hidden_images_and_what_is_temporary(self):
        hidden = image_document(os_hidden=True)
        # Of a server that was imported: what its own image had, it has too.
        backup = image_document(**{ownership.MARK: "temporary"})
        name = "osc-imagetools-0123456789ab-image-of-web01"
        self.lists["images"] = [hidden, backup, image_document(name=name, **{ownership.MARK: "temporary"})]
        ours = snapshot_document(metadata={ownership.MARK: "temporary"})
        theirs = snapshot_document()
        # Nova's snapshots for a server image of ours have the mark in their name only.
        unmarked = snapshot_document(name="snapshot for osc-imagetools-0123456789ab-image-of-web01")
        self.lists["snapshots"] = [ours, unmarked, theirs]
        found = self.read()
        self.assertEqual({hidden["id"], backup["id"]}, found.images.keys())
        self.assertEqual([theirs["id"]], list(found.snapshots))


class TestTrouble(FleetCase):
    def test_a_list_that_fails_does_not_end_the_run(self):
        self.lists["servers"] = [server_document(str(uuid.uuid4()))]
        for path, name in (("volumes", "volumes"), ("snapshots", "snapshots"), ("backups", "backups")):
            self.mock.http.get(f"{VOLUME}/{path}/detail", status_code=503, text="down")
            self.assertIn("503", self.read().unread[name])
        self.mock.http.get(f"{GLANCE}/images", status_code=403, json={"message": "no"})
        found = self.read()
        self.assertIn("no", found.unread["images"])
        self.assertEqual(1, len(found.servers))

    def test_a_cloud_without_volume_backups(self):
        self.mock.http.get(f"{VOLUME}/backups/detail", status_code=404, json={})
        self.assertEqual({}, self.read().unread)

    def test_a_list_of_volume_backups_that_breaks_off(self):
        full = [{"id": str(n), "volume_id": "v", "status": "available"} for n in range(PAGE)]
        pages: list[dict[str, Any]] = [
            {"json": {"backups": full, "backups_links": [{"rel": "next"}]}},
            {"status_code": 404, "json": {"itemNotFound": {"message": "marker not found"}}},
        ]
        self.mock.http.get(f"{VOLUME}/backups/detail", pages)
        self.assertIn("marker not found", self.read().unread["backups"])

    def test_no_servers_no_verdict(self):
        self.mock.http.get(f"{COMPUTE}/servers/detail", status_code=403, json={"message": "no"})
        self.assertRaises(errors.Forbidden, self.read)

    def test_a_list_that_breaks_off(self):
        full = [server_document() for _ in range(PAGE)]
        pages: list[dict[str, Any]] = [
            {"json": {"servers": full, "servers_links": [{"rel": "next"}]}},
            {"status_code": 500, "text": "broken"},
        ]
        self.mock.http.get(f"{COMPUTE}/servers/detail", pages)
        found = self.read()
        self.assertEqual(PAGE, len(found.servers))
        self.assertIn("broken", found.unread["servers"])

    def test_an_answer_that_makes_no_sense(self):
        self.lists["servers"] = [server_document()]
        for nonsense in ({"id": "x"}, volume_document(attachments=["x"]), volume_document(size=[])):
            self.lists["volumes"] = [nonsense]
            self.assertIn("cannot be read", self.read().unread["volumes"])
        answers: tuple[Any, ...] = ([], {"volumes": {"id": "x"}}, {"volumes": ["x"]}, "x")
        for answer in answers:
            self.mock.http.get(f"{VOLUME}/volumes/detail", json=answer)
            self.assertIn("no list of volumes", self.read().unread["volumes"])

    def test_an_answer_about_a_boot_image_that_makes_no_sense(self):
        image = str(uuid.uuid4())
        document = server_document(image={"id": image})
        self.lists["servers"] = [document]
        self.mock.http.get(f"{GLANCE}/images/{image}", status_code=404, json={})
        answers: tuple[Any, ...] = ([], {}, {"server": []}, {"server": {"image": {"properties": []}}})
        for answer in answers:
            self.mock.http.get(f"{COMPUTE}/servers/{document['id']}", json=answer)
            self.assertEqual({}, self.read().boot_traits)

    def test_a_quota_of_another_project_that_may_not_be_read(self):
        self.lists["servers"] = [server_document("v", tenant_id="other")]
        self.mock.http.get(f"{VOLUME}/volumes/v", json={"volume": volume_document(id="v")})
        self.mock.http.get(f"{VOLUME}/os-quota-sets/other", status_code=403, json={"message": "no"})
        self.assertIn("no", self.read(all_projects=True).unread["quota other"])


class TestMemory(FleetCase):
    def test_a_server_takes_little(self):
        def growth(servers: int) -> int:
            volumes = [volume_document(description="x" * 2000) for _ in range(servers)]
            self.lists["volumes"] = volumes
            self.lists["snapshots"] = [snapshot_document(volume_id=v["id"]) for v in volumes]
            self.lists["servers"] = [server_document(v["id"], user_data="x" * 2000) for v in volumes]
            self.read()  # what is made once
            tracemalloc.start()
            found = self.read()
            size, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertEqual(servers, len(found.servers))
            return size

        # The mock keeps the text of what was asked, but not that of the answers.
        self.assertLess((growth(600) - growth(100)) / 500, 10 * 1024)


class TestOlderNova(FleetCase):
    def test_before_the_microversion_that_tells_of_cells(self):
        """It answers 406 to a microversion that it does not know."""
        version = {"id": "v2.1", "status": "CURRENT", "version": "2.65", "min_version": "2.1", "links": []}
        self.mock.http.get(COMPUTE, json={"version": version})
        self.lists["servers"] = [server_document()]
        log = self.useFixture(fixtures.FakeLogger("osc_imagetools"))
        found = self.read()
        self.assertEqual(1, len(found.servers))
        self.assertNotIn("servers", found.unread)
        asked = {r.headers.get("OpenStack-API-Version") for r in self.mock.http.request_history}
        self.assertLessEqual(asked, {None, "compute 2.65"})
        self.assertIn("older than compute microversion 2.69", log.output)
