# SPDX-License-Identifier: Apache-2.0
"""The exports as they are typed: requests in their order, the bundle, the rows, and what a failure leaves."""

from __future__ import annotations

import json
from typing import Any

from osc_imagetools.cloud.ownership import RUN, STOPPED
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.tests.unit.base import COMPUTE, VOLUME, mapping_entry
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.served import ServedCase, each, encoded

DATA = b"the root disk" * 1000
OTHER = b"the data disk" * 2000


class ExportCase(ServedCase):
    def setUp(self) -> None:
        super().setUp()
        self.output = self.dir / "copy.bundle"

    def export(self, *words: Any, code: int = 0) -> Any:
        return self.rows(*words, "--output", self.output, code=code)

    def content(self) -> list[bytes]:
        """The disks of the bundle."""
        return [(self.output / d["file"]).read_bytes() for d in samples.load(self.output)["disks"]]

    def nothing_is_left(self) -> None:
        """In the cloud but what the test has put there, and in the journals."""
        self.assertEqual([], journaled_runs())
        for documents in (self.served.images, self.served.volumes, self.served.snapshots):
            for document in documents.values():
                self.assertNotIn("osc-imagetools", str(document.get("name")))


class TestImage(ExportCase):
    def test_data_and_metadata(self) -> None:
        image = self.served.add_image(DATA, os_distro="debian", tags=["nightly"], visibility="shared")
        self.served.members[image["id"]] = {"p2": "accepted"}
        told = self.export("image", "export-full", "web01")
        self.assertEqual(
            (str(self.output), "image", image["id"], "web01", 1, len(DATA), len(DATA), 0, "os_hash"),
            tuple(
                told[key]
                for key in [
                    "bundle",
                    "kind",
                    "id",
                    "name",
                    "disks",
                    "bytes",
                    "bytes_fetched",
                    "bytes_reused",
                    "verified",
                ]
            ),
        )
        manifest = samples.load(self.output)
        facts = manifest["replayable"]
        self.assertEqual({"os_distro": "debian"}, facts["properties"])
        self.assertEqual(["nightly"], facts["tags"])
        self.assertEqual([{"project_id": "p2", "status": "accepted"}], facts["members"])
        self.assertEqual(image["os_hash_value"], manifest["disks"][0]["hash"]["value"])
        self.assertEqual([DATA], self.content())
        self.assertEqual([], self.served.changes())

    def test_what_is_unproven_is_told(self) -> None:
        self.served.add_image(DATA, os_hash_algo=None, os_hash_value=None, checksum=None)
        code, _, err = self.run_openstack("image", "export-full", "web01", "--output", self.output)
        self.assertEqual(0, code)
        self.assertIn("nothing proves its bytes", err)
        self.assertEqual("none", samples.load(self.output)["disks"][0]["verified_by"])

    def test_bytes_that_are_not_what_the_cloud_promises(self) -> None:
        image = self.served.add_image(DATA)
        self.served.data[image["id"]] = DATA[:-1] + b"!"
        err = self.fails("image", "export-full", "web01", "--output", self.output)
        self.assertIn("[hash-mismatch]", err)
        self.assertFalse((self.output / "manifest.json").exists())

    def test_none_of_that_name(self) -> None:
        err = self.fails("image", "export-full", "web02", "--output", self.output)
        self.assertIn("no image has the name or ID 'web02'", err)
        self.assertIn("[resource-not-found]", err)
        self.assertIn("openstack image list", err)
        self.assertFalse(self.output.exists())

    def test_a_directory_and_a_repository(self) -> None:
        words = ("image", "export-full", "x", "--output", "a", "--repository", "b")
        self.assertIn("either --output <path> or --repository <url>", self.fails(*words, code=2))
        self.assertEqual([], self.http.request_history)

    def test_a_hidden_one_of_no_bytes_is_followed_to_its_volumes(self) -> None:
        volume = self.served.add_volume(DATA, name="root")
        snapshot = self.served.add_snapshot(volume)
        mapping = json.dumps([mapping_entry(snapshot_id=snapshot["id"])])
        image = self.served.add_image(block_device_mapping=mapping, bdm_v2="True", os_hidden=True)
        steps = self.rows("image", "export-full", "web01", "--dry-run")
        self.assertEqual(([], [True, True, True]), (self.served.changes(), self.temporary(steps)))
        told = self.export("image", "export-full", image["id"])
        self.assertEqual((1, len(DATA)), (told["disks"], told["bytes"]))
        self.assertEqual([DATA], self.content())
        self.nothing_is_left()
        self.assertEqual([snapshot["id"]], list(self.served.snapshots))

    def temporary(self, steps: list[dict[str, Any]]) -> list[bool]:
        """Whether it is a temporary resource, of each that is created."""
        return [s["Temporary"] for s in steps if s["Action"].startswith(("create", "upload", "delete"))][:3]


