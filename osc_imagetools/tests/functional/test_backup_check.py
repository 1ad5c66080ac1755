# SPDX-License-Identifier: Apache-2.0
"""``server backup-check``: a real server for each reason that can be provoked on the embedded cloud."""

import json
import uuid
from typing import Any

import fixtures
from openstack.config import OpenStackConfig

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.terminal import on_terminal

ADMIN = "devcloud-demo-admin"
# What a host says of itself when it attaches a volume.
CONNECTOR = {
    "host": "nowhere",
    "ip": "127.0.0.1",
    "initiator": "iqn.1994-05.test:nowhere",
    "multipath": False,
    "platform": "x86_64",
    "os_type": "linux",
}
SEVERITIES = ("info", "warning", "critical")


class Fleet(base.TestCase):
    """Makes servers in one go, and removes all of them and what hangs on them in one go.

    Names of servers, volumes and images begin with ``name``.
    """

    nova: Any
    cinder: Any
    glance: Any
    admin: Any

    def setUp(self):
        super().setUp()
        self.nova = self.connection().compute
        self.cinder = self.connection().block_storage
        self.glance = self.connection().image
        self.admin = self.connection(ADMIN)
        self.flavors = {flavor.name: flavor.id for flavor in self.nova.flavors()}
        self.servers = {}
        self.volumes = []

    def disks(self, count, image):
        """The IDs of new volumes; the first of them boots."""
        for number in range(count):
            fields = {"image_id": image} if number == 0 else {}
            made = self.cinder.create_volume(name=f"{self.name}-{len(self.volumes)}", size=1, **fields)
            self.volumes.append(made.id)
        return self.volumes[-count:]

    def boot(self, name, flavor="tiny-1g", *, image=None, volumes=(), terminate=False):
        """Asks for a server called ``<name of the test>-<name>``; it need not be there yet."""
        mapping = [
            {
                "uuid": volume,
                "source_type": "volume",
                "destination_type": "volume",
                "boot_index": 0 if number == 0 and not image else -1,
                "delete_on_termination": terminate,
            }
            for number, volume in enumerate(volumes)
        ]
        if image:
            local = {"uuid": image, "source_type": "image", "destination_type": "local", "boot_index": 0}
            mapping.insert(0, local)
        server = self.nova.create_server(
            name=f"{self.name}-{name}",
            flavor_id=self.flavors[flavor],
            networks="none",
            block_device_mapping=mapping,
            **({"image_id": image} if image else {}),
        )
        self.servers[name] = server.id

    def settled(self, name, status):
        server = self.nova.get_server(self.servers[name])
        return server.status == status and server.task_state is None

    def await_servers(self, status, *names):
        for name in names or self.servers:
            self.wait(lambda name=name: self.settled(name, status), True)

    def act(self, name, action, value=None, connection=None):
        answer = (connection.compute if connection else self.nova).post(
            f"/servers/{self.servers[name]}/action", json={action: value}
        )
        self.assertLess(answer.status_code, 300, answer.text)

    def backups(self, *names):
        """The IDs of what "server image create" makes of servers, by name, once they are whole."""
        made = {n: self.nova.create_server_image(self.servers[n], f"{self.name}-{n}").id for n in names}
        for image in made.values():
            self.wait(lambda i=image: self.glance.get_image(i).status, "active")
        self.wait(lambda: {s.status for s in self.snapshots()} <= {"available"}, True)
        self.await_servers("ACTIVE", *names)  # Nova is busy a little longer than the image
        return made

    def snapshots(self):
        return [s for s in self.cinder.snapshots() if s.volume_id in self.volumes]

    def volume_status(self, volume, **status):
        answer = self.admin.block_storage.post(f"/volumes/{volume}/action", json={"os-reset_status": status})
        self.assertEqual(202, answer.status_code, answer.text)

    def remove_all(self):
        for name, server in self.servers.items():
            self.act(name, "unlock")
            self.nova.delete_server(server, ignore_missing=True)
        for server in self.servers.values():
            self.wait(lambda s=server: self.nova.find_server(s, ignore_missing=True), None)
        for image in self.glance.images():
            if image.name.startswith(self.name):
                self.remove_image(image.id)
        for snapshot in self.snapshots():
            self.cinder.delete_snapshot(snapshot.id, ignore_missing=True)
        self.wait(lambda: len(self.snapshots()), 0)
        for volume in self.cinder.volumes():
            if volume.id in self.volumes and volume.status not in ("available", "error"):
                self.volume_status(volume.id, status="available", attach_status="detached")
        for volume in self.volumes:
            self.cinder.delete_volume(volume, ignore_missing=True)
        for volume in self.volumes:
            self.wait(lambda v=volume: self.cinder.find_volume(v, ignore_missing=True), None)

    def check(self, *words, code=0, cloud="devcloud-demo"):
        """The findings as JSON."""
        words = ("server", "backup-check", *words, "--long", "-f", "json")
        return self.openstack(*words, code=code, cloud=cloud).json


