# SPDX-License-Identifier: Apache-2.0
"""Functional tests: the ``openstack`` command against the real services of the embedded cloud.

``OS_CLIENT_CONFIG_FILE`` names its clouds.yaml (``devcloud/devcloud env`` prints it). There is nothing to
skip: without the cloud these tests fail. Many count what is in a project, so a process that runs tests takes
one of the cloud's three sets of projects for itself, until it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import fixtures
import openstack
import testtools
from openstack.connection import Connection
from openstackclient import shell
from osc_lib import clientmanager
from testtools import content

from osc_imagetools.cloud import ownership
from osc_imagetools.tests.functional import storage

ROOT = pathlib.Path(__file__).parents[3]
STATE = pathlib.Path(os.environ["OS_CLIENT_CONFIG_FILE"]).parent
GUEST_TEXT = b"WRITTEN-BY-GUEST"  # what the guest writes into the sector at byte 1024
MIB, GIB = 1 << 20, 1 << 30
PATIENCE = 300  # seconds for one state of one resource
# Seconds for one test; and for each of the kills, where more of them are asked for.
LONGEST = 900 + 60 * int(os.environ.get("OSC_IMAGETOOLS_KILLS", "0"))


def _take_projects() -> tuple[str, int]:
    """The suffix of a free set of projects, whose clouds.yaml is used from now on; the lock on it."""
    for clouds in sorted(STATE.glob("clouds*.yaml"), reverse=True):
        suffix = clouds.stem.removeprefix("clouds")
        lock = os.open(STATE / "lock" / f"tests{suffix}", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds)
        return suffix, lock
    raise RuntimeError("the cloud has no more sets of projects for one more run of these tests")


SUFFIX, _LOCK = _take_projects()


def project(name: str) -> str:
    """The name of a project of this run: demo, other or small."""
    return name + SUFFIX


@dataclasses.dataclass
class Result:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


# Our commands, as they are typed, and which of them the test that runs now has used.
OURS = frozenset(
    entry_point.name.replace("_", " ")
    for entry_point in importlib.metadata.distribution("osc-imagetools").entry_points
    if entry_point.group == "openstack.imagetools.v1"
)
_used: set[str] = set()


def _note(words: Sequence[str]) -> None:
    """Each test's record says which commands it has used: the documentation tells where each works."""
    _used.update(name for name in OURS if name.split() == list(words[: len(name.split())]))


def run_openstack(*words: str, cloud: str | None = "devcloud-demo") -> Result:
    """The ``openstack`` command in this process."""
    _note(words)
    out, err = io.StringIO(), io.StringIO()
    argv = ["--os-cloud", cloud, *words] if cloud else list(words)
    # The client keeps each service's client of the first login for the whole process, whatever cloud comes
    # next: osc_lib.clientmanager, ClientCache.
    for attribute in vars(clientmanager.ClientManager).values():
        if isinstance(attribute, clientmanager.ClientCache):
            attribute._handle = None
    root = logging.getLogger("")
    handlers, level = list(root.handlers), root.level
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = shell.OpenStackShell().run(argv)
        except SystemExit as exc:
            code = int(exc.code or 0)
        finally:
            root.handlers[:], root.level = handlers, level
    return Result(code, out.getvalue(), err.getvalue())


def start_openstack(*words: str, cloud: str = "devcloud-demo") -> subprocess.Popen[str]:
    """The ``openstack`` command in a process of its own, which can be killed."""
    _note(words)
    return _start([os.path.dirname(sys.executable) + "/openstack", "--os-cloud", cloud, *words])


def start_killed(names: pathlib.Path, step: str, *words: str, cloud: str) -> subprocess.Popen[str]:
    """The same, which sends itself a signal at one of its steps (``killed.py``)."""
    _note(words)
    program = [sys.executable, "-m", "osc_imagetools.tests.functional.killed", str(names), step]
    return _start([*program, "--os-cloud", cloud, *words])


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=_heed_signals,
    )


