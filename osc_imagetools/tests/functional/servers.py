# SPDX-License-Identifier: Apache-2.0
"""What the tests of whole servers share: a server with all that belongs to one, and its bytes compared."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import openstack

from osc_imagetools.cloud import ownership
from osc_imagetools.tests.functional import base, storage
from osc_imagetools.tests.functional.base import GIB, MIB

BOOTED, WROTE = "OSC-IMAGETOOLS-GUEST-BOOTED", "OSC-IMAGETOOLS-GUEST-WROTE"


class ServerCase(base.TestCase):
    """Makes servers and compares what comes back."""

    # -- making --------------------------------------------------------------------------------

    def create_server(self, cloud: str = "devcloud-demo", **body: Any) -> str:
        """The ID of a new server whose guest has written to its disk; *body* as in ``POST /servers``."""
        nova = self.connection(cloud).compute
        flavor = nova.find_flavor(body.pop("flavor", "tiny"), ignore_missing=False).id
        hints = body.pop("hints", None)
        server = {"name": self.name, "flavorRef": flavor, "networks": "none", **body}
        document = {"server": server, **({"os:scheduler_hints": hints} if hints else {})}
        answer = nova.post("/servers", json=document, microversion="2.90")
        self.assertEqual(202, answer.status_code, answer.text)
        server_id: str = answer.json()["server"]["id"]
        self.addCleanup(self.remove_server, server_id, cloud)
        self.await_guest(server_id, cloud)
        return server_id

    def await_guest(self, server_id: str, cloud: str = "devcloud-demo") -> None:
        nova = self.connection(cloud).compute
        self.wait(lambda: nova.get_server(server_id).status, "ACTIVE")
        self.wait(lambda: WROTE in self.console(server_id, cloud), True)

    def console(self, server_id: str, cloud: str = "devcloud-demo") -> str:
        path = f"/servers/{server_id}/action"
        body: dict[str, Any] = {"os-getConsoleOutput": {}}
        with openstack.connect(cloud=cloud) as connection:
            return str(connection.compute.post(path, json=body).json()["output"])

    def on_volume(self, volume_id: str, *, boot: bool = False, **more: Any) -> dict[str, Any]:
        """An entry of a server's mapping."""
        return {
            "uuid": volume_id,
            "source_type": "volume",
            "destination_type": "volume",
            "boot_index": 0 if boot else -1,
            **more,
        }

    def two_disks(self) -> tuple[pathlib.Path, pathlib.Path, str, str]:
        """(boot disk as the guest leaves it, data disk, ID of an image of the boot disk, of the data)."""
        boot, data = self.guest_disk(), self.random_file(12 * MIB)
        images = self.image(boot, os_distro="guest", hw_disk_bus="virtio"), self.image(data)
        self.written_by_guest(boot)
        return boot, data, *images

    # -- removing ------------------------------------------------------------------------------

    def remove_with_volumes(self, server_id: str, cloud: str = "devcloud-demo") -> None:
        """Deletes a server, every volume that it had, and the ports that Nova does not delete with it."""
        connection = self.connection(cloud)
        attached = connection.compute.get_server(server_id).attached_volumes
        ports = [port.id for port in connection.network.ports(device_id=server_id)]
        self.remove_server(server_id, cloud)
        for port in ports:
            connection.network.delete_port(port, ignore_missing=True)
        for volume in attached:
            self.remove_volume(volume["id"], cloud)

    def remove_imported(self, report: dict[str, Any], cloud: str) -> None:
        """Deletes what an import has made."""
        self.remove_with_volumes(report["id"], cloud)
        for line in report["mapped"]:
            if ": image " in line:
                self.remove_image(line.rpartition("(")[2].rstrip(")"), cloud)

    # -- looking -------------------------------------------------------------------------------

    def everything(self, cloud: str = "devcloud-demo") -> set[str]:
        """All resources of a project that our commands could make or change."""
        # Closed at once: a test that waits asks often, and each connection takes a place that Cinder has.
        with openstack.connect(cloud=cloud) as connection:
            kinds: dict[str, Any] = {
                "server": connection.compute.servers(),
                "image": connection.image.images(owner=connection.current_project_id),
                "port": connection.network.ports(project_id=connection.current_project_id),
            }
            if "novolume" not in cloud:
                kinds["volume"] = connection.block_storage.volumes()
                kinds["snapshot"] = connection.block_storage.snapshots()
            found = {f"{kind} {r.id} {r.name}" for kind, resources in kinds.items() for r in resources}
            return found | {f"{s.id} is {s.status} {s.metadata}" for s in connection.compute.servers()}

    def same_volume(self, volume_id: str, content: pathlib.Path) -> None:
        """A volume, in use or not, has this content and zeros after it."""
        with content.open("r+b") as file:
            os.truncate(file.fileno(), max(content.stat().st_size, GIB))
        self.assertEqual("", storage.differs(storage.volume_disk(volume_id), "raw", content))

    def devices(self, server_id: str, cloud: str = "devcloud-demo") -> dict[str, str]:
        """The IDs of a server's volumes by their devices."""
        path = f"/servers/{server_id}/os-volume_attachments"
        with openstack.connect(cloud=cloud) as connection:
            answer = connection.compute.get(path, microversion="2.79").json()
        return {entry["device"]: entry["volumeId"] for entry in answer["volumeAttachments"]}

    def document(self, server_id: str, cloud: str = "devcloud-demo") -> dict[str, Any]:
        with openstack.connect(cloud=cloud) as connection:
            answer = connection.compute.get(f"/servers/{server_id}", microversion="2.100")
            return answer.json()["server"]  # type: ignore[no-any-return]

    # -- the commands --------------------------------------------------------------------------

    def export_server(self, server_id: str, *words: Any, cloud: str = "devcloud-demo") -> dict[str, Any]:
        """``server export-full`` into ``bundle`` below the test's directory: the report."""
        words = ("server", "export-full", server_id, "--output", self.dir / "bundle", "-f", "json", *words)
        return self.openstack(*words, cloud=cloud).json  # type: ignore[no-any-return]

    def import_server(
        self, *words: Any, cloud: str = "devcloud-demo", bundle: pathlib.Path | None = None
    ) -> dict[str, Any]:
        """``server import-full`` of that bundle, waited for; what it makes is removed after the test."""
        path = bundle or self.dir / "bundle"
        command = ("server", "import-full", path, "--wait", "-f", "json", *words)
        report: dict[str, Any] = self.openstack(*command, cloud=cloud).json
        self.addCleanup(self.remove_imported, report, cloud)
        self.assertEqual([], report["differences"])
        self.await_guest(report["id"], cloud)
        return report

    def hands_no_mark_on(self, server_id: str) -> None:
        """An image of an imported server is the user's: Nova gives it what the server's own image had."""
        connection = self.connection()
        image = connection.compute.create_server_image(server_id, f"{self.name}-later")
        self.addCleanup(self.remove_image, image.id)
        self.wait(lambda: connection.image.get(f"/images/{image.id}").json()["status"], "active")
        document = connection.image.get(f"/images/{image.id}").json()
        self.assertNotIn(ownership.MARK, json.dumps(document))
        cinder = connection.block_storage
        entries = json.loads(document.get("block_device_mapping") or "[]")
        for snapshot in filter(None, (entry.get("snapshot_id") for entry in entries)):
            self.wait(lambda s=snapshot: cinder.get_snapshot(s).status, "available")
            cinder.delete_snapshot(snapshot)
            self.wait(lambda s=snapshot: cinder.find_snapshot(s, ignore_missing=True), None)
