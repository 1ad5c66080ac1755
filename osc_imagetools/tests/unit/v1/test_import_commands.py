# SPDX-License-Identifier: Apache-2.0
"""The imports as they are typed: what was exported is there again, and a failure leaves nothing."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

from osc_imagetools.cloud.ownership import PREFIX, TAG
from osc_imagetools.run.effects import creation, images
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.tests.unit.base import AUTH, COMPUTE, IMAGE, VOLUME, mapping_entry
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.served import NETWORK, ServedCase, each, encoded

DATA = b"the root disk" * 1000
# What volumes give.
ROOT, OTHER = (samples.qcow2(virtual_size=n << 30) for n in (1, 2))


class ImportCase(ServedCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(images, "FIRST_WAIT", 0.001)
        self.path = self.dir / "copy.bundle"

    def exported(self, *words: Any) -> pathlib.Path:
        """A bundle of something in the cloud, which then is another cloud with nothing in it."""
        self.rows(*words, "--output", self.path)
        self.serve()
        return self.path

    def nothing_is_left(self) -> None:
        """Of ours, in the cloud and in the journals."""
        served = self.served
        self.assertEqual([], journaled_runs())
        for kind in (served.images, served.volumes, served.snapshots, served.servers, served.ports):
            for document in kind.values():
                marks = {k: v for k, v in document.items() if k.startswith(PREFIX)}
                text = json.dumps([document.get(k) for k in ("name", "description", "metadata", "tags")])
                self.assertEqual(({}, False), (marks, TAG in text), text)


class TestImage(ImportCase):
    def exported_image(self) -> None:
        self.bundle_of(self.path, "import of an image", self.export)

    def export(self) -> None:
        """An image with data and no more."""
        self.served.add_image(DATA)
        self.rows("image", "export-full", "web01", "--output", self.path)

    def test_the_same_data_and_metadata(self) -> None:
        facts = {"os_distro": "debian", "tags": ["nightly"], "min_ram": 64, "protected": True}
        image = self.served.add_image(DATA, visibility="community", **facts)
        self.exported("image", "export-full", "web01")
        told = self.rows("image", "import-full", self.path, "--name", "restored")
        self.assertEqual(
            ("restored", "image", len(DATA), [], []),
            tuple(told[key] for key in ("name", "kind", "bytes", "differences", "not_replayed")),
        )
        made = self.served.images[told["id"]]
        self.assertNotEqual(image["id"], told["id"])
        self.assertEqual(DATA, self.served.data[told["id"]])
        self.assertEqual(facts, {key: made[key] for key in facts})
        self.assertEqual("community", made["visibility"])
        self.nothing_is_left()
        kinds = self.served.kinds()
        # Private until its bytes are proven, protected last.
        self.assertEqual(["POST images", "PUT images file", "PATCH images"], kinds[:3])
        ((_, created),) = self.served.sent("POST")
        self.assertEqual(("private", [TAG]), (created["visibility"], created["tags"][:1]))
        self.assertEqual(
            [{"op": "replace", "path": "/protected", "value": True}], self.served.sent("PATCH")[-1][1]
        )

    def test_what_the_options_say(self) -> None:
        self.served.add_image(DATA, os_distro="debian", hw_disk_bus="scsi")
        self.exported("image", "export-full", "web01")
        words = (
            "--property",
            "hw_disk_bus=virtio",
            "--remove-property",
            "os_distro",
            "--visibility",
            "private",
        )
        told = self.rows("image", "import-full", self.path, *words)
        made = self.served.images[told["id"]]
        self.assertEqual(("virtio", False), (made["hw_disk_bus"], "os_distro" in made))
        self.assertEqual([], told["differences"])

    def test_members_and_what_they_have_to_say_themselves(self) -> None:
        image = self.served.add_image(DATA, visibility="shared")
        self.served.members[image["id"]] = {"p2": "accepted", "p3": "pending", "p4": "accepted"}
        self.exported("image", "export-full", "web01")
        for project, status in (("p2", 200), ("p3", 403), ("p4", 200)):
            self.http.get(f"{AUTH}/projects/{project}", status_code=status, json={"project": {}})
        told = self.rows("image", "import-full", self.path)
        self.assertEqual({"p2", "p3", "p4"}, set(self.served.members[told["id"]]))
        said = "; ".join(told["not_replayed"])
        self.assertIn("status of member p2: it was accepted; only that project can say so again", said)
        self.assertNotIn("member p3", said)

    def test_a_member_that_is_refused_is_told(self) -> None:
        image = self.served.add_image(DATA, visibility="shared")
        self.served.members[image["id"]] = {"p2": "pending"}
        self.exported("image", "export-full", "web01")
        self.http.get(f"{AUTH}/projects/p2", json={"project": {}})
        self.http.post(each(IMAGE, "v2/images", "/members"), status_code=413, text="Maximum: 128")
        told = self.rows("image", "import-full", self.path, code=3)
        self.assertIn("member p2", told["not_replayed"][0])
        self.assertIn("Maximum: 128", told["not_replayed"][0])
        self.assertEqual(["image web01: members is [], not ['p2']"], told["differences"])

    def test_properties_that_are_refused_cost_no_others(self) -> None:
        """The cloud refuses a patch as a whole: what it takes is set one by one then."""
        self.served.add_image(DATA, os_distro="debian", reserved="x", tags=["a"])
        self.exported("image", "export-full", "web01")

        def patch(request: Any, context: Any) -> Any:
            if any(change["path"] == "/reserved" for change in request.json()):
                context.status_code = 403
                return {"message": "Property reserved is protected"}
            return self.served._patch_image(request, context, request.path.rpartition("/")[2])

        self.http.patch(each(IMAGE, "v2/images"), json=patch)
        told = self.rows("image", "import-full", self.path, code=3)
        made = self.served.images[told["id"]]
        self.assertEqual(("web01", "debian", ["a"]), (made["name"], made["os_distro"], made["tags"]))
        (lost,) = told["not_replayed"]
        self.assertIn("image web01: reserved: ", lost)
        self.assertIn("Property reserved is protected", lost)
        self.assertEqual(["image web01: property reserved is None, not 'x'"], told["differences"])
        self.nothing_is_left()

    def test_a_visibility_that_is_refused(self) -> None:
        self.served.add_image(DATA, visibility="public")
        self.exported("image", "export-full", "web01")

        def patch(request: Any, context: Any) -> Any:
            if request.json()[0]["path"] == "/visibility":
                context.status_code = 403
                return {"message": "You are not authorized to complete publicize_image action."}
            return self.served._patch_image(request, context, request.path.rpartition("/")[2])

        self.http.patch(each(IMAGE, "v2/images"), json=patch)
        told = self.rows("image", "import-full", self.path, code=3)
        self.assertIn("publicize_image", told["not_replayed"][0])
        self.assertEqual(["image web01: visibility is 'private', not 'public'"], told["differences"])

    def test_other_bytes_than_were_sent(self) -> None:
        self.exported_image()
        fill = self.served._fill
        self.served._fill = lambda identifier, data: fill(identifier, data[:-1] + b"!")  # type: ignore[method-assign]
        err = self.fails("image", "import-full", self.path)
        self.assertIn("the cloud has other bytes than were sent", err)
        self.assertIn("[hash-mismatch]", err)
        self.assertEqual({}, self.served.images)
        self.nothing_is_left()

    def test_an_upload_that_ends_short_is_begun_again(self) -> None:
        self.exported_image()
        fill, cut = self.served._fill, [100, len(DATA)]
        self.served._fill = lambda identifier, data: fill(identifier, data[: cut.pop(0)])  # type: ignore[method-assign]
        told = self.rows("image", "import-full", self.path)
        self.assertEqual(DATA, self.served.data[told["id"]])
        self.assertEqual([told["id"]], list(self.served.images))
        self.assertEqual(2, self.served.kinds().count("POST images"))

    def test_a_hash_that_no_other_cloud_has(self) -> None:
        """It is computed of the bundle's file, which is read once more for it."""
        self.exported_image()
        fill = self.served._fill

        def with_another(identifier: str, data: bytes) -> None:
            fill(identifier, data)
            value = hashlib.sha256(data).hexdigest()
            self.served.images[identifier].update(os_hash_algo="sha256", os_hash_value=value)

        self.served._fill = with_another  # type: ignore[method-assign]
        told = self.rows("image", "import-full", self.path)
        self.assertEqual([], told["differences"])

    def test_a_cloud_without_hashes_is_told(self) -> None:
        self.exported_image()
        fill = self.served._fill

        def without(identifier: str, data: bytes) -> None:
            fill(identifier, data)
            self.served.images[identifier].update(os_hash_algo=None, os_hash_value=None, checksum=None)

        self.served._fill = without  # type: ignore[method-assign]
        told = self.rows("image", "import-full", self.path, code=3)
        self.assertEqual(
            ["image web01: the cloud has no hash for it, nothing proves its bytes"], told["differences"]
        )

    def test_on_ceph_another_format_is_recommended(self) -> None:
        self.served.add_image(samples.qcow2(), disk_format="qcow2")
        self.exported("image", "export-full", "web01")
        fill = self.served._fill

        def on_rbd(identifier: str, data: bytes) -> None:
            fill(identifier, data)
            self.served.images[identifier]["direct_url"] = "rbd://f/images/i/snap"

        self.served._fill = on_rbd  # type: ignore[method-assign]
        code, _, err = self.run_openstack("image", "import-full", self.path)
        self.assertEqual(0, code, err)
        self.assertIn("import it with --disk-format raw", err)

    def test_a_dry_run(self) -> None:
        self.exported_image()
        steps = self.rows("image", "import-full", self.path, "--dry-run")
        self.assertEqual(len(DATA), sum(step["Bytes"] or 0 for step in steps))
        self.assertEqual([], self.served.changes())

    def test_a_bundle_that_was_changed_is_refused_before_the_first_effect(self) -> None:
        self.exported_image()
        (self.path / "metadata" / "image.json").write_text("{}")
        err = self.fails("image", "import-full", self.path)
        self.assertIn("[bundle-refused]", err)
        self.assertEqual([], self.served.changes())

    def test_a_disk_that_was_changed_never_becomes_an_image(self) -> None:
        self.exported_image()
        (disk,) = (self.path / "disks").iterdir()
        disk.chmod(0o600)
        disk.write_bytes(DATA[:-1] + b"!")
        err = self.fails("image", "import-full", self.path)
        self.assertIn("[hash-mismatch]", err)
        self.assertEqual({}, self.served.data)
        self.nothing_is_left()

    def test_a_project_that_is_not_there(self) -> None:
        self.exported_image()
        self.http.get(f"{AUTH}/projects/acme", status_code=404)
        self.http.get(f"{AUTH}/projects", json={"projects": []})
        err = self.fails("image", "import-full", self.path, "--project", "acme")
        self.assertIn("no project has the name or ID 'acme'", err)

    def test_for_another_project_and_in_a_store(self) -> None:
        self.exported_image()
        self.http.get(f"{AUTH}/projects/acme", json={"project": {"id": "p9", "name": "acme"}})
        self.http.get(f"{IMAGE}/v2/info/stores", json={"stores": [{"id": "ceph"}, {"id": "fast"}]})
        self.rows("image", "import-full", self.path, "--project", "acme", "--store", "fast")
        ((_, created),) = self.served.sent("POST")
        self.assertEqual("p9", created["owner"])
        (upload,) = [r for r in self.http.request_history if r.method == "PUT"]
        self.assertEqual("fast", upload.headers["X-Image-Meta-Store"])
        err = self.fails("image", "import-full", self.path, "--store", "slow")
        self.assertIn("slow", err)
        self.assertIn("ceph, fast", err)

    def test_converted(self) -> None:
        raw = bytes(1 << 20) + b"x" * 512
        self.served.add_image(raw, disk_format="raw")
        self.exported("image", "export-full", "web01")
        told = self.rows("image", "import-full", self.path, "--disk-format", "qcow2")
        made = self.served.images[told["id"]]
        self.assertEqual("qcow2", made["disk_format"])
        self.assertEqual(b"QFI\xfb", self.served.data[told["id"]][:4])
        self.assertEqual([], told["differences"])
        self.assertEqual({self.path}, set(self.dir.iterdir()) & {self.path})
        self.assertEqual([], [p for p in self.dir.iterdir() if p.name.startswith(".osc")])

    def test_a_dry_run_of_a_conversion(self) -> None:
        self.exported_image()
        steps = self.rows("image", "import-full", self.path, "--disk-format", "qcow2", "--dry-run")
        (convert,) = [step for step in steps if step["Action"] == "convert"]
        self.assertIn("from raw to qcow2", convert["Resource"])
        self.assertEqual((len(DATA), True), (convert["Bytes"], convert["Temporary"]))

    def test_of_volumes_as_volumes(self) -> None:
        """Volumes, their snapshots, and an image of 0 bytes that points at these."""
        volume = self.served.add_volume(ROOT, name="root", volume_image_metadata={"os_distro": "debian"})
        snapshot = self.served.add_snapshot(volume)
        mapping = json.dumps([mapping_entry(snapshot_id=snapshot["id"])])
        self.served.add_image(block_device_mapping=mapping, bdm_v2="True", root_device_name="/dev/vda")
        self.exported("image", "export-full", "web01")
        told = self.rows("image", "import-full", self.path, "--as-volumes")
        self.assertEqual([], told["differences"])
        made = self.served.images[told["id"]]
        ((snapshot_id, new),) = self.served.snapshots.items()
        (entry,) = json.loads(made["block_device_mapping"])
        self.assertEqual(snapshot_id, entry["snapshot_id"])
        self.assertEqual((0, True), (made["size"], new["volume_id"] in self.served.volumes))
        self.assertEqual(ROOT, self.served.disks[snapshot_id])
        self.nothing_is_left()


