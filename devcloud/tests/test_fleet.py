# SPDX-License-Identifier: Apache-2.0
"""The fleet: copies are whole, tell of each other and of nothing else, and can be removed."""

import pathlib
import sqlite3
import sys
import tempfile
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from orchestrator import fleet  # noqa: E402

DEMO, OTHER = "d" * 32, "0" * 32
SERVER, VOLUME, SNAPSHOT, IMAGE, BASE = (str(uuid.uuid4()) for _ in range(5))
MAPPING, ATTACHMENT = (str(uuid.uuid4()) for _ in range(2))
ROWS: dict[str, dict[str, dict[str, fleet.Value]]] = {
    "nova_cell1": {
        "instances": {
            "id": 7,
            "uuid": SERVER,
            "host": "devcloud",
            "node": "devcloud",
            "launched_on": "devcloud",
            "compute_id": 1,
            "project_id": DEMO,
            "display_name": "web",
            "image_ref": BASE,
            "deleted": 0,
        },
        "block_device_mapping": {
            "id": 3,
            "uuid": MAPPING,
            "instance_uuid": SERVER,
            "volume_id": VOLUME,
            "connection_info": f'{{"volume_id": "{VOLUME}", "attachment_id": "{ATTACHMENT}"}}',
            "deleted": 0,
        },
    },
    "cinder": {
        "volumes": {
            "id": VOLUME,
            "host": "devcloud@nfs#nfs",
            "project_id": DEMO,
            "display_name": "web-root",
            "size": 1,
            "deleted": 0,
        },
        "volume_attachment": {
            "id": ATTACHMENT,
            "volume_id": VOLUME,
            "instance_uuid": SERVER,
            "attached_host": "devcloud",
            "deleted": 0,
        },
        "snapshots": {"id": SNAPSHOT, "volume_id": VOLUME, "project_id": DEMO, "deleted": 0},
    },
    "glance": {
        "images": {"id": IMAGE, "name": "web", "owner": DEMO, "deleted": 0},
        "image_locations": {"id": 1, "image_id": IMAGE, "value": f"file:///{IMAGE}", "deleted": 0},
        "image_properties": {
            "id": 1,
            "image_id": IMAGE,
            "name": "block_device_mapping",
            "value": f'[{{"snapshot_id": "{SNAPSHOT}"}}]',
            "deleted": 0,
        },
    },
}


class FleetTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for table in fleet.TABLES:
            row = ROWS.get(table.database, {}).get(table.name, {})
            of_row = [
                "id integer primary key" if isinstance(value, int) and name == "id" else name
                for name, value in row.items()
            ]
            others = {found.column for found in fleet.TABLES if found.name == table.name}
            columns = ", ".join(of_row or others)
            connection = self.database(table.database)
            connection.execute(f"create table if not exists {table.name} ({columns})")
        for name, tables in ROWS.items():
            for table_name, row in tables.items():
                connection = self.database(name)
                marks = ", ".join("?" * len(row))
                connection.execute(f"insert into {table_name} values ({marks})", [*row.values()])
                connection.commit()
        self.fleet = fleet.Fleet(self.folder)
        self.fleet.__enter__()
        self.addCleanup(self.fleet.__exit__)

    def database(self, name: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / f"{name}.sqlite")
        self.addCleanup(connection.close)
        connection.row_factory = sqlite3.Row
        return connection

    def rows(self, database: str, table: str) -> list[dict[str, object]]:
        """All rows of a table."""
        found = self.database(database).execute(f"select * from {table}")
        return [dict(row) for row in found]

    def add(self, count: int) -> None:
        self.fleet.add([self.fleet.original(SERVER, [IMAGE])], [DEMO, OTHER], count)

    def test_a_copy_has_new_ids_that_agree_with_each_other(self) -> None:
        self.add(1)
        _, server = self.rows("nova_cell1", "instances")
        _, mapping = self.rows("nova_cell1", "block_device_mapping")
        _, volume = self.rows("cinder", "volumes")
        _, attachment = self.rows("cinder", "volume_attachment")
        _, snapshot = self.rows("cinder", "snapshots")
        _, image = self.rows("glance", "images")
        _, known = self.rows("glance", "image_properties")
        new = {str(row["id"]) for row in (volume, attachment, snapshot, image)}
        new |= {str(server["uuid"]), str(mapping["uuid"])}
        old = {SERVER, VOLUME, SNAPSHOT, IMAGE, MAPPING, ATTACHMENT}
        self.assertEqual((6, set()), (len(new), new & old))
        self.assertEqual(server["uuid"], mapping["instance_uuid"])
        self.assertEqual(server["uuid"], attachment["instance_uuid"])
        self.assertEqual(volume["id"], mapping["volume_id"])
        self.assertEqual(volume["id"], snapshot["volume_id"])
        self.assertEqual(
            f'{{"volume_id": "{volume["id"]}", "attachment_id": "{attachment["id"]}"}}',
            mapping["connection_info"],
        )
        self.assertEqual(f'[{{"snapshot_id": "{snapshot["id"]}"}}]', known["value"])

    def test_what_it_does_not_own_stays(self) -> None:
        self.add(1)
        self.assertEqual(
            [BASE, BASE], [r["image_ref"] for r in self.rows("nova_cell1", "instances")]
        )
        locations = [row["value"] for row in self.rows("glance", "image_locations")]
        self.assertEqual([f"file:///{IMAGE}"] * 2, locations)

    def test_nobody_works_on_a_copy(self) -> None:
        self.add(1)
        server = self.rows("nova_cell1", "instances")[1]
        self.assertEqual(
            ("fleet", "fleet", None), tuple(server[k] for k in ("host", "node", "compute_id"))
        )
        self.assertEqual("fleet@nfs#nfs", self.rows("cinder", "volumes")[1]["host"])
        self.assertEqual("fleet", self.rows("cinder", "volume_attachment")[1]["attached_host"])

    def test_names_are_numbered_and_projects_take_turns(self) -> None:
        self.add(2)
        self.add(1)
        self.assertEqual(
            [("web", DEMO), ("web-000001", OTHER), ("web-000002", DEMO), ("web-000003", OTHER)],
            [(r["display_name"], r["project_id"]) for r in self.rows("nova_cell1", "instances")],
        )
        self.assertEqual(
            [DEMO, OTHER, DEMO, OTHER], [r["owner"] for r in self.rows("glance", "images")]
        )
        self.assertEqual(3, self.fleet.count())

    def test_removed_are_the_copies_and_nothing_else(self) -> None:
        before = {(name, table): self.rows(name, table) for name in ROWS for table in ROWS[name]}
        self.add(5)
        self.fleet.remove()
        after = {(name, table): self.rows(name, table) for name, table in before}
        self.assertEqual(before, after)
        self.assertEqual(0, self.fleet.count())

    def test_all_or_nothing(self) -> None:
        self.database("glance").execute("create unique index one on images (owner)")
        with self.assertRaises(sqlite3.IntegrityError):
            self.add(4)
        self.assertEqual(1, len(self.rows("glance", "images")))


if __name__ == "__main__":
    unittest.main()