class TestSources(ExportCase):
    """What an image of no bytes points at, and which resource a name means."""

    def points_at(self, *entries: dict[str, Any]) -> str:
        """An image with this mapping; what its export says."""
        mapping = json.dumps([{**mapping_entry(snapshot_id=None), **entry} for entry in entries])
        self.served.add_image(block_device_mapping=mapping, bdm_v2="True")
        return self.fails("image", "export-full", "web01", "--output", self.output)

    def test_all_that_is_gone_is_told_at_once(self) -> None:
        empty = self.served.add_image(name="base")
        err = self.points_at(
            {"source_type": "image", "image_id": "i-gone", "device_name": "/dev/vda"},
            {"source_type": "image", "image_id": empty["id"], "device_name": "/dev/vdb"},
            {"source_type": "snapshot", "snapshot_id": "s-gone", "device_name": "/dev/vdc"},
            {"source_type": "volume", "volume_id": "v-gone", "device_name": "/dev/vdd"},
        )
        self.assertIn("vda: its image i-gone is gone", err)
        self.assertIn(f"vdb: image base ({empty['id']}) is active, 0 bytes", err)
        self.assertIn("vdc: snapshot s-gone", err)
        self.assertIn("vdd: volume v-gone", err)
        self.assertEqual([], self.served.changes())

    def test_an_image_and_a_volume(self) -> None:
        base = self.served.add_image(DATA, name="base")
        volume = self.served.add_volume(OTHER, name="data")
        entries = (
            {"source_type": "image", "image_id": base["id"], "device_name": "/dev/vda"},
            {"source_type": "volume", "volume_id": volume["id"], "device_name": "/dev/vdb"},
        )
        mapping = json.dumps([{**mapping_entry(snapshot_id=None), **entry} for entry in entries])
        self.served.add_image(block_device_mapping=mapping, bdm_v2="True")
        self.export("image", "export-full", "web01")
        self.assertEqual([DATA, OTHER], self.content())
        self.nothing_is_left()

    def test_a_name_that_several_have(self) -> None:
        volumes = [self.served.add_volume(DATA, name="data01") for _ in range(2)]
        err = self.fails("volume", "export-full", "data01", "--output", self.output)
        self.assertIn("[resource-ambiguous]", err)
        self.assertIn("Give the ID.", err)
        for volume in volumes:
            self.assertIn(f"- {volume['id']} available 1 GiB, created ", err)

    def test_a_name_that_is_a_literal_is_searched_for_without_a_filter(self) -> None:
        """An older Cinder takes the name for the value of a Python literal."""
        volume = self.served.add_volume(DATA, name="5")
        self.assertEqual(volume["id"], self.export("volume", "export-full", "5")["id"])
        queries = [r.qs for r in self.http.request_history if r.path.endswith("/volumes/detail")]
        self.assertEqual([False], ["name" in query for query in queries])

    def test_a_filter_that_the_cloud_cannot_make_sense_of(self) -> None:
        self.served.add_volume(DATA, name="data[01")

        def listed(request: Any, context: Any) -> Any:
            if "name" in request.qs:
                context.status_code = 400
                return {"badRequest": {"message": "Invalid filter"}}
            return self.served._list("volumes", request)

        self.http.get(f"{VOLUME}/volumes/detail", json=listed)
        self.export("volume", "export-full", "data[01")

    def test_a_quota_that_only_the_limits_tell(self) -> None:
        volume = self.served.add_volume(DATA)
        self.http.get(each(VOLUME, "os-quota-sets"), status_code=403)
        limits = {"maxTotalVolumes": 10, "totalVolumesUsed": 10, "maxTotalSnapshots": -1,
                  "maxTotalVolumeGigabytes": 100, "totalGigabytesUsed": 5}  # fmt: skip
        self.http.get(f"{VOLUME}/limits", json={"limits": {"absolute": limits}})
        err = self.fails("volume", "export-full", volume["id"], "--output", self.output)
        self.assertIn("quota", err)
        self.assertIn("volumes", err)
        self.assertEqual([], self.served.changes())
        self.http.get(f"{VOLUME}/limits", json={"limits": {"absolute": {**limits, "totalVolumesUsed": 1}}})
        self.export("volume", "export-full", volume["id"])