class TestVolume(ImportCase):
    def exported_volume(self) -> None:
        self.bundle_of(self.path, "import of a volume", self.export)

    def export(self) -> None:
        """A volume with data and no more."""
        self.served.add_volume(ROOT, name="data01")
        self.rows("volume", "export-full", "data01", "--output", self.path)

    def test_the_same_data_and_metadata(self) -> None:
        facts = {"description": "d", "metadata": {"owner": "ops"}, "size": 2, "bootable": "true"}
        volume = self.served.add_volume(
            OTHER, name="data01", volume_image_metadata={"os_distro": "debian"}, **facts
        )
        self.exported("volume", "export-full", "data01")
        told = self.rows("volume", "import-full", self.path)
        self.assertEqual(
            ("data01", "volume", [], []),
            tuple(told[key] for key in ("name", "kind", "differences", "not_replayed")),
        )
        made = self.served.volumes[told["id"]]
        self.assertNotEqual(volume["id"], told["id"])
        self.assertEqual(facts, {key: made[key] for key in facts})
        self.assertEqual("debian", made["volume_image_metadata"]["os_distro"])
        self.assertEqual(OTHER, self.served.disks[told["id"]])
        self.assertEqual({}, self.served.images)
        self.nothing_is_left()

    def test_what_the_options_say(self) -> None:
        self.exported_volume()
        words = ("--size", "5", "--type", "fast", "--non-bootable", "--name", "new")
        told = self.rows("volume", "import-full", self.path, *words)
        made = self.served.volumes[told["id"]]
        self.assertEqual(
            (5, "fast", "false", "new"),
            (made["size"], made["volume_type"], made["bootable"], made["name"]),
        )
        self.assertEqual([], told["differences"])

    def test_all_that_is_wrong_at_once(self) -> None:
        self.served.add_volume(samples.qcow2(virtual_size=3 << 30), name="data01", size=3)
        self.exported("volume", "export-full", "data01")
        words = ("--size", "2", "--type", "gold", "--availability-zone", "mars")
        err = self.fails("volume", "import-full", self.path, *words)
        for wrong in ("gold", "mars", "--size 2: disk volume needs 3 GiB at least"):
            self.assertIn(wrong, err)
        self.assertEqual([], self.served.changes())

    def test_a_volume_that_fails_leaves_no_image(self) -> None:
        self.exported_volume()
        broken = self.served.add_volume(status="error")
        self.http.post(f"{VOLUME}/volumes", json={"volume": broken})
        messages = {"messages": [{"user_message": "no space on the backend"}]}
        self.http.get(f"{VOLUME}/messages", json=messages)
        err = self.fails("volume", "import-full", self.path)
        self.assertIn("is error: no space on the backend", err)
        self.assertEqual(({}, {}), (self.served.images, self.served.volumes))
        self.nothing_is_left()

    def test_what_is_not_as_it_should_be_when_it_is_read_back(self) -> None:
        self.served.add_volume(ROOT, name="data01", metadata={"owner": "ops"})
        self.exported("volume", "export-full", "data01")
        self.http.put(each(VOLUME, "volumes", "/metadata"), json={})
        told = self.rows("volume", "import-full", self.path, code=3)
        (difference,) = told["differences"]
        self.assertIn("volume data01: metadata is ", difference)
        self.assertIn("not {'owner': 'ops'}", difference)

    def test_one_that_is_gone_when_it_is_read_back(self) -> None:
        self.exported_volume()

        def put(request: Any, context: Any) -> Any:
            self.served.volumes.clear()
            return {}

        self.http.put(each(VOLUME, "volumes", "/metadata"), json=put)
        told = self.rows("volume", "import-full", self.path, code=3)
        self.assertEqual(["volume data01: it is gone"], told["differences"])

    def test_what_cannot_be_read_back(self) -> None:
        self.exported_volume()

        def put(request: Any, context: Any) -> Any:
            self.http.get(each(VOLUME, "volumes"), status_code=403, json={"forbidden": {"message": "no"}})
            return {}

        self.http.put(each(VOLUME, "volumes", "/metadata"), json=put)
        told = self.rows("volume", "import-full", self.path, code=3)
        self.assertIn("it could not be read back: ", told["differences"][0])

    def test_a_region_without_block_storage(self) -> None:
        self.exported_volume()
        self.serve(block_storage=False)
        err = self.fails("volume", "import-full", self.path)
        self.assertIn("[service-absent]", err)
        self.assertEqual([], self.served.changes())


