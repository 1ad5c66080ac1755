# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy that counts: every request of a client that has ``http_proxy`` in its environment.

So each client is counted in the same way, whatever it is made of. Plain HTTP only, as the embedded
cloud speaks it. It takes no module but those of Python itself, and keeps no answer in memory.
"""

from __future__ import annotations

import collections
import http.client
import http.server
import re
import threading
import urllib.parse
from collections.abc import Callable

CHUNK = 1 << 16
ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
# Of one connection, not of the message.
OWN = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}


class CountingProxy:
    """Serves in the background from its making to ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: collections.Counter[str] = collections.Counter()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._count))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """With this a client uses it, also for an address of this machine."""
        return {"http_proxy": f"http://127.0.0.1:{self._server.server_port}", "no_proxy": ""}

    def take(self) -> dict[str, int]:
        """The requests since the last call: how many for each method, host and path without ids."""
        with self._lock:
            taken = dict(sorted(self._requests.items()))
            self._requests.clear()
        return taken

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _count(self, method: str, url: urllib.parse.SplitResult) -> None:
        with self._lock:
            self._requests[f"{method} {url.netloc}{ID.sub('<id>', url.path)}"] += 1


def _handler(
    count: Callable[[str, urllib.parse.SplitResult], None],
) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """One connection of a client, and one to each service that it asks."""

        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.services: dict[str, http.client.HTTPConnection] = {}

        def finish(self) -> None:
            super().finish()
            for connection in self.services.values():
                connection.close()

        def relay(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            count(self.command, url)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
            path = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
            service = self.services.setdefault(url.netloc, http.client.HTTPConnection(url.netloc))
            service.request(self.command, path, body or None, sent)
            answer = service.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in OWN:
                    self.send_header(name, value)
            whole = answer.length is not None or self.command == "HEAD"
            if not whole:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while data := answer.read(CHUNK):
                self.wfile.write(data if whole else b"%x\r\n%s\r\n" % (len(data), data))
            if not whole:
                self.wfile.write(b"0\r\n\r\n")

        do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = relay

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Handler
