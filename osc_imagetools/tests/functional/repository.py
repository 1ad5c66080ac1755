# SPDX-License-Identifier: Apache-2.0
"""What tests of repositories need: repositories, bundles of some size, and an SSH server of their own."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time
from typing import Any

import fixtures

from osc_imagetools.bundle.manifest import format_manifest
from osc_imagetools.tests.functional import base
from osc_imagetools.tests.functional.processes import descendants
from osc_imagetools.tests.unit.bundle import samples

PASSWORD = "a password of the tests"


class RepositoryCase(base.TestCase):
    """Each test has an empty repository in a directory of its own, ``self.url``."""

    def setUp(self) -> None:
        super().setUp()
        for name in [name for name in os.environ if name.startswith(("RESTIC_", "OSC_IMAGETOOLS_"))]:
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(fixtures.EnvironmentVariable("XDG_CACHE_HOME", str(self.dir / "cache")))
        self.password = self.dir / "password"
        self.password.write_text(PASSWORD)
        self.url = self.new_repository()

    def new_repository(self, url: str | None = None, **login: str) -> str:
        url = url or str(self.dir / f"repository-{random.randrange(1 << 32)}")
        self.restic("init", url=url, code=0, **login)
        return url

    def restic(self, *words: str, url: str | None = None, code: int = 0, **environment: str) -> str:
        """restic alone, as a user types it."""
        command = ["restic", "-r", url or self.url, "--password-file", str(self.password), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=self.dir
        )
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}\n{done.stderr}")
        return done.stdout

    def snapshots(self, *words: str) -> list[dict[str, Any]]:
        return json.loads(self.restic("snapshots", "--json", *words)) or []

    def no_locks(self) -> None:
        self.assertEqual("", self.restic("list", "locks", "--no-lock"))

    def in_repository(self, *words: Any, code: int = 0, url: str | None = None) -> base.Result:
        """A command with the repository, without any cloud."""
        more = ("--repository", url or self.url, "--password-file", self.password)
        return self.openstack(*words, *more, cloud=None, code=code)

    def rows(self, *words: Any) -> list[dict[str, Any]]:
        return self.in_repository(*words, "-f", "json").json  # type: ignore[no-any-return]

    def started(self, *words: Any, url: str | None = None) -> subprocess.Popen[str]:
        """A command with the repository in a process of its own, killed after the test at the latest."""
        more = ("--repository", url or self.url, "--password-file", str(self.password))
        process = base.start_openstack(*map(str, words), *more)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def make_bundle(
        self,
        name: str = "web01.bundle",
        *,
        mebibytes: int = 0,
        subject: str = samples.IMAGE_ID,
        day: int = 2,
        resource: str = "web01",
    ) -> pathlib.Path:
        """A bundle in a directory: the small sample, or two disks of random data of this many MiB each."""
        path = self.dir / name
        if not mebibytes:
            samples.make_bundle(path)
            disks = samples.load(path)["disks"]
        else:
            (path / "disks").mkdir(parents=True)
            disks = []
            for index, file in enumerate(("disks/0-vda.raw", "disks/1-vdb.raw")):
                data = random.Random(f"{name}{index}").randbytes(mebibytes * base.MIB)
                (path / file).write_bytes(data)
                disks.append(samples.disk_entry(file, data, index))
        files = samples.load(path)["files"] if not mebibytes else []
        document = samples.manifest(*disks, files=files, created_at=f"2026-01-{day:02}T03:04:05Z")
        document["resource"] = {"id": subject, "name": resource}
        samples.reseal(path, format_manifest(document))
        return path

    def copy_in(self, bundle: pathlib.Path, *words: Any) -> dict[str, Any]:
        return self.in_repository("bundle", "copy", bundle, "-f", "json", *words).json  # type: ignore[no-any-return]

    def same_files(self, one: pathlib.Path, other: pathlib.Path) -> None:
        self.assertEqual(content(one), content(other))


def content(path: pathlib.Path) -> dict[str, str]:
    """The hash of each file below a directory."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
    }


class SshServer(fixtures.Fixture):
    """sshd as a plain process on the loopback device, with keys of its own; ``ssh`` on PATH reaches it."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self.directory = directory

    def _setUp(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.directory.mkdir(mode=0o700)
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / name)]
            subprocess.run(command, check=True)
        shutil.copy(self.directory / "user.pub", self.directory / "authorized")
        (self.directory / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.directory}/host\n"
            f"AuthorizedKeysFile {self.directory}/authorized\nPidFile none\nUsePAM no\nStrictModes no\n"
            "PasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
        )
        pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.start()
        self.addCleanup(self.stop)
        # restic runs the "ssh" that it finds on PATH.
        self.programs = self.directory / "bin"
        self.programs.mkdir()
        program = self.programs / "ssh"
        program.write_text(
            f"#!/bin/sh\nexec /usr/bin/ssh -p {self.port} -i {self.directory}/user -o BatchMode=yes "
            f"-o UserKnownHostsFile={self.directory}/known -o StrictHostKeyChecking=no "
            '-o IdentitiesOnly=yes -o LogLevel=ERROR "$@"\n'
        )
        program.chmod(0o755)
        self.useFixture(fixtures.EnvironmentVariable("PATH", f"{self.programs}:{os.environ['PATH']}"))

    def start(self) -> None:
        """Starts it, once more after :meth:`stop`; it answers then."""
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.directory / "config")],
            stderr=(self.directory / "log").open("w"),
            start_new_session=True,
        )
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError((self.directory / "log").read_text())
            time.sleep(0.1)

    def url(self, path: pathlib.Path) -> str:
        return f"sftp:{getpass.getuser()}@127.0.0.1:{path}"

    def stop(self) -> None:
        """Ends the server and all its connections, in the middle of whatever they do."""
        for pid in (*descendants(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):  # one ends when another does
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=60)


def until(condition: Any, seconds: float = 60) -> None:
    """Waits until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("it did not come true")
        time.sleep(0.05)


def processes(text: str) -> list[str]:
    """The command lines of processes of restic that have a text there or in their environment."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "restic" in line and text in line + environment:
            found.append(line)
    return found


def restics(url: str) -> list[str]:
    """Processes of restic for a repository."""
    return processes(f"RESTIC_REPOSITORY={url}")
