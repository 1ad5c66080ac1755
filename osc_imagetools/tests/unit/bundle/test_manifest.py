# SPDX-License-Identifier: Apache-2.0
"""The manifest against its schema, and against itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import testtools
from jsonschema import Draft202012Validator

from osc_imagetools.bundle import manifest as manifests
from osc_imagetools.tests.unit.bundle import samples


def valid() -> dict[str, Any]:
    disks = [
        samples.disk_entry(file, data, index, **changes)
        for index, (file, (data, changes)) in enumerate(samples.contents().items())
    ]
    entry = samples.disk_entry("", b"{}\n")
    document = {"path": "metadata/image.json", "size": 3, "hash": entry["hash"]}
    return samples.manifest(*disks, files=[document])


class Schema(testtools.TestCase):
    """The published schema."""

    def test_is_a_schema_of_its_draft(self) -> None:
        text = resources.files("osc_imagetools.bundle").joinpath(manifests.SCHEMA).read_text()
        schema = json.loads(text)
        Draft202012Validator.check_schema(schema)
        self.assertEqual([], list(Draft202012Validator(schema).iter_errors(valid())))

    def test_every_member_is_described_where_it_is_required(self) -> None:
        text = resources.files("osc_imagetools.bundle").joinpath(manifests.SCHEMA).read_text()
        schema = json.loads(text)
        self.assertEqual(set(schema["required"]), set(schema["properties"]))
        disk = schema["$defs"]["disk"]
        self.assertEqual(set(disk["required"]), set(disk["properties"]))


class Problems(testtools.TestCase):
    """manifest_problems."""

    def problems(self, change: Callable[[dict[str, Any]], object]) -> str:
        document = copy.deepcopy(valid())
        change(document)
        return "\n".join(manifests.manifest_problems(document))

    def test_none(self) -> None:
        self.assertEqual("", self.problems(lambda m: None))

    def test_unknown_members_are_ignored(self) -> None:
        self.assertEqual("", self.problems(lambda m: m.update(later={"x": [1.5]})))
        self.assertEqual("", self.problems(lambda m: m["disks"][0].update(later=True)))

    def test_facts_of_other_kinds_are_their_own(self) -> None:
        self.assertEqual("", self.problems(lambda m: m.update(kind="snapshot", replayable={"x": 1})))
        server = self.problems(lambda m: m.update(kind="server", replayable={}))
        self.assertIn("'flavor' is a required property", server)
        volume = self.problems(lambda m: m.update(kind="volume", replayable={"size": "1"}))
        self.assertIn("/replayable/size: '1' is not of type", volume)

    def test_each_is_named_with_its_place(self) -> None:
        disk = "/disks/1"
        for change, expected in (
            (lambda m: m.pop("kind"), "(top level): 'kind' is a required property"),
            (lambda m: m.update(kind="router"), "/kind: 'router' is not one of"),
            (lambda m: m.update(format_version=1.0), "/format_version: 1.0 is not of type"),
            (lambda m: m.update(disks=[]), "/disks: [] "),  # the rest has changed with jsonschema 4.21
            (lambda m: m.update(created_at="yesterday"), "/created_at: "),
            (lambda m: m.update(created_at="2026-13-02T03:04:05Z"), "/created_at: not a valid time"),
            (lambda m: m["disks"][1].update(size=-1), f"{disk}/size: -1 is less than"),
            (lambda m: m["disks"][1].update(size=0), f"{disk}/size: 0 is less than"),
            (lambda m: m["disks"][1].update(size=1.0), f"{disk}/size: 1.0 is not of type"),
            (lambda m: m["disks"][1].update(size=2**63), f"{disk}/size: {2**63} is greater"),
            (lambda m: m["disks"][1].update(size=True), f"{disk}/size: True is not of type"),
            (lambda m: m["disks"][1].update(size="7"), f"{disk}/size: '7' is not of type"),
            (lambda m: m["disks"][1].update(virtual_size=2**63), f"{disk}/virtual_size: "),
            (lambda m: m["disks"][1].update(index=5), f"{disk}/index: is 5, but the position"),
            (lambda m: m["disks"][1].update(index=0), f"{disk}/index: is 0, but the position"),
            (lambda m: m["disks"][1].update(file="/etc/passwd"), f"{disk}/file: "),
            (lambda m: m["disks"][1].update(file="disks/../../x"), f"{disk}/file: "),
            (lambda m: m["disks"][1].update(file="disks/x\n"), f"{disk}/file: 'disks/x\\\\n' has"),
            (lambda m: m["disks"][1].update(file="disks/a\\b"), "has a backslash"),
            (lambda m: m["disks"][1].update(file=samples.FIRST), "is the same file as /disks/0"),
            (lambda m: m["disks"][1].update(file="disks/0-VDA.raw"), "is the same file as"),
            (lambda m: m["disks"][1].update(verified_by="hope"), f"{disk}/verified_by: "),
            (lambda m: m["disks"][1]["hash"].update(algorithm="sha256"), "but the bundle uses sha512"),
            (lambda m: m["disks"][1]["hash"].update(value="a" * 64), "/hash/value: is not a sha512"),
            (lambda m: m["disks"][1]["hash"].update(value="A" * 128), f"{disk}/hash/value: "),
            (lambda m: m["files"][0].update(path="disks/x"), "/files/0/path: "),
            (lambda m: m["files"][0].update(path="metadata/a/b"), "/files/0/path: "),
            (lambda m: m["files"].append(m["files"][0]), "/files/1/path: metadata/image.json is"),
            (lambda m: m.update(hash_algorithm="md5"), "/hash_algorithm: "),
            (lambda m: m["replayable"].pop("tags"), "/replayable: 'tags' is a required"),
            (lambda m: m["replayable"].update(members=5), "/replayable/members: 5 is not"),
            (lambda m: m["replayable"].update(members=[{"status": ""}]), "/replayable/members/0: "),
            (lambda m: m["replayable"]["properties"].update(a=[]), "/replayable/properties/a: "),
            (lambda m: m["disks"][1].update(replayable={"volume": 5}), f"{disk}/replayable/volume"),
            (
                lambda m: m["disks"][1].update(replayable={"volume": {"size": "x"}}),
                f"{disk}/replayable/volume/size: ",
            ),
            (lambda m: m["not_captured"][0].update(reason="No Data"), "/not_captured/0/reason: "),
        ):
            found = self.problems(change)
            self.assertIn(expected, found)
            self.assertEqual(1, len(found.splitlines()), found)

    def test_all_are_listed_and_bounded(self) -> None:
        def spoil(document: dict[str, Any]) -> None:
            document["kind"] = 5
            document["disks"][0]["size"] = "x" * 10_000
            document["files"][0].clear()

        found = self.problems(spoil)
        for place in ("/kind: ", "/disks/0/size: ", "/files/0: "):
            self.assertIn(place, found)
        self.assertLess(len(found), 2000)
        many = self.problems(lambda m: m.update(disks=[1] * 1000)).splitlines()
        self.assertEqual(51, len(many))
        self.assertEqual("and more", many[-1])


class Reading(testtools.TestCase):
    """read_manifest and format_manifest."""

    def problems(self, data: bytes) -> tuple[str, ...]:
        error = self.assertRaises(manifests.UnreadableManifest, manifests.read_manifest, data)
        return error.problems

    def test_written_and_read(self) -> None:
        document = valid()
        self.assertEqual(document, manifests.read_manifest(manifests.format_manifest(document)))

    def test_the_same_values_give_the_same_bytes(self) -> None:
        document = valid()
        turned = {
            key: dict(reversed(value.items())) if isinstance(value, dict) else value
            for key, value in reversed(document.items())
        }
        one, other = manifests.format_manifest(document), manifests.format_manifest(turned)
        self.assertEqual(one, other)
        self.assertTrue(one.startswith(b'{\n  "format": "osc-imagetools-bundle",\n'), one[:60])

    def test_newer_format(self) -> None:
        data = json.dumps({"format": "osc-imagetools-bundle", "format_version": 2}).encode()
        error = self.assertRaises(manifests.NewerFormat, manifests.read_manifest, data)
        (problem,) = error.problems
        self.assertIn("format version 2, but this release supports only 1", problem)

    def test_no_object(self) -> None:
        for data in (b"[]", b"null", b"7"):
            self.assertEqual(("The manifest is invalid: it is not a JSON object.",), self.problems(data))

    def test_half_a_character_is_escaped(self) -> None:
        self.assertEqual(b'"\\ud800"\n', manifests.format_json("\ud800"))
