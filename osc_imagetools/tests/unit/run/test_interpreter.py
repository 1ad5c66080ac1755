# SPDX-License-Identifier: Apache-2.0
"""The interpreter of operations: which requests in which order, and what is left of a failure."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.ownership import RUN
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.data.disk_stream import DiskSource
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.operations.disk_drafts import disk_volume
from osc_imagetools.operations.drafts import ImageDraft
from osc_imagetools.operations.vocabulary import FetchImage, Phase, SetMetadata
from osc_imagetools.progress.model import NullProgress
from osc_imagetools.run import deadline
from osc_imagetools.run.context import Ending, RunContext, run_context
from osc_imagetools.run.effects import images
from osc_imagetools.run.effects.interpreter import Interpreter
from osc_imagetools.run.effects.outcome import Outcome, Results
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.tests.unit.base import IMAGE, VOLUME, TestCase, image_document, volume_document

DATA = b"disk" * 5000
DIGEST = hashlib.sha512(DATA).hexdigest()
FILE = "disks/0-vda.raw"


class Disks:
    """A bundle of one disk."""

    algorithm = "sha512"

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data

    def fetch(self, operation: FetchImage, results: Results) -> Outcome:
        raise AssertionError(operation)

    def source(self, draft: ImageDraft) -> DiskSource:
        proof = Proof("sha512", DIGEST, "os_hash")
        return Stored(FILE, len(DATA), proof, lambda: io.BytesIO(), "web01.bundle", self.data)


class Stored(FileSource):
    """A file without a file."""

    def __init__(self, *fields: Any) -> None:
        super().__init__(*fields[:-1])
        object.__setattr__(self, "data", fields[-1])

    def open(self, cancelled: threading.Event) -> Any:
        return io.BytesIO(self.data)  # type: ignore[attr-defined]


QCOW2 = "0d1c2b3a-5555-4666-8777-888899990000"
OTHER_VOLUME = "6f1b2a34-1111-4222-8333-444455556666"


class InterpreterCase(TestCase):
    """A cloud in which one image and one volume are made."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(deadline, "FIRST_PAUSE", 0.001)
        self.patch(images, "FIRST_WAIT", 0.001)
        self.mocked = self.mocked_cloud()
        self.http = self.mocked.http
        self.images: dict[str, dict[str, Any]] = {}
        self.uploads: list[int] = []  # statuses of the next uploads
        self.in_use = False  # the volume is a clone of the image
        self.volume = volume_document(status="available", name="web01-vda", bootable="true")
        self.http.get(f"{IMAGE}/v2/images?limit=1", json={"images": []})
        self.http.get(f"{VOLUME}/volumes?limit=1", json={"volumes": []})
        self.http.post(f"{IMAGE}/v2/images", json=self.create_image)
        path = re.compile(f"{IMAGE}/v2/images/([^/?]+)$")
        self.http.get(path, json=self.show_image)
        self.http.patch(path, json={})
        self.http.delete(path, json=self.delete_image)
        self.http.put(re.compile(f"{IMAGE}/v2/images/[^/]+/file"), json=self.upload)
        self.serve_volume()
        self.http.put(re.compile(f"{VOLUME}/volumes/"), json={})

    def serve_volume(self) -> None:
        """The volume is the one that is made, shown and changed from now on."""
        self.http.post(f"{VOLUME}/volumes", json={"volume": self.volume})
        self.http.get(f"{VOLUME}/volumes/{self.volume['id']}", json=lambda r, c: {"volume": self.volume})
        self.http.post(f"{VOLUME}/volumes/{self.volume['id']}/action", json=self.act)

    def create_image(self, request: Any, context: Any) -> Any:
        body = request.json()
        self.images[body["id"]] = image_document(**{**body, "status": "queued", "size": None})
        context.status_code = 201
        return self.images[body["id"]]

    def show_image(self, request: Any, context: Any) -> Any:
        image = self.images.get(request.path.rpartition("/")[2])
        context.status_code = 200 if image else 404
        return image or {}

    def upload(self, request: Any, context: Any) -> Any:
        status = self.uploads.pop(0) if self.uploads else 204
        context.status_code = status
        if status == 204:
            data = b"".join(request.body)
            image = self.images[request.path.split("/")[3]]
            digest = hashlib.sha512(data).hexdigest()
            image.update(status="active", size=len(data), os_hash_value=digest, checksum=None)
        return {}

    def delete_image(self, request: Any, context: Any) -> Any:
        context.status_code = 409 if self.in_use else 204
        if not self.in_use:
            self.images.pop(request.path.rpartition("/")[2], None)
        return {}

    def act(self, request: Any, context: Any) -> Any:
        body = request.json()
        context.status_code = 202
        if "os-volume_upload_image" in body:
            wanted = body["os-volume_upload_image"]
            self.images[QCOW2] = image_document(
                id=QCOW2, name=wanted["image_name"], disk_format=wanted["disk_format"], checksum=None
            )
            return {"os-volume_upload_image": {"image_id": QCOW2}}
        metadata = dict(self.volume.get("volume_image_metadata") or {})
        metadata.update(body.get("os-set_image_metadata", {}).get("metadata", {}))
        metadata.pop(body.get("os-unset_image_metadata", {}).get("key"), None)
        self.volume["volume_image_metadata"] = metadata
        return {}

    def run_volume(self, disks: Disks | None = None, **run: Any) -> tuple[Results, tuple[str, ...]]:
        """Restores a disk into a volume, as a plan of ``volume import-full`` has it."""
        disk = {
            "name": "vda",
            "file": FILE,
            "size": len(DATA),
            "virtual_size": len(DATA),
            "disk_format": "raw",
            "container_format": "bare",
            "content_format": "raw",
            "hash": {"algorithm": "sha512", "value": DIGEST},
            "role": "boot",
            "replayable": {"volume": {"name": "web01-vda", "image_metadata": {"os_distro": "x"}}},
        }
        volume = disk_volume(disk, fallback="web01", volume_type=None)
        phases = (Phase((volume.lane,)), Phase.of(SetMetadata(volume.volume)))
        ending = run.pop("ending", Ending.KEEP)
        with run_context(self.mocked.cloud, "test", None, **run) as context:
            self.context: RunContext = context
            interpreter = Interpreter(context, disks or Disks(), jobs=2, progress=NullProgress())
            return interpreter.run(phases), context.conclude(ending)

    def requests(self) -> list[str]:
        """What was asked to change something, in order."""
        found = []
        for request in self.http.request_history:
            if request.method in ("POST", "PUT", "DELETE", "PATCH") and "identity" not in request.hostname:
                what = next(iter(request.json())) if request.path.endswith("/action") else ""
                kind = "image" if IMAGE.endswith(request.hostname) else "volume"
                data = "/file" if request.path.endswith("/file") else ""
                found.append(f"{request.method} {kind}{data}{what and ' '}{what}")
        return found


