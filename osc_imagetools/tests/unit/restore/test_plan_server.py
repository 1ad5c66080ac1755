# SPDX-License-Identifier: Apache-2.0
from osc_imagetools import errors
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.quota import Quota
from osc_imagetools.cloud.server import ASKED_ZONE
from osc_imagetools.restore.inventory import Destination
from osc_imagetools.restore.inventory_server import Flavor, Named, Network, ServerDestination
from osc_imagetools.restore.plan_networks import kept_addresses
from osc_imagetools.restore.plan_server import plan_server_import
from osc_imagetools.restore.plan_server_options import ServerImportOptions
from osc_imagetools.restore.plan_volume import VolumeImportOptions, plan_volume_import
from osc_imagetools.tests.unit.base import PROJECT, TestCase
from osc_imagetools.tests.unit.restore.plans import images, ports, server, volumes

GIB = 1 << 30
ORIGIN = Origin("elsewhere", "RegionTwo", None, PROJECT, "demo")


def disk(index, device, *, role="data", volume=None, **changes):
    facts = {"name": f"v{index}", "size": 2, "volume_type": "fast", "bootable": role == "boot"}
    return {
        "index": index,
        "name": device.rsplit("/", 1)[-1],
        "file": f"disks/{index}.qcow2",
        "role": role,
        "boot_index": 0 if role == "boot" else None,
        "device": device,
        "disk_format": "qcow2",
        "container_format": "bare",
        "content_format": "qcow2",
        "size": 1000,
        "virtual_size": GIB,
        "hash": {"algorithm": "sha512", "value": "00"},
        "replayable": {"volume": facts if volume is None else volume, "block_device": {"tag": f"t{index}"}},
        "observed": {},
        **changes,
    }


BOOT, DATA = disk(0, "/dev/vda", role="boot"), disk(1, "/dev/vdb")
PORT = {
    "name": "p",
    "network": "private",
    "network_id": "n-old",
    "mac_address": "fa:16:3e:00:00:01",
    "fixed_ips": [{"ip_address": "10.0.0.7", "cidr": "10.0.0.0/24"}],
    "floating_ips": [],
    "security_groups": ["web"],
    "tag": "lan",
}


def manifest(*disks, kind="server", **facts):
    replayable = {
        "name": "web01",
        "hostname": "db-1",
        "pinned_availability_zone": None,
        "description": "mine",
        "metadata": {"a": "b"},
        "tags": ["t"],
        "boot_from": "volume",
        "flavor": {"name": "m1", "vcpus": 2, "ram": 1024, "disk": 0},
        "ports": [PORT],
        "security_groups": [],
        **facts,
    }
    return {
        "kind": kind,
        "resource": {"id": "s1", "name": "web01"},
        "hash_algorithm": "sha512",
        "disks": list(disks or (BOOT, DATA)),
        "not_captured": [],
        "replayable": replayable,
    }


def destination(**changes):
    storage = Destination(
        origin=ORIGIN,
        stores=(),
        block_storage=changes.pop("block_storage", True),
        volume_types=("fast", "slow"),
        quota=Quota(changes.pop("volumes_left", {})),
        owner=None,
        volume_zones=("nova",),
    )
    fields = {
        "flavors": (
            Flavor("f1", "m1", 2, 1024, 0),
            Flavor("f2", "large", 4, 4096, 40),
            Flavor("f3", "small", 1, 64, 1),
        ),
        "networks": (
            Network("n1", "private", (("sub1", "10.0.0.0/24"),)),
            Network("n2", "dmz", (("sub2", "10.9.0.0/24"),)),
        ),
        "security_groups": (Named("g1", "web"), Named("g2", "default")),
        "key_pairs": ("me",),
        "server_groups": (Named("sg1", "group"),),
        "zones": ("nova",),
        "left": {},
        "taken": frozenset(),
        "microversion": "2.100",
        **changes,
    }
    return ServerDestination(storage=storage, **fields)


def plan(document=None, to=None, **options):
    return plan_server_import(document or manifest(), to or destination(), ServerImportOptions(**options))


