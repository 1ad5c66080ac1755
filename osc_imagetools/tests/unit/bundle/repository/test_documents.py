# SPDX-License-Identifier: Apache-2.0
"""What comes out of a repository is judged as a directory is: the same findings for the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from typing import Any

import testtools

from osc_imagetools.bundle.bundle_id import bundle_id_of
from osc_imagetools.bundle.repository.documents import judge_documents
from osc_imagetools.bundle.repository.verification import format_problem
from osc_imagetools.bundle.verification import verify
from osc_imagetools.data.stream_edges import HEAD, TAIL, StreamEdges
from osc_imagetools.tests.unit.bundle import samples

MANIFEST, SUMS, METADATA = "manifest.json", "SHA512SUMS", "metadata/image.json"


class Documents(samples.TestCase):
    def setUp(self) -> None:
        super().setUp()
        samples.make_bundle(self.path)

    def judged(self) -> dict[str, str]:
        files = {
            p: (self.path / p).read_bytes() for p in (MANIFEST, SUMS, METADATA) if (self.path / p).exists()
        }
        more = {f"metadata/{p.name}": p.read_bytes() for p in (self.path / "metadata").glob("more*")}
        return {f.file: f.result for f in judge_documents({**files, **more}, {})[1]}

    def in_a_directory(self) -> dict[str, str]:
        return {f.file: f.result for f in verify(self.path) if not f.file.startswith("disks/")}

    def same(self, **wrong: str) -> None:
        found = self.judged()
        self.assertEqual(wrong, {file: result for file, result in found.items() if result != "ok"})
        self.assertEqual(self.in_a_directory(), found)

    def test_whole(self) -> None:
        self.same()

    def test_changed(self) -> None:
        data = bytearray((self.path / METADATA).read_bytes())
        data[5] ^= 1
        (self.path / METADATA).write_bytes(data)
        self.same(**{METADATA: "changed"})

    def test_shorter(self) -> None:
        (self.path / METADATA).write_bytes(b"{}")
        self.same(**{METADATA: "size"})

    def test_missing(self) -> None:
        (self.path / METADATA).unlink()
        self.same(**{METADATA: "missing"})

    def test_without_sums(self) -> None:
        (self.path / SUMS).unlink()
        self.same(**{SUMS: "missing"})

    def test_unlisted(self) -> None:
        (self.path / "metadata" / "more.json").write_text("{}")
        self.same(**{"metadata/more.json": "unlisted"})

    def test_a_changed_manifest(self) -> None:
        text = (self.path / MANIFEST).read_text().replace("web01", "web02")
        (self.path / MANIFEST).write_text(text)
        self.same(**{MANIFEST: "changed"})

    def test_refused(self) -> None:
        for data in (b"{}", b"[" * 100, b'{"a": 1, "a": 2}', b"\xff"):
            (self.path / MANIFEST).write_bytes(data)
            self.assertIn("refused", [f.result for f in judge_documents({MANIFEST: data}, {})[1]])
        newer = {"format": "osc-imagetools-bundle", "format_version": 2}
        _, found = judge_documents({MANIFEST: json.dumps(newer).encode()}, {})
        self.assertEqual(["refused"], [f.result for f in found])

    def test_paths_that_leave_the_bundle(self) -> None:
        document = samples.load(self.path)
        document["files"][0]["path"] = "metadata/../../x"
        samples.reseal(self.path, document)
        self.assertEqual("refused", self.judged()[MANIFEST])

    def test_sums_that_say_otherwise(self) -> None:
        text = (self.path / SUMS).read_text()
        digest = hashlib.sha512(b"other").hexdigest()
        lines = [f"{digest}  {x.partition('  ')[2]}" if samples.FIRST in x else x for x in text.splitlines()]
        (self.path / SUMS).write_text("\n".join(lines) + "\n")
        self.assertEqual("changed", self.judged()[SUMS])
        (self.path / SUMS).write_text("\n".join(lines[:-1]) + "\n")
        self.assertEqual("refused", self.judged()[SUMS])

    def test_what_is_no_plain_file(self) -> None:
        _, found = judge_documents({}, {"metadata/x": "It is a link or no regular file."})
        self.assertIn(("metadata/x", "unsafe"), [(f.file, f.result) for f in found])
        self.assertIn((MANIFEST, "missing"), [(f.file, f.result) for f in found])


class Edges(testtools.TestCase):
    def edges(self, data: bytes) -> StreamEdges:
        edges = StreamEdges()
        stream = io.BytesIO(data)
        while piece := stream.read(700_001):
            edges.add(piece)
        return edges

    def test_as_the_file(self) -> None:
        for size in (0, 1, 1000, TAIL, HEAD - 1, HEAD, HEAD + TAIL - 5, HEAD + 2 * TAIL):
            data = hashlib.shake_128(str(size).encode()).digest(size)
            edges, file = self.edges(data), io.BytesIO(data)
            places = {
                0,
                1,
                size // 2,
                HEAD - 10,
                HEAD - 4096,
                size - 512,
                size - TAIL,
                size - 1,
                size,
                size + 9,
            }
            for place in sorted(p for p in places if p >= 0):
                if HEAD <= place < size - TAIL:
                    continue
                edges.seek(place), file.seek(place)
                count = 5 if place < size - TAIL and size > HEAD + TAIL else 4096
                self.assertEqual(file.read(count), edges.read(count), f"{size} {place}")
            self.assertEqual(size, edges.seek(0, 2))
            self.assertFalse(edges.missed)

    def test_what_lies_between_is_missed(self) -> None:
        edges = self.edges(b"x" * (HEAD + 3 * TAIL))
        edges.seek(HEAD + TAIL)
        self.assertEqual(bytes(10), edges.read(10))
        self.assertTrue(edges.missed)

    def test_formats(self) -> None:
        long = 12 * samples.MIB
        for name, data in (
            ("qcow2", samples.qcow2()),
            ("qcow2", samples.qcow2(length=long)),
            ("vmdk", samples.vmdk_with_footer(long)),
            ("vhdx", samples.vhdx()),
            ("vhd", bytes(64 * samples.MIB) + samples.vhd(kind=2)),
            ("raw", bytes(long)),
        ):
            disk: dict[str, Any] = {"disk_format": name, "container_format": "bare"}
            good = {**disk, "content_format": name, "virtual_size": None}
            self.assertIsNone(format_problem(self.edges(data), good), name)
            wrong = format_problem(self.edges(data), {**good, "content_format": "iso"})
            self.assertEqual("format", wrong and wrong[0])
        backed = {**good, "disk_format": "qcow2", "content_format": "qcow2"}
        wrong = format_problem(self.edges(samples.qcow2(backing=1024)), backed)
        self.assertEqual("unsafe", wrong and wrong[0])
        wrong = format_problem(self.edges(samples.qcow2()), {**backed, "virtual_size": 5})
        self.assertEqual("format", wrong and wrong[0])


class Identity(testtools.TestCase):
    def test_its_own(self) -> None:
        told = "8A2E1B7C-0000-4000-8000-000000000001"
        self.assertEqual(told.lower(), bundle_id_of({"bundle_id": told}, b"x"))

    def test_from_its_bytes(self) -> None:
        for told in (None, 5, "x", "../.."):
            first, second = (bundle_id_of({"bundle_id": told}, data) for data in (b"x", b"y"))
            self.assertNotEqual(first, second)
            self.assertEqual(first, bundle_id_of({}, b"x"))
            uuid.UUID(first)
