# SPDX-License-Identifier: Apache-2.0
"""Proxies between the ``openstack`` command and every service of the real cloud, which fail as clouds do.

One address for each service of the catalog; what the services say about their own addresses is rewritten to
them. Each request can be answered by a fault, chosen by the dice of a seed; or all services are out for a
while: nothing listens at their addresses, and what is open is reset.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import os
import pathlib
import random
import re
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import fixtures
import openstack
from keystoneauth1.identity.base import BaseIdentityPlugin

CLOUD = "behind-proxies"
PIECE = 64 * 1024
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"})
PAGE = (
    b"<html><head><title>%(s)d</title></head><body><h1>%(s)d</h1>\n"
    b"Something &quot;between&quot; is out.\n</body></html>"
)
# What can go wrong with one request, by whether the service sees it.
UNSEEN = ("502", "503", "504", "429", "haproxy", "reset")
SEEN = ("lost 502", "lost 504", "lost reset", "cut", "page")
READS_ONLY = ("500",)


@dataclasses.dataclass
class Seen:
    """One request: which service, what for, and what was done to it."""

    service: str
    method: str
    path: str
    fault: str | None


class CloudProxy(fixtures.Fixture):
    """Runs the proxies; ``OS_CLIENT_CONFIG_FILE`` is a copy in which the cloud CLOUD goes through them.

    ``one_in``: one request in so many has a fault (0: none), chosen by ``dice``; ``spare`` tells which are
    let through all the same. ``on_request`` is called with each request before it is answered. ``seen`` has
    them all. ``tls`` makes the addresses HTTPS ones.
    """

    def __init__(self, directory: pathlib.Path, cloud: str = "devcloud-demo", tls: Any = None) -> None:
        super().__init__()
        self.one_in = 0
        self.dice = random.Random(0)
        self.spare: Callable[[Seen], bool] = lambda seen: False
        self.on_request: Callable[[Seen], None] = lambda seen: None
        self.seen: list[Seen] = []
        self.settings: dict[str, Any] = {}
        self._directory = directory
        self._cloud = cloud
        self._tls = tls
        self._lock = threading.Lock()
        self._services: dict[str, _Service] = {}

    def _setUp(self) -> None:
        connection = openstack.connect(cloud=self._cloud)
        auth = connection.session.auth
        assert isinstance(auth, BaseIdentityPlugin)
        access = auth.get_access(connection.session)
        region = connection.config.get_region_name()
        connection.close()
        for entry in access.service_catalog.catalog:
            urls = [
                e["url"] for e in entry["endpoints"] if e["region"] == region and e["interface"] == "public"
            ]
            for url in urls:
                service = _Service(self, entry["type"], url)
                self._services[entry["type"]] = service
                self.addCleanup(service.down)
        self.up()
        clouds = openstack.config.OpenStackConfig().cloud_config["clouds"]
        login = {
            **clouds[self._cloud]["auth"],
            "auth_url": self.rewritten(clouds[self._cloud]["auth"]["auth_url"]),
        }
        clouds[CLOUD] = {**clouds[self._cloud], "auth": login, **self.settings}
        path = self._directory / "clouds-proxies.yaml"
        path.write_text(json.dumps({"clouds": clouds}))  # which is YAML too
        self.useFixture(fixtures.EnvironmentVariable("OS_CLIENT_CONFIG_FILE", str(path)))

    def rewritten(self, text: str) -> str:
        """Text with the addresses of the proxies in the place of those of the services."""
        for service in self._services.values():
            text = text.replace(service.real, service.address)
        return text

    def up(self) -> None:
        """All services answer."""
        for service in self._services.values():
            service.up()

    def down(self, *names: str) -> None:
        """Nothing listens at the addresses of these services (none: of all), and what is open is reset."""
        for name in names or self._services:
            self._services[name].down()

    def out_for(self, seconds: float) -> None:
        """All services are down, and come back after so long."""
        self.down()
        timer = threading.Timer(seconds, self.up)
        timer.daemon = True
        timer.start()

    def faults(self) -> Counter[str]:
        """How often each fault was done."""
        with self._lock:
            return Counter(seen.fault for seen in self.seen if seen.fault)

    def begin(self, service: str, method: str, path: str) -> Seen:
        """A request has come; what is to be done to it."""
        seen = Seen(service, method, path, None)
        with self._lock:
            self.seen.append(seen)
            if self.one_in and not self.spare(seen) and self.dice.randrange(self.one_in) == 0:
                kinds = UNSEEN + SEEN + (READS_ONLY if method == "GET" else ())
                seen.fault = self.dice.choice(kinds)
        self.on_request(seen)
        return seen


class _Service:
    """The proxy of one service, always at the same address."""

    def __init__(self, proxy: CloudProxy, name: str, url: str) -> None:
        self.proxy = proxy
        self.name = name
        parts = urlsplit(url)
        self.real = f"{parts.scheme}://{parts.netloc}"
        self.host, self.port = parts.hostname or "", parts.port or 80
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.listens = free.getsockname()[1]
        scheme = "https" if proxy._tls else "http"
        self.address = f"{scheme}://127.0.0.1:{self.listens}"
        self._server: _Server | None = None
        self._lock = threading.Lock()

    def up(self) -> None:
        with self._lock:
            if self._server is not None:
                return
            handler = type("Handler", (_Handler,), {"service": self})
            self._server = _Server(("127.0.0.1", self.listens), handler)
            if self.proxy._tls:
                self._server.socket = self.proxy._tls.wrap_socket(
                    self._server.socket, server_side=True, do_handshake_on_connect=False
                )
            run = self._server.serve_forever
            threading.Thread(target=run, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def down(self) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        server.reset_all()


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def reset_all(self) -> None:
        for connection in list(self._open):
            reset(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that end early are what these tests are about."""


