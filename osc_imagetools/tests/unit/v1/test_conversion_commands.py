# SPDX-License-Identifier: Apache-2.0
"""The conversions as they are typed, and what other programs may call."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import fixtures

from osc_imagetools import api, errors
from osc_imagetools.api import conversions
from osc_imagetools.data import raw_stream
from osc_imagetools.run.effects import reformat
from osc_imagetools.run.journal import journaled_runs
from osc_imagetools.tests.unit.base import IMAGE, VOLUME, mapping_entry
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.served import ServedCase, each

DISK = samples.qcow2(virtual_size=1 << 30)


class ConversionCase(ServedCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.folder = pathlib.Path(folder)
        self.patch(reformat, "FOLDER", self.folder)

    def convert(self, *words: Any, code: int = 0) -> Any:
        return self.rows(*words, code=code)

    def nothing_temporary_is_left(self) -> None:
        served = self.served
        self.assertEqual(([], []), (journaled_runs(), list(self.folder.iterdir())))
        for documents in (served.images, served.volumes, served.snapshots):
            for document in documents.values():
                self.assertNotIn("osc-imagetools", json.dumps(document))


class TestImage(ConversionCase):
    def test_to_a_volume(self) -> None:
        image = self.served.add_image(DISK, disk_format="qcow2", virtual_size=1 << 30, os_distro="debian")
        told = self.convert("image", "convert", "web01", "--to", "volume", "--size", "3", "--type", "fast")
        made = self.served.volumes[told["id"]]
        self.assertEqual(
            ("volume", "web01", "available", 3 << 30, [], []),
            tuple(told[key] for key in ("type", "name", "status", "bytes", "kept", "not_replayed")),
        )
        self.assertEqual((3, "fast", {}), (made["size"], made["volume_type"], made["metadata"]))
        self.assertEqual("debian", made["volume_image_metadata"]["os_distro"])
        self.assertEqual(image["id"], self.served.sent("POST")[0][1]["volume"]["imageRef"])
        self.nothing_temporary_is_left()

    def test_to_a_snapshot_whose_volume_stays(self) -> None:
        self.served.add_image(DISK, disk_format="qcow2", virtual_size=1 << 30)
        told = self.convert("image", "convert", "web01", "--to", "snapshot", "--property", "a=1")
        snapshot = self.served.snapshots[told["id"]]
        (volume,) = self.served.volumes.values()
        self.assertEqual(("snapshot", {"a": "1"}), (told["type"], snapshot["metadata"]))
        (kept,) = told["kept"]
        self.assertIn(f"volume web01 ({volume['id']}): ", kept)
        self.assertEqual(volume["id"], snapshot["volume_id"])
        self.nothing_temporary_is_left()

    def test_to_another_format(self) -> None:
        raw = bytes(1 << 20) + b"x" * 512
        self.served.add_image(raw, os_distro="debian", tags=["a"])
        for copier in (raw_stream.COPIER, "no-such-program"):
            self.patch(raw_stream, "COPIER", copier)
            told = self.convert("image", "convert", "web01", "--to", "image", "--disk-format", "qcow2")
            made = self.served.images.pop(told["id"])
            self.assertEqual(
                ("qcow2", "debian", ["a"]), (made["disk_format"], made["os_distro"], made["tags"])
            )
            self.assertEqual(b"QFI\xfb", self.served.data[told["id"]][:4])
            self.assertEqual((len(raw), told["bytes"]), (made["virtual_size"], made["size"]))
            self.nothing_temporary_is_left()

    def test_to_raw_and_back_it_is_the_same_disk(self) -> None:
        raw = bytes(1 << 20) + b"x" * 512
        self.served.add_image(raw)
        self.convert("image", "convert", "web01", "--to", "image", "--disk-format", "qcow2", "--name", "q")
        told = self.convert("image", "convert", "q", "--to", "image", "--disk-format", "raw")
        self.assertEqual(raw, self.served.data[told["id"]])
        self.assertEqual("raw", self.served.images[told["id"]]["disk_format"])

    def test_bytes_without_a_hash_are_told(self) -> None:
        self.served.add_image(bytes(1 << 20), os_hash_algo=None, os_hash_value=None, checksum=None)
        words = ("image", "convert", "web01", "--to", "image", "--disk-format", "qcow2")
        code, _, err = self.run_openstack(*words)
        self.assertEqual(0, code, err)
        self.assertIn("nothing proves the bytes that are converted", err)

    def test_what_it_says_that_it_is_and_is_not(self) -> None:
        """Only the whole file tells: its beginning could not be read before the plan."""
        image = self.served.add_image(DISK, disk_format="vmdk", virtual_size=1 << 30)
        whole = self.served._download
        answers = [404, 200]

        def download(request: Any, context: Any) -> Any:
            context.status_code = answers.pop(0) if answers else 200
            return b"" if context.status_code == 404 else whole(request, context, image["id"])

        self.http.get(f"{IMAGE}/v2/images/{image['id']}/file", content=download)
        err = self.fails("image", "convert", "web01", "--to", "image", "--disk-format", "raw")
        self.assertIn("says that it is vmdk, but its content is qcow2", err)
        self.assertEqual([image["id"]], list(self.served.images))
        self.nothing_temporary_is_left()

    def test_no_room_for_the_files(self) -> None:
        image = self.served.add_image(bytes(1 << 20))
        image["size"] = 1 << 60
        err = self.fails("image", "convert", "web01", "--to", "image", "--disk-format", "qcow2")
        self.assertIn(f"{2 << 60} bytes are needed to convert image web01", err)
        self.assertIn("Set TMPDIR to a directory with more space", err)
        self.assertEqual([], self.served.changes())

    def test_another_disk_than_that_of_the_image(self) -> None:
        self.served.add_image(bytes(1 << 20))
        fill = self.served._fill

        def other(identifier: str, data: bytes) -> None:
            fill(identifier, data)
            self.served.images[identifier]["virtual_size"] = 5

        self.served._fill = other  # type: ignore[method-assign]
        err = self.fails("image", "convert", "web01", "--to", "image", "--disk-format", "qcow2")
        self.assertIn(f"has a disk of 5 bytes instead of {1 << 20}", err)
        self.assertEqual(1, len(self.served.images))
        self.nothing_temporary_is_left()

    def test_one_of_no_bytes_by_its_boot_disk(self) -> None:
        volume = self.served.add_volume(DISK, name="root", volume_image_metadata={"os_distro": "debian"})
        entries = [
            mapping_entry(snapshot_id=self.served.add_snapshot(volume)["id"], device_name=f"/dev/vd{name}",
                          boot_index=0 if name == "a" else None)
            for name in "ab"
        ]  # fmt: skip
        self.served.add_image(block_device_mapping=json.dumps(entries), bdm_v2="True")
        told = self.convert("image", "convert", "web01", "--to", "image")
        made = self.served.images[told["id"]]
        self.assertEqual(("qcow2", DISK), (made["disk_format"], self.served.data[told["id"]]))
        self.assertNotIn("block_device_mapping", made)
        self.assertIn(
            f"openstack volume snapshot convert {entries[1]['snapshot_id']} --to image",
            "".join(told["not_replayed"]),
        )
        self.nothing_temporary_is_left()

    def test_usage(self) -> None:
        err = self.fails("image", "convert", "x", "--to", "volume", "--disk-format", "raw", code=2)
        self.assertIn("--disk-format", err)
        self.fails("image", "convert", "web01", code=2)
        err = self.fails("image", "convert", "x", "--to", "volume", "--dry-run", "-f", "shell", code=2)
        self.assertIn("Use -f json", err)
        self.assertEqual([], self.http.request_history)
        self.served.add_image(DISK)
        err = self.fails("image", "convert", "web01", "--to", "image", code=2)
        self.assertIn("--disk-format is required", err)


class TestVolume(ConversionCase):
    def test_to_an_image(self) -> None:
        self.served.add_volume(DISK, name="data01", volume_image_metadata={"os_distro": "debian"})
        told = self.convert("volume", "convert", "data01", "--to", "image", "--property", "a=1")
        made = self.served.images[told["id"]]
        self.assertEqual(
            ("data01", "qcow2", "debian", "1"),
            (made["name"], made["disk_format"], made["os_distro"], made["a"]),
        )
        self.assertEqual(DISK, self.served.data[told["id"]])
        self.nothing_temporary_is_left()

    def test_one_in_use_by_way_of_a_snapshot(self) -> None:
        volume = self.served.add_volume(DISK, name="data01", status="in-use")
        told = self.convert("volume", "convert", "data01", "--to", "image")
        self.assertEqual(DISK, self.served.data[told["id"]])
        kinds = self.served.kinds()
        self.assertEqual(["POST snapshots", "POST volumes"], kinds[:2])
        self.assertLess(kinds.index("DELETE volumes"), kinds.index("DELETE snapshots"))
        self.assertEqual([volume["id"]], list(self.served.volumes))
        self.nothing_temporary_is_left()

    def test_to_a_volume_of_another_type(self) -> None:
        self.served.add_volume(DISK, name="data01", metadata={"owner": "ops"}, bootable="true")
        told = self.convert("volume", "convert", "data01", "--to", "volume", "--type", "fast")
        made = self.served.volumes[told["id"]]
        self.assertEqual(
            ("data01-copy", "fast", {"owner": "ops"}, "true"),
            (made["name"], made["volume_type"], made["metadata"], made["bootable"]),
        )
        self.assertEqual(DISK, self.served.disks[told["id"]])
        self.nothing_temporary_is_left()

    def test_to_a_snapshot(self) -> None:
        volume = self.served.add_volume(DISK, name="data01", metadata={"owner": "ops"})
        told = self.convert("volume", "convert", "data01", "--to", "snapshot", "--name", "before")
        made = self.served.snapshots[told["id"]]
        self.assertEqual(("before", volume["id"], {"owner": "ops"}),
                         (made["name"], made["volume_id"], made["metadata"]))  # fmt: skip
        self.nothing_temporary_is_left()

    def test_a_snapshot_of_another_size(self) -> None:
        self.served.add_volume(DISK, name="data01")
        add = self.served.add_snapshot
        self.served.add_snapshot = lambda v, **more: add({**v, "size": 7}, **more)  # type: ignore[method-assign]
        err = self.fails("volume", "convert", "data01", "--to", "snapshot", "--name", "before")
        self.assertIn(f"is available, {7 << 30} bytes, and not of {1 << 30} bytes", err)
        self.assertEqual({}, self.served.snapshots)

    def test_what_cannot_be_removed_is_told_and_fails_nothing(self) -> None:
        self.served.add_volume(DISK, name="data01", status="in-use")
        self.http.delete(each(VOLUME, "snapshots"), status_code=403, json={"forbidden": {"message": "no"}})
        told = self.convert("volume", "convert", "data01", "--to", "image")
        (snapshot,) = self.served.snapshots
        (kept,) = told["kept"]
        self.assertIn(snapshot, kept)
        self.assertIn("it could not be removed", kept)

    def test_dry_run(self) -> None:
        self.served.add_volume(DISK, name="data01", status="in-use")
        steps = self.rows("volume", "convert", "data01", "--to", "image", "--dry-run")
        actions = [step["Action"] for step in steps if step["Step"]]
        self.assertEqual(["create snapshot", "create volume"], actions[:2])
        self.assertEqual([], self.served.changes())


class TestSnapshot(ConversionCase):
    def test_to_an_image_and_to_a_volume(self) -> None:
        volume = self.served.add_volume(DISK, name="data01", volume_image_metadata={"os_distro": "debian"})
        self.served.add_snapshot(volume, name="before", metadata={"owner": "ops"})
        told = self.convert("volume", "snapshot", "convert", "before", "--to", "image")
        self.assertEqual("debian", self.served.images[told["id"]]["os_distro"])
        told = self.convert("volume", "snapshot", "convert", "before", "--to", "volume")
        made = self.served.volumes[told["id"]]
        self.assertEqual(("before", {"owner": "ops"}), (made["name"], made["metadata"]))
        self.assertEqual(DISK, self.served.disks[told["id"]])
        self.nothing_temporary_is_left()

    def test_without_block_storage(self) -> None:
        self.serve(block_storage=False)
        for words in (("volume",), ("volume", "snapshot")):
            err = self.fails(*words, "convert", "x", "--to", "image")
            self.assertIn("[service-absent]", err)
            self.assertIn("--os-region-name", err)


class TestApi(ConversionCase):
    """As another program uses it, with a login of openstacksdk."""

    def test_a_plan_and_its_execution(self) -> None:
        volume = self.served.add_volume(DISK, name="data01")
        connection = self.served.cloud.connection
        plan = api.plan_conversion(connection, "volume", volume["id"], to="image", properties={"a": "1"})
        self.assertEqual("create image", next(step.action for step in plan.steps()))
        self.assertEqual([], self.served.changes())
        report = api.carry_out(connection, plan)
        self.assertEqual(("image", "data01"), (report.made.type, report.made.name))
        self.assertEqual("1", self.served.images[report.made.id]["a"])

    def test_arguments_that_do_not_go_together(self) -> None:
        connection = self.served.cloud.connection
        kind: Any = "server"
        error = self.assertRaises(errors.UsageError, api.plan_conversion, connection, kind, "x", to="image")
        self.assertIn("kind 'server': it is image, volume or snapshot", error.message)
        more = {"to": "image", "disk_format": "raw", "size": 1}
        self.assertRaises(errors.UsageError, api.plan_conversion, connection, "volume", "x", **more)
        self.assertEqual([], self.served.http.request_history)

    def test_encryption_is_asked_about_only_where_another_type_is_wanted(self) -> None:
        self.served.add_volume(DISK, name="data01")
        connection = self.served.cloud.connection
        asked = []
        for wanted in (None, "fast"):
            before = len(self.http.request_history)
            conversions.plan_conversion(connection, "volume", "data01", to="volume", volume_type=wanted)
            asked.append(sum("/encryption" in request.path for request in self.http.request_history[before:]))
        self.assertEqual([0, 2], asked)

    def test_a_type_whose_encryption_may_not_be_known(self) -> None:
        self.served.add_volume(DISK, name="data01")
        self.http.get(each(VOLUME, "types", "/encryption"), status_code=403)
        connection = self.served.cloud.connection
        plan = conversions.plan_conversion(connection, "volume", "data01", to="volume", volume_type="fast")
        self.assertIn("create volume", [step.action for step in plan.steps()])