class TestVolume(ExportCase):
    def test_one_in_use_by_way_of_a_snapshot(self) -> None:
        volume = self.served.add_volume(
            DATA,
            status="in-use",
            attachments=[{"server_id": "s1", "device": "/dev/vdb"}],
            volume_image_metadata={"os_distro": "debian"},
            metadata={"owner": "ops"},
        )
        told = self.export("volume", "export-full", volume["id"])
        self.assertEqual(
            ("volume", "crash", "os_hash"), (told["kind"], told["consistency"], told["verified"])
        )
        self.assertEqual(
            [
                "POST snapshots",
                "POST volumes",
                "POST volumes action os-set_image_metadata",
                "POST volumes action os-volume_upload_image",
                "DELETE images",
                "DELETE volumes",
                "DELETE snapshots",
            ],
            self.served.kinds(),
        )
        self.assertEqual([DATA], self.content())
        facts = samples.load(self.output)["replayable"]
        self.assertEqual(({"owner": "ops"}, {"os_distro": "debian"}),
                         (facts["metadata"], facts["image_metadata"]))  # fmt: skip
        self.nothing_is_left()

    def test_at_rest_where_its_servers_are_stopped(self) -> None:
        server = self.served.add_server(status="SHUTOFF")
        attachments = [{"server_id": server["id"], "device": "/dev/vdb"}]
        volume = self.served.add_volume(DATA, status="in-use", attachments=attachments)
        self.assertEqual("stopped", self.export("volume", "export-full", volume["id"])["consistency"])

    def test_a_snapshot(self) -> None:
        volume = self.served.add_volume(DATA, name="data01")
        snapshot = self.served.add_snapshot(volume, name="before-upgrade", description="d")
        told = self.export("volume", "snapshot", "export-full", "before-upgrade")
        self.assertEqual(
            ("snapshot", snapshot["id"], "unknown"), (told["kind"], told["id"], told["consistency"])
        )
        facts = samples.load(self.output)["replayable"]
        self.assertEqual(
            ("before-upgrade", "d", "data01"), (facts["name"], facts["description"], facts["volume"]["name"])
        )
        self.assertNotIn("POST snapshots", self.served.kinds())
        self.assertIn(snapshot["id"], self.served.snapshots)
        self.nothing_is_left()

    def test_a_snapshot_whose_volume_is_gone(self) -> None:
        volume = self.served.add_volume(DATA)
        self.served.add_snapshot(volume, name="s")
        del self.served.volumes[volume["id"]]
        self.export("volume", "snapshot", "export-full", "s")
        self.assertIsNone(samples.load(self.output)["replayable"]["volume"])

    def test_a_refusal_in_the_middle_leaves_nothing(self) -> None:
        volume = self.served.add_volume(DATA)
        refusal = {"badRequest": {"message": "No valid backend was found"}}
        self.http.post(f"{VOLUME}/volumes", status_code=400, json=refusal)
        err = self.fails("volume", "export-full", volume["id"], "--output", self.output)
        self.assertIn("No valid backend was found", err)
        self.assertEqual(["POST snapshots", "POST volumes", "DELETE snapshots"], self.served.kinds())
        self.nothing_is_left()

    def test_what_cannot_be_removed_is_named(self) -> None:
        volume = self.served.add_volume(DATA)
        self.http.delete(each(VOLUME, "snapshots"), status_code=403, json={"forbidden": {"message": "no"}})
        code, _, err = self.run_openstack("volume", "export-full", volume["id"], "--output", self.output)
        self.assertEqual(0, code, err)
        (snapshot,) = self.served.snapshots
        self.assertIn("these resources may still exist: temporary snapshot", err)
        self.assertIn(snapshot, err)
        (run,) = journaled_runs()
        self.assertEqual([("snapshot", snapshot)], [(e.kind, e.id) for e in run.pending])

    def test_a_region_without_block_storage(self) -> None:
        self.serve(block_storage=False)
        for words in (("volume", "export-full", "v1"), ("volume", "snapshot", "export-full", "s1")):
            err = self.fails(*words, "--output", self.output)
            self.assertIn("[service-absent]", err)
            self.assertIn("--os-region-name", err)