def reset(connection: socket.socket) -> None:
    """Ends a connection without a goodbye."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
        os.close(connection.detach())


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: _Service
    timeout = 600

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def forward(self) -> None:
        proxy = self.service.proxy
        seen = proxy.begin(self.service.name, self.command, self.path)
        if seen.fault in UNSEEN + READS_ONLY:
            self._drain()
            self._fail(seen.fault)
            return
        upstream = http.client.HTTPConnection(self.service.host, self.service.port, timeout=600)
        try:
            self._send_on(upstream)
            response = upstream.getresponse()
            if seen.fault and seen.fault.startswith("lost"):
                response.read()
                self._fail(seen.fault.removeprefix("lost "))
            elif seen.fault == "page" and response.status < 300:
                response.read()
                self._page(200)
            else:
                self._answer(response, cut=seen.fault == "cut")
        finally:
            upstream.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def _pieces(self) -> Any:
        """The request's body as it comes."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("the request broke off")
            left -= len(piece)
            yield piece

    def _drain(self) -> None:
        for _ in self._pieces():
            pass

    def _send_on(self, upstream: http.client.HTTPConnection) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP - {"content-length", "transfer-encoding"}:
                upstream.putheader(name, value)
        upstream.endheaders()
        for piece in self._pieces():
            upstream.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            upstream.send(b"0\r\n\r\n")

    def _fail(self, kind: str | None) -> None:
        if kind == "reset":
            self.close_connection = True
            reset(self.connection)
            return
        status = {"haproxy": 503}.get(str(kind)) or int(str(kind))
        self._page(status)

    def _page(self, status: int) -> None:
        body = PAGE % {b"s": status}
        if status == 503:
            body = body.replace(
                b"Something &quot;between&quot; is out.", b"No server is available to handle this request."
            )
        self.send_response_only(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer(self, response: http.client.HTTPResponse, *, cut: bool) -> None:
        is_text = re.search("json|text", response.headers.get("Content-Type", ""))
        bodiless = self.command == "HEAD" or response.status in {204, 304}
        body = response.read() if is_text or bodiless else None
        if body is not None and is_text:
            body = self.service.proxy.rewritten(body.decode()).encode()
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, self.service.proxy.rewritten(value))
        length = str(len(body)) if body is not None else response.headers.get("Content-Length")
        if not bodiless:
            self.send_header(*(("Content-Length", length) if length else ("Transfer-Encoding", "chunked")))
        self.end_headers()
        if bodiless:
            return
        left = int(length or 0) // 2 if cut else None
        for piece in [body] if body is not None else iter(lambda: response.read1(PIECE), b""):
            if left is not None:
                piece, left = piece[:left], left - len(piece[:left])
            if piece:
                self.wfile.write(piece if length else b"%x\r\n%s\r\n" % (len(piece), piece))
            if left == 0:
                self.close_connection = True
                return
        if not length:
            self.wfile.write(b"0\r\n\r\n")


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """:raises AssertionError: it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it never came to that")
        time.sleep(0.05)
