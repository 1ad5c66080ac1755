# SPDX-License-Identifier: Apache-2.0
"""Uploads to a server on a real socket: what it receives, and what is said when it does not take it."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import pathlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import fixtures
import testtools
from keystoneauth1 import plugin, session

from osc_imagetools import errors
from osc_imagetools.data.disk_stream import BLOCK, DiskSource, NoBytes
from osc_imagetools.data.download_source import Proof
from osc_imagetools.data.file_source import FileSource
from osc_imagetools.data.upload import UploadBroken, UploadSink, send
from osc_imagetools.progress.model import NullProgress


class Login(plugin.BaseAuthPlugin):
    """A new token after each invalidation."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def get_token(self, session: Any, **kwargs: Any) -> str:
        return f"token-{self.number}"

    def invalidate(self) -> bool:
        self.number += 1
        return True


class Sink(fixtures.Fixture):
    """Takes uploads: ``received`` are the bodies, ``headers`` those of the last; ``answers`` are used up."""

    def _setUp(self) -> None:
        self.received: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.answers: list[int] = []
        self.reset_after: int | None = None
        self.token = "token-0"
        self.began: Callable[[int], None] = lambda length: None
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                sink.headers = dict(self.headers)
                if self.headers.get("Transfer-Encoding") == "chunked":
                    sink.received.append(self.chunks())
                else:
                    self.take(int(self.headers["Content-Length"]))
                if self.close_connection:
                    return
                status = 204 if self.headers["X-Auth-Token"] == sink.token else 401
                if status == 204 and sink.answers:
                    status = sink.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def chunks(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def take(self, length: int) -> None:
                if sink.reset_after is not None:
                    sink.received.append(self.rfile.read(sink.reset_after))
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    self.close_connection = True
                    return
                sink.began(length)
                sink.received.append(self.rfile.read(length))
                self.close_connection = len(sink.received[-1]) < length

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}/v2/images/1/file"


class UploadTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sink = self.useFixture(Sink())
        self.data = random.Random(1).randbytes(3 * BLOCK + 17)
        self.path = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / "disk.raw"
        self.path.write_bytes(self.data)
        self.digest = hashlib.sha512(self.data).hexdigest()
        self.cancelled = threading.Event()

    def source(self, *, digest: str | None = None, size: int | None = None) -> FileSource:
        proof = Proof("sha512", digest or self.digest, "os_hash")
        return FileSource("0-vda.raw", size or len(self.data), proof, self.open, "web01.bundle")

    def open(self) -> BinaryIO:
        return self.path.open("rb", buffering=0)

    def upload(self, source: DiskSource | None = None, store: str | None = None) -> str:
        sink = UploadSink(session.Session(Login()), self.sink.url, "image web01", store)
        sent = send(
            source or self.source(),
            sink,
            algorithms={"sha512"},
            progress=NullProgress(),
            cancelled=self.cancelled,
        )
        return sent.digests["sha512"]

    def refused(self, expected: type[errors.ImagetoolsError], source: DiskSource | None = None) -> str:
        return str(self.assertRaises(expected, self.upload, source))

    def test_the_bytes_the_length_and_the_hash(self) -> None:
        self.assertEqual(self.digest, self.upload(store="rbdlike"))
        self.assertEqual([self.data], self.sink.received)
        self.assertEqual("rbdlike", self.sink.headers["X-Image-Meta-Store"])
        self.assertEqual(str(len(self.data)), self.sink.headers["x-openstack-image-size"])
        self.assertNotIn("Transfer-Encoding", self.sink.headers)

    def test_a_source_of_unknown_length_is_sent_in_chunks(self) -> None:
        source = dataclasses.replace(self.source(), size=None)
        self.assertEqual(self.digest, self.upload(source))
        self.assertEqual([self.data], self.sink.received)
        self.assertEqual("chunked", self.sink.headers["Transfer-Encoding"])
        self.assertNotIn("x-openstack-image-size", self.sink.headers)

    def test_nothing_is_an_upload_of_0_bytes(self) -> None:
        self.assertEqual(hashlib.sha512().hexdigest(), self.upload(NoBytes("web01")))
        self.assertEqual([b""], self.sink.received)

    def test_an_expired_token_sends_all_of_it_again(self) -> None:
        self.sink.token = "token-1"
        self.assertEqual(self.digest, self.upload())
        self.assertEqual([self.data, self.data], self.sink.received)

    def test_a_token_that_is_never_accepted(self) -> None:
        self.sink.token = "another"
        self.refused(errors.Forbidden)
        self.assertEqual(2, len(self.sink.received))

    def test_refused(self) -> None:
        for status in (400, 403, 409, 413, 415):
            self.sink.answers = [status]
            error = self.assertRaises(errors.TransferError, self.upload)
            self.assertNotIsInstance(error, UploadBroken)
            self.assertIn(str(status), str(error))

    def test_a_fault_that_may_pass(self) -> None:
        for status in (429, 500, 502, 503, 504):
            self.sink.answers = [status]
            self.assertIn(str(status), self.refused(UploadBroken))

    def test_a_connection_that_breaks(self) -> None:
        self.sink.reset_after = BLOCK
        self.assertIn("broke off", self.refused(UploadBroken))

    def test_wrong_bytes_never_arrive_whole(self) -> None:
        """One wrong byte at the start, in the middle, in the last block: the last block is never sent."""
        for place in (0, len(self.data) // 2, len(self.data) - 1):
            wrong = bytearray(self.data)
            wrong[place] ^= 1
            self.path.write_bytes(wrong)
            text = self.refused(errors.HashMismatch)
            self.assertIn("0-vda.raw of web01.bundle", text)
            self.assertIn("openstack bundle verify web01.bundle", text)
        self.assertTrue(all(len(body) < len(self.data) for body in self.sink.received))

    def test_a_file_that_shrinks_or_grows_before_it_is_sent(self) -> None:
        for data in (self.data[:-1], self.data + b"x"):
            self.path.write_bytes(data)
            self.assertIn(f"it has {len(data)} bytes", self.refused(errors.HashMismatch))
        self.assertEqual([], self.sink.received)

    def test_a_file_that_shrinks_or_grows_while_it_is_sent(self) -> None:
        self.data = bytes(32 * BLOCK)  # far more than the buffers of both sockets hold
        self.digest = hashlib.sha512(self.data).hexdigest()
        for change in (-1, 1):
            self.path.write_bytes(self.data)
            sent: list[int] = []

            def receive(length: int, change: int = change, sent: list[int] = sent) -> None:
                if not sent:
                    with self.path.open("r+b") as file:
                        file.truncate(len(self.data) + change)
                sent.append(length)

            self.sink.began = receive
            self.refused(errors.HashMismatch)
        self.assertTrue(all(len(body) < len(self.data) for body in self.sink.received))

    def test_cancelled(self) -> None:
        self.cancelled.set()
        self.assertRaises(errors.Cancelled, self.upload)
