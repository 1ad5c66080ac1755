# SPDX-License-Identifier: Apache-2.0
"""The cloud's processes: launched, recognised, waited for, ended.

Contract: a process is ours only if its pid file names its pid AND its start time. A pid that
the machine has given to something else, for example after a restart, is therefore never
taken for ours, and never signalled.

(The environment of a process would not do as a mark: Neutron overwrites it when it sets its
title.)
"""

from __future__ import annotations

import dataclasses
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import time
import typing

from orchestrator import steps

PROC = pathlib.Path("/proc")
GRACE = 10.0  # seconds to end by itself

# Runs a program in a session of its own, in which it is not the leader. A leader gets the first
# terminal that it opens as its controlling terminal: Nova opens that of a guest's console for
# "console log show", and the end of that guest would end Nova by SIGHUP.
DETACH = '"$@" >&2 & echo $!'


def start_time(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; nothing if there is none."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field, the program's name in brackets, may hold anything. A zombie is no
    # process any more.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


@dataclasses.dataclass(frozen=True)
class Process:
    """One long-running program of the cloud, and its pid file and log."""

    name: str
    run: pathlib.Path
    log: pathlib.Path

    @property
    def pid_file(self) -> pathlib.Path:
        """Where the pid and the start time are noted."""
        return self.run / self.name

    @property
    def log_file(self) -> pathlib.Path:
        """Where everything that it prints is kept."""
        return self.log / f"{self.name}.log"

    def pid(self) -> int | None:
        """The pid, if the process runs and is ours."""
        try:
            number, started = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(number) if start_time(int(number)) == started else None

    def launch(
        self,
        command: typing.Sequence[str | pathlib.Path],
        environment: typing.Mapping[str, str],
        ports: typing.Iterable[tuple[str, int]] = (),
    ) -> None:
        """Start it, unless it runs; its ports must be free."""
        if self.pid():
            return
        for host, port in ports:
            _require_free(self.name, host, port)
        with self.log_file.open("ab") as output:
            shell = subprocess.run(
                ["/bin/sh", "-c", DETACH, "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environment),
                start_new_session=True,
                text=True,
                check=True,
            )
        pid = int(shell.stdout)
        self.pid_file.write_text(f"{pid} {start_time(pid)}\n")

    def require_alive(self) -> None:
        """Fail with the end of its log if it has ended."""
        if not self.pid():
            raise steps.Failure(f"{self.name} has ended\n{steps.tail(self.log_file)}")

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it is ours and runs."""
        pid = self.pid()
        if pid:
            os.kill(pid, number)


def end(processes: typing.Sequence[Process], grace: float = GRACE) -> None:
    """End processes together: ask, wait, then kill what is left."""
    for process in processes:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(process.pid() for process in processes):
        if time.monotonic() > deadline:
            for process in processes:
                process.signal(signal.SIGKILL)
            deadline += grace
        time.sleep(0.05)
    for process in processes:
        process.pid_file.unlink(missing_ok=True)


def end_guests(state: pathlib.Path) -> int:
    """End the virtual machines that have files open below the state directory.

    libvirtd detaches them from itself: they would outlive it. This works without libvirtd too.
    """
    found = guests(state)
    for pid in found:
        os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if not any(_is_guest(pid, state) for pid in found):
            return len(found)
        time.sleep(0.05)
    raise steps.Failure(f"guests did not end: {found}")


def await_http(
    process: Process, url_host: str, port: int, path: str = "/", seconds: float = 120
) -> None:
    """Wait until any HTTP answer below 500 comes from a port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process.require_alive()
        if _answers(url_host, port, path):
            return
        time.sleep(0.1)
    raise steps.Failure(
        f"{process.name} does not answer on port {port}\n{steps.tail(process.log_file)}"
    )


def await_path(process: Process, path: pathlib.Path, seconds: float = 30) -> None:
    """Wait until a process has made a file."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        process.require_alive()
        if time.monotonic() > deadline:
            raise steps.Failure(f"{process.name} makes no {path}\n{steps.tail(process.log_file)}")
        time.sleep(0.05)


def memory(pid: int) -> tuple[int, int]:
    """Resident and proportional memory of one process, in MiB."""
    values = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        values[name] = int(size) // 1024
    return values["Rss:"], values["Pss:"]


def guests(state: pathlib.Path) -> list[int]:
    """The pids of the virtual machines that have files open below the state directory."""
    return [pid for pid in _pids() if _is_guest(pid, state)]


def _pids() -> typing.Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _is_guest(pid: int, state: pathlib.Path) -> bool:
    """Each has its console's log open. Its disks and its command line may tell nothing of the
    state directory, if the disks are in Ceph.
    """
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes()
        if b"qemu-system" not in command.partition(b"\0")[0]:
            return False
        return any(
            _target(link).is_relative_to(state) for link in (PROC / str(pid) / "fd").iterdir()
        )
    except OSError:
        return False


def _target(link: pathlib.Path) -> pathlib.Path:
    try:
        return link.readlink()
    except OSError:  # closed in the meantime
        return pathlib.Path()


def _require_free(name: str, host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise steps.Failure(
                f"{name} cannot have port {port} of {host}: {error.strerror}"
            ) from error


def _answers(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