def reasons(rows, server_id, above=None):
    """The reasons of one server, with their severities; only those above a severity."""
    return {
        row["Reason"]: row["Severity"]
        for row in rows
        if row["ID"] == server_id
        and (above is None or SEVERITIES.index(row["Severity"]) > SEVERITIES.index(above))
    }


class TestBackupCheck(base.TestCase):
    fleet: Fleet
    images: dict[str, str]
    rows: list[dict[str, Any]]
    agent: str
    quiesce: str
    volroot: list[str]
    dead: list[str]
    extra: list[str]
    sick: list[str]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fleet = fleet = Fleet("id")
        fleet.setUp()
        cls.addClassCleanup(fleet.doCleanups)
        cls.addClassCleanup(fleet.remove_all)  # called for itself, so that its failure is seen
        image = fleet.image(fleet.guest_disk())
        cls.agent = fleet.image(
            fleet.guest_disk(), hw_qemu_guest_agent="yes", os_require_quiesce="no", cleanup=False
        )
        cls.quiesce = fleet.image(fleet.guest_disk(), os_require_quiesce="yes")
        flavor = fleet.admin.compute.create_flavor(name=fleet.name, ram=64, vcpus=1, disk=1)
        fleet.addCleanup(fleet.admin.compute.delete_flavor, flavor.id, ignore_missing=True)
        fleet.flavors[fleet.name] = flavor.id
        cls.volroot, cls.dead = fleet.disks(2, image), fleet.disks(2, image)
        cls.extra, cls.sick = fleet.disks(1, image), fleet.disks(3, image)
        for volume in fleet.volumes:
            fleet.wait(lambda v=volume: fleet.cinder.get_volume(v).status, "available")
        fleet.boot("plain", image=image)
        fleet.boot("agent", image=cls.agent)
        fleet.boot("extra", "tiny-extra", image=image)
        fleet.boot("volroot", "tiny", volumes=cls.volroot)
        fleet.boot("dead", "tiny", volumes=cls.dead, terminate=True)
        fleet.boot("sick", image=image, volumes=cls.sick)
        fleet.boot("quiesce", fleet.name, image=cls.quiesce)
        fleet.boot("shelved", image=image)
        fleet.await_servers("ACTIVE")
        fleet.admin.compute.delete_flavor(flavor.id)
        cls.provoke()
        # Nobody else's servers: only an own name is looked at.
        cls.rows = fleet.check("--name", f"^{fleet.name}", code=3)

    @classmethod
    def provoke(cls):
        fleet = cls.fleet
        fleet.act("shelved", "shelve")
        cls.images = fleet.backups("plain", "volroot", "dead", "extra")
        fleet.nova.create_volume_attachment(fleet.servers["extra"], volume_id=cls.extra[0])
        fleet.wait(lambda: fleet.cinder.get_volume(cls.extra[0]).status, "in-use")
        fleet.act("extra", "os-stop")
        gone = next(s for s in fleet.snapshots() if s.volume_id == cls.dead[1])
        fleet.cinder.delete_snapshot(gone.id)
        fleet.wait(lambda: fleet.cinder.find_snapshot(gone.id, ignore_missing=True), None)
        fleet.act("agent", "lock")
        fleet.remove_image(cls.agent)
        error, busy, lost = cls.sick
        # Ceph removes no disk that a guest holds open.
        fleet.act("sick", "os-stop")
        fleet.await_servers("SHUTOFF", "sick")
        fleet.volume_status(error, status="error")
        fleet.volume_status(busy, status="maintenance")
        fleet.volume_status(lost, status="available", attach_status="detached")
        fleet.admin.block_storage.delete_volume(lost, force=True)
        fleet.wait(lambda: fleet.cinder.find_volume(lost, ignore_missing=True), None)
        fleet.act("sick", "os-resetState", {"state": "error"}, fleet.admin)
        fleet.await_servers("SHUTOFF", "extra")
        fleet.wait(lambda: fleet.settled("shelved", "SHELVED_OFFLOADED"), True)

    def reasons(self, name, above=None):
        return reasons(self.rows, self.fleet.servers[name], above)

    def test_each_reason(self):
        info, warning, critical = SEVERITIES
        expected = {
            "plain": {"consistency-crash": info, "newest-backup": info},
            "agent": {
                "boot-image-gone": warning,
                "consistency-freeze-requested": info,
                "locked": warning,
                "no-backup": warning,
            },
            "extra": {
                "consistency-stopped": info,
                "ephemeral-disk": warning,
                "newest-backup": info,
                "swap-disk": warning,
                "volume-attached-since": warning,
                "volumes-not-in-image": warning,
            },
            "volroot": {
                "backup-without-bytes": info,
                "boots-from-volume": info,
                "consistency-crash": info,
                "newest-backup": info,
            },
            "dead": {
                "backup-dead": critical,
                "backup-lacks-disks": warning,
                "boots-from-volume": warning,
                "consistency-crash": info,
                "delete-on-termination": warning,
                "newest-backup": info,
            },
            "sick": {
                "no-backup": warning,
                "server-in-error": critical,
                "volume-busy": warning,
                "volume-gone": critical,
                "volume-in-error": critical,
                "volumes-not-in-image": warning,
            },
            "quiesce": {
                "consistency-crash": info,
                "flavor-gone": warning,
                "no-backup": warning,
                "quiesce-impossible": critical,
            },
            # The image that Nova keeps of it is no backup.
            "shelved": {"no-backup": warning, "shelved": warning},
        }
        self.assertEqual(expected, {name: self.reasons(name) for name in expected})

    def test_the_numbers_are_the_servers_own(self):
        said = {(row["ID"], row["Reason"]): row for row in self.rows}
        servers = self.fleet.servers
        dead = said[servers["dead"], "backup-dead"]
        self.assertIn(self.images["dead"], dead["Message"])
        self.assertIn(f"openstack image delete {self.images['dead']}", dead["Action"])
        self.assertIn(self.sick[2], said[servers["sick"], "volume-gone"]["Message"])
        self.assertIn("maintenance", said[servers["sick"], "volume-busy"]["Message"])
        self.assertIn("1 GiB", said[servers["extra"], "ephemeral-disk"]["Message"])
        self.assertIn("64 MiB", said[servers["extra"], "swap-disk"]["Message"])
        self.assertIn("2 snapshots (2 GiB)", said[servers["volroot"], "boots-from-volume"]["Message"])
        self.assertIn(self.agent, said[servers["agent"], "boot-image-gone"]["Message"])

    def test_the_cloud_does_what_is_said_of_it(self):
        nova, servers = self.fleet.nova, self.fleet.servers
        empty = self.fleet.glance.get_image(self.images["volroot"])
        self.assertEqual((0, "active"), (empty.size, empty.status))
        self.assertEqual("active", self.fleet.glance.get_image(self.images["dead"]).status)
        body = {"createBackup": {"name": self.name, "backup_type": "daily", "rotation": 1}}
        answer = nova.post(f"/servers/{servers['volroot']}/action", json=body)
        self.assertEqual(400, answer.status_code)
        for name in ("sick", "shelved"):
            answer = nova.post(f"/servers/{servers[name]}/action", json={"createImage": {"name": self.name}})
            self.assertEqual(409, answer.status_code, name)

    def test_a_complete_backup_is_enough(self):
        servers = [self.fleet.servers[name] for name in ("plain", "volroot")]
        words = ("--max-age", "1d", "--fail-on", "warning")
        rows = self.fleet.check(*servers, *words)
        self.assertEqual(set(servers), {row["ID"] for row in rows})
        self.assertEqual({"info"}, {row["Severity"] for row in rows})

    def test_the_age_of_the_newest(self):
        agent = f"{self.fleet.name}-agent"
        rows = self.fleet.check(agent, "--max-age", "1d", "--severity", "critical", code=3)
        self.assertEqual(["backup-too-old"], [row["Reason"] for row in rows])
        self.fleet.check(agent, "--max-age", "1d", "--fail-on", "never")

    def test_a_quota_that_is_too_small(self):
        cinder, project = self.fleet.admin.block_storage, self.fleet.cinder.get_project_id()
        path = f"/os-quota-sets/{project}"
        before = cinder.get(path).json()["quota_set"]["snapshots"]
        self.addCleanup(cinder.put, path, json={"quota_set": {"snapshots": before}})
        used = cinder.get(f"{path}?usage=true").json()["quota_set"]["snapshots"]["in_use"]
        cinder.put(path, json={"quota_set": {"snapshots": used + 1}})
        rows = self.fleet.check(self.fleet.servers["dead"], code=3)
        (row,) = [row for row in rows if row["Reason"] == "quota-too-small"]
        self.assertEqual("critical", row["Severity"])
        self.assertIn("is too small: 2 needed, 1 left", row["Message"])
        # A complete backup is there already.
        copied = self.fleet.servers["volroot"]
        self.assertEqual("info", reasons(self.fleet.check(copied), copied)["quota-too-small"])

    def test_a_region_without_volumes(self):
        plain, volroot = self.fleet.servers["plain"], self.fleet.servers["volroot"]
        rows = self.fleet.check(plain, volroot, cloud="devcloud-novolume", code=3)
        self.assertEqual({}, reasons(rows, plain, above="info"))
        self.assertIn("no-volume-service", reasons(rows, plain))
        self.assertEqual("critical", reasons(rows, volroot)["volumes-out-of-reach"])

    def test_a_volume_service_that_is_down(self):
        clouds = OpenStackConfig().cloud_config
        clouds["clouds"]["devcloud-demo"]["block_storage_endpoint_override"] = "http://127.0.0.1:9/v3"
        (self.dir / "clouds.yaml").write_text(json.dumps(clouds))
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(self.dir / "clouds.yaml")))
        plain, volroot = self.fleet.servers["plain"], self.fleet.servers["volroot"]
        rows = self.fleet.check("--name", f"^{self.fleet.name}-(plain|volroot)", code=3)
        self.assertEqual({}, reasons(rows, plain, above="info"))
        self.assertEqual("critical", reasons(rows, volroot)["not-judged"])
        self.assertNotIn("volumes-out-of-reach", reasons(rows, volroot))

    def test_bundles_count(self):
        plain, image = self.fleet.servers["plain"], self.images["plain"]
        self.openstack("server", "export-full", plain, "--output", self.dir / "bundle")
        glance = self.fleet.admin.image
        self.addCleanup(glance.reactivate_image, image)
        glance.deactivate_image(image)
        self.assertEqual(
            {"backup-unusable": "warning", "no-backup": "warning"},
            reasons(self.fleet.check(plain), plain, above="info"),
        )
        rows = self.fleet.check(plain, "--bundles", self.dir)
        self.assertEqual({}, reasons(rows, plain, above="info"))
        self.assertIn(str(self.dir / "bundle"), str(rows))

    def test_filters_and_summary(self):
        words = ("--summary", "--name", f"^{self.fleet.name}", "--fail-on", "never")
        rows = self.fleet.check(
            *words, "--status", "SHUTOFF", "--project", base.project("demo"), cloud="devcloud-admin"
        )
        self.assertEqual([self.fleet.servers["extra"]], [row["ID"] for row in rows])
        row = rows[0]
        self.assertEqual(
            [f"{self.fleet.name}-extra", "warning", "image", 4],
            [row[key] for key in ("Server", "Severity", "Boot Source", "Disks")],
        )
        self.assertIn("volume-attached-since", row["Findings"])
        self.assertRegex(row["Newest Backup"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        nova, plain = self.fleet.nova, self.fleet.servers["plain"]
        nova.put(f"/servers/{plain}/tags/{self.name}", microversion="2.26")
        rows = self.fleet.check("--tags", self.name, "--all-projects", "--summary", cloud="devcloud-admin")
        self.assertEqual([plain], [row["ID"] for row in rows])
        more = (*words, "--flavor", "tiny-extra", "--not-tags", self.name)
        rows = self.fleet.check(*more)
        self.assertEqual([self.fleet.servers["extra"]], [row["ID"] for row in rows])
        for nowhere in (("--ip", "^192.0.2"), ("--host", "nowhere")):
            self.assertEqual([], self.fleet.check(*more, *nowhere, cloud="devcloud-demo-admin"))

    def test_a_server_that_does_not_exist(self):
        result = self.openstack("server", "backup-check", self.name, code=1)
        self.assertIn("[resource-not-found]", result.err)

    def test_another_project_is_for_administrators(self):
        result = self.openstack("server", "backup-check", "--all-projects", code=1)
        self.assertIn("[forbidden]", result.err)

    def test_what_to_type_next_stands_below_a_table_on_a_terminal(self):
        words = ("server", "backup-check", self.fleet.servers["extra"])
        rows = self.openstack(*words, "--long", "-f", "json").json
        actions = {part for row in rows for part in row["Action"].split("; ") if row["Severity"] != "info"}
        wanted = {action for action in actions if action.startswith("openstack ")}
        self.assertNotEqual(set(), wanted)
        lines = on_terminal(*words).splitlines()
        table = [line for line in lines if line.startswith(("|", "+"))]
        self.assertEqual({len(table[0])}, {len(line) for line in table})
        self.assertLessEqual(len(table[0]), 80)
        for row in rows:
            self.assertIn(f" {row['Reason']} ", "\n".join(table))
        said = lines[len(lines) - lines[::-1].index(table[-1]) :]  # below the last rule
        self.assertEqual(("Next:", min(3, len(wanted))), (said[0], len(said) - 1))
        self.assertEqual(set(), set(said[1:]) - wanted)


class TestStrays(base.TestCase):
    """What is wrong and belongs to no server."""

    def test_they_are_told(self):
        nobody, nothing = str(uuid.uuid4()), str(uuid.uuid4())
        mapping = [{"source_type": "snapshot", "destination_type": "volume", "snapshot_id": nothing}]
        image = self.image(b"", bdm_v2="True", block_device_mapping=json.dumps(mapping))
        volume = self.volume()
        cinder = self.connection(ADMIN).block_storage
        body = {"attachment": {"volume_uuid": volume, "instance_uuid": nobody, "connector": CONNECTOR}}
        answer = cinder.post("/attachments", json=body, microversion="3.44")
        self.assertEqual(200, answer.status_code, answer.text)
        path = f"/attachments/{answer.json()['attachment']['id']}"
        self.addCleanup(cinder.delete, path, microversion="3.44")
        answer = cinder.post(f"{path}/action", json={"os-complete": {}}, microversion="3.44")
        self.assertEqual(204, answer.status_code, answer.text)
        rows = self.openstack(
            "server", "backup-check", "--all", "--fail-on", "never", "--long", "-f", "json"
        ).json
        found = {row["Reason"]: row for row in rows if row["Server"] is None}
        self.assertIn(image, found["dead-image"]["Message"])
        self.assertIn(nothing, found["dead-image"]["Message"])
        self.assertEqual(nobody, found["attached-to-gone-server"]["ID"])
        self.assertIn(volume, found["attached-to-gone-server"]["Action"])