class ServerCase(ExportCase):
    def server(self, **changes: Any) -> dict[str, Any]:
        """A server with two volumes."""
        self.root = self.served.add_volume(DATA, name="root", status="in-use", bootable="true")
        self.data = self.served.add_volume(OTHER, name="data", status="in-use", bootable="false", size=2)
        attached = [{"id": v["id"], "delete_on_termination": False} for v in (self.root, self.data)]
        return self.served.add_server(**{"os-extended-volumes:volumes_attached": attached, **changes})


class TestServer(ServerCase):
    def test_of_volumes(self) -> None:
        server = self.server(metadata={"role": "web"}, tags=["blue"])
        self.served.add_port(device_id=server["id"])
        told = self.export("server", "export-full", "web01")
        self.assertEqual(
            ("server", 2, len(DATA) + len(OTHER), "crash"),
            (told["kind"], told["disks"], told["bytes"], told["consistency"]),
        )
        self.assertEqual([DATA, OTHER], self.content())
        manifest = samples.load(self.output)
        self.assertEqual(["vda", "vdb"], [disk["name"] for disk in manifest["disks"]])
        facts = manifest["replayable"]
        self.assertEqual(("m1.small", 512), (facts["flavor"]["name"], facts["flavor"]["ram"]))
        self.assertEqual(({"role": "web"}, ["blue"]), (facts["metadata"], facts["tags"]))
        (port,) = facts["ports"]
        self.assertEqual(("net-a", ["default"]), (port["network"], port["security_groups"]))
        self.assertEqual("10.0.0.0/24", port["fixed_ips"][0]["cidr"])
        kinds = self.served.kinds()
        self.assertEqual("POST servers action createImage", kinds[0])
        self.assertNotIn("POST servers action os-stop", kinds)
        self.assertEqual(2, kinds.count("POST snapshots metadata"))
        self.nothing_is_left()

    def test_stopped_while_its_snapshots_are_taken(self) -> None:
        server = self.server()
        told = self.export("server", "export-full", "web01", "--stop")
        self.assertEqual("stopped", told["consistency"])
        kinds = self.served.kinds()
        order = [
            *("POST servers metadata", "POST servers action os-stop", "POST servers action createImage"),
            *("POST servers action os-start", f"DELETE servers metadata {STOPPED}"),
            "POST volumes",
        ]
        self.assertEqual(sorted(map(kinds.index, order)), list(map(kinds.index, order)))
        self.assertEqual(("ACTIVE", {}), (server["status"], server["metadata"]))

    def test_the_mark_of_a_stopped_server_names_its_run(self) -> None:
        self.server()
        self.export("server", "export-full", "web01", "--stop")
        before, after = [
            b for path, b in self.served.sent("POST") if path.endswith("/metadata") and "servers" in path
        ]
        run, process = before["metadata"][STOPPED].split(" ")
        # Then also which request has stopped it: whoever stops it later keeps it stopped.
        self.assertEqual(f"{run} {process} req-1", after["metadata"][STOPPED])
        (snapshot, *_) = [b for path, b in self.served.sent("POST") if "/snapshots/" in path]
        self.assertEqual(snapshot["metadata"][RUN], run)
        self.assertEqual(3, len(process.split(".")))

    def test_of_an_image(self) -> None:
        image = self.served.add_image(b"base" * 1000, name="debian")
        server = self.served.add_server(image={"id": image["id"]})
        told = self.export("server", "export-full", server["id"])
        self.assertEqual(1, told["disks"])
        self.assertEqual([b"captured root disk" * 100], self.content())
        facts = samples.load(self.output)["disks"][0]
        self.assertEqual(("boot", "os_hash"), (facts["role"], facts["verified_by"]))
        self.nothing_is_left()

    def test_without_networks(self) -> None:
        self.serve(network=False)
        self.server()
        _, _, err = self.run_openstack("server", "export-full", "web01", "--output", self.output)
        self.assertIn("ports (the catalog has no network service)", err)
        self.assertEqual([], samples.load(self.output)["replayable"]["ports"])

    def test_a_key_pair_and_a_group_and_what_may_not_be_read(self) -> None:
        server = self.server(key_name="key a", server_groups=["sg1"],
                             **{"OS-EXT-SRV-ATTR:user_data": encoded("#cloud-config")})  # fmt: skip
        key = {"name": "key a", "type": "ssh", "public_key": "ssh-ed25519 AAAA", "fingerprint": "ab"}
        self.http.get(f"{COMPUTE}/os-keypairs/key%20a", json={"keypair": key})
        group = {"id": "sg1", "name": "apart", "policy": "anti-affinity", "rules": {}}
        self.http.get(f"{COMPUTE}/os-server-groups/sg1", json={"server_group": group})
        self.served.add_port(device_id=server["id"], security_groups=["g1", "unseen"])
        rules: Any = [
            {"direction": "ingress", "protocol": "tcp", "remote_group_id": "g1"},
            {"direction": "ingress", "protocol": "udp", "remote_group_id": "gone"},
        ]
        self.served.groups[0]["security_group_rules"] = rules
        self.http.get("http://network.test/v2.0/floatingips", status_code=403)
        words = ("server", "export-full", "web01", "--output", self.output)
        _, _, err = self.run_openstack(*words)
        self.assertRegex(err, r"could not be read:.*floating addresses \(.*refuses it to this account")
        facts = samples.load(self.output)["replayable"]
        self.assertEqual("ssh-ed25519 AAAA", facts["key_pair"]["public_key"])
        self.assertEqual(("apart", "anti-affinity"),
                         (facts["server_group"]["name"], facts["server_group"]["policy"]))  # fmt: skip
        self.assertEqual(encoded("#cloud-config"), facts["user_data"])
        self.assertEqual(["default", "unseen"], facts["ports"][0]["security_groups"])
        (told,) = [g["rules"] for g in facts["security_groups"]]
        self.assertEqual({"default", "gone"}, {rule["remote_group"] for rule in told})

    def test_only_one_disk(self) -> None:
        self.server()
        told = self.export("server", "export-full", "web01", "--disk", "vdb")
        self.assertEqual((1, len(OTHER)), (told["disks"], told["bytes"]))
        self.assertEqual([OTHER], self.content())
        self.nothing_is_left()

    def test_a_dry_run_lists_the_steps_in_order(self) -> None:
        self.server()
        steps = self.rows("server", "export-full", "web01", "--stop", "--dry-run")
        self.assertEqual([], self.served.changes())
        numbers = [step["Step"] for step in steps if step["Step"]]
        self.assertEqual(list(range(1, len(numbers) + 1)), numbers)
        quota = {step["Resource"] for step in steps if not step["Step"]}
        self.assertTrue(any("gigabytes" in needed for needed in quota), quota)
        actions = [step["Action"] for step in steps if step["Step"]]
        self.assertEqual("stop server", actions[0])
        self.assertLess(actions.index("start server"), actions.index("create volume"))