class TestVolume(InterpreterCase):
    def test_the_requests_in_their_order(self) -> None:
        results, left = self.run_volume()
        self.assertEqual(
            [
                "POST image",
                "PUT image/file",
                "POST volume",
                "POST volume os-set_image_metadata",
                "DELETE image",
                "PUT volume",
                "PUT volume",
            ],
            self.requests(),
        )
        self.assertEqual((), left)
        self.assertEqual({}, self.images)
        self.assertEqual([], journaled_runs())
        (volume,) = (o for o in results.outcomes.values() if o.source is not None)
        self.assertEqual(("web01-vda", GIB), (volume.name, volume.value.size))

    def test_it_is_ours_until_its_metadata_is_set(self) -> None:
        self.run_volume()
        created = self.mocked.sent("POST")[1][1]["volume"]
        self.assertEqual(self.context.run.id, created["metadata"][RUN])
        puts = [r for r in self.http.request_history if r.method == "PUT" and "file" not in r.path]
        self.assertEqual([{"volume": {"description": None}}, {"metadata": {}}], [r.json() for r in puts])

    def test_an_upload_that_breaks_is_begun_again_with_a_new_image(self) -> None:
        self.uploads = [503, 502]
        self.run_volume()
        self.assertEqual(3, self.requests().count("POST image"))
        self.assertEqual(3, self.requests().count("DELETE image"))
        self.assertEqual(2, self.mocked.cloud.retries.count)

    def test_an_upload_that_goes_on_breaking(self) -> None:
        self.uploads = [503] * images.UPLOADS
        self.assertRaises(errors.TransferError, self.run_volume)
        self.assertEqual(({}, []), (self.images, journaled_runs()))

    def test_a_refusal_is_no_fault_that_passes(self) -> None:
        self.uploads = [413]
        self.assertRaises(errors.TransferError, self.run_volume)
        self.assertEqual(1, self.requests().count("POST image"))
        self.assertEqual({}, self.images)

    def test_wrong_bytes_leave_nothing(self) -> None:
        wrong = DATA[:-1] + b"!"
        error = self.assertRaises(errors.HashMismatch, self.run_volume, Disks(wrong))
        self.assertIn("bundle verify", str(error))
        self.assertEqual(["POST image", "DELETE image"], [r for r in self.requests() if "file" not in r])
        self.assertEqual({}, self.images)


