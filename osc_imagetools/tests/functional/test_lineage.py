# SPDX-License-Identifier: Apache-2.0
"""The lineage of a real server, of what it was made from and what was made from it."""

import json
from xml.etree import ElementTree

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.base import GIB
from osc_imagetools.tests.functional.terminal import on_terminal, recorded


class TestLineage(base.TestCase):
    """A server of two volumes, the first made from an image, and the image that Nova makes of it."""

    source: str
    volumes: list[str]
    server_id: str
    image_id: str
    snapshots: dict[str, str]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls.shared()
        cls.source = case.image(case.guest_disk())
        cls.volumes = [case.volume(image_id=cls.source), case.volume()]
        cls.server_id = case.server(cls.volumes)
        cls.image_id, cls.snapshots = cls.captured(case)

    @classmethod
    def captured(cls, case):
        """An image of the server, and its snapshots by the ID of their volume."""
        image = case.server_image(cls.server_id)
        cinder = case.connection().block_storage
        properties = case.connection().image.get_image(image).properties
        snapshots = {}
        for entry in json.loads(properties["block_device_mapping"]):
            snapshot = entry["snapshot_id"]
            case.wait(lambda s=snapshot: cinder.get_snapshot(s).status, "available")
            snapshots[cinder.get_snapshot(snapshot).volume_id] = snapshot
        return image, snapshots

    def rows(self, *words, cloud="devcloud-demo"):
        return self.openstack(*words, "--long", "-f", "json", cloud=cloud).json

    def links(self, rows, image, snapshots):
        """(depth, type, ID, ID of the parent, direction, relation) of the server, with one of its images."""
        mine = {self.server_id, self.source, image, *self.volumes, *snapshots.values()}
        keys = ("Depth", "Type", "ID", "Parent", "Direction", "Relation")
        return {tuple(row[key] for key in keys) for row in rows if row["ID"] in mine}

    def test_of_a_server_before_and_after_a_snapshot_is_deleted(self):
        root, data = self.volumes
        image, snapshots = self.captured(self)
        before = self.rows("server", "lineage", self.server_id)
        expected = {
            (0, "server", self.server_id, None, None, None),
            (2, "image", self.source, root, "from", "copy"),
        }
        for volume in self.volumes:
            snapshot = snapshots[volume]
            expected |= {
                (1, "volume", volume, self.server_id, "from", "attachment"),
                (2, "snapshot", snapshot, volume, "to", "snapshot"),
                (3, "image", image, snapshot, "to", "mapping"),
            }
        self.assertEqual(expected, self.links(before, image, snapshots))
        self.assertEqual({False}, {row["Broken"] for row in before})
        sizes = {row["ID"]: (row["Status"], row["Size"]) for row in before}
        facts = [("ACTIVE", None), ("active", 16 << 20), ("in-use", GIB), ("available", GIB), ("active", 0)]
        ids = (self.server_id, self.source, root, snapshots[data], image)
        self.assertEqual(facts, [sizes[identifier] for identifier in ids])

        gone = snapshots[data]
        (fate,) = [
            row["If Deleted"]
            for row in self.rows("volume", "snapshot", "lineage", gone)
            if row["ID"] == image
        ]
        self.assertIn("no longer be booted", fate)
        cinder = self.connection().block_storage
        cinder.delete_snapshot(gone)
        self.wait(lambda: cinder.find_snapshot(gone, ignore_missing=True), None)
        self.assertEqual(400, self.boot(image))

        after = self.rows("server", "lineage", self.server_id)
        expected -= {
            (2, "snapshot", gone, data, "to", "snapshot"),
            (3, "image", image, gone, "to", "mapping"),
        }
        self.assertEqual(expected, self.links(after, image, snapshots))
        self.assertEqual({image}, {row["ID"] for row in after if row["Broken"]})
        rows = {row["ID"]: row for row in self.rows("image", "lineage", image)}
        self.assertEqual({image, gone}, {i for i, row in rows.items() if row["Broken"]})
        self.assertEqual(("not found", image), (rows[gone]["Status"], rows[gone]["Parent"]))
        self.assertEqual(self.server_id, next(i for i, r in rows.items() if r["Type"] == "server"))

    def boot(self, image):
        """The status of the answer to the request for a server of an image that cannot boot."""
        nova = self.connection().compute
        flavor = nova.find_flavor("tiny", ignore_missing=False).id
        server = {"name": self.name, "imageRef": image, "flavorRef": flavor, "networks": "none"}
        return nova.post("/servers", json={"server": server}, microversion="2.37").status_code

    def test_of_a_volume_and_what_prevents_its_deletion(self):
        root = self.volumes[0]
        rows = {row["ID"]: row for row in self.rows("volume", "lineage", root)}
        self.assertEqual((0, None), (rows[root]["Depth"], rows[root]["Parent"]))
        self.assertEqual(("from", "copy"), (rows[self.source]["Direction"], rows[self.source]["Relation"]))
        self.assertEqual(
            ("to", "attachment"), (rows[self.server_id]["Direction"], rows[self.server_id]["Relation"])
        )
        for identifier in (self.server_id, self.snapshots[root]):
            self.assertIn("prevents the deletion", rows[identifier]["If Deleted"])
        answer = self.connection().block_storage.delete(f"/volumes/{root}")
        self.assertEqual(400, answer.status_code, answer.text)

    def test_as_a_tree_on_a_terminal(self):
        words = ("image", "lineage", self.image_id)
        rows = self.rows(*words)
        self.assertRegex(on_terminal(*words), r"\x1b\[[0-9;]*3[0-9]m")
        self.assertNotRegex(on_terminal(*words, NO_COLOR="1"), r"\x1b\[[0-9;]*3[0-9]m")
        lines = recorded(*words, columns=200).lines
        self.assertEqual(2 * len(rows), len(lines))
        for row, first, second in zip(rows, lines[::2], lines[1::2], strict=True):
            self.assertIn(f"{row['Type']} ", first)
            self.assertIn(f": {row['Status']}", first)
            self.assertTrue(second.endswith(f" {row['ID']}"), second)
            self.assertLessEqual(len(second), 80)

    def test_as_rows_as_a_table_and_as_a_graph(self):
        words = ("image", "lineage", self.image_id)
        rows = self.rows(*words)
        table = self.openstack(*words).out.splitlines()
        self.assertEqual(list(rows[0])[:8], [cell.strip() for cell in table[1].strip("|").split("|")])
        self.assertEqual(len(rows), len(table) - 4)
        for row, line in zip(rows, table[3:], strict=False):
            self.assertIn(row["ID"], line)
        graph = self.openstack(*words, "-f", "dot").out
        for volume, snapshot in self.snapshots.items():
            self.assertIn(f'"{volume}" -> "{snapshot}" [label="snapshot"];', graph)
            self.assertIn(f'"{snapshot}" -> "{self.image_id}" [label="mapping"];', graph)
        picture = ElementTree.fromstring(self.openstack(*words, "-f", "svg").out)
        texts = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
        self.assertEqual(set(), {row["ID"] for row in rows} - texts)