class TestServer(ImportCase):
    def exported_server(self) -> None:
        self.bundle_of(self.path, "import of a server", self.export)

    def export(self) -> None:
        """A server with two volumes, metadata and a port."""
        root = self.served.add_volume(ROOT, name="root", status="in-use", volume_image_metadata={"a": "1"})
        data = self.served.add_volume(OTHER, name="data", status="in-use", bootable="false", size=2)
        attached = [{"id": v["id"], "delete_on_termination": False} for v in (root, data)]
        facts: dict[str, Any] = {"metadata": {"role": "web"}, "tags": ["blue"], "description": "the front"}
        server = self.served.add_server(**{"os-extended-volumes:volumes_attached": attached, **facts})
        self.served.add_port(device_id=server["id"])
        self.rows("server", "export-full", "web01", "--output", self.path)

    def test_the_same_server(self) -> None:
        self.exported_server()
        told = self.rows("server", "import-full", self.path, "--wait")
        self.assertEqual(
            ("web01", "server", 2, []), tuple(told[k] for k in ("name", "kind", "disks", "differences"))
        )
        made = self.served.servers[told["id"]]
        self.assertEqual(
            ("web01", {"role": "web"}, ["blue"], "the front"),
            tuple(made[key] for key in ("name", "metadata", "tags", "description")),
        )
        volumes = [self.served.volumes[v["id"]] for v in made["os-extended-volumes:volumes_attached"]]
        self.assertEqual(["root", "data"], [v["name"] for v in volumes])
        self.assertEqual([ROOT, OTHER], [self.served.disks[v["id"]] for v in volumes])
        ((_, created),) = [s for s in self.served.sent("POST") if s[0].endswith("/servers")]
        devices = created["server"]["block_device_mapping_v2"]
        self.assertEqual([0, -1], [d.get("boot_index") for d in devices])
        self.assertEqual("f1", created["server"]["flavorRef"])
        self.assertEqual({}, self.served.images)
        self.nothing_is_left()

    def test_ours_until_it_is_handed_over(self) -> None:
        self.exported_server()
        self.rows("server", "import-full", self.path)
        ((_, created),) = [s for s in self.served.sent("POST") if s[0].endswith("/servers")]
        self.assertTrue(created["server"]["description"].startswith(PREFIX))
        changes = self.served.kinds()
        self.assertLess(changes.index("POST servers"), changes.index("PUT servers"))
        # No volume is handed over before all is there.
        self.assertLess(changes.index("POST servers"), changes.index("PUT volumes"))

    def test_with_its_addresses(self) -> None:
        self.exported_server()
        told = self.rows("server", "import-full", self.path, "--keep-addresses")
        ((_, sent),) = [s for s in self.served.sent("POST") if s[0].endswith("/ports")]
        port = sent["port"]
        self.assertEqual(("fa:16:3e:00:00:01", "n1"), (port["mac_address"], port["network_id"]))
        self.assertTrue(port["name"].startswith(PREFIX))
        ((port_id, made),) = self.served.ports.items()
        self.assertEqual(("", ""), (made["name"], made["description"]))
        ((_, created),) = [s for s in self.served.sent("POST") if s[0].endswith("/servers")]
        self.assertEqual([{"port": port_id}], created["server"]["networks"])
        self.assertEqual([], told["differences"])
        self.nothing_is_left()

    def test_addresses_that_are_taken(self) -> None:
        self.exported_server()
        self.served.add_port()
        err = self.fails("server", "import-full", self.path, "--keep-addresses")
        self.assertIn("10.0.0.5", err)
        self.assertEqual([], self.served.changes())

    def test_names_that_are_not_here_are_listed_together(self) -> None:
        self.exported_server()
        self.served.networks[0].update(id="n2", name="net-b")
        words = ("--flavor", "huge", "--volume-type", "__DEFAULT__=gold", "--security-group", "web")
        err = self.fails("server", "import-full", self.path, *words)
        for wrong in ("huge", "gold", "net-a", "m1.small"):
            self.assertIn(wrong, err)
        self.assertEqual([], self.served.changes())
        told = self.rows(
            "server", "import-full", self.path, "--network", "net-a=net-b", "--key-name", "key-a"
        )
        self.assertIn("net-b", "".join(told["mapped"]))
        self.assertEqual("key-a", self.served.servers[told["id"]]["key_name"])

    def test_user_data(self) -> None:
        self.exported_server()
        file = self.dir / "user-data"
        file.write_text("#cloud-config")
        self.rows("server", "import-full", self.path, "--user-data", file)
        ((_, created),) = [s for s in self.served.sent("POST") if s[0].endswith("/servers")]
        self.assertEqual(encoded("#cloud-config"), created["server"]["user_data"])
        err = self.fails("server", "import-full", self.path, "--user-data", self.dir / "no", code=2)
        self.assertIn("--user-data: cannot read", err)

    def test_a_server_that_fails_takes_all_with_it(self) -> None:
        self.exported_server()
        create = self.served._create_server

        def post(request: Any, context: Any) -> Any:
            answer = create(request, context, "")
            server = self.served.servers[answer["server"]["id"]]
            server.update(status="ERROR", fault={"message": "No valid host was found"})
            return answer

        self.http.post(f"{COMPUTE}/servers", json=post)
        err = self.fails("server", "import-full", self.path, "--wait", "--keep-addresses")
        self.assertIn("is in ERROR: No valid host was found", err)
        self.assertIn("openstack server event list", err)
        served = self.served
        self.assertEqual([{}, {}, {}, {}], [served.servers, served.volumes, served.images, served.ports])
        kinds = self.served.kinds()
        self.assertLess(kinds.index("DELETE servers"), kinds.index("DELETE volumes"))
        self.assertLess(kinds.index("DELETE servers"), kinds.index("DELETE ports"))
        self.nothing_is_left()

    def test_what_a_failed_import_keeps_where_that_is_wanted(self) -> None:
        self.exported_server()
        self.http.post(
            f"{COMPUTE}/servers", status_code=400, json={"badRequest": {"message": "no such zone"}}
        )
        err = self.fails("server", "import-full", self.path, "--keep-on-failure")
        self.assertIn("no such zone", err)
        self.assertEqual(2, len(self.served.volumes))
        for volume in self.served.volumes.values():
            self.assertIn(f"volume {volume['name']} ({volume['id']})", err)
        self.assertIn("openstack leftover list shows what is kept", err)
        (run,) = journaled_runs()
        self.assertEqual(set(self.served.volumes), {entry.id for entry in run.pending})
        # Another command finds them and removes them.
        rows = self.rows("leftover", "list")
        self.assertEqual(set(self.served.volumes), {row["ID"] for row in rows})
        self.rows("leftover", "delete", "--yes", "--run", run.run.id)
        self.assertEqual({}, self.served.volumes)

    def test_a_server_whose_creation_was_never_answered_is_found(self) -> None:
        self.exported_server()
        create = self.served._create_server
        self.patch(creation, "LATEST", 0.01)

        def post(request: Any, context: Any) -> Any:
            create(request, context, "")
            context.status_code = 504
            return {}

        self.http.post(f"{COMPUTE}/servers", json=post)
        told = self.rows("server", "import-full", self.path)
        self.assertEqual([told["id"]], list(self.served.servers))
        self.assertEqual(1, self.served.kinds().count("POST servers"))

    def test_a_port_whose_creation_was_never_answered_is_found(self) -> None:
        self.exported_server()

        def post(request: Any, context: Any) -> Any:
            self.served.add_port(**request.json()["port"])
            context.status_code = 502
            return {}

        self.http.post(f"{NETWORK}/v2.0/ports", json=post)
        self.rows("server", "import-full", self.path, "--keep-addresses")
        self.assertEqual(1, len(self.served.ports))

    def test_how_it_differs_when_it_is_read_back(self) -> None:
        self.exported_server()
        create = self.served._create_server

        def post(request: Any, context: Any) -> Any:
            answer = create(request, context, "")
            server = self.served.servers[answer["server"]["id"]]
            server.update(tags=[], key_name="other", metadata={"role": "db"})
            return answer

        self.http.post(f"{COMPUTE}/servers", json=post)
        told = self.rows("server", "import-full", self.path, code=3)
        self.assertEqual(
            {
                "server web01: metadata is {'role': 'db'}, not {'role': 'web'}",
                "server web01: tags is [], not ['blue']",
                "server web01: key_name is 'other', not None",
            },
            set(told["differences"]),
        )

    def test_devices_that_cannot_be_read_are_no_failure(self) -> None:
        self.exported_server()
        self.http.get(each(COMPUTE, "servers", "/os-volume_attachments"), status_code=403)
        told = self.rows("server", "import-full", self.path, "--wait", code=3)
        self.assertEqual(
            [f"server web01: device of {name} is None, not '/dev/{name}'" for name in ("vda", "vdb")],
            told["differences"],
        )

    def test_an_older_cloud_is_sent_what_it_knows(self) -> None:
        self.exported_server()
        self.serve(compute_max="2.15")
        told = self.rows("server", "import-full", self.path, code=3)
        ((_, created),) = [s for s in self.served.sent("POST") if s[0].endswith("/servers")]
        self.assertEqual(set(), {"description", "tags", "hostname"} & set(created["server"]))
        self.assertIn("server web01: tags is [], not ['blue']", told["differences"])

    def test_one_that_boots_from_an_image(self) -> None:
        image = self.served.add_image(b"base" * 1000, name="debian")
        self.served.add_server(image={"id": image["id"]})
        self.exported("server", "export-full", "web01")
        told = self.rows("server", "import-full", self.path)
        ((_, created),) = [s for s in self.served.sent("POST") if s[0].endswith("/servers")]
        ((image_id, made),) = self.served.images.items()
        self.assertEqual(image_id, created["server"]["imageRef"])
        self.assertEqual(b"captured root disk" * 100, self.served.data[image_id])
        self.assertIn(image_id, "".join(told["mapped"]))
        self.assertEqual("private", made["visibility"])
        self.nothing_is_left()

    def test_a_dry_run(self) -> None:
        self.exported_server()
        steps = self.rows("server", "import-full", self.path, "--dry-run", "--keep-addresses")
        self.assertEqual([], self.served.changes())
        actions = [step["Action"] for step in steps if step["Step"]]
        self.assertEqual(2, actions.count("create volume"))
        self.assertLess(actions.index("create port"), actions.index("create server"))