class TestServer(TestCase):
    def lost(self, made):
        return {entry.what for entry in made.not_replayed}

    def problems(self, *texts, **kwargs):
        error = self.assertRaises(errors.ImagetoolsError, plan, **kwargs)
        for text in texts:
            self.assertIn(text, str(error))
        return error

    def test_as_it_was(self):
        made = plan()
        created = server(made)
        draft = created.draft
        self.assertEqual(("web01", "mine"), (draft.name, draft.description))
        self.assertEqual("f1", draft.body["flavorRef"])
        self.assertEqual([{"uuid": "n1", "tag": "lan"}], draft.body["networks"])
        self.assertEqual([{"name": "g1"}], draft.body["security_groups"])
        self.assertEqual(
            ({"a": "b"}, ["t"], "db-1"), tuple(draft.body[k] for k in ("metadata", "tags", "hostname"))
        )
        self.assertEqual(["v0", "v1"], [v.keep.name for v in volumes(made)])
        self.assertEqual([2 * GIB] * 2, [v.size for v in volumes(made)])
        self.assertEqual({"vda": "/dev/vda", "vdb": "/dev/vdb"}, draft.expected)
        self.assertEqual([0, -1], [d.entry["boot_index"] for d in created.disks])
        self.assertEqual(["t0", "t1"], [d.entry["tag"] for d in created.disks])

    def test_the_devices_are_in_the_order_of_their_names_and_the_boot_disk_is_first(self):
        disks = (
            disk(0, "/dev/vdaa"),
            disk(1, "/dev/vdb", role="boot"),
            disk(2, "/dev/vda"),
            disk(3, "/dev/vdc"),
        )
        made = plan(manifest(*disks))
        self.assertEqual(["vdb", "vda", "vdc", "vdaa"], [d.disk for d in server(made).disks])
        self.assertEqual([v.makes for v in volumes(made)], [d.source for d in server(made).disks])

    def test_everything_that_cannot_be_resolved_is_listed_at_once(self):
        to = destination(flavors=(Flavor("f3", "small", 1, 64, 1), Flavor("f2", "large", 4, 4096, 40)))
        document = manifest(
            disk(0, "/dev/vda", role="boot", volume={"volume_type": "gone"}),
            ports=[{**PORT, "network": "lost", "security_groups": ["lost-group"]}],
        )
        error = self.problems(
            "flavor 'm1'",
            "candidates: large",
            "volume type 'gone'",
            "network lost",
            "candidates: private (n1), dmz",
            "'lost-group'",
            "no key pair 'nobody'",
            "zone 'moon'",
            document=document,
            to=to,
            key_name="nobody",
            availability_zone="moon",
        )
        self.assertNotIn("small (", str(error))

    def test_what_is_mapped(self):
        document = manifest(disk(0, "/dev/vda", role="boot", volume={"volume_type": "gone"}))
        made = plan(
            document,
            flavor="large",
            networks={"private": "dmz"},
            volume_types={"gone": "slow"},
            security_groups=("default",),
            key_name="me",
            name="copy",
        )
        self.assertEqual("f2", server(made).draft.body["flavorRef"])
        self.assertEqual("n2", server(made).draft.body["networks"][0]["uuid"])
        self.assertEqual([{"name": "g2"}], server(made).draft.body["security_groups"])
        self.assertEqual(("slow", "copy"), (volumes(made)[0].volume_type, server(made).draft.name))
        self.assertNotIn("hostname", server(made).draft.body)
        for text in ("flavor m1 -> large", "private -> dmz", "gone -> slow", "key pair None -> me"):
            self.assertIn(text, "\n".join(made.mapped))

    def test_a_mapping_of_what_is_not_there(self):
        self.problems("--network office", "its networks: private", networks={"office": "dmz"})

    def test_a_network_of_the_same_id_wins_over_its_namesakes(self):
        networks = (Network("n-old", "x", ()), Network("n1", "private", ()), Network("n2", "private", ()))
        self.assertEqual(
            "n-old", server(plan(to=destination(networks=networks))).draft.body["networks"][0]["uuid"]
        )
        self.problems("several networks", to=destination(networks=networks[1:]))

    def test_no_port_at_all(self):
        for document, options in ((manifest(ports=[]), {}), (manifest(), {"networks": {"private": "none"}})):
            made = plan(document, **options)
            self.assertEqual("none", server(made).draft.body["networks"])
            self.assertNotIn("security_groups", server(made).draft.body)

    def test_the_addresses_are_kept(self):
        made = plan(keep_addresses=True)
        (port,) = ports(made)
        self.assertEqual([{"subnet_id": "sub1", "ip_address": "10.0.0.7"}], port.draft.body["fixed_ips"])
        self.assertEqual(
            (PORT["mac_address"], ["g1"]),
            (port.draft.body["mac_address"], port.draft.body["security_groups"]),
        )
        self.assertEqual("lan", server(made).ports[0].tag)
        self.assertEqual([PORT["mac_address"], "10.0.0.7"], kept_addresses(manifest()["replayable"]))

    def test_addresses_that_cannot_be_kept(self):
        self.problems("in no subnet of dmz", keep_addresses=True, networks={"private": "dmz"})
        to = destination(taken=frozenset({("n1", "10.0.0.7"), ("n2", PORT["mac_address"])}))
        error = self.problems("10.0.0.7 is in use", to=to, keep_addresses=True)
        self.assertNotIn(PORT["mac_address"], str(error))

    def test_what_only_kept_addresses_keep_is_told(self):
        port = {**PORT, "allowed_address_pairs": [{"ip_address": "10.0.0.8"}], "floating_ips": ["1.2.3.4"]}
        document = manifest(ports=[port])
        self.assertIn("port in network private: allowed address pairs", self.lost(plan(document)))
        kept = plan(document, keep_addresses=True)
        self.assertEqual({"floating IP address 1.2.3.4"}, self.lost(kept))
        self.assertEqual([{"ip_address": "10.0.0.8"}], ports(kept)[0].draft.body["allowed_address_pairs"])

    def test_a_flavor_of_the_name_that_is_smaller(self):
        to = destination(flavors=(Flavor("f1", "m1", 1, 1024, 0), Flavor("f2", "large", 4, 4096, 40)))
        self.problems("'m1' is smaller here", "candidates: large", to=to)
        self.assertEqual("f1", server(plan(to=to, flavor="m1")).draft.body["flavorRef"])

    def test_from_an_image(self):
        self.problems("no root disk of its own", "candidates: large", boot_from="image")
        made = plan(boot_from="image", flavor="large")
        (image,) = images(made)
        first, second = server(made).disks
        self.assertEqual(
            ("image", "local", "volume"),
            (first.entry["source_type"], first.entry["destination_type"], second.source.kind),
        )
        self.assertEqual(("image", "disks/0.qcow2"), (first.source.kind, image.file))
        self.assertEqual(["v1"], [v.keep.name for v in volumes(made)])

    def test_devices_that_move_up(self):
        flavor = {"name": "m1", "vcpus": 1, "ram": 64, "disk": 0, "swap": 64}
        self.assertEqual({"vda", "vdb"}, set(server(plan(manifest(flavor=flavor))).draft.expected))
        made = plan(manifest(flavor=flavor), flavor="large")
        self.assertEqual({"vda"}, set(server(made).draft.expected))
        self.assertIn("devices of vdb", "".join(made.mapped))

    def test_the_properties_that_decide_the_boot_come_along(self):
        facts = {"boot_from": "image", "image_properties": {"hw_firmware_type": "uefi", "os_hash_value": "x"}}
        document = manifest(disk(0, "/dev/vda", role="boot", volume={}), **facts)
        self.assertEqual({"hw_firmware_type": "uefi"}, images(plan(document, flavor="large"))[0].properties)
        volume = volumes(plan(document, boot_from="volume"))[0]
        self.assertEqual({"hw_firmware_type": "uefi"}, volume.keep.properties)
        self.assertTrue(volume.keep.bootable)

    def test_without_block_storage(self):
        to = destination(block_storage=False)
        self.problems("[service-absent]", "--boot-from image", to=to)
        made = plan(to=to, boot_from="image", flavor="large")
        self.assertEqual(([], 2), (volumes(made), len(images(made))))
        self.assertEqual(1, len(server(made).disks))
        self.assertIn("disk vdb", self.lost(made))

    def test_a_bundle_without_the_boot_disk(self):
        error = self.problems("no disk to boot from", document=manifest(DATA))
        self.assertIn("volume import-full <bundle> --disk <name>", str(error))

    def test_quotas(self):
        to = destination(left={"instances": 0, "cores": 1}, volumes_left={"volumes": 1, "gigabytes": 3})
        self.problems("quota instances", "quota cores", "quota volumes", "quota gigabytes", to=to)

    def test_what_is_not_replayed_is_told(self):
        document = manifest(
            key_name="gone",
            key_pair={"public_key": "ssh-rsa"},
            server_group={"id": "x", "name": "lost"},
            scheduler_hints={"group": ["x"], "different_host": ["s2"]},
            unreadable={"user data": "admins only"},
            pinned_availability_zone="moon",
        )
        document["not_captured"] = [{"name": "swap", "device": None, "reason": "swap", "detail": ""}]
        expected = {
            "key pair gone",
            "server group lost",
            "scheduler hint different_host",
            "user data",
            "availability zone moon",
            "swap",
        }
        self.assertEqual(expected, self.lost(plan(document)))

    def test_what_the_export_could_not_read_is_told(self):
        unreadable = {"user data": "a", "ports": "no network service", "flavor": "refused", "image": "gone"}
        document = manifest(ports=[], unreadable=unreadable)
        self.assertEqual({"user data", "ports", "flavor"}, self.lost(plan(document)))
        (lost,) = (entry for entry in plan(document).not_replayed if entry.what == "ports")
        self.assertEqual(
            "it is not in the bundle: no network service; the server gets no network", lost.reason
        )

    def test_a_zone_that_nobody_asked_for_is_not_asked_for(self):
        document = manifest(availability_zone="nova", pinned_availability_zone=None)
        self.assertNotIn("availability_zone", server(plan(document)).draft.body)
        asked = plan(manifest(availability_zone="nova", pinned_availability_zone="nova"))
        self.assertEqual("nova", server(asked).draft.body["availability_zone"])

    def test_a_cloud_that_does_not_tell_whether_a_zone_was_asked_for(self):
        """Before 2.96: it tells where the server was, which nobody may have chosen."""
        document = manifest(availability_zone="nova")
        del document["replayable"]["pinned_availability_zone"]
        made = plan(document)
        self.assertNotIn("availability_zone", server(made).draft.body)
        self.assertEqual({"availability zone nova"}, self.lost(made))
        document["replayable"]["unreadable"] = {ASKED_ZONE: "a cloud tells it from 2.96 on"}
        self.assertEqual({ASKED_ZONE}, self.lost(plan(document)))
        chosen = plan(document, availability_zone="nova")
        self.assertEqual("nova", server(chosen).draft.body["availability_zone"])

    def test_a_host_name_that_this_cloud_does_not_take(self):
        made = plan(manifest(hostname="db.example.org"), destination(microversion="2.93"))
        self.assertNotIn("hostname", server(made).draft.body)
        self.assertEqual({"host name db.example.org"}, self.lost(made))

    def test_a_server_group_of_the_name(self):
        made = plan(manifest(server_group={"id": "x", "name": "group"}))
        self.assertEqual({"group": "sg1"}, server(made).draft.hints)

    def test_another_kind_of_bundle(self):
        error = self.assertRaises(errors.UsageError, plan, manifest(kind="volume"))
        self.assertIn("volume import-full", str(error))

    def test_encrypted(self):
        document = manifest(disk(0, "/dev/vda", role="boot", volume={"encrypted": True}))
        self.problems("encrypted a second time", "cinder_encryption_key_id", document=document)

    def test_the_steps(self):
        actions = [s.action for s in plan(keep_addresses=True).steps() if s.number]
        volume = ["create image", "create volume", "verify", "delete image"]
        handed_over = ["set metadata"] * 4  # two volumes, a port, the server
        self.assertEqual([*volume * 2, "create port", "create server", *handed_over], actions)


