# SPDX-License-Identifier: Apache-2.0
"""The embedded cloud as a benchmark sees it: who may use it, and images that are there for a while.

It takes no module but those of Python itself: the peak memory of a process is never less than that
of the process that started it, so this one has to stay small. Of the ways to log in it knows that
of the embedded cloud, a password.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

DEVCLOUD = pathlib.Path(__file__).resolve().parents[1] / "devcloud" / "devcloud"
PROGRAMS = pathlib.Path(sys.executable).parent
TOKEN_AGE = 600  # seconds after which a new token is asked for


class Cloud:
    """The image service, and who may use it. All images have names that begin with ``prefix``."""

    def __init__(self, name: str, folder: pathlib.Path) -> None:
        self.folder = folder
        self.prefix = f"benchmark-{uuid.uuid4().hex[:8]}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "PYTHON"))}
        config = {k: v for k, v in os.environ.items() if k == "OS_CLIENT_CONFIG_FILE"}
        self.environment = kept | config | {"OS_CLOUD": name}
        command = [str(PROGRAMS / "openstack"), "configuration", "show", "--unmask", "-f", "json"]
        self._settings = json.loads(subprocess.check_output(command, env=self.environment))
        # python-glanceclient does not read clouds.yaml.
        for setting, value in self._settings.items():
            if setting.startswith("auth."):
                self.environment[f"OS_{setting.removeprefix('auth.').upper()}"] = str(value)
        self.environment["OS_REGION_NAME"] = self._settings["region_name"]
        self._header = folder / "header"
        self._header.touch(0o600)
        self._since = -float(TOKEN_AGE)
        self.url = ""

    def header(self) -> pathlib.Path:
        """A file with the header that holds a valid token."""
        if time.monotonic() - self._since > TOKEN_AGE:
            self._log_in()
        return self._header

    def add(self, data: pathlib.Path | None, store: str, **properties: str) -> str:
        """The ID of a new image with this data (None: 0 bytes), raw unless ``properties`` say otherwise."""
        document = {"name": self.prefix, "disk_format": "raw", "container_format": "bare", **properties}
        image = str(self._request("POST", "/images", document)["id"])
        words = ["-sS", "-f", "-H", f"@{self.header()}", "-H", "Content-Type: application/octet-stream"]
        words += ["-H", f"X-Image-Meta-Store: {store}", "-T", str(data or os.devnull)]
        subprocess.run(["curl", *words, self.file(image)], check=True, stdout=subprocess.DEVNULL)
        return image

    def file(self, image: str) -> str:
        """The address of an image's data."""
        return f"{self.url}/images/{image}/file"

    def remove(self, image: str) -> None:
        self._request("DELETE", f"/images/{image}")

    def remove_all(self, prefix: str) -> None:
        """Remove every image of this run whose name begins so."""
        found = self._request("GET", "/images?limit=1000&sort=created_at:desc")["images"]
        for image in found:
            if (image["name"] or "").startswith(prefix):
                self.remove(image["id"])

    def _log_in(self) -> None:
        auth = {k.removeprefix("auth."): v for k, v in self._settings.items() if k.startswith("auth.")}
        user = {"name": auth["username"], "password": auth["password"]}
        user["domain"] = {"name": auth["user_domain_name"]}
        project = {"name": auth["project_name"], "domain": {"name": auth["project_domain_name"]}}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": project}}}
        headers, answer = _http("POST", f"{auth['auth_url']}/auth/tokens", {}, body)
        self._since = time.monotonic()
        self._token = headers["X-Subject-Token"]
        self._header.write_text(f"X-Auth-Token: {self._token}\n")
        (service,) = (s for s in answer["token"]["catalog"] if s["type"] == "image")
        wanted = ("public", self._settings["region_name"])
        self.url = next(
            e["url"].rstrip("/").removesuffix("/v2") + "/v2"
            for e in service["endpoints"]
            if (e["interface"], e["region"]) == wanted
        )

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        self.header()
        return _http(method, self.url + path, {"X-Auth-Token": self._token}, body)[1]


def _http(method: str, url: str, headers: Mapping[str, str], body: Any) -> tuple[Mapping[str, str], Any]:
    """The headers and the document of an answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310
        return response.headers, json.loads(response.read() or b"null")


@contextlib.contextmanager
def prepared_cloud(name: str, parent: str | None) -> Iterator[Cloud]:
    """A cloud, with a temporary folder below *parent* (None: the system's); nothing stays in either."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=parent) as folder:
        cloud = Cloud(name, pathlib.Path(folder))
        try:
            yield cloud
        finally:
            cloud.remove_all(cloud.prefix)
