# SPDX-License-Identifier: Apache-2.0
"""A Ceph on one node: a monitor, a manager and an OSD on a sparse file, as plain processes.

Contract: ``Ceph(settings, environment).up()`` makes the cluster if there is none, starts what does
not run, and returns when its pools are there and have room. ``down()`` ends it. Everything that
it has is below the state directory. It is made in order; if that was cut short, the next ``up``
begins again from nothing.
"""

from __future__ import annotations

import pathlib
import shutil
import typing
import uuid

from orchestrator import processes, steps
from orchestrator import settings as settings_module
from orchestrator.processes import Process
from orchestrator.settings import Settings

# The bindings are Debian's, compiled for its Python: links to the two are on PYTHONPATH, and
# nothing else of Debian's modules.
DEBIAN_MODULES = pathlib.Path("/usr/lib/python3/dist-packages")
BINDINGS = ("rados", "rbd")
NAMES = ("ceph-osd", "ceph-mgr", "ceph-mon")  # in the order in which they can be ended
ID_OF = {"ceph-osd": "0", "ceph-mgr": "x", "ceph-mon": "a"}
DIRECTORIES = ("monitor", "manager", "modules", "osd", "python")


def bindings(settings: Settings) -> pathlib.Path:
    """The folder in which Python finds Ceph's bindings."""
    return settings.state / "ceph" / "python"


def fsid(settings: Settings) -> str:
    """The cluster's id, made once."""
    file = settings.state / "ceph" / "fsid"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(uuid.uuid4()))
    return file.read_text()


class Ceph:
    """The cluster of one state directory."""

    def __init__(self, settings: Settings, environment: typing.Mapping[str, str]) -> None:
        self.settings = settings
        self.environment = environment
        self.folder = settings.state / "ceph"
        self.process = {name: Process(name, settings.state / "run", settings.log) for name in NAMES}

    def up(self) -> None:
        """Make it, start it, wait for it."""
        complete = self.folder / "complete"
        if not complete.exists():
            self._clear()
        for name in DIRECTORIES:
            (self.folder / name).mkdir(exist_ok=True)
        self._link_bindings()
        if not complete.exists():
            self._make_monitor()
        self._launch("ceph-mon", [(self.settings.host, self.settings.ceph_monitor_port)])
        if not complete.exists():
            self._make_osd()
            complete.touch()
        self._launch("ceph-mgr")
        self._launch("ceph-osd")
        self._ask("pools")
        steps.say("Ceph answers")

    def down(self) -> None:
        """End it. Its clients have ended before."""
        for name in NAMES:
            processes.end([self.process[name]])

    def _clear(self) -> None:
        """Remove all but the id, which is in the configuration."""
        self.down()
        for name in DIRECTORIES:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _link_bindings(self) -> None:
        for name in BINDINGS:
            for source in DEBIAN_MODULES.glob(f"{name}.cpython-*.so"):
                link = bindings(self.settings) / source.name
                link.unlink(missing_ok=True)
                link.symlink_to(source)

    def _make_monitor(self) -> None:
        settings = self.settings
        address = f"[v2:{settings.host}:{settings.ceph_monitor_port}]"
        new_map = ["monmaptool", "--create", "--clobber", "--enable-all-features"]
        file = self.folder / "monitor-map"
        self._run([*new_map, "--fsid", fsid(settings), "--addv", "a", address, file])
        self._run([*self._command("ceph-mon"), "--mkfs", "--monmap", file])

    def _make_osd(self) -> None:
        own_id = str(uuid.uuid4())
        self._ask("osd", own_id)
        self._run([*self._command("ceph-osd"), "--mkfs", "--osd-uuid", own_id])

    def _launch(self, name: str, ports: typing.Iterable[tuple[str, int]] = ()) -> None:
        self.process[name].launch([*self._command(name), "-f"], self.environment, ports)

    def _command(self, name: str) -> list[str | pathlib.Path]:
        conf = self.settings.conf / "ceph.conf"
        return [name, "-i", ID_OF[name], "-c", conf, "--setuser", "root", "--setgroup", "root"]

    def _ask(self, *arguments: str) -> None:
        program = settings_module.SERVICES / "ceph_cluster.py"
        self._run([self.settings.python, program, *arguments])

    def _run(self, command: typing.Sequence[str | pathlib.Path]) -> None:
        steps.run_logged(command, self.settings.log / "ceph.log", self.environment)
