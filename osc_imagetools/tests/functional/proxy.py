# SPDX-License-Identifier: Apache-2.0
"""A proxy between the ``openstack`` command and the real Glance, which breaks what a network can break.

Everything is forwarded to Glance. Faults are done to the answers of ``GET /v2/images/{id}/file`` that carry
data (200 and 206), one fault to one answer, in order; a refused range (400) is forwarded and uses up none.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal
from urllib.parse import urlsplit

import fixtures
import openstack

CLOUD = "behind-proxy"
PIECE = 64 * 1024
_DATA = re.compile(r"/v2/images/[0-9a-f-]{36}/file")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade"})


@dataclasses.dataclass
class Answer:
    """One answer to a request for data."""

    token: str
    range: str | None  # the request's header
    began: float  # seconds of time.monotonic()
    epoch: int  # how many times the proxy had been reset
    status: int = 0
    first: int = 0  # the offset in the image of its first byte
    sent: int = 0  # bytes of data


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is done to one answer: another status instead of it, or what happens after ``after`` bytes.

    ``end``: ``reset`` the connection, ``close`` it although more was announced, ``stall`` (send nothing more,
    until the other side gives up). ``hook`` is called before the end.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    after: int | None = None
    end: Literal["reset", "close", "stall"] = "close"
    hook: Callable[[Answer], None] | None = None


class GlanceProxy(fixtures.Fixture):
    """Runs the proxy; ``OS_CLIENT_CONFIG_FILE`` is a copy in which the cloud CLOUD goes through it.

    ``faults`` is what happens to the next answers (None: nothing), ``always`` to all that come after these.
    ``rate`` limits each answer to so many bytes per second, ``upload_rate`` the data of each upload, and
    ``uploading`` is set when the first of it has passed. ``answers`` has all that were given. ``tokens``
    maps tokens that come to tokens that Glance sees instead. ``flips`` maps the offset of a byte in the image
    to how many times it arrives changed.
    """

    def __init__(self, directory: pathlib.Path, cloud: str = "devcloud-demo") -> None:
        super().__init__()
        self.faults: collections.deque[Fault | None] = collections.deque()
        self.always: Fault | None = None
        self.rate: int | None = None
        self.upload_rate: int | None = None
        self.uploading = threading.Event()
        self.answers: list[Answer] = []
        self.tokens: dict[str, str] = {}
        self.flips: collections.Counter[int] = collections.Counter()
        self.most_at_once = 0
        self.stopped = threading.Event()
        self._directory = directory
        self._cloud = cloud
        self._open = 0
        self._sent = 0
        self._epoch = 0
        self._hooks: list[tuple[int, Callable[[], None]]] = []
        self._lock = threading.Lock()

    def _setUp(self) -> None:
        connection = openstack.connect(cloud=self._cloud)
        glance = connection.image.get_endpoint()
        connection.close()
        self._glance = urlsplit(str(glance))
        server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.addCleanup(self.stopped.set)
        clouds = openstack.config.OpenStackConfig().cloud_config["clouds"]
        url = f"http://127.0.0.1:{server.server_port}{self._glance.path.rstrip('/')}"
        # With a version, the SDK takes the URL as it is; Glance has no document to discover it by at /v2.
        override = {"image_endpoint_override": url, "image_api_version": "2"}
        clouds[CLOUD] = {**clouds[self._cloud], **override}
        path = self._directory / "clouds.yaml"
        path.write_text(json.dumps({"clouds": clouds}))  # which is YAML too
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(path)))

    # -- what tests ask

    @property
    def sent(self) -> int:
        """Bytes of data that were sent since the last ``reset``."""
        with self._lock:
            return self._sent

    def at(self, sent: int, hook: Callable[[], None]) -> None:
        """Call ``hook`` before more than ``sent`` bytes of data have passed, in the thread that sends them;
        other answers go on meanwhile.
        """
        with self._lock:
            self._hooks.append((sent, hook))

    def reset(self) -> None:
        """Forget what was done and what was to be done; answers that are still being given do not count."""
        with self._lock:
            self._epoch += 1
            self.faults.clear()
            self._hooks.clear()
            self.answers.clear()
            self.tokens.clear()
            self.flips.clear()
            self.always = self.rate = None
            self._sent = self.most_at_once = 0

    # -- what the handlers call

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to Glance."""
        assert self._glance.hostname
        return http.client.HTTPConnection(self._glance.hostname, self._glance.port, timeout=60)

    def begin(self, token: str, asked: str | None) -> Answer:
        """A request for data has come."""
        with self._lock:
            return Answer(token, asked, time.monotonic(), self._epoch)

    def next_fault(self, answer: Answer) -> Fault | None:
        """What to do to an answer that would carry data."""
        with self._current(answer):
            return self.faults.popleft() if self.faults else self.always

    def record(self, answer: Answer) -> None:
        """An answer to a request for data is about to be given."""
        with self._current(answer):
            self.answers.append(answer)

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """While an answer is sent."""
        with self._lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    def flipped(self, piece: bytes, offset: int) -> bytes:
        """The bytes from ``offset`` on as they are to arrive."""
        with self._lock:
            for at in [at for at in +self.flips if 0 <= at - offset < len(piece)]:
                self.flips[at] -= 1
                changed = bytearray(piece)
                changed[at - offset] ^= 1
                piece = bytes(changed)
        return piece

    def passing(self, answer: Answer, count: int) -> None:
        """``count`` bytes are about to be sent."""
        with self._current(answer):
            answer.sent += count
            self._sent += count
            due = [hook for at, hook in self._hooks if at < self._sent]
            self._hooks = [(at, hook) for at, hook in self._hooks if at >= self._sent]
        for hook in due:
            hook()

    @contextlib.contextmanager
    def _current(self, answer: Answer) -> Iterator[None]:
        """The lock, for an answer that counts."""
        with self._lock:
            if answer.epoch != self._epoch:
                raise _Cut
            yield


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """The other side went away: what these tests are about."""