class TestClone(InterpreterCase):
    """On RBD a volume made of a raw image is a clone of it, which keeps the image from being deleted."""

    def setUp(self) -> None:
        super().setUp()
        self.in_use = True

    def test_a_volume_of_a_qcow2_image_replaces_it(self) -> None:
        """All of it happens inside the cloud, and its image goes too."""
        clone = self.volume["id"]
        self.http.delete(f"{VOLUME}/volumes/{clone}", json=self.replaced, status_code=202)
        results, left = self.run_volume()
        requests = self.requests()
        at = requests.index("POST volume os-volume_upload_image")
        self.assertIn("DELETE image", requests[:at])
        after = [r for r in requests[at:] if r.split()[0] in ("POST", "DELETE") and len(r.split()) == 2]
        self.assertEqual(["DELETE volume", "POST volume", "DELETE image", "DELETE image"], after)
        self.assertEqual(((), {}, []), (left, self.images, journaled_runs()))
        (outcome,) = [o for o in results.outcomes.values() if o.source is not None]
        self.assertEqual(OTHER_VOLUME, outcome.resource.id if outcome.resource else None)
        made = [b["volume"]["imageRef"] for p, b in self.mocked.sent("POST") if p.endswith("/volumes")]
        self.assertEqual(QCOW2, made[-1])

    def replaced(self, request: Any, context: Any) -> Any:
        """The clone goes, and the next volume is another one."""
        self.http.get(f"{VOLUME}/volumes/{self.volume['id']}", status_code=404)
        self.volume = {**self.volume, "id": OTHER_VOLUME}
        self.in_use = False
        self.serve_volume()
        return {}


class TestEnding(InterpreterCase):
    def test_everything_goes_where_nothing_is_kept(self) -> None:
        self.http.delete(f"{VOLUME}/volumes/{self.volume['id']}", json=self.gone, status_code=202)
        _, left = self.run_volume(ending=Ending.REMOVE)
        self.assertEqual(((), []), (left, journaled_runs()))
        self.assertIn("DELETE volume", self.requests())

    def gone(self, request: Any, context: Any) -> Any:
        self.http.get(f"{VOLUME}/volumes/{self.volume['id']}", status_code=404)
        return {}

    def test_what_stays_is_left_and_found(self) -> None:
        self.run_volume(ending=Ending.LEAVE)
        (run,) = journaled_runs()
        self.assertEqual([("volume", self.volume["id"])], [(e.kind, e.id) for e in run.pending])
        self.assertNotIn("DELETE volume", self.requests())

    def test_two_clouds_in_one_run(self) -> None:
        """Each has marks and a journal of its own, and one clean-up removes what is in both."""
        other = self.mocked_cloud()
        with run_context(self.mocked.cloud, "copy", None) as context:
            there = context.at(other.cloud)
            self.assertNotEqual(context.run.id, there.run.id)
            for one in (context, there):
                removed: list[str] = []
                one.register("volume", "x", lambda c, made, r=removed: r.append(made.name))  # type: ignore[misc]
            self.assertEqual(2, len(journaled_runs()))
            self.assertEqual((), context.conclude())
        self.assertEqual([], journaled_runs())

    def test_two_runs_one_after_the_other(self) -> None:
        self.run_volume()
        self.run_volume()
        self.assertEqual([], journaled_runs())
