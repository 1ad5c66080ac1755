# SPDX-License-Identifier: Apache-2.0
"""The cloud as a whole: up, down, status.

Contract: ``up`` leaves a cloud that works, whatever was there before: nothing, half of it, or
all of it. ``down`` leaves none of its processes, guests, mounts and network devices. Both
may be called at any time, and wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import time
import typing

from orchestrator import (
    ceph,
    configuration,
    databases,
    definitions,
    packages,
    processes,
    steps,
    taps,
)
from orchestrator import settings as settings_module
from orchestrator.ceph import Ceph
from orchestrator.processes import Process
from orchestrator.settings import Settings

# Nova first: its workers use all others.
NAMES = ("nova", "cinder", "glance", "neutron", "swift", "identity", "libvirtd")

# Of a cloud that was made when there was no other.
OLDEST_SHAPE = "2026.2 file"
UNMOUNT_SECONDS = 60


def python_path(settings: Settings) -> str:
    """What the services' programs need besides the virtual environment."""
    return f"{settings_module.ROOT}:{ceph.bindings(settings)}"


class Cloud:
    """The cloud of one state directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        run, log = settings.state / "run", settings.log
        self.process = {name: Process(name, run, log) for name in NAMES}

    def up(self) -> None:
        """Install what is missing, start what does not run, wait until all works."""
        with self._lock():
            self._require_shape()
            packages.install(self.settings)
            configuration.write(self.settings)
            if self.settings.storage == "ceph":
                self._ceph().up()
            databases.make(self.settings, self._environment())
            self._launch_base()
            self._make_accounts()
            self._launch_nova()
            self._await_services()
            self._run_service_program("resources")
        steps.say(f"the cloud is up: {self.settings.clouds_yaml}")

    def down(self, wipe: bool = False) -> None:
        """End everything; with ``wipe`` remove everything but the virtual environment."""
        if not self.settings.state.exists():
            steps.say("there is no cloud")
            return
        with self._lock():
            processes.end([self.process["nova"]])
            ended = processes.end_guests(self.settings.state)
            rest = [self.process[name] for name in NAMES[1:-1]]
            processes.end([*rest, self.process["libvirtd"]])
            self._ceph().down()
            definitions.put_away(self.settings)
            self._unmount()
            taps.remove(self.settings)
            steps.say("the cloud is down" + (f"; {ended} guests ended" if ended else ""))
            if wipe:
                self._wipe()
                steps.say("its data is removed")

    def status(self) -> bool:
        """Print each process and its memory; tell whether all run."""
        found = {
            name: process.pid()
            for name, process in self.process.items()
            if name != "swift" or self.settings.swift
        }
        if self.settings.storage == "ceph":
            found |= {name: process.pid() for name, process in self._ceph().process.items()}
        total = (0, 0)
        print(f"{'process':10} {'pid':>8} {'RSS MiB':>8} {'PSS MiB':>8}")
        for name, pid in found.items():
            if not pid:
                print(f"{name:10} {'-':>8}")
                continue
            resident, proportional = processes.memory(pid)
            total = (total[0] + resident, total[1] + proportional)
            print(f"{name:10} {pid:8} {resident:8} {proportional:8}")
        print(f"{'total':10} {'':8} {total[0]:8} {total[1]:8}")
        print(f"guests: {len(processes.guests(self.settings.state))}")
        return all(found.values())

    @contextlib.contextmanager
    def _lock(self) -> typing.Iterator[None]:
        """One up or down at a time."""
        self.settings.state.mkdir(parents=True, exist_ok=True)
        with (self.settings.state / "lock-file").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _require_shape(self) -> None:
        """The data of one release or storage is of no use to another."""
        note = self.settings.state / "shape"
        shape = f"{self.settings.release} {self.settings.storage}"
        made = (self.settings.databases / "complete").exists()
        found = note.read_text() if note.exists() else OLDEST_SHAPE
        if made and found != shape:
            raise steps.Failure(
                f"{self.settings.state} has a cloud of another shape, {found}, not {shape}"
            )
        note.write_text(shape)

    def _environment(self, **more: str) -> dict[str, str]:
        """What the services see: nothing of the caller's own OpenStack, proxies or Python."""
        bin_directory = self.settings.venv / "bin"
        path = os.environ.get("PATH", "/usr/bin:/bin")
        return {
            # Some client libraries keep files there.
            "HOME": str(self.settings.state),
            "LANG": "C.UTF-8",
            "PATH": f"{settings_module.WRAPPERS}:{bin_directory}:/usr/sbin:/sbin:{path}",
            # The services' programs read the settings as the orchestrator does.
            "PYTHONPATH": python_path(self.settings),
            # A crash in a C library, libvirt's for one, leaves a trace in the log.
            "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            **self.settings.as_environment(),
            **more,
        }

    def _ceph(self) -> Ceph:
        return Ceph(self.settings, self._environment())

    def _launch_base(self) -> None:
        """Everything that Nova needs to find when it starts."""
        conf = str(self.settings.conf)
        if not self.process["libvirtd"].pid():
            definitions.bring_back(self.settings)
        self.process["libvirtd"].launch(
            [
                "/usr/sbin/libvirtd",
                "-f",
                self.settings.conf / "libvirtd.conf",
                "-p",
                self.settings.state / "libvirt" / "libvirtd.pid",
            ],
            self._environment(),
        )
        # Placement does not use oslo.config's global object, so it can share a process.
        self._launch_wsgi(
            "identity",
            ["keystone", "placement"],
            OS_KEYSTONE_CONFIG_DIR=conf,
            OS_PLACEMENT_CONFIG_DIR=conf,
        )
        self._launch_wsgi("glance", ["glance"], OS_GLANCE_CONFIG_DIR=conf)
        self._launch_program("cinder", "cinder_all", "--config-file", f"{conf}/cinder.conf")
        # Neutron's list of ports is a 500 (AttributeError: Port.port_forwardings) unless the
        # model, which only a plugin that is not used here would import, is loaded.
        self._launch_wsgi(
            "neutron",
            ["neutron"],
            "--preload",
            "neutron.db.models.port_forwarding",
            OS_NEUTRON_CONFIG_DIR=conf,
            OS_NEUTRON_CONFIG_FILES="neutron.conf",
        )
        if self.settings.swift:
            self._launch_program("swift", "swift_all")

    def _launch_nova(self) -> None:
        """nova-compute asks Keystone for Placement and libvirtd for its host at its start."""
        processes.await_path(
            self.process["libvirtd"], self.settings.state / "libvirt" / "libvirt-sock"
        )
        self._launch_program(
            "nova", "nova_all", "--config-file", str(self.settings.conf / "nova.conf")
        )

    def _launch_wsgi(
        self, name: str, services: list[str], *options: str, **environment: str
    ) -> None:
        settings = self.settings
        targets = [
            f"{settings.runs.applications[service]}@{settings.host}:{settings.port(service)}"
            for service in services
        ]
        self.process[name].launch(
            [settings.python, settings_module.SERVICES / "wsgi_server.py", *options, *targets],
            self._environment(**environment),
            [(settings.host, settings.port(service)) for service in services],
        )

    def _launch_program(self, name: str, program: str, *arguments: str) -> None:
        self.process[name].launch(
            [self.settings.python, settings_module.SERVICES / f"{program}.py", *arguments],
            self._environment(),
            [(self.settings.host, self.settings.port(name))],
        )

    def _make_accounts(self) -> None:
        """Regions, catalog, accounts: again only when what makes them has changed."""
        self._await("identity", "keystone")
        self._await("identity", "placement")
        program = settings_module.SERVICES / "accounts.py"
        wanted = program.read_text() + repr(self.settings)
        note = self.settings.databases / "accounts"
        if not note.exists() or note.read_text() != wanted:
            self._run_service_program("accounts")
            note.write_text(wanted)
            steps.say("accounts and catalog made")

    def _await_services(self) -> None:
        for name in ("glance", "neutron", "cinder", "nova"):
            self._await(name, name)
        if self.settings.swift:
            self._await("swift", "swift", "/healthcheck")

    def _await(self, name: str, service: str, path: str = "/") -> None:
        processes.await_http(
            self.process[name], self.settings.host, self.settings.port(service), path
        )
        steps.say(f"{service} answers")

    def _run_service_program(self, program: str) -> None:
        steps.run_logged(
            [self.settings.python, settings_module.SERVICES / f"{program}.py"],
            self.settings.log / f"{program}.log",
            self._environment(),
        )

    def _unmount(self) -> None:
        inside = f"{self.settings.state}/"
        for line in pathlib.Path("/proc/mounts").read_text().splitlines():
            target = line.split()[1]
            if target.startswith(inside):
                self._unmount_when_free(target)

    def _unmount_when_free(self, target: str) -> None:
        """A qemu-img that Cinder or Nova had begun goes on after their end, for a while."""
        deadline = time.monotonic() + UNMOUNT_SECONDS
        while True:
            try:
                return steps.run_logged(["umount", target], self.settings.log / "umount.log")
            except steps.Failure:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def _wipe(self) -> None:
        """Remove the state."""
        configuration.remove_qemu_conf()
        keep = {self.settings.venv, self.settings.state / "lock-file"}
        for entry in self.settings.state.iterdir():
            if entry in keep or any(path.is_relative_to(entry) for path in keep):
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
