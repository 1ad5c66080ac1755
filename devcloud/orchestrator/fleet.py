# SPDX-License-Identifier: Apache-2.0
"""Many servers without the work of making them: copies of the rows of real ones.

Contract: ``add`` copies every row that belongs to a real server, its volumes, their snapshots and
its images, in the databases of Nova, Cinder and Glance, with new ids, so that the services list and
show the copies as they do the originals. ``remove`` removes exactly the copies: they are told by
their host, which no service serves, so that none works on them either. A copy is there to be read;
it has no guest and no disk, and the copies of an image share the original's data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import sqlite3
import typing
import uuid

HOST = "fleet"
BACKEND = f"{HOST}@nfs#nfs"
BATCH = 500  # copies made in memory before they are written
DATABASES = ("nova_cell1", "nova_api", "cinder", "glance")


class Table(typing.NamedTuple):
    """Where a server has rows: those whose ``column`` is the id of its ``owner``, or of one."""

    database: str
    name: str
    column: str
    owner: str


# What depends on a row comes before it: so they are removed.
TABLES = (
    Table("nova_api", "instance_mappings", "instance_uuid", "server"),
    Table("nova_api", "request_specs", "instance_uuid", "server"),
    Table("nova_cell1", "instance_extra", "instance_uuid", "server"),
    Table("nova_cell1", "instance_info_caches", "instance_uuid", "server"),
    Table("nova_cell1", "instance_system_metadata", "instance_uuid", "server"),
    Table("nova_cell1", "instance_metadata", "instance_uuid", "server"),
    Table("nova_cell1", "block_device_mapping", "instance_uuid", "server"),
    Table("nova_cell1", "tags", "resource_id", "server"),
    Table("nova_cell1", "instances", "uuid", "server"),
    Table("cinder", "volume_glance_metadata", "snapshot_id", "snapshot"),
    Table("cinder", "snapshot_metadata", "snapshot_id", "snapshot"),
    Table("cinder", "snapshots", "id", "snapshot"),
    Table("cinder", "volume_glance_metadata", "volume_id", "volume"),
    Table("cinder", "volume_metadata", "volume_id", "volume"),
    Table("cinder", "volume_admin_metadata", "volume_id", "volume"),
    Table("cinder", "volume_attachment", "volume_id", "volume"),
    Table("cinder", "volumes", "id", "volume"),
    Table("glance", "image_properties", "image_id", "image"),
    Table("glance", "image_locations", "image_id", "image"),
    Table("glance", "image_tags", "image_id", "image"),
    Table("glance", "images", "id", "image"),
)
# What is of the original's host, and what only the original may have.
REPLACED: dict[str, dict[str, str | None]] = {
    "instances": {"host": HOST, "node": HOST, "launched_on": HOST, "compute_id": None},
    "volumes": {"host": BACKEND},
    "volume_attachment": {"attached_host": HOST},
}
# Columns with ids of their own, besides those of TABLES.
NEW_IDS = {("block_device_mapping", "uuid"), ("volume_attachment", "id")}
# A copy of an image has its data where the original has it.
KEPT = {("image_locations", "value")}
NAMES = {
    ("instances", "display_name"),
    ("instances", "hostname"),
    ("volumes", "display_name"),
    ("snapshots", "display_name"),
    ("images", "name"),
}

Value = str | int | float | bytes | None
Ids = typing.Mapping[str, typing.Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a copied row: a value, or the text with the ids in it cut out.

    ``value`` is what every copy has, ``parts`` are texts and ids by turns, ``numbered`` puts the
    copy's number behind the value.
    """

    name: str
    value: Value = None
    parts: tuple[str, ...] = ()
    numbered: bool = False

    def of(self, new: typing.Mapping[str, str], number: int) -> Value:
        """The value of a copy with these ids, by old id."""
        if self.parts:
            return "".join(new.get(part, part) for part in self.parts)
        return f"{self.value!s}-{number:06d}" if self.numbered else self.value


@dataclasses.dataclass(frozen=True)
class Original:
    """One real server, ready to be copied: its project, ids that a copy has anew, and rows."""

    project: str
    ids: frozenset[str]
    rows: tuple[tuple[Table, tuple[Column, ...]], ...]