class TestServerFaults(ServerCase):
    def failed(self, *words: Any) -> str:
        return self.fails("server", "export-full", "web01", "--output", self.output, *words)

    def test_a_server_that_goes_to_an_error_while_it_stops_is_started_again(self) -> None:
        server = self.server()
        fault = {"message": "libvirt is away"}
        gone = {**server, "status": "ERROR", "fault": fault}
        url = f"{COMPUTE}/servers/{server['id']}"
        down, up = ({"server": {**server, "status": s}} for s in ("SHUTOFF", "ACTIVE"))
        documents = ({"server": server}, {"server": gone}, down, down, up)
        self.http.get(url, [{"json": document} for document in documents])
        err = self.failed("--stop")
        self.assertIn("libvirt is away", err)
        self.assertIn(f"openstack server event list {server['id']}", err)
        kinds = self.served.kinds()
        self.assertEqual(
            ["POST servers metadata", "POST servers action os-stop", "POST servers action os-start",
             f"DELETE servers metadata {STOPPED}"], kinds)  # fmt: skip

    def test_a_stop_that_was_heard_though_its_answer_got_lost(self) -> None:
        """The second request is refused, for the server stops already."""
        server = self.server()

        def act(request: Any, context: Any) -> Any:
            if "os-stop" in request.json():
                server["status"] = "SHUTOFF"
                context.status_code = 409
                return {"conflictingRequest": {"message": "Cannot 'stop' instance"}}
            return self.served._act_on_server(request, context, server["id"]) or {}

        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", json=act)
        self.assertEqual("stopped", self.export("server", "export-full", "web01", "--stop")["consistency"])

    def test_a_stop_that_is_refused(self) -> None:
        server = self.server()
        refusal = {"conflictingRequest": {"message": "Instance is locked"}}
        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", status_code=409, json=refusal)
        err = self.failed("--stop")
        self.assertIn("Instance is locked", err)
        self.assertEqual({}, server["metadata"])

    def test_a_bundle_that_is_complete_and_a_server_that_does_not_start(self) -> None:
        server = self.server()

        def act(request: Any, context: Any) -> Any:
            if "os-start" in request.json():
                server["fault"] = {"message": "no valid host"}
                context.status_code = 202
                return {}
            return self.served._act_on_server(request, context, server["id"]) or {}

        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", json=act)
        err = self.failed("--stop")
        self.assertIn("is complete, but server web01", err)
        self.assertIn("could not be started again", err)
        self.assertIn("does not start: no valid host", err)
        self.assertIn(f"openstack server start {server['id']}", err)
        self.assertTrue((self.output / "manifest.json").exists())
        (run,) = journaled_runs()
        self.assertEqual([("stopped-server", server["id"])], [(e.kind, e.id) for e in run.pending])

    def captured_as(self, status: str) -> dict[str, Any]:
        """A server whose images get this status."""
        server = self.server()

        def act(request: Any, context: Any) -> Any:
            answer = self.served._act_on_server(request, context, server["id"])
            self.served.images[answer["image_id"]]["status"] = status
            return answer

        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", json=act)
        return server

    def test_an_image_that_never_becomes_active_says_what_nova_says(self) -> None:
        server = self.captured_as("killed")
        actions = [{"action": "stop", "request_id": "r0"}, {"action": "createImage", "request_id": "r1"}]
        base = f"{COMPUTE}/servers/{server['id']}/os-instance-actions"
        self.http.get(base, json={"instanceActions": actions})
        events = [{"result": "Success"}, {"result": "Error", "details": "disk quota exceeded"}]
        self.http.get(f"{base}/r1", json={"instanceAction": {"message": "Error", "events": events}})
        err = self.failed()
        self.assertIn("is killed: disk quota exceeded", err)
        self.assertIn("log of the server's compute host", err)
        self.assertEqual([], list(self.served.snapshots))

    def test_an_image_that_fails_without_a_reason(self) -> None:
        server = self.captured_as("pending_delete")
        url = f"{COMPUTE}/servers/{server['id']}/os-instance-actions"
        self.http.get(url, json={"instanceActions": []})
        self.assertIn("is pending_delete: the cloud gives no reason", self.failed())

    def test_a_capture_that_is_refused_leaves_its_snapshots_to_be_found(self) -> None:
        """Nova removes none of the snapshots that it had taken when it gave up."""
        server = self.server()

        def act(request: Any, context: Any) -> Any:
            name = request.json()["createImage"]["name"]
            self.served.add_snapshot(self.root, name=f"snapshot for {name}")
            context.status_code = 400
            return {"badRequest": {"message": "volume data: snapshot limit exceeded"}}

        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", json=act)
        self.assertIn("snapshot limit exceeded", self.failed())
        self.assertEqual({}, self.served.snapshots)
        self.assertEqual([], journaled_runs())

    def test_a_snapshot_that_the_image_does_not_name(self) -> None:
        server = self.server()
        forgotten = self.data["id"]

        def act(request: Any, context: Any) -> Any:
            answer = self.served._act_on_server(request, context, server["id"])
            image = self.served.images[answer["image_id"]]
            entries = json.loads(image["block_device_mapping"])
            image["block_device_mapping"] = json.dumps(entries[:1])
            return answer

        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", json=act)
        err = self.failed()
        self.assertIn(forgotten, err)
        self.assertEqual({}, self.served.images)

    def test_a_root_volume_that_nobody_knew_of(self) -> None:
        """Nova shows the image that a server was created with also where its root disk is a volume."""
        image = self.served.add_image(b"base" * 1000, name="debian")
        server = self.served.add_server(image={"id": image["id"]})
        snapshots: list[str] = []

        def act(request: Any, context: Any) -> Any:
            body = request.json()["createImage"]
            volume = self.served.add_volume(DATA)
            snapshots.append(self.served.add_snapshot(volume, name=f"snapshot for {body['name']}")["id"])
            mapping = json.dumps([mapping_entry(snapshot_id=snapshots[0])])
            made = self.served.add_image(name=body["name"], block_device_mapping=mapping, bdm_v2="True")
            return {"image_id": made["id"]}

        self.http.post(f"{COMPUTE}/servers/{server['id']}/action", json=act)
        err = self.failed()
        self.assertIn("boots from a volume, though Nova shows an image", err)
        self.assertIn("An administrator can export it", err)
        self.assertEqual({}, self.served.snapshots)
        self.assertEqual([image["id"]], list(self.served.images))

    def test_of_another_project(self) -> None:
        self.server(tenant_id="p2")
        err = self.failed()
        self.assertIn("p2", err)
        self.assertEqual([], self.served.changes())