class _Cut(Exception):
    """The connection is to be given up."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: GlanceProxy

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def forward(self) -> None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        token = headers.get("X-Auth-Token")
        if token in self.proxy.tokens:
            headers["X-Auth-Token"] = self.proxy.tokens[token]
        length = int(self.headers.get("Content-Length", 0))
        data = _DATA.fullmatch(urlsplit(self.path).path) is not None
        body: bytes | Iterator[bytes] | None = None
        if length and data and self.proxy.upload_rate:
            body = self._slowly(length, self.proxy.upload_rate)
        elif length:
            body = self.rfile.read(length)
        answer = None
        if self.command == "GET" and data:
            answer = self.proxy.begin(self.headers.get("X-Auth-Token", ""), self.headers.get("Range"))
        upstream = self.proxy.connect()
        try:
            upstream.request(self.command, self.path, body=body, headers=headers)
            response = upstream.getresponse()
            if answer is not None:
                self._answer_data(response, answer)
            else:
                self._answer(response, None, None)
        except _Cut:
            self.close_connection = True
        finally:
            upstream.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def _slowly(self, length: int, rate: int) -> Iterator[bytes]:
        """What is uploaded, piece by piece; the connection to Glance breaks off where it does."""
        while length:
            piece = self.rfile.read(min(PIECE, length))
            if not piece:
                raise _Cut
            length -= len(piece)
            yield piece
            self.proxy.uploading.set()
            time.sleep(len(piece) / rate)

    def _answer_data(self, response: http.client.HTTPResponse, answer: Answer) -> None:
        carries = response.status in {200, 206}
        fault = self.proxy.next_fault(answer) if carries else None
        answer.status = fault.status if fault and fault.status else response.status
        if response.status == 206:
            answer.first = int(re.findall(r"\d+", response.headers["Content-Range"])[0])
        self.proxy.record(answer)
        if fault and fault.status:
            self.send_response(fault.status)
            for name, value in (*fault.headers, ("Content-Length", "0")):
                self.send_header(name, value)
            self.end_headers()
        elif carries:
            with self.proxy.sending():
                self._answer(response, answer, fault)
        else:
            self._answer(response, None, None)

    def _answer(self, response: http.client.HTTPResponse, answer: Answer | None, fault: Fault | None) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        bodiless = self.command == "HEAD" or response.status in {204, 304}
        chunked = not bodiless and response.headers.get("Content-Length") is None
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        began = time.monotonic()
        while piece := response.read1(PIECE):
            if answer is not None:
                if fault is not None and fault.after is not None:
                    piece = piece[: fault.after - answer.sent]
                piece = self.proxy.flipped(piece, answer.first + answer.sent)
                self.proxy.passing(answer, len(piece))
            if piece:  # an empty chunk would be the end
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if answer is None:
                continue
            if fault is not None and fault.after is not None and answer.sent >= fault.after:
                self._break(answer, fault)
            if self.proxy.rate:
                time.sleep(max(0.0, began + answer.sent / self.proxy.rate - time.monotonic()))
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _break(self, answer: Answer, fault: Fault) -> None:
        if fault.hook:
            fault.hook(answer)
        if fault.end == "stall":
            self.connection.settimeout(0.1)
            while not self.proxy.stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    if not self.connection.recv(1):
                        break
        elif fault.end == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # with no goodbye before it
        raise _Cut