def _heed_signals() -> None:
    """Whoever runs the tests in the background may have had these ignored, and a command inherits that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class TestCase(testtools.TestCase):
    """Makes resources under a name of its own and removes them afterwards."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.Timeout(LONGEST, gentle=True))  # a test that hangs fails
        _used.clear()
        self.addCleanup(lambda: self.addDetail("commands", content.text_content("\n".join(sorted(_used)))))
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(fixtures.EnvironmentVariable("XDG_STATE_HOME", str(self.dir / "state")))
        self.name = f"test-{uuid.uuid4().hex[:8]}"

    @classmethod
    def shared(cls) -> TestCase:
        """A case that makes what all tests of a class use; removed after the last of them."""
        case = TestCase("id")
        case.setUp()
        cls.addClassCleanup(case.doCleanups)
        return case

    # -- the command ---------------------------------------------------------------------------

    def openstack(self, *words: Any, cloud: str | None = "devcloud-demo", code: int = 0) -> Result:
        """Runs the command and expects an exit code; a traceback is never right."""
        result = run_openstack(*map(str, words), cloud=cloud)
        self.assertEqual(code, result.code, f"{words}: {result.out}\n{result.err}")
        self.assertNotIn("Traceback", result.err)
        return result

    def export(self, image: str, *words: Any, cloud: str = "devcloud-demo") -> dict[str, Any]:
        """``image export-full`` into ``bundle`` below the test's directory: the report."""
        output = self.dir / "bundle"
        report = self.openstack(
            "image", "export-full", image, "--output", output, "-f", "json", *words, cloud=cloud
        )
        return report.json  # type: ignore[no-any-return]

    def manifest(self, bundle: pathlib.Path | None = None) -> dict[str, Any]:
        text = ((bundle or self.dir / "bundle") / "manifest.json").read_text()
        return json.loads(text)  # type: ignore[no-any-return]

    # -- the cloud -----------------------------------------------------------------------------

    def connection(self, cloud: str = "devcloud-demo") -> Connection:
        connection = openstack.connect(cloud=cloud)
        self.addCleanup(connection.close)
        return connection

    def image(
        self,
        data: bytes | pathlib.Path | None,
        *,
        cloud: str = "devcloud-demo",
        store: str = storage.DEFAULT,
        cleanup: bool = True,
        **document: Any,
    ) -> str:
        """The ID of a new image with exactly this document and data."""
        glance = self.connection(cloud).image
        body = {"name": self.name, "disk_format": "raw", "container_format": "bare", **document}
        members = body.pop("members", ())
        answer = glance.post("/images", json=body)
        self.assertEqual(201, answer.status_code, answer.text)
        image_id: str = answer.json()["id"]
        if cleanup:
            self.addCleanup(self.remove_image, image_id, cloud)
        if data is not None:
            with contextlib.ExitStack() as stack:
                source = data if isinstance(data, bytes) else stack.enter_context(data.open("rb"))
                headers = {
                    "Content-Type": "application/octet-stream",
                    "X-Image-Meta-Store": store,
                }
                answer = glance.put(f"/images/{image_id}/file", data=source, headers=headers)
            self.assertEqual(204, answer.status_code, answer.text)
        for member in members:
            answer = glance.post(f"/images/{image_id}/members", json={"member": member})
            self.assertEqual(200, answer.status_code, answer.text)
        return image_id

    def remove_image(self, image_id: str, cloud: str = "devcloud-demo") -> None:
        patch = [{"op": "replace", "path": "/protected", "value": False}]
        kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        with openstack.connect(cloud=cloud) as connection:
            connection.image.patch(f"/images/{image_id}", json=patch, headers=kind)
            connection.image.delete(f"/images/{image_id}")

    def volume(self, *, cloud: str = "devcloud-demo", **fields: Any) -> str:
        """The ID of a new, available volume of 1 GiB."""
        cinder = self.connection(cloud).block_storage
        volume = cinder.create_volume(**{"name": self.name, "size": 1, **fields})
        self.addCleanup(self.remove_volume, volume.id, cloud)
        self.wait(lambda: cinder.get_volume(volume.id).status, "available")
        return str(volume.id)

    def remove_volume(self, volume_id: str, cloud: str = "devcloud-demo") -> None:
        with openstack.connect(cloud=cloud) as connection:
            cinder = connection.block_storage
            for snapshot in list(cinder.snapshots(volume_id=volume_id)):
                cinder.delete_snapshot(snapshot.id, ignore_missing=True)
            self.wait(lambda: len(list(cinder.snapshots(volume_id=volume_id))), 0)
            cinder.delete_volume(volume_id, ignore_missing=True)
            self.wait(lambda: cinder.find_volume(volume_id, ignore_missing=True), None)

    def server(self, volumes: list[str], *, flavor: str = "tiny") -> str:
        """The ID of a new, active server that boots from the first of the volumes."""
        nova = self.connection().compute
        mapping = [
            {
                "uuid": volume,
                "source_type": "volume",
                "destination_type": "volume",
                "boot_index": 0 if number == 0 else -1,
            }
            for number, volume in enumerate(volumes)
        ]
        server = nova.create_server(
            name=self.name,
            flavor_id=nova.find_flavor(flavor, ignore_missing=False).id,
            networks="none",
            block_device_mapping=mapping,
        )
        self.addCleanup(self.remove_server, server.id)
        self.wait(lambda: nova.get_server(server.id).status, "ACTIVE")
        return str(server.id)

    def remove_server(self, server_id: str, cloud: str = "devcloud-demo") -> None:
        with openstack.connect(cloud=cloud) as connection:
            nova = connection.compute
            nova.delete_server(server_id, ignore_missing=True)
            self.wait(lambda: nova.find_server(server_id, ignore_missing=True), None)

    def server_image(self, server_id: str) -> str:
        """The ID of the image that ``openstack server image create`` makes."""
        words = ("server", "image", "create", server_id, "--name", self.name, "-f", "value", "-c", "id")
        process = start_openstack(*words)  # as a user does it, in a process of its own
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(0, process.returncode, err)
        image_id = out.strip()
        self.addCleanup(self.remove_image, image_id)
        return image_id

    def wait(self, get: Any, wanted: Any) -> None:
        end = time.monotonic() + PATIENCE
        while (found := get()) != wanted:
            if time.monotonic() > end or (isinstance(found, str) and "err" in found.lower()):
                self.fail(f"{found!r}, and not {wanted!r}")
            time.sleep(0.3)

    def temporaries(self, image_id: str, cloud: str = "devcloud-demo") -> list[str]:
        """What exports of this image have left in the cloud, by our marks."""
        connection = self.connection(cloud)
        purpose = f"image export-full {image_id}"
        marked = [
            f"{kind} {resource.id}"
            for kind, resources in (
                ("volume", connection.block_storage.volumes()),
                ("snapshot", connection.block_storage.snapshots()),
            )
            for resource in resources
            if resource.metadata.get(ownership.PURPOSE) == purpose
        ]
        query = {ownership.PURPOSE: purpose}
        images = connection.image.get("/images", params=query).json()["images"]
        return marked + [f"image {image['id']}" for image in images]

    # -- bytes ---------------------------------------------------------------------------------

    def random_file(self, size: int, name: str = "data", seed: int | None = None) -> pathlib.Path:
        path = self.dir / name
        path.write_bytes(random.Random(self.name if seed is None else seed).randbytes(size))
        return path

    def guest_disk(self, name: str = "guest", mebibytes: int = 16) -> pathlib.Path:
        """A disk that boots and then writes to itself."""
        path = self.dir / name
        self.make_guest(path, mebibytes)
        return path

    def make_guest(self, path: pathlib.Path, mebibytes: int, *options: str) -> None:
        """``devcloud guest`` with bytes of this test's own."""
        seed = str(int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4], "big"))
        command = [str(ROOT / "devcloud" / "devcloud"), "guest", str(path), str(mebibytes), seed, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def written_by_guest(self, disk: pathlib.Path) -> None:
        """Makes of a guest's disk what the guest makes of it when it runs."""
        with disk.open("r+b") as file:
            file.seek(1024)
            file.write(GUEST_TEXT.ljust(512, b"\0"))

    def same_disk(self, disk: pathlib.Path, content: pathlib.Path) -> None:
        """A disk of any format has this content, and zeros after it (``qemu-img compare``)."""
        with content.open("r+b") as file:
            file.truncate(max(content.stat().st_size, GIB))
        form = "raw" if disk.suffix == ".raw" else "qcow2"
        compared = subprocess.run(
            ["qemu-img", "compare", "-f", form, "-F", "raw", str(disk), str(content)],
            capture_output=True,
            text=True,
        )
        self.assertEqual(0, compared.returncode, compared.stdout + compared.stderr)

    def sums_hold(self, bundle: pathlib.Path) -> None:
        """``sha512sum -c`` of coreutils passes and covers every other file."""
        checked = subprocess.run(
            ["sha512sum", "-c", "--strict", "SHA512SUMS"], cwd=bundle, capture_output=True, text=True
        )
        self.assertEqual(0, checked.returncode, checked.stdout + checked.stderr)
        files = {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()}
        named = {line.rsplit(": ", 1)[0] for line in checked.stdout.splitlines()}
        self.assertEqual(files - {"SHA512SUMS"}, named)
