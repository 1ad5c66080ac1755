# SPDX-License-Identifier: Apache-2.0
"""A cloud whose HTTP is mocked, for tests of what we ask and of what we make of the answers."""

from __future__ import annotations

import json
import pathlib
import uuid
from typing import Any

import fixtures
import requests_mock
import testtools
from keystoneauth1 import fixture as ksa_fixture
from openstack import connection

from osc_imagetools.cloud.connection import Cloud

AUTH = "http://identity.test/v3"
IMAGE = "http://image.test"
VOLUME = "http://volume.test/v3"
COMPUTE = "http://compute.test/v2.1"
PROJECT = uuid.uuid4().hex


class MockedCloud(fixtures.Fixture):
    """``cloud`` talks to ``http`` (requests-mock).

    ``block_storage`` is the service's type in the catalog, or False where there is none;
    ``compute`` tells whether there is that service.
    """

    def __init__(
        self, block_storage: str | bool = True, compute: str | bool = False, compute_max: str = "2.104"
    ) -> None:
        super().__init__()
        self.compute_max = compute_max
        self.compute = compute
        self.block_storage = "block-storage" if block_storage is True else block_storage

    def _setUp(self) -> None:
        self.http = requests_mock.Mocker()
        self.http.start()
        self.addCleanup(self.http.stop)
        token = ksa_fixture.V3Token(project_id=PROJECT, project_name="demo")
        token.add_service("image").add_standard_endpoints(public=IMAGE, region="RegionOne")
        token.add_service("identity").add_standard_endpoints(public=AUTH, region="RegionOne")
        if self.compute:
            token.add_service("compute").add_standard_endpoints(public=COMPUTE, region="RegionOne")
        if self.block_storage:
            service = token.add_service(self.block_storage)
            service.add_standard_endpoints(public=VOLUME, region="RegionOne")
        self.http.get(AUTH, json={"version": ksa_fixture.V3Discovery(AUTH)})
        self.http.post(f"{AUTH}/auth/tokens", json=token, headers={"X-Subject-Token": "token"})
        self.token = token
        versions = [{"id": "v2.17", "status": "CURRENT", "links": [_self(f"{IMAGE}/v2/")]}]
        self.http.get(f"{IMAGE}/", json={"versions": versions})
        version = {
            "id": "v3.0",
            "status": "CURRENT",
            "version": "3.71",
            "min_version": "3.0",
            "links": [_self(f"{VOLUME}/")],
        }
        self.http.get(f"{VOLUME}/", json={"versions": [version]})
        self.http.get("http://volume.test/", json={"versions": [version]})
        compute = {
            "id": "v2.1",
            "status": "CURRENT",
            "version": self.compute_max,
            "min_version": "2.1",
            "links": [_self(f"{COMPUTE}/")],
        }
        self.http.get(COMPUTE, json={"version": compute})
        self.cloud = Cloud(
            connection.Connection(
                auth={
                    "auth_url": AUTH,
                    "username": "demo",
                    "password": "secret",
                    "project_name": "demo",
                    "user_domain_id": "default",
                    "project_domain_id": "default",
                },
                region_name="RegionOne",
                identity_api_version="3",
                image_status_code_retries=0,
                block_storage_status_code_retries=0,
                compute_status_code_retries=0,
            )
        )

    def rescope(self, *projects: str) -> None:
        """The account has a role in these projects: a token of one is named ``token-<project>``."""

        def answer(request: Any, context: Any) -> Any:
            scope = request.json()["auth"].get("scope", {}).get("project", {}).get("id")
            if request.json()["auth"]["identity"]["methods"] != ["token"]:
                return self.token
            if scope not in projects:
                context.status_code = 401
                return {"error": {"message": "The request you have made requires authentication."}}
            context.headers["X-Subject-Token"] = f"token-{scope}"
            token = ksa_fixture.V3Token(project_id=scope)
            token["token"]["catalog"] = self.token["token"]["catalog"]
            return token

        self.http.post(f"{AUTH}/auth/tokens", json=answer, headers={"X-Subject-Token": "token"})

    def sent(self, method: str) -> list[tuple[str, Any]]:
        """(path, JSON body or None) of the requests made with a method, but for the login."""
        return [
            (r.path, json.loads(r.text) if r.text else None)
            for r in self.http.request_history
            if r.method == method and "identity" not in r.hostname
        ]


def _self(url: str) -> dict[str, str]:
    return {"rel": "self", "href": url}


class TestCase(testtools.TestCase):
    """Base of the unit tests; the journals of their runs are in a directory of each one's own."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.Timeout(300, gentle=True))  # a test that hangs fails
        self.state = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(fixtures.EnvironmentVariable("XDG_STATE_HOME", str(self.state)))

    def mocked_cloud(self, **kwargs: Any) -> MockedCloud:
        return self.useFixture(MockedCloud(**kwargs))


def image_document(**changes: Any) -> dict[str, Any]:
    """A document of GET /v2/images/{id} as Glance 33 gives it."""
    identifier = changes.pop("id", str(uuid.uuid4()))
    return {
        "id": identifier,
        "name": "web01",
        "status": "active",
        "visibility": "private",
        "protected": False,
        "os_hidden": False,
        "owner": PROJECT,
        "size": 1024,
        "virtual_size": 1024,
        "min_disk": 0,
        "min_ram": 0,
        "disk_format": "raw",
        "container_format": "bare",
        "checksum": "d41d8cd98f00b204e9800998ecf8427e",
        "os_hash_algo": "sha512",
        "os_hash_value": "cf83",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "tags": [],
        "self": f"/v2/images/{identifier}",
        "file": f"/v2/images/{identifier}/file",
        "schema": "/v2/schemas/image",
        "stores": "file",
        **changes,
    }


def snapshot_document(**changes: Any) -> dict[str, Any]:
    """What GET /v3/snapshots/{id} has under ``snapshot``."""
    return {
        "id": str(uuid.uuid4()),
        "name": "snapshot for web01",
        "status": "available",
        "size": 1,
        "volume_id": str(uuid.uuid4()),
        "created_at": "2026-01-01T00:00:00.000000",
        "metadata": {},
        **changes,
    }


def volume_document(**changes: Any) -> dict[str, Any]:
    """What GET /v3/volumes/{id} has under ``volume``."""
    return {
        "id": str(uuid.uuid4()),
        "name": "web01-root",
        "description": None,
        "status": "in-use",
        "size": 1,
        "volume_type": "__DEFAULT__",
        "encrypted": False,
        "bootable": "true",
        "metadata": {},
        "availability_zone": "nova",
        **changes,
    }


def server_document(**changes: Any) -> dict[str, Any]:
    """What GET /servers/{id} has under ``server``, of one that boots from a volume."""
    return {
        "id": str(uuid.uuid4()),
        "name": "web01",
        "status": "ACTIVE",
        "tenant_id": PROJECT,
        "image": "",
        "os-extended-volumes:volumes_attached": [],
        **changes,
    }


def mapping_entry(**changes: Any) -> dict[str, Any]:
    """One entry of the property block_device_mapping as Nova 34 writes it."""
    return {
        "volume_id": None,
        "guest_format": None,
        "encrypted": None,
        "volume_type": None,
        "snapshot_id": str(uuid.uuid4()),
        "disk_bus": "virtio",
        "device_name": "/dev/vda",
        "image_id": None,
        "delete_on_termination": False,
        "device_type": "disk",
        "destination_type": "volume",
        "source_type": "snapshot",
        "boot_index": 0,
        "no_device": None,
        "volume_size": 1,
        "tag": None,
        **changes,
    }
