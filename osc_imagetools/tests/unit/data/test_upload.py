# SPDX-License-Identifier: Apache-2.0
"""Uploads to a server on a real socket: what it receives, and what is said when it does not take it."""

from __future__ import annotations

import hashlib
import http.server
import pathlib
import random
import socket
import struct
import threading
from typing import Any

import fixtures
import testtools
from keystoneauth1 import plugin, session

from osc_imagetools import errors
from osc_imagetools.data.upload import BLOCK, upload
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
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                sink.headers = dict(self.headers)
                length = int(self.headers["Content-Length"])
                if sink.reset_after is not None:
                    sink.received.append(self.rfile.read(sink.reset_after))
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    self.close_connection = True
                    return
                sink.received.append(self.rfile.read(length))
                status = 204 if self.headers["X-Auth-Token"] == sink.token else 401
                if status == 204 and sink.answers:
                    status = sink.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

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

    def upload(self, **changes: Any) -> str:
        arguments: dict[str, Any] = {
            "label": "image web01",
            "algorithm": "sha512",
            "expected": self.digest,
            "store": None,
            "progress": NullProgress(),
            "cancelled": self.cancelled,
        }
        path = changes.pop("path", self.path)
        login = session.Session(Login())
        return upload(login, self.sink.url, path, **{**arguments, **changes})

    def test_the_bytes_the_length_and_the_hash(self) -> None:
        self.assertEqual(self.digest, self.upload(store="rbdlike"))
        self.assertEqual([self.data], self.sink.received)
        self.assertEqual("rbdlike", self.sink.headers["X-Image-Meta-Store"])
        self.assertNotIn("Transfer-Encoding", self.sink.headers)

    def test_nothing_is_an_upload_of_0_bytes(self) -> None:
        self.assertEqual(hashlib.sha512().hexdigest(), self.upload(path=None, expected=None))
        self.assertEqual([b""], self.sink.received)

    def test_an_expired_token_sends_all_of_it_again(self) -> None:
        self.sink.token = "token-1"
        self.assertEqual(self.digest, self.upload())
        self.assertEqual([self.data, self.data], self.sink.received)

    def test_a_token_that_is_never_accepted(self) -> None:
        self.sink.token = "another"
        error = self.assertRaises(errors.TransferError, self.upload)
        self.assertIn("401", str(error))
        self.assertEqual(2, len(self.sink.received))

    def test_refused(self) -> None:
        for status in (400, 409, 413, 415, 503):
            self.sink.answers = [status]
            error = self.assertRaises(errors.TransferError, self.upload)
            self.assertIn(str(status), str(error))

    def test_a_connection_that_breaks(self) -> None:
        self.sink.reset_after = BLOCK
        error = self.assertRaises(errors.TransferError, self.upload)
        self.assertIn("broke off", str(error))

    def test_a_file_that_is_not_what_it_was_never_arrives_whole(self) -> None:
        self.assertRaises(errors.HashMismatch, self.upload, expected="00")
        self.assertTrue(all(len(body) < len(self.data) for body in self.sink.received))

    def test_cancelled(self) -> None:
        self.cancelled.set()
        self.assertRaises(errors.Cancelled, self.upload)
