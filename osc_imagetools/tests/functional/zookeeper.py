# SPDX-License-Identifier: Apache-2.0
"""Debian's ZooKeeper as a process of a test's own, on loopback, with data of its own."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import time

import fixtures

JAR = "/usr/share/java/zookeeper.jar"
MAIN = "org.apache.zookeeper.server.ZooKeeperServerMain"
START = 60  # seconds
CONFIGURATION = """\
tickTime=1000
dataDir={directory}
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
minSessionTimeout=2000
maxSessionTimeout=60000
admin.enableServer=false
"""


class ZooKeeper(fixtures.Fixture):
    """Runs it until the test ends; ``url`` is that of a jobboard on it."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self._directory = directory / "zookeeper"
        self._process: subprocess.Popen[bytes] | None = None

    def _setUp(self) -> None:
        self._directory.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"zookeeper://127.0.0.1:{self.port}/backups"
        self._file = self._directory / "zoo.cfg"
        self._file.write_text(CONFIGURATION.format(directory=self._directory / "data", port=self.port))
        self.addCleanup(self.stop)
        self.start()

    def start(self) -> None:
        """Starts it, with the data that it had; returns when it answers."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["java", "-Xmx128m", "-XX:+UseSerialGC", "-cp", JAR, MAIN, str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self._directory / "log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        """``srvr`` is the one word that every ZooKeeper answers, whatever its whitelist."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"srvr")
                return b"Mode: standalone" in connection.recv(4096)
        except OSError:
            return False
