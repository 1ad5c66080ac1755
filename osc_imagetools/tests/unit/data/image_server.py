# SPDX-License-Identifier: Apache-2.0
"""A server of image data on a real socket, whose faults can be switched on, and what it takes to fetch."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import random
import re
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fixtures
import testtools
from keystoneauth1 import plugin, session

from osc_imagetools.data.download import Downloader
from osc_imagetools.data.download_source import DownloadSource, Fetched
from osc_imagetools.data.retry import RetryPolicy
from osc_imagetools.progress.model import NullProgress

MIB = 1024 * 1024
# Everything that waits, waits shortly.
QUICK = RetryPolicy(
    attempts=4,
    patience=0.0,
    hash_patience=5.0,
    hash_pause=0.01,
    first_wait=0.01,
    longest_wait=0.02,
    longest_retry_after=0.05,
    connect_timeout=2.0,
    read_timeout=0.4,
)


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering well: after ``after`` bytes of the body, or with a ``status``.

    ``after`` with ``how``: "end" (close), "reset" (RST), "stall" (nothing more), "flip" (a wrong byte).
    ``range``: another Content-Range than the right one. ``plain``: answer a range with 200.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int | None = None
    how: str = "end"
    range: str | None = None
    plain: bool = False


class ImageServer(fixtures.Fixture):
    """Serves ``data`` at ``url``.

    ``faults`` are used up one for each request, before ``always``. ``rate``: bytes per second for
    each connection; ``longest``: bytes in an answer to a range. ``before`` is called with the
    number of each request, from 1, before it is answered, and ``passing`` with the offset in the
    image of each MiB at most, before it is sent. ``requests`` are the Range headers (None
    without) as they came; ``peak`` is how many responses were sent at once, ``sent`` the bytes of
    all bodies.
    """

    def __init__(self, data: bytes, *, ranges: bool = True) -> None:
        super().__init__()
        self.data = data
        self.ranges = ranges
        self.chunked = False
        self.rate: float | None = None
        self.longest: int | None = None
        self.before: Callable[[int], object] = lambda number: None
        self.passing: Callable[[int], object] = lambda offset: None
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.token = "token-0"
        self.requests: list[str | None] = []
        self.sent = self.peak = 0
        self.active: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.stalled = threading.Event()

    def _setUp(self) -> None:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.images = self
        self.url = f"http://127.0.0.1:{server.server_port}/v2/images/1/file"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.addCleanup(self.released.set)

    def source(self, **changes: Any) -> DownloadSource:
        """The image as Glance would describe it."""
        values: dict[str, Any] = {
            "url": self.url,
            "label": "image web01 (1)",
            "size": len(self.data),
            "hash_algo": "sha512",
            "hash_value": hashlib.sha512(self.data).hexdigest(),
            "checksum": hashlib.md5(self.data).hexdigest(),
        }
        return DownloadSource(**(values | changes))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    images: ImageServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes the connection is nothing to tell of."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def setup(self) -> None:
        super().setup()
        self.images: ImageServer = self.server.images  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        images = self.images
        asked = self.headers.get("Range")
        with images.lock:
            images.requests.append(asked)
            fault = images.faults.popleft() if images.faults else images.always
            images.active.add(self.connection)
            images.peak = max(images.peak, sum(map(_wanted, images.active)))
            number = len(images.requests)
        images.before(number)
        try:
            if self.path.startswith("/moved"):
                self._answer(302, {"Location": images.url}, b"")
            elif self.headers.get("X-Auth-Token") != images.token:
                self._answer(401, {}, b"")
            else:
                self._serve(asked, fault or Fault())
        except OSError:
            self.close_connection = True
        finally:
            with images.lock:
                images.active.discard(self.connection)

    def _serve(self, asked: str | None, fault: Fault) -> None:
        if fault.status is not None:
            self._answer(fault.status, fault.headers, fault.body)
            return
        data, status, headers, first = self.images.data, 200, {}, 0
        if asked and not fault.plain:
            if not self.images.ranges:
                self._answer(400, {}, b"<html><title>400</title>not supported</html>")
                return
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
            assert match is not None
            first, last = int(match[1]), min(int(match[2]), len(data) - 1)
            last = min(last, first + (self.images.longest or len(data)) - 1)
            status = 206
            right = f"bytes {first}-{last}/{len(data)}"
            headers = {"Content-Range": right if fault.range is None else fault.range}
            data = data[first : last + 1]
        self._start(status, headers, None if self.images.chunked else len(data))
        self._send(data, fault, first)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._start(status, headers, None if status == 204 else len(body))
        self.wfile.write(body)

    def _start(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        elif status != 204:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send(self, data: bytes, fault: Fault, first: int) -> None:
        view, sent = memoryview(data), 0
        step = 16 * 1024 if self.images.rate else MIB
        while sent < len(view):
            count = min(step, len(view) - sent)
            self.images.passing(first + sent)
            if fault.after is not None and sent <= fault.after < sent + count:
                count = fault.after - sent
                self._piece(view[sent : sent + count])
                sent += count
                if fault.how != "flip":
                    self._break(fault.how)
                    return
                self._piece(memoryview(bytes([view[sent] ^ 1])))
                sent, fault = sent + 1, Fault()
            else:
                self._piece(view[sent : sent + count])
                sent += count
        if self.images.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _piece(self, piece: memoryview) -> None:
        if not piece:
            return
        with self.images.lock:
            self.images.sent += len(piece)
        if self.images.rate:
            time.sleep(len(piece) / self.images.rate)
        if self.images.chunked:
            self.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        else:
            self.wfile.write(piece)

    def _break(self, how: str) -> None:
        self.close_connection = True
        if how == "stall":
            self.images.stalled.set()
            self.images.released.wait(10)
        elif how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with self.images.lock:
                self.images.active.discard(self.connection)
            with contextlib.suppress(OSError):
                self.rfile.close()
                self.connection.close()


def _wanted(connection: socket.socket) -> bool:
    """Whether the client has not closed the connection: it sends nothing while an answer comes."""
    return not select.select([connection], [], [], 0)[0]


class Login(plugin.BaseAuthPlugin):
    """Logs in at an ImageServer; ``logins`` counts; ``renewable``: whether a token can be replaced."""

    def __init__(self, server: ImageServer, *, renewable: bool = True) -> None:
        super().__init__()
        self.server = server
        self.renewable = renewable
        self.logins = 0
        self.current: str | None = None

    def get_token(self, session: session.Session, **kwargs: Any) -> str | None:
        if self.current is None:
            self.logins += 1
            self.current = self.server.token
        return self.current

    def invalidate(self) -> bool:
        self.current = None
        return self.renewable


class RecordingTask:
    """A display that remembers."""

    def __init__(self) -> None:
        self.shown = 0
        self.total: int | None = None
        self.messages: list[str] = []
        self.ended = 0

    def task(self, label: str, total: int | None) -> RecordingTask:
        self.label, self.total = label, total
        return self

    def set_total(self, total: int) -> None:
        self.total = total

    def advance(self, count: int) -> None:
        self.shown += count

    def message(self, text: str) -> None:
        self.messages.append(text)

    def done(self) -> None:
        self.ended += 1


class TransferTestCase(testtools.TestCase):
    """Fetches from an ImageServer into a directory of its own."""

    ranges = True

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.useFixture(fixtures.TempDir()).path)
        self.target = self.directory / "0-vda.raw"
        self.cancelled = threading.Event()
        self.log = self.useFixture(fixtures.FakeLogger("osc_imagetools"))

    def serve(self, data: bytes) -> ImageServer:
        return self.useFixture(ImageServer(data, ranges=self.ranges))

    def downloader(
        self,
        server: ImageServer,
        *,
        jobs: int = 4,
        policy: RetryPolicy = QUICK,
        progress: Any = None,
        login: Login | None = None,
    ) -> Downloader:
        return Downloader(
            session.Session(auth=login or Login(server)),
            jobs=jobs,
            progress=progress or NullProgress(),
            cancelled=self.cancelled,
            policy=policy,
        )

    def fetch(self, server: ImageServer, **kwargs: Any) -> Fetched:
        """Fetch what is served, in a new run."""
        source = kwargs.pop("source", None) or server.source()
        sparse = kwargs.pop("sparse", False)
        return self.downloader(server, **kwargs).fetch(
            source, self.target, algorithms=frozenset({"sha512"}), sparse=sparse
        )

    def assert_fetched(self, server: ImageServer, fetched: Fetched) -> None:
        """The bytes are those of the server, and nothing but the record is left beside them."""
        self.assertTrue(self.target.read_bytes() == server.data, "the bytes differ")
        self.assertEqual(len(server.data), fetched.size)
        self.assertEqual(hashlib.sha512(server.data).hexdigest(), fetched.digests["sha512"])
        self.assertEqual(
            {self.target.name, f".{self.target.name}.done"},
            {path.name for path in self.directory.iterdir()},
        )

    def names(self) -> set[str]:
        """All files in the directory."""
        return {path.name for path in self.directory.iterdir()}

    def wait_until(self, condition: Any, seconds: float = 60.0) -> None:
        """Wait for something that another thread does."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.005)


def random_bytes(size: int, seed: int = 1) -> bytes:
    """Always the same bytes."""
    return random.Random(seed).randbytes(size)
