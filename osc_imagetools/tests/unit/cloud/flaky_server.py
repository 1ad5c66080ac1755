# SPDX-License-Identifier: Apache-2.0
"""A service that answers as it is told: below requests-mock, where connections break."""

from __future__ import annotations

import contextlib
import http.server
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fixtures
from keystoneauth1 import session, token_endpoint

from osc_imagetools.cloud.retries import Retries, RetryPhase
from osc_imagetools.cloud.transport import persistent

SHORT = {RetryPhase.BEFORE_EFFECTS: 0.2, RetryPhase.WORKING: 20.0, RetryPhase.CLEANING_UP: 30.0}


@dataclass(frozen=True)
class Said:
    """An answer; ``how`` reset (instead of it), cut (the body in half) or hang (nothing at all)."""

    status: int = 200
    body: str = '{"ok": true}'
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = ""


class FlakyServer(fixtures.Fixture):
    """Gives the ``answers`` in their order, then good ones; ``asked`` has (method, path) of all requests."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Said] = []
        self.asked: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self.released = threading.Event()

    def _setUp(self) -> None:
        handler = type("Handler", (_Handler,), {"flaky": self})
        server = _Server(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.addCleanup(self.released.set)
        self.url = f"http://127.0.0.1:{server.server_port}"

    def session(self) -> tuple[session.Session, Retries]:
        """A login that asks here, impatient but in the phase of the work."""
        login = session.Session(auth=token_endpoint.Token(self.url, "secret-token"))
        self.addCleanup(login.session.close)
        retries = persistent(login)
        retries.limits, retries.first_wait = SHORT, 0.01
        retries.enter(RetryPhase.WORKING, threading.Event())
        return login, retries


def closed_port() -> int:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that end early are what these tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    flaky: FlakyServer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        flaky = self.flaky
        flaky.asked.append((self.command, self.path))
        flaky.tokens.append(self.headers.get("X-Auth-Token"))
        said = flaky.answers.pop(0) if flaky.answers else Said()
        if said.how == "hang":
            flaky.released.wait()
        if said.how in ("hang", "reset"):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        body = said.body.encode()
        self.send_response(said.status)
        for name, value in {"Content-Type": "application/json", **said.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if said.how == "cut" else body)
        self.close_connection = self.close_connection or said.how == "cut"

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer
