# SPDX-License-Identifier: Apache-2.0
"""Bundles that somebody made to do harm: refused by name, and no other exception than ours."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fixtures
from hypothesis import HealthCheck, given, settings, strategies

from osc_imagetools import errors
from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.bundle.reader import open_bundle
from osc_imagetools.bundle.verification import verify
from osc_imagetools.tests.unit.bundle import samples
from osc_imagetools.tests.unit.bundle.samples import KIB, MIB

EXAMPLES = 30  # a multiple of it was run when the tests were written
Change = Callable[[dict[str, Any]], object]


class Manifests(samples.TestCase):
    """The manifest lies, and the sums agree with it."""

    def setUp(self) -> None:
        super().setUp()
        samples.make_bundle(self.path)

    def refused(self, forged: bytes) -> tuple[str, str]:
        """What verify finds, and what open_bundle says."""
        samples.reseal(self.path, forged)
        found = [f for f in verify(self.path) if f.result != "ok"]
        error = self.assertRaises(errors.BundleRefused, open_bundle, self.path)
        self.assertEqual(1, error.exit_code)
        text = "\n".join(f"{f.file} {f.result}: {f.detail}" for f in found)
        self.assertLess(len(text), 20_000)
        return text, str(error)

    def test_text(self) -> None:
        good = (self.path / "manifest.json").read_bytes()
        for forged, told in (
            (b"", "not JSON"),
            (b"[" * 100_000, "deeper than 32"),
            (good.replace(b"{", b'{"x": ' + b"[" * 40 + b"]" * 40 + b",", 1), "deeper than 32"),
            (good.replace(b"{", b'{"kind": "image",', 1), "'kind' occurs twice"),
            (good.replace(b'"size": 24000', b'"size": ' + b"9" * 5000), "5000 digits"),
            (good.replace(b'"size": 24000', b'"size": NaN'), "NaN"),
            (good.replace(b'"size": 24000', b'"size": 1e400'), "out of range"),
            (good.replace(b'"size": 24000', b'"size": 24000.0'), "/disks/0/size"),
            (good.replace(b'"size": 24000', b'"size": 9223372036854775808'), "/disks/0/size"),
            (good.replace(b'"size": 24000', b'"size": -24000'), "/disks/0/size"),
            (good.replace(b"web01", b"web\xff1"), "not UTF-8"),
            (good.replace(b"web01", b"\\ud800"), "lone surrogate"),
            (good.replace(b'"format_version": 1', b'"format_version": 2'), "newer release"),
            (good.replace(b"osc-imagetools-bundle", b"another-bundle"), "/format"),
            (good + b" " * (17 * MIB), "more than 16777216 bytes"),
            (b"null", "not a JSON object"),
        ):
            for text in self.refused(forged):
                self.assertIn(told, text)

    def test_values(self) -> None:
        cases: list[tuple[Change, str]] = [
            (lambda m: m["disks"][0].update(file="../../etc/passwd"), "/disks/0/file"),
            (lambda m: m["disks"][0].update(file="disks/../../x"), "/disks/0/file"),
            (lambda m: m["disks"][0].update(file="/etc/passwd"), "/disks/0/file"),
            (lambda m: m["disks"][0].update(file="disks/a\0b"), "/disks/0/file"),
            (lambda m: m["disks"][0].update(file="disks\\x"), "/disks/0/file"),
            (lambda m: m["disks"][0].update(file="disks/.x"), "/disks/0/file"),
            (lambda m: m["disks"][0].update(file=samples.SECOND), "is the same file as"),
            (lambda m: m["disks"][0].update(file="disks/1-VDB.QCOW2"), "is the same file as"),
            (lambda m: m["files"][0].update(path="metadata/../../x"), "/files/0/path"),
            (lambda m: m["files"][0].update(path=samples.FIRST), "/files/0/path"),
        ]
        good = samples.load(self.path)
        for change, told in cases:
            document = copy.deepcopy(good)
            change(document)
            for text in self.refused(format_manifest(document)):
                self.assertIn(told, text)

    def test_lies_about_the_files(self) -> None:
        cases: list[tuple[Change, tuple[str, str]]] = [
            (lambda m: m["disks"][0].update(size=7), (samples.FIRST, "size")),
            (lambda m: m["disks"][0].update(virtual_size=7), (samples.FIRST, "format")),
            (lambda m: m["disks"][0].update(content_format="qcow2"), (samples.FIRST, "format")),
            (lambda m: m["disks"][1].update(content_format="raw"), (samples.SECOND, "format")),
            (lambda m: m["disks"][1].update(virtual_size=2**62), (samples.SECOND, "format")),
            (lambda m: m["disks"][1].update(container_format="ova"), (samples.SECOND, "format")),
            (
                lambda m: m["disks"][0]["hash"].update(value="0" * 128),
                ("manifest.json", "changed"),
            ),
            (lambda m: m["disks"].pop(), (samples.SECOND, "unlisted")),
            (lambda m: m["files"].clear(), ("metadata/image.json", "unlisted")),
            (lambda m: m["files"][0].update(size=0), ("metadata/image.json", "size")),
            (lambda m: m["disks"][0].update(file="disks/other"), ("disks/other", "missing")),
        ]
        good = samples.load(self.path)
        for change, expected in cases:
            document = copy.deepcopy(good)
            change(document)
            samples.reseal(self.path, document)
            found = {(f.file, f.result) for f in verify(self.path) if f.result != "ok"}
            self.assertIn(expected, found)

    def test_truthful_about_what_the_cloud_got_wrong(self) -> None:
        path = samples.with_disk(
            self.directory / "b", samples.qcow2(), disk_format="raw", content_format="qcow2"
        )
        self.assertEqual({"ok"}, {f.result for f in verify(path)})


class Disks(samples.TestCase):
    """The disk is what it is said to be, and must not be used all the same."""

    def test_each_is_refused_by_name(self) -> None:
        foreign = samples.vmdk_descriptor(extent="/etc/passwd")
        for number, (data, content, told) in enumerate(
            (
                (samples.qcow2(backing=512), "qcow2", "backing file"),
                (samples.qcow2(features=4), "qcow2", "data_file"),
                (samples.qcow2()[:80], "qcow2", "cut short"),
                (samples.vmdk(descriptor=foreign), "vmdk", "extent"),
                (foreign.encode(), "vmdk", "extent"),
                (samples.vhd(kind=4), "vhd", "parent"),
                (b"QED\0" + bytes(KIB), "qed", "not allowed"),
            )
        ):
            for container in ("bare", "ova"):
                path = samples.with_disk(
                    self.directory / f"{number}-{container}",
                    data,
                    disk_format=content,
                    content_format=content if container == "bare" else container,
                    container_format=container,
                    virtual_size=None,
                )
                unsafe = [f for f in verify(path) if f.result == "unsafe"]
                self.assertEqual([samples.FIRST], [f.file for f in unsafe])
                self.assertIn(told, unsafe[0].detail)

    def test_a_claim_that_is_raw_does_not_help(self) -> None:
        path = samples.with_disk(self.path, samples.qcow2(backing=512), content_format="qcow2")
        self.assertIn("unsafe", {f.result for f in verify(path)})

    def test_another_program_is_told(self) -> None:
        """A file of many links, a device, an endless name: nothing of it is followed."""
        path = samples.make_bundle(self.path)
        os.link(path / samples.FIRST, path / "disks" / "again")
        os.mkfifo(path / "metadata" / "fifo")
        (path / "metadata" / "loop").symlink_to("loop")
        found = {f.file: f.result for f in verify(path) if f.result != "ok"}
        self.assertEqual(
            {"disks/again": "unlisted", "metadata/fifo": "unsafe", "metadata/loop": "unsafe"}, found
        )


JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**70), 2**70)
    | strategies.floats(allow_nan=False)
    | strategies.text(max_size=8)
    | strategies.sampled_from(
        [samples.FIRST, samples.SECOND, "disks/x", "../x", "raw", "qcow2", "sha256", "ova", "vhd"]
    ),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


def disk_set(document: dict[str, Any]) -> object:
    """What an import takes from the list of disks."""
    keys = ("file", "size", "hash", "content_format", "virtual_size", "index")
    return [{key: disk[key] for key in keys} for disk in document["disks"]]


class Mutations(samples.TestCase):
    """Manifests changed at random, with sums that agree."""

    def setUp(self) -> None:
        super().setUp()
        self.bundle = samples.make_bundle(self.path)
        self.good = samples.load(self.path)

    @settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(strategies.data())
    def test_only_our_errors_and_no_other_disks(self, data: strategies.DataObject) -> None:
        document = copy.deepcopy(self.good)
        for _ in range(data.draw(strategies.integers(1, 3))):
            *parents, last = data.draw(strategies.sampled_from(places(document)))
            target: Any = document
            for step in parents:
                target = target[step]
            action = data.draw(strategies.sampled_from(["replace", "remove", "copy"]))
            if action == "replace":
                target[last] = data.draw(JSON)
            elif action == "copy":
                target[last] = copy.deepcopy(self.good["disks"][-1:])
            else:
                del target[last]
            if not document:
                return
        samples.reseal(self.bundle, json.dumps(document).encode())
        self.check()

    @settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(
        strategies.lists(
            strategies.tuples(strategies.integers(0, 3000), strategies.binary(max_size=3)),
            min_size=1,
            max_size=3,
        )
    )
    def test_bytes(self, damage: list[tuple[int, bytes]]) -> None:
        spoiled = bytearray(format_manifest(self.good))
        for offset, piece in damage:
            spoiled[offset : offset + len(piece)] = piece
        samples.reseal(self.bundle, bytes(spoiled))
        self.check()

    def check(self) -> None:
        results = {finding.result for finding in verify(self.bundle)}
        try:
            bundle = open_bundle(self.bundle)
        except errors.ImagetoolsError:
            self.assertNotEqual({"ok"}, results)
            return
        bundle.summary()
        if results == {"ok"}:
            self.assertEqual(self._plain(), disk_set(dict(bundle.manifest)))

    def _plain(self) -> object:
        """The only set of disks that is true for the files; what is unknown may be left out."""
        document = samples.load(self.bundle)
        true = copy.deepcopy(self.good)
        for disk, said in zip(true["disks"], document["disks"], strict=True):
            if said["virtual_size"] is None or said["disk_format"] == "raw":
                disk["virtual_size"] = said["virtual_size"]
            if said["container_format"] not in ("bare", None):
                disk["content_format"] = said["container_format"]
                disk["virtual_size"] = said["virtual_size"]
        return disk_set(true)


class Directories(samples.TestCase):
    """Not the manifest, but what is around it."""

    def test_many_files(self) -> None:
        path = samples.make_bundle(self.path)
        for number in range(200):
            (path / "disks" / f"x{number}").touch()
        self.assertEqual(200, len([f for f in verify(path) if f.result == "unlisted"]))

    def test_deep_directories_are_not_entered(self) -> None:
        path = samples.make_bundle(self.path)
        deep = path / "more"
        for _ in range(200):
            deep = deep / "d"
        deep.mkdir(parents=True)
        found = [f.file for f in verify(path) if f.result != "ok"]
        self.assertEqual(["more"], found)

    def test_a_bundle_in_a_bundle(self) -> None:
        path = samples.make_bundle(self.path)
        samples.make_bundle(Path(self.useFixture(fixtures.TempDir()).path) / "x").rename(
            path / "disks" / "inner"
        )
        found = {f.file: f.result for f in verify(path) if f.result != "ok"}
        self.assertEqual({"disks/inner": "unlisted"}, found)