class TestVolume(TestCase):
    def plan(self, document=None, **options):
        document = document or manifest(disk(0, "volume"), kind="volume")
        return plan_volume_import(document, destination().storage, VolumeImportOptions(**options))

    def facts(self, volume):
        return volume.keep.name, volume.size, volume.volume_type, volume.keep.bootable

    def test_as_it_was(self):
        (volume,) = volumes(self.plan())
        self.assertEqual(("v0", 2 * GIB, "fast", False), self.facts(volume))

    def test_what_is_asked_for(self):
        made = self.plan(name="n", size=9, volume_type="slow", bootable=True)
        (volume,) = volumes(made)
        self.assertEqual(("n", 9 * GIB, "slow", True), self.facts(volume))
        self.assertEqual(("volume type fast -> slow",), made.mapped)

    def test_what_does_not_fit_is_listed_at_once(self):
        document = manifest(disk(0, "volume", virtual_size=3 * GIB + 1), kind="volume")
        error = self.assertRaises(
            errors.Unready, self.plan, document, size=3, volume_type="gone", availability_zone="moon"
        )
        for text in ("4 GiB at least", "'gone'", "'moon'"):
            self.assertIn(text, str(error))

    def test_one_disk_of_a_server(self):
        (volume,) = volumes(self.plan(manifest(), disk="vdb"))
        self.assertEqual("v1", volume.keep.name)
        error = self.assertRaises(errors.UsageError, self.plan, manifest(), disk="vdz")
        self.assertIn("vda, vdb", str(error))
        self.assertRaises(errors.UsageError, self.plan, manifest())

    def test_a_zone_that_is_not_here_is_left_out(self):
        document = manifest(disk(0, "volume", volume={"availability_zone": "moon"}), kind="volume")
        made = self.plan(document)
        self.assertIsNone(volumes(made)[0].zone)
        self.assertIn("moon", made.not_replayed[0].what)
