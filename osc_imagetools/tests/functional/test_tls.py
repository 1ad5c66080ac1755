# SPDX-License-Identifier: Apache-2.0
"""Clouds behind TLS with an authority of their own, with client certificates, and behind HTTP proxies."""

from __future__ import annotations

import http.client
import http.server
import select
import socket
import socketserver
import threading
from typing import Any
from urllib.parse import urlsplit

import fixtures

from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.certificates import Authority
from osc_imagetools.tests.functional.cloud_proxy import CLOUD, CloudProxy

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


class TlsCase(base.TestCase):
    """An image goes out and comes back, each time by data that moves in both directions."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("OS_CACERT", "OS_CERT", "OS_KEY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.proxy_settings()
        self.disk = self.random_file(5 * base.MIB)
        self.image_id = self.image(self.disk)

    def proxy_settings(self, **settings: str) -> None:
        for name in PROXIES:
            for spelling in (name, name.upper()):
                self.useFixture(fixtures.EnvironmentVariable(spelling, settings.get(name)))

    def behind(self, *words: Any, code: int = 0) -> base.Result:
        """The command in a process of its own."""
        process = base.start_openstack(*map(str, words), cloud=CLOUD)
        out, err = process.communicate(timeout=base.PATIENCE)
        self.assertEqual(code, process.returncode, err)
        self.assertNotIn("Traceback", err)
        return base.Result(process.returncode, out, err)

    def out_and_back(self, *options: Any) -> None:
        bundle = self.dir / f"bundle-{len(list(self.dir.glob('bundle-*')))}"
        self.behind(*options, "image", "export-full", self.image_id, "--output", bundle)
        (disk,) = (bundle / "disks").iterdir() if (bundle / "disks").is_dir() else bundle.glob("*.raw")
        self.assertEqual(self.disk.read_bytes(), disk.read_bytes())
        words = (*options, "image", "import-full", bundle, "-f", "json")
        report = self.behind(*words).json
        self.addCleanup(self.remove_image, report["id"])
        self.assertEqual([], report["differences"])

    def fails(self, *options: Any) -> str:
        words = (*options, "image", "export-full", self.image_id, "--output", self.dir / "never")
        told = self.behind(*words, code=1).err
        self.assertFalse((self.dir / "never").exists())
        return told


class TestAuthority(TlsCase):
    """The services' certificates are signed by an authority that no system knows."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.dir)
        self.useFixture(CloudProxy(self.dir, tls=self.authority.server_context()))

    def test_unknown(self) -> None:
        told = self.fails()
        self.assertRegex(told, r"cannot connect to https://127.0.0.1:\d+: the certificate is not trusted")
        self.assertIn("--os-cacert <file>", told)
        self.assertIn("[service-unreachable]", told)
        self.assertNotIn("HTTPSConnectionPool", told)
        other = Authority(self.dir, "other")
        self.assertIn("the certificate is not trusted", self.fails("--os-cacert", other.path))

    def test_named_by_an_option(self) -> None:
        self.out_and_back("--os-cacert", self.authority.path)

    def test_named_by_the_environment(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable("OS_CACERT", str(self.authority.path)))
        self.out_and_back()

    def test_not_looked_at(self) -> None:
        self.out_and_back("--insecure")


class TestClientCertificate(TlsCase):
    """The services ask for a certificate of the client."""

    def test_it_is_shown_by_every_request(self) -> None:
        authority, clients = Authority(self.dir), Authority(self.dir, "clients")
        self.useFixture(CloudProxy(self.dir, tls=authority.server_context(clients=clients)))
        trust = ("--os-cacert", authority.path)
        told = self.fails(*trust)
        self.assertRegex(told, r"https://127.0.0.1:\d+")
        self.assertIn("[service-unreachable]", told)
        certificate, key = clients.sign("client", client=True)
        self.out_and_back(*trust, "--os-cert", certificate, "--os-key", key)


class TestHttpProxy(TlsCase):
    """Everything goes through the proxy that the environment names, and not past it."""

    def test_http(self) -> None:
        cloud = self.useFixture(CloudProxy(self.dir))
        forward = self.useFixture(ForwardProxy())
        self.proxy_settings(http_proxy=forward.url)
        self.out_and_back()
        self.assertEqual(len(cloud.seen), len(forward.seen))
        self.data_went_through(forward.seen)

    def test_https_by_a_tunnel(self) -> None:
        authority = Authority(self.dir)
        self.useFixture(CloudProxy(self.dir, tls=authority.server_context()))
        forward = self.useFixture(ForwardProxy())
        self.proxy_settings(https_proxy=forward.url)
        self.out_and_back("--os-cacert", authority.path)
        self.assertEqual({"CONNECT"}, {line.split()[0] for line in forward.seen})

    def test_a_proxy_that_is_away(self) -> None:
        self.useFixture(CloudProxy(self.dir))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.proxy_settings(http_proxy=f"http://user:geheim@127.0.0.1:{port}")
        told = self.fails()
        self.assertRegex(
            told, r"cannot connect to http://127.0.0.1:\d+ through the proxy: Connection refused"
        )
        self.assertNotIn("geheim", told)

    def test_not_for_these_hosts(self) -> None:
        cloud = self.useFixture(CloudProxy(self.dir))
        forward = self.useFixture(ForwardProxy())
        self.proxy_settings(http_proxy=forward.url, no_proxy="127.0.0.1")
        self.out_and_back()
        self.assertEqual([], forward.seen)
        self.data_went_through([f"{s.method} {s.path}" for s in cloud.seen])

    def data_went_through(self, lines: list[str]) -> None:
        moved = {line.split()[0] for line in lines if line.endswith("/file")}
        self.assertEqual({"GET", "PUT"}, moved)


class ForwardProxy(fixtures.Fixture):
    """A proxy at ``url`` for any host; ``seen`` has the request lines that came."""

    def _setUp(self) -> None:
        self.seen: list[str] = []
        server = _Server(("127.0.0.1", 0), type("Handler", (_Forward,), {"proxy": self}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that end early."""


class _Forward(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ForwardProxy

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_CONNECT(self) -> None:
        self.proxy.seen.append(f"CONNECT {self.path}")
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as other:
            self.send_response_only(200)
            self.end_headers()
            self.close_connection = True
            pairs = {self.connection: other, other: self.connection}
            while True:
                for one in select.select(list(pairs), [], [])[0]:
                    if not (piece := one.recv(1 << 16)):
                        return
                    pairs[one].sendall(piece)

    def forward(self) -> None:
        parts = urlsplit(self.path)
        self.proxy.seen.append(f"{self.command} {parts.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        other = http.client.HTTPConnection(str(parts.netloc), timeout=60)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "host")}
        other.request(self.command, path, body=body or None, headers=headers)
        response = other.getresponse()
        content = response.read()
        other.close()
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        if response.status != 204:
            length = response.headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward
