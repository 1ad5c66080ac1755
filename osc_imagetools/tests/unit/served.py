# SPDX-License-Identifier: Apache-2.0
"""A mocked cloud that remembers what was created in it, for tests of whole commands.

It answers as the services document it, and settles at once: what is created is there with the next request.
What a test wants otherwise (a refusal, a lost answer, a state) it registers at ``http`` itself, which goes
before what is answered here.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import io
import json
import pathlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import fixtures
import requests_mock

from osc_imagetools.run import deadline
from osc_imagetools.run.effects import removal
from osc_imagetools.tests.unit.base import (
    AUTH,
    COMPUTE,
    IMAGE,
    PROJECT,
    VOLUME,
    MockedCloud,
    image_document,
    server_document,
    snapshot_document,
    volume_document,
)
from osc_imagetools.tests.unit.v1.test_commands import CommandCase

NETWORK = "http://network.test"
LOGIN = {
    "OS_AUTH_URL": AUTH,
    "OS_USERNAME": "demo",
    "OS_PASSWORD": "secret",
    "OS_PROJECT_NAME": "demo",
    "OS_USER_DOMAIN_ID": "default",
    "OS_PROJECT_DOMAIN_ID": "default",
    "OS_REGION_NAME": "RegionOne",
    "OS_IDENTITY_API_VERSION": "3",
}
UNLIMITED = {"limit": -1, "in_use": 0, "reserved": 0}
FLAVOR = {
    "id": "f1",
    "name": "m1.small",
    "vcpus": 1,
    "ram": 512,
    "disk": 1,
    "OS-FLV-EXT-DATA:ephemeral": 0,
    "swap": 0,
    "extra_specs": {},
    "description": None,
    "rxtx_factor": 1.0,
    "os-flavor-access:is_public": True,
}
Handler = Callable[[Any, Any, str], Any]
# The bundles that tests of this process have exported, by what is in them.
BUNDLES: dict[str, pathlib.Path] = {}


class ServedCloud(MockedCloud):
    """``images``, ``volumes``, ``snapshots``, ``servers`` and ``ports`` are documents by ID; ``data`` is the
    data of images, ``disks`` that of volumes and snapshots."""

    def __init__(self, *, network: bool = True, **kwargs: Any) -> None:
        super().__init__(compute=True, **kwargs)
        self.network = network

    def _setUp(self) -> None:
        super()._setUp()
        self.useFixture(fixtures.MonkeyPatch(f"{deadline.__name__}.FIRST_PAUSE", 0.001))
        self.useFixture(fixtures.MonkeyPatch(f"{removal.__name__}.SETTLE", 0.001))
        self.images: dict[str, dict[str, Any]] = {}
        self.data: dict[str, bytes] = {}
        self.members: dict[str, dict[str, str]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.disks: dict[str, bytes] = {}
        self.servers: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, dict[str, Any]] = {}
        self.actions: list[tuple[str, str]] = []  # (server, what), the newest first
        self.console = "web01 login: "
        self.networks = [{"id": "n1", "name": "net-a", "project_id": PROJECT, "shared": False}]
        self.groups = [{"id": "g1", "name": "default", "project_id": PROJECT, "security_group_rules": []}]
        if self.network:
            self.token.add_service("network").add_standard_endpoints(public=NETWORK, region="RegionOne")
            version = {"id": "v2.0", "status": "CURRENT", "links": [_self(f"{NETWORK}/v2.0/")]}
            self.http.get(f"{NETWORK}/", json={"versions": [version]})
        for base, routes in (
            (f"{IMAGE}/v2", self._image_routes()),
            (VOLUME, self._volume_routes()),
            (COMPUTE, self._compute_routes()),
            (f"{NETWORK}/v2.0", self._network_routes()),
        ):
            for method, path, handler in routes:
                self._serve(method, base, path, handler)
        self.http.get(f"{AUTH}/auth/projects", json={"projects": [{"id": PROJECT, "name": "demo"}]})

    def _serve(self, method: str, base: str, path: str, handler: Handler) -> None:
        pattern = re.compile(f"^{re.escape(base)}{path}(?:\\?.*)?$")

        def answer(request: Any, context: Any) -> Any:
            found = pattern.match(request.url)
            assert found is not None
            result = handler(request, context, found[1] if found.groups() else "")
            if isinstance(result, bytes):
                context.headers["Content-Length"] = str(len(result))
                return io.BytesIO(result)
            return io.BytesIO(b"" if result is None else json.dumps(result).encode())

        self.http.register_uri(method, pattern, body=answer)

    def changes(self) -> list[str]:
        """The requests that changed something, but for logins, in order: POST servers, DELETE images/i1."""
        found = []
        for request in self.http.request_history:
            if request.method == "GET" or "identity" in request.hostname:
                continue
            path = re.sub(r"^/v[\d.]+/", "", request.path)
            what = f" {next(iter(request.json()))}" if path.endswith("/action") else ""
            found.append(f"{request.method} {path}{what}")
        return found

    def kinds(self) -> list[str]:
        """As :meth:`changes`, without IDs: POST volumes, POST volumes action os-set_bootable."""
        return [re.sub(r"/[0-9a-f-]{36}", "", change).replace("/", " ") for change in self.changes()]

    # --- images -----------------------------------------------------------------------------------

    def add_image(self, data: bytes = b"", /, **changes: Any) -> dict[str, Any]:
        """An active image with this data and its hashes."""
        facts: dict[str, Any] = {"size": len(data), "virtual_size": len(data) or None}
        if data:
            facts["checksum"] = hashlib.md5(data, usedforsecurity=False).hexdigest()
            facts["os_hash_value"] = hashlib.sha512(data).hexdigest()
        else:
            facts.update(checksum=None, os_hash_algo=None, os_hash_value=None)
        document = image_document(**{**facts, **changes})
        self.images[document["id"]] = document
        self.data[document["id"]] = data
        return document

    def _image_routes(self) -> list[tuple[str, str, Handler]]:
        one = "/images/([^/?]+)"
        return [
            ("GET", "/images", self._list_images),
            ("POST", "/images", self._create_image),
            ("GET", one, lambda r, c, i: self._one(self.images, i, c)),
            ("PATCH", one, self._patch_image),
            ("DELETE", one, lambda r, c, i: self._delete(self.images, i, c)),
            ("GET", f"{one}/file", self._download),
            ("PUT", f"{one}/file", self._upload),
            ("GET", f"{one}/members", lambda r, c, i: {"members": self._members(i)}),
            ("POST", f"{one}/members", self._add_member),
            ("DELETE", "/images/([^/?]+/members/[^/?]+)", self._delete_member),
            ("GET", "/info/stores", lambda r, c, i: _status(c, 404)),
            ("GET", "/info/usage", lambda r, c, i: _status(c, 404)),
        ]

    def _list_images(self, request: Any, context: Any, _: str) -> Any:
        name = request.qs.get("name", [None])[0]
        hidden = request.qs.get("os_hidden") == ["true"]
        documents = [d for d in self.images.values() if bool(d.get("os_hidden")) is hidden]
        if name is not None:
            wanted = name.removeprefix("eq:")
            documents = [d for d in documents if str(d["name"]).lower() == wanted]
        identifier = request.qs.get("id", [""])[0].removeprefix("in:")
        return {"images": [d for d in documents if identifier in ("", d["id"])]}

    def _create_image(self, request: Any, context: Any, _: str) -> Any:
        body = request.json()
        facts = {"status": "queued", "size": None, "virtual_size": None, "checksum": None}
        document = image_document(**{**facts, "os_hash_value": None, **body})
        self.images[document["id"]] = document
        return _status(context, 201, document)

    def _patch_image(self, request: Any, context: Any, identifier: str) -> Any:
        document = self.images[identifier]
        for change in request.json():
            key = change["path"][1:].replace("~1", "/").replace("~0", "~")
            if change["op"] == "remove":
                document.pop(key)
            else:
                document[key] = change["value"]
        return document

    def _download(self, request: Any, context: Any, identifier: str) -> Any:
        data = self.data[identifier]
        if not data:
            return _status(context, 204)
        wanted = request.headers.get("Range")
        if wanted:
            first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
            part = data[first : last + 1]
            context.headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
            return _status(context, 206, part)
        return data

    def _upload(self, request: Any, context: Any, identifier: str) -> Any:
        body = request.body
        self._fill(identifier, body if isinstance(body, bytes) else b"".join(body or ()))
        return _status(context, 204)

    def _fill(self, identifier: str, data: bytes) -> None:
        facts = {
            "status": "active",
            "size": len(data),
            "virtual_size": int.from_bytes(data[24:32]) if data[:4] == b"QFI\xfb" else len(data),
            "checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(data).hexdigest(),
        }
        self.images[identifier].update(facts)
        self.data[identifier] = data

    def _members(self, identifier: str) -> list[dict[str, str]]:
        found = self.members.get(identifier, {})
        return [{"member_id": project, "status": status} for project, status in found.items()]

    def _add_member(self, request: Any, context: Any, identifier: str) -> Any:
        project = request.json()["member"]
        self.members.setdefault(identifier, {})[project] = "pending"
        return {"member_id": project, "status": "pending"}

    def _delete_member(self, request: Any, context: Any, path: str) -> Any:
        identifier, _, project = path.partition("/members/")
        return self._delete(self.members.get(identifier, {}), project, context)

    # --- block storage ----------------------------------------------------------------------------

    def add_volume(self, disk: bytes = b"", /, **changes: Any) -> dict[str, Any]:
        """An available volume whose uploads have this data."""
        document = volume_document(**{"status": "available", **changes})
        self.volumes[document["id"]] = document
        self.disks[document["id"]] = disk
        return document

    def add_snapshot(self, volume: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """An available snapshot of a volume."""
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000000"
        facts = {"volume_id": volume["id"], "size": volume["size"], "created_at": now}
        document = snapshot_document(**{**facts, **changes})
        self.snapshots[document["id"]] = document
        self.disks[document["id"]] = self.disks[volume["id"]]
        return document

    def _volume_routes(self) -> list[tuple[str, str, Handler]]:
        volume, snapshot = "/volumes/([^/?]+)", "/snapshots/([^/?]+)"
        types = {"volume_types": [{"id": "t1", "name": "__DEFAULT__"}, {"id": "t2", "name": "fast"}]}
        zones = {"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}}]}
        quota = {"quota_set": dict.fromkeys(("volumes", "snapshots", "gigabytes"), UNLIMITED)}
        return [
            ("GET", "/volumes", lambda r, c, i: self._list("volumes", r)),
            ("GET", "/snapshots", lambda r, c, i: self._list("snapshots", r)),
            ("POST", "/volumes", self._create_volume),
            ("POST", "/snapshots", self._create_snapshot),
            ("GET", volume, lambda r, c, i: self._one(self.volumes, i, c, "volume")),
            ("GET", snapshot, lambda r, c, i: self._one(self.snapshots, i, c, "snapshot")),
            ("PUT", volume, lambda r, c, i: self._update(self.volumes[i], r.json()["volume"])),
            ("PUT", snapshot, lambda r, c, i: self._update(self.snapshots[i], r.json()["snapshot"])),
            ("PUT", f"{volume}/metadata", lambda r, c, i: self._update(self.volumes[i], r.json())),
            ("PUT", f"{snapshot}/metadata", lambda r, c, i: self._update(self.snapshots[i], r.json())),
            ("POST", f"{snapshot}/metadata", lambda r, c, i: self._update(self.snapshots[i], r.json())),
            ("DELETE", volume, lambda r, c, i: self._delete(self.volumes, i, c)),
            ("DELETE", snapshot, lambda r, c, i: self._delete(self.snapshots, i, c)),
            ("POST", f"{volume}/action", self._act_on_volume),
            ("GET", "/volumes/detail", lambda r, c, i: self._list("volumes", r)),
            ("GET", "/snapshots/detail", lambda r, c, i: self._list("snapshots", r)),
            ("GET", "/backups/detail", lambda r, c, i: {"backups": []}),
            ("GET", "/types", lambda r, c, i: types),
            ("GET", "/types/([^/?]+)/encryption", lambda r, c, i: {}),
            ("GET", "/os-availability-zone", lambda r, c, i: zones),
            ("GET", "/os-quota-sets/([^/?]+)", lambda r, c, i: quota),
            ("GET", "/messages", lambda r, c, i: {"messages": []}),
        ]

    def _list(self, kind: str, request: Any) -> Any:
        documents: Any = getattr(self, kind).values()
        for key in ("name", "volume_id"):
            if key in request.qs:
                wanted = request.qs[key][0].removeprefix("^").removesuffix("$").replace("\\", "")
                documents = [d for d in documents if str(d.get(key)).lower() == wanted]
        return {kind: list(documents)}

    def _create_volume(self, request: Any, context: Any, _: str) -> Any:
        body = request.json()["volume"]
        image, snapshot = body.get("imageRef"), body.get("snapshot_id")
        metadata: dict[str, Any] = {}
        if image:
            document = self.images[image]
            metadata = {k: v for k, v in document.items() if k not in image_document() or k == "checksum"}
            metadata["image_id"] = image
        elif snapshot:
            origin = self.volumes.get(self.snapshots[snapshot]["volume_id"], {})
            metadata = dict(origin.get("volume_image_metadata") or {})
        facts = {"bootable": "true" if metadata else "false", "volume_image_metadata": metadata}
        known = {k: v for k, v in body.items() if k != "imageRef"}
        created = self.add_volume(self.data[image] if image else self.disks.get(snapshot, b""))
        created.update(**facts, **known)
        return _status(context, 202, {"volume": created})

    def _create_snapshot(self, request: Any, context: Any, _: str) -> Any:
        body = request.json()["snapshot"]
        kept = {key: body[key] for key in ("name", "description", "metadata")}
        return _status(context, 202, {"snapshot": self.add_snapshot(self.volumes[body["volume_id"]], **kept)})

    def _act_on_volume(self, request: Any, context: Any, identifier: str) -> Any:
        volume = self.volumes[identifier]
        ((action, body),) = request.json().items()
        metadata = volume["volume_image_metadata"] = dict(volume.get("volume_image_metadata") or {})
        if action == "os-volume_upload_image":
            image = self.add_image(
                name=body["image_name"], disk_format=body["disk_format"], **_custom(metadata)
            )
            self._fill(image["id"], self.disks[identifier])
            self.images[image["id"]]["virtual_size"] = volume["size"] << 30
            return _status(context, 202, {action: {"image_id": image["id"]}})
        if action == "os-set_image_metadata":
            metadata.update(body["metadata"])
        elif action == "os-unset_image_metadata":
            metadata.pop(body["key"], None)
        elif action == "os-set_bootable":
            volume["bootable"] = str(body["bootable"]).lower()
        elif action == "os-extend":
            volume["size"] = body["new_size"]
        return _status(context, 202)

    # --- compute ----------------------------------------------------------------------------------

    def add_server(self, **changes: Any) -> dict[str, Any]:
        """A running server, as a plain member sees it."""
        facts: dict[str, Any] = {
            "created": "2026-01-01T00:00:00Z",
            "flavor": {key: FLAVOR[key] for key in ("vcpus", "ram", "disk", "swap", "extra_specs")},
            "OS-EXT-STS:task_state": None,
            "metadata": {},
            "tags": [],
            "description": None,
            "locked": False,
            "key_name": None,
            "server_groups": [],
            "trusted_image_certificates": None,
            "hypervisor_hostname": None,
        }
        facts["flavor"]["original_name"] = FLAVOR["name"]
        document = server_document(**{**facts, **changes})
        self.servers[document["id"]] = document
        return document

    def _compute_routes(self) -> list[tuple[str, str, Handler]]:
        one = "/servers/([^/?]+)"
        limits = {"absolute": {"maxTotalInstances": -1, "maxTotalCores": -1, "maxTotalRAMSize": -1}}
        zones = {"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}}]}
        return [
            ("GET", "/servers", lambda r, c, i: self._list("servers", r)),
            ("POST", "/servers", self._create_server),
            ("GET", one, lambda r, c, i: self._one(self.servers, i, c, "server")),
            ("GET", "/servers/detail", lambda r, c, i: self._list("servers", r)),
            ("PUT", one, lambda r, c, i: self._update(self.servers[i], r.json()["server"])),
            ("DELETE", one, self._delete_server),
            ("POST", f"{one}/action", self._act_on_server),
            ("GET", f"{one}/os-instance-actions", self._server_actions),
            ("POST", f"{one}/metadata", self._mark_server),
            ("DELETE", "/servers/([^/?]+/metadata/[^/?]+)", self._unmark_server),
            ("GET", f"{one}/os-volume_attachments", self._attachments),
            ("GET", f"{one}/os-interface", lambda r, c, i: {"interfaceAttachments": []}),
            ("GET", "/flavors/detail", lambda r, c, i: {"flavors": [FLAVOR]}),
            ("GET", "/flavors", lambda r, c, i: {"flavors": [FLAVOR]}),
            ("GET", "/os-services", lambda r, c, i: _status(c, 403)),
            ("GET", "/os-keypairs", lambda r, c, i: {"keypairs": [{"keypair": {"name": "key-a"}}]}),
            ("GET", "/os-server-groups", lambda r, c, i: {"server_groups": []}),
            ("GET", "/os-availability-zone", lambda r, c, i: zones),
            ("GET", "/limits", lambda r, c, i: {"limits": limits}),
        ]

    def _create_server(self, request: Any, context: Any, _: str) -> Any:
        body = request.json()["server"]
        known = {k: body[k] for k in ("name", "description", "metadata", "tags", "key_name") if k in body}
        volumes = [d["uuid"] for d in body["block_device_mapping_v2"] if d["destination_type"] == "volume"]
        attached = [{"id": identifier, "delete_on_termination": False} for identifier in volumes]
        created = self.add_server(**known, **{"os-extended-volumes:volumes_attached": attached})
        created["OS-EXT-SRV-ATTR:hostname"] = body.get("hostname")
        created["addresses"] = {"net-a": [{"addr": "10.0.0.5"}]}
        return _status(context, 202, {"server": {"id": created["id"]}})

    def _delete_server(self, request: Any, context: Any, identifier: str) -> Any:
        return self._delete(self.servers, identifier, context)

    def _act_on_server(self, request: Any, context: Any, identifier: str) -> Any:
        server = self.servers[identifier]
        ((action, body),) = request.json().items()
        if action == "os-getConsoleOutput":
            return {"output": self.console}
        if action == "createImage":
            return self._capture(server, body, context)
        server["status"] = {"os-stop": "SHUTOFF", "os-start": "ACTIVE"}[action]
        self.actions.insert(0, (identifier, action.removeprefix("os-")))
        return _status(context, 202)

    def _server_actions(self, request: Any, context: Any, identifier: str) -> Any:
        """The newest first."""
        rows = [
            {"action": action, "request_id": f"req-{len(self.actions) - number}"}
            for number, (server, action) in enumerate(self.actions)
            if server == identifier
        ]
        return {"instanceActions": rows}

    def _capture(self, server: dict[str, Any], body: Any, context: Any) -> Any:
        mapping = []
        for number, attached in enumerate(server["os-extended-volumes:volumes_attached"]):
            volume = self.volumes[attached["id"]]
            snapshot = self.add_snapshot(volume, name=f"snapshot for {body['name']}")
            device = {"snapshot_id": snapshot["id"], "device_name": f"/dev/vd{'abc'[number]}"}
            entry = {
                "source_type": "snapshot",
                "destination_type": "volume",
                "boot_index": None if number else 0,
            }
            mapping.append({**entry, **device, "volume_size": volume["size"]})
        if server["image"]:
            image = self.add_image(b"captured root disk" * 100, name=body["name"], **body["metadata"])
        else:
            more = {"block_device_mapping": json.dumps(mapping), "bdm_v2": "True", **body["metadata"]}
            image = self.add_image(name=body["name"], **more)
        return _status(context, 202, {"image_id": image["id"]})

    def _mark_server(self, request: Any, context: Any, identifier: str) -> Any:
        self.servers[identifier]["metadata"].update(request.json()["metadata"])
        return {"metadata": self.servers[identifier]["metadata"]}

    def _unmark_server(self, request: Any, context: Any, path: str) -> Any:
        identifier, _, key = path.partition("/metadata/")
        return self._delete(self.servers[identifier]["metadata"], key, context)

    def _attachments(self, request: Any, context: Any, identifier: str) -> Any:
        attached = self.servers[identifier]["os-extended-volumes:volumes_attached"]
        return {
            "volumeAttachments": [
                {
                    "volumeId": entry["id"],
                    "device": f"/dev/vd{'abcdef'[number]}",
                    "delete_on_termination": entry.get("delete_on_termination"),
                    "tag": None,
                }
                for number, entry in enumerate(attached)
            ]
        }

    # --- networks ---------------------------------------------------------------------------------

    def _network_routes(self) -> list[tuple[str, str, Handler]]:
        subnet = {"id": "s1", "network_id": "n1", "cidr": "10.0.0.0/24"}
        return [
            ("GET", "/ports", self._list_ports),
            ("POST", "/ports", self._create_port),
            ("PUT", "/ports/([^/?]+)", lambda r, c, i: self._update(self.ports[i], r.json()["port"])),
            ("DELETE", "/ports/([^/?]+)", lambda r, c, i: self._delete(self.ports, i, c)),
            ("GET", "/ports/([^/?]+)", lambda r, c, i: self._one(self.ports, i, c, "port")),
            ("GET", "/networks", lambda r, c, i: {"networks": self.networks}),
            ("GET", "/subnets", lambda r, c, i: {"subnets": [subnet]}),
            ("GET", "/security-groups", lambda r, c, i: {"security_groups": self.groups}),
            ("GET", "/floatingips", lambda r, c, i: {"floatingips": []}),
        ]

    def add_port(self, **changes: Any) -> dict[str, Any]:
        """A port in the network."""
        document = {
            "id": str(uuid.uuid4()),
            "name": "",
            "network_id": "n1",
            "project_id": PROJECT,
            "mac_address": "fa:16:3e:00:00:01",
            "fixed_ips": [{"subnet_id": "s1", "ip_address": "10.0.0.5"}],
            "security_groups": ["g1"],
            "status": "ACTIVE",
            **changes,
        }
        self.ports[document["id"]] = document
        return document

    def _list_ports(self, request: Any, context: Any, _: str) -> Any:
        found = list(self.ports.values())
        for key in ("name", "device_id"):
            if key in request.qs:
                found = [p for p in found if str(p.get(key)).lower() == request.qs[key][0]]
        return {"ports": found}

    def _create_port(self, request: Any, context: Any, _: str) -> Any:
        return _status(context, 201, {"port": self.add_port(**request.json()["port"])})

    # --- all of them ------------------------------------------------------------------------------

    def _one(self, documents: dict[str, Any], identifier: str, context: Any, key: str = "") -> Any:
        document = documents.get(identifier)
        if document is None:
            return _status(context, 404, {"itemNotFound": {"message": f"{identifier} could not be found"}})
        return {key: document} if key else document

    def _update(self, document: dict[str, Any], changes: dict[str, Any]) -> Any:
        document.update(changes)
        return {}

    def _delete(self, documents: dict[str, Any], identifier: str, context: Any) -> Any:
        return _status(context, 204 if documents.pop(identifier, None) is not None else 404)


class ServedCase(CommandCase):
    """Commands as they are typed, in a cloud of which ``self.served`` is what they see."""

    def setUp(self) -> None:
        super().setUp()
        self.serve()
        for name, value in LOGIN.items():
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        for name in ("OSC_IMAGETOOLS_REPOSITORY", "TMPDIR"):
            self.useFixture(fixtures.EnvironmentVariable(name))

    def serve(self, **kwargs: Any) -> ServedCloud:
        """Another cloud in the place of the one that there is."""
        self.served = self.useFixture(ServedCloud(**kwargs))
        self.http: requests_mock.Mocker = self.served.http
        return self.served

    def bundle_of(self, path: pathlib.Path, what: str, make: Callable[[], None]) -> None:
        """The bundle of *what* at *path*: made once in a process by *make*, which exports it there; others
        get a copy of it, in a cloud that is as empty as if it were another."""
        if what in BUNDLES:
            shutil.copytree(BUNDLES[what], path)
        else:
            make()
            folder = tempfile.mkdtemp()
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            BUNDLES[what] = pathlib.Path(shutil.copytree(path, pathlib.Path(folder) / "bundle"))
        self.serve()

    def rows(self, *words: Any, code: int = 0) -> Any:
        """What a command prints, from JSON; it ends with this code."""
        found, out, err = self.run_openstack(*words, "-f", "json")
        self.assertEqual(code, found, err)
        return json.loads(out)

    def fails(self, *words: Any, code: int = 1) -> str:
        """What a command says that ends with this code and prints nothing."""
        found, out, err = self.run_openstack(*words)
        self.assertEqual((code, ""), (found, out), err)
        return str(err)


def each(base: str, path: str, below: str = "") -> re.Pattern[str]:
    """A pattern for the URL of each single resource of a kind, or of what is *below* it."""
    return re.compile(f"^{re.escape(base)}/{path}/[^/]+{below}$")


def encoded(text: str) -> str:
    """User data as Nova tells it."""
    return base64.b64encode(text.encode()).decode()


def _custom(metadata: dict[str, Any]) -> dict[str, Any]:
    """What an image inherits of a volume's image metadata."""
    return {k: v for k, v in metadata.items() if k not in ("checksum", "image_id", "image_name")}


def _status(context: Any, status: int, result: Any = None) -> Any:
    context.status_code = status
    return result


def _self(url: str) -> dict[str, str]:
    return {"rel": "self", "href": url}