class Fleet:
    """The copies in the databases of one cloud. To be used in a ``with`` statement."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._connections: dict[str, sqlite3.Connection] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Fleet:
        for name in DATABASES:
            connection = sqlite3.connect(
                self._folder / f"{name}.sqlite", timeout=60, isolation_level=None
            )
            self._stack.callback(connection.close)
            connection.row_factory = sqlite3.Row
            self._connections[name] = connection
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def count(self) -> int:
        """How many copies there are."""
        return len(self._copies()["server"])

    def original(self, server: str, images: typing.Sequence[str]) -> Original:
        """Read a real server with its volumes, their snapshots, and images that were made of it."""
        volumes = self._ids(
            "nova_cell1",
            "select volume_id from block_device_mapping where not deleted and instance_uuid = ?",
            server,
        )
        snapshots = [
            found
            for volume in volumes
            for found in self._ids(
                "cinder", "select id from snapshots where not deleted and volume_id = ?", volume
            )
        ]
        ids = {"server": [server], "volume": volumes, "snapshot": snapshots, "image": images}
        rows = [
            (table, dict(row))
            for table in TABLES
            for owner in ids[table.owner]
            for row in self._rows(table, owner)
        ]
        projects = self._ids(
            "nova_cell1", "select project_id from instances where uuid = ?", server
        )
        return cut(rows, {found for some in ids.values() for found in some}, projects[0])

    def add(
        self, originals: typing.Sequence[Original], projects: typing.Sequence[str], count: int
    ) -> int:
        """Copy the originals by turns, each of them for each project; gives the number of rows."""
        first = self.count() + 1
        made = 0
        for begin in range(first, first + count, BATCH):
            rows: dict[tuple[Table, tuple[str, ...]], list[list[Value]]] = {}
            for number in range(begin, min(begin + BATCH, first + count)):
                original = originals[number % len(originals)]
                project = projects[number // len(originals) % len(projects)]
                for table, names, values in copy(original, project, number):
                    rows.setdefault((table, names), []).append(values)
            self._insert(rows)
            made += sum(map(len, rows.values()))
        return made

    def _insert(
        self, rows: typing.Mapping[tuple[Table, tuple[str, ...]], typing.Sequence[list[Value]]]
    ) -> None:
        for name in DATABASES:
            with self._transaction(name) as connection:
                for (table, names), some in rows.items():
                    if table.database == name:
                        marks = ", ".join("?" * len(names))
                        columns = ", ".join(f'"{column}"' for column in names)
                        connection.executemany(
                            f'insert into "{table.name}" ({columns}) values ({marks})', some
                        )

    def remove(self) -> None:
        """Remove every copy."""
        ids = self._copies()
        for name in DATABASES:
            with self._transaction(name) as connection:
                for table in TABLES:
                    if table.database == name:
                        connection.executemany(
                            f'delete from "{table.name}" where "{table.column}" = ?',
                            [(found,) for found in ids[table.owner]],
                        )

    def _copies(self) -> Ids:
        """The ids of all copies; that of an image has its data under another image's id."""
        snapshots = (
            "select snapshots.id from snapshots join volumes on volumes.id = volume_id"
            " where volumes.host = ?"
        )
        images = self._connections["glance"].execute(
            "select image_id from image_locations where instr(value, image_id) = 0"
        )
        return {
            "server": self._ids("nova_cell1", "select uuid from instances where host = ?", HOST),
            "volume": self._ids("cinder", "select id from volumes where host = ?", BACKEND),
            "snapshot": self._ids("cinder", snapshots, BACKEND),
            "image": [row[0] for row in images],
        }

    def _ids(self, database: str, query: str, value: str) -> list[str]:
        found = self._connections[database].execute(query, (value,))
        return [row[0] for row in found if row[0] is not None]

    def _rows(self, table: Table, owner: str) -> list[sqlite3.Row]:
        query = f'select * from "{table.name}" where "{table.column}" = ?'
        found = self._connections[table.database].execute(query, (owner,)).fetchall()
        return [row for row in found if "deleted" not in row.keys() or not row["deleted"]]

    @contextlib.contextmanager
    def _transaction(self, name: str) -> typing.Iterator[sqlite3.Connection]:
        """All or nothing; the services see it at its end."""
        connection = self._connections[name]
        connection.execute("begin immediate")
        try:
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")


def cut(
    rows: typing.Iterable[tuple[Table, dict[str, Value]]], ids: typing.Iterable[str], project: str
) -> Original:
    """Make an original of its rows and the ids of its resources."""
    rows = list(rows)
    own = {
        str(row[column])
        for table, row in rows
        for name, column in NEW_IDS
        if table.name == name and row.get(column)
    }
    new = frozenset(own.union(ids))
    pattern = re.compile("(" + "|".join(sorted(map(re.escape, {*new, project}))) + ")")
    return Original(
        project, new, tuple((table, _columns(table, row, pattern)) for table, row in rows)
    )


def copy(
    original: Original, project: str, number: int
) -> typing.Iterator[tuple[Table, tuple[str, ...], list[Value]]]:
    """Table, names of columns and values of each row of one copy."""
    new = {old: str(uuid.uuid4()) for old in original.ids}
    new[original.project] = project
    for table, columns in original.rows:
        names = tuple(column.name for column in columns)
        yield table, names, [column.of(new, number) for column in columns]


def _columns(
    table: Table, row: typing.Mapping[str, Value], pattern: re.Pattern[str]
) -> tuple[Column, ...]:
    replaced = REPLACED.get(table.name, {})
    found = []
    for name, value in row.items():
        if name == "id" and isinstance(value, int):
            continue  # the database numbers its rows
        if name in replaced:
            found.append(Column(name, replaced[name]))
        elif (table.name, name) in NAMES:
            found.append(Column(name, value, numbered=True))
        elif isinstance(value, str) and pattern.search(value) and (table.name, name) not in KEPT:
            found.append(Column(name, parts=tuple(pattern.split(value))))
        else:
            found.append(Column(name, value))
    return tuple(found)
