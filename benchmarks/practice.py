#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What does a night of backups take: exports, restore checks, and a run that finds everything fresh?

It runs on the embedded cloud (``devcloud/devcloud up``; ``OS_CLIENT_CONFIG_FILE`` names its clouds.yaml), in
which it creates servers that boot from volumes with random data, and deletes them at the end, however it
ends. The servers are stopped, so that nothing else runs. In each round it measures

* the export of all servers by each of ``WAYS``, into an empty directory each time, in reversed order in every
  other round: a shell loop of ``server export-full``, ``server backup-run --parallel 4``, and a run for two
  workers that wait on a jobboard, in a ZooKeeper of this program's own;
* ``server backup-run`` and ``server backup-check`` with all bundles fresh: the time, and the requests, which
  a proxy on this machine counts for both alike;
* ``server import-full --wait`` and ``server restore-check`` of one of the bundles.

Then it lets the scheduler of ``server backup-run`` decide for a fleet in simulated time (the module
``simulated_night``); with ``--simulation`` that alone, without a cloud. The services are on the same
processors.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from counting_proxy import CountingProxy
from embedded_cloud import DEVCLOUD, PROGRAMS, Cloud
from measurement import (
    Run,
    Target,
    add_cloud_options,
    add_report_options,
    exit_with,
    openstack,
    report,
    run_to_end,
)
from simulated_night import SimulatedNight, fleet, night_line, nights

MARK = "OSC-IMAGETOOLS-GUEST-BOOTED"  # what the guest writes on its console
LOOP, PARALLEL, WORKERS = "loop of export-full", "backup-run --parallel 4", "two workers, 2 each"
FRESH, CHECK = "backup-run, all fresh", "backup-check"
IMPORT, RESTORE = "import-full --wait", "restore-check"
WAITING = 10.0  # seconds for the workers to start
FRESH_RUNS = 4  # of each in a round, by turns: they take seconds
# The loop over the parallel run; a fresh run over a check, in seconds and in requests; of the shortest night;
# milliseconds for a decision of the scheduler.
FASTER, AS_LONG, AS_MANY, LONGEST, SLOWEST = 1.5, 1.25, 1.0, 1.15, 5.0


@dataclass
class Practice:
    """What was measured; seconds of whole processes, requests of those that the proxy counts."""

    servers: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    boots: list[float] = field(default_factory=list)

    def add(self, name: str, run: Run) -> None:
        self.runs.setdefault(name, []).append(run)
        print(f"{name}: {run.seconds:.1f} s", file=sys.stderr)

    def seconds(self, name: str) -> float:
        return statistics.median(run.seconds for run in self.runs[name])


class StoppedServers:
    """Servers that boot from volumes; a context manager that deletes them."""

    def __init__(self, cloud: Cloud, count: int, mebibytes: int, folder: pathlib.Path) -> None:
        import openstack as sdk

        self.prefix = cloud.prefix
        self.ids: list[str] = []
        self._count = count
        self._images = cloud
        self._disk = folder / "guest"
        command = [str(DEVCLOUD), "guest", str(self._disk), str(mebibytes), "1"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        self._cloud = sdk.connect(cloud=cloud.environment["OS_CLOUD"])

    def __enter__(self) -> StoppedServers:
        try:
            self._create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _create(self) -> None:
        nova, cinder = self._cloud.compute, self._cloud.block_storage
        image = self._images.add(self._disk, "file")
        flavor = nova.find_flavor("tiny", ignore_missing=False).id
        for number in range(self._count):
            name = f"{self.prefix}-{number:02}"
            volume = cinder.create_volume(name=name, size=1, image_id=image)
            cinder.wait_for_status(volume, "available", wait=600)
            mapping = {"uuid": volume.id, "boot_index": 0}
            mapping |= {"source_type": "volume", "destination_type": "volume"}
            server = nova.create_server(
                name=name, flavor_id=flavor, networks="none", block_device_mapping=[mapping]
            )
            nova.wait_for_server(server, wait=600)
            nova.stop_server(server)
            nova.wait_for_server(server, status="SHUTOFF", wait=600)
            self.ids.append(server.id)
            print(f"server {number + 1} of {self._count}", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        self.remove(self.prefix)
        cinder = self._cloud.block_storage
        for volume in [v for v in cinder.volumes() if v.name.startswith(self.prefix)]:
            self._remove_volume(volume.id)  # whose server was never created
        self._images.remove_all(self.prefix)
        self._cloud.close()

    def remove(self, prefix: str) -> None:
        """Deletes the servers whose names begin so, and their volumes, which may have any name."""
        nova = self._cloud.compute
        for server in [s for s in nova.servers() if s.name.startswith(prefix)]:
            volumes = [volume["id"] for volume in server.attached_volumes]
            nova.delete_server(server.id)
            nova.wait_for_delete(server, wait=600)
            for volume in volumes:
                self._remove_volume(volume)

    def _remove_volume(self, volume: str) -> None:
        cinder = self._cloud.block_storage
        cinder.delete_volume(volume)
        cinder.wait_for_delete(cinder.get_volume(volume), wait=600)


@dataclass(frozen=True)
class Bench:
    """What a way of exporting is given: the servers, and how a command logs in."""

    servers: StoppedServers
    environment: Mapping[str, str]
    folder: pathlib.Path

    def run(self, command: Sequence[str], more: Mapping[str, str] | None = None) -> Run:
        return run_to_end(command, {**self.environment, **(more or {})}, self.folder / "log")

    def output(self) -> Any:
        """The JSON document that the last command printed, after what it said before."""
        text = (self.folder / "log").read_text()
        return json.loads(text[re.search(r"^[\[{]", text, re.MULTILINE).start() :])  # type: ignore[union-attr]

    def chosen(self) -> tuple[str, str]:
        return "--name", f"^{self.servers.prefix}"


def loop(bench: Bench, target: pathlib.Path) -> Run:
    """One server after the other, as a shell script does it."""
    script = 'for id in "$@"; do "$OPENSTACK" server export-full "$id" --output "$TARGET/$id" || exit; done'
    more = {"OPENSTACK": str(PROGRAMS / "openstack"), "TARGET": str(target)}
    return bench.run(["sh", "-c", script, "sh", *bench.servers.ids], more)


def parallel(bench: Bench, target: pathlib.Path) -> Run:
    """Four servers at a time on this machine."""
    words = ("--max-age", "1d", "--output-directory", str(target), "--parallel", "4")
    return bench.run(openstack("server", "backup-run", *bench.chosen(), *words))


def two_workers(bench: Bench, target: pathlib.Path) -> Run:
    """Two workers that wait already, each with two servers at a time, and a run for them."""
    # Imported here: the simulation needs none of it.
    from osc_imagetools.tests.functional.zookeeper import ZooKeeper

    with tempfile.TemporaryDirectory(dir=bench.folder) as name, ZooKeeper(pathlib.Path(name)) as zookeeper:
        words = ("--max-age", "1d", "--output-directory", str(target), "--jobboard", zookeeper.url)
        workers = []
        try:
            for number in range(2):
                state = pathlib.Path(name) / f"machine-{number}"  # each is a machine of its own
                state.mkdir()
                with (state / "log").open("w") as log:
                    workers.append(
                        subprocess.Popen(
                            openstack("-v", "server", "backup-worker", *words, "--parallel", "2"),
                            env={**bench.environment, "XDG_STATE_HOME": str(state)},
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                        )
                    )
            time.sleep(WAITING)
            if any(worker.poll() is not None for worker in workers):
                raise SystemExit("\n".join(p.read_text() for p in pathlib.Path(name).glob("machine-*/log")))
            return bench.run(openstack("server", "backup-run", *bench.chosen(), *words))
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGINT)
            for worker in workers:
                worker.wait()


# How all servers are exported into an empty directory.
WAYS: dict[str, Callable[[Bench, pathlib.Path], Run]] = {
    LOOP: loop,
    PARALLEL: parallel,
    WORKERS: two_workers,
}


def measure(bench: Bench, rounds: int) -> Practice:
    """All of it."""
    found = Practice(len(bench.servers.ids))
    bench.run(openstack("token", "issue"))  # modules and caches
    for number in range(rounds):
        # What the parallel run makes stays: the rest looks at it.
        for name in WAYS if number % 2 == 0 else reversed(WAYS):
            target = bench.folder / name.replace(" ", "-")
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            found.add(name, WAYS[name](bench, target))
            if name != PARALLEL:
                shutil.rmtree(target)
        bundles = bench.folder / PARALLEL.replace(" ", "-")
        _measure_fresh(bench, bundles, found)
        _measure_restoring(bench, next(bundles.glob("*/*.bundle")), found)
    return found


def _measure_fresh(bench: Bench, bundles: pathlib.Path, found: Practice) -> None:
    proxy = CountingProxy()
    words = ("--max-age", "1d", "--output-directory", str(bundles), "-f", "json")
    commands = {
        FRESH: openstack("server", "backup-run", *bench.chosen(), *words),
        CHECK: openstack(
            *("server", "backup-check", *bench.chosen(), "--bundles", str(bundles), "--max-age", "1d"),
            *("--summary", "--fail-on", "never", "-f", "json"),
        ),
    }
    try:
        for number in range(FRESH_RUNS):
            for name, command in commands.items() if number % 2 == 0 else reversed(commands.items()):
                found.add(name, bench.run(command, proxy.environment))
                found.requests[name] = sum(proxy.take().values())
                rows = bench.output()
                if len(rows) != found.servers or any(row.get("Result", "fresh") != "fresh" for row in rows):
                    raise SystemExit(f"{name}: {rows}")
    finally:
        proxy.close()


def _measure_restoring(bench: Bench, bundle: pathlib.Path, found: Practice) -> None:
    name = f"{bench.servers.prefix}-imported"
    words = ("server", "import-full", str(bundle), "--wait", "--name", name, "-f", "json")
    found.add(IMPORT, bench.run(openstack(*words)))
    bench.servers.remove(name)
    check = openstack("server", "restore-check", str(bundle), "--expect", MARK, "-f", "json")
    found.add(RESTORE, bench.run(check))
    found.boots.append(bench.output()["boot_seconds"])


def _targets(found: Practice | None, simulated: Mapping[str, SimulatedNight]) -> Iterator[Target]:
    if found:
        for name in WAYS:
            if name != LOOP:
                faster = found.seconds(LOOP) / found.seconds(name)
                yield Target(f"{name}: times as fast as the loop", faster, FASTER, at_least=True)
        as_long = found.seconds(FRESH) / found.seconds(CHECK)
        yield Target("all fresh: of the time of backup-check", as_long, AS_LONG)
        as_many = found.requests[FRESH] / found.requests[CHECK]
        yield Target("all fresh: of the requests of backup-check", as_many, AS_MANY)
    for name, night in simulated.items():
        yield Target(f"{name}: of the shortest night", night.ratio, LONGEST)
        yield Target(f"{name}: milliseconds for a decision", night.decision * 1000, SLOWEST)


def _print(found: Practice | None, simulated: Mapping[str, SimulatedNight]) -> None:
    if found:
        print(f"{f'{found.servers} servers':34}{'median s':>9}{'min':>8}{'max':>8}{'requests':>10}")
        for name, runs in found.runs.items():
            times = [run.seconds for run in runs]
            row = f"{name:34}{found.seconds(name):9.1f}{min(times):8.1f}{max(times):8.1f}"
            print(f"{row}{found.requests.get(name, ''):>10}")
        beyond, boot = found.seconds(RESTORE) - found.seconds(IMPORT), statistics.median(found.boots)
        print(f"restore-check beyond import-full: {beyond:.1f} s, of which the boot {boot:.1f} s\n")
    for name, night in simulated.items():
        print(night_line(name, night))
    print()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exports", type=int, default=12, help="servers that are exported (default: 12)")
    parser.add_argument("--mebibytes", type=int, default=128, help="data of each (default: 128)")
    add_cloud_options(parser, rounds=1)
    parser.add_argument("--simulation", action="store_true", help="without a cloud, the scheduler alone")
    parser.add_argument("--servers", type=int, default=5000, help="of the simulation (default: 5000)")
    parser.add_argument("--workers", type=int, default=20, help="its machines (default: 20)")
    parser.add_argument("--each", type=int, default=4, help="exports at a time on one of them (default: 4)")
    parser.add_argument("--hosts", type=int, default=200, help="its hypervisors (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of its random numbers (default: 1)")
    add_report_options(parser)
    return parser.parse_args()


def _measured(arguments: argparse.Namespace) -> Practice:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = pathlib.Path(name)
        cloud = Cloud(arguments.cloud, folder)
        with StoppedServers(cloud, arguments.exports, arguments.mebibytes, folder) as servers:
            return measure(Bench(servers, cloud.environment, folder), arguments.rounds)


def main() -> int:
    arguments = _arguments()
    found = None if arguments.simulation else _measured(arguments)
    jobs = fleet(arguments.servers, arguments.hosts, arguments.seed)
    simulated = dict(nights(jobs, arguments.workers * arguments.each))
    targets = list(_targets(found, simulated))
    figures = {
        "measured": found and asdict(found),
        "simulated": {name: asdict(night) for name, night in simulated.items()},
    }

    def show() -> None:
        _print(found, simulated)
        for target in targets:
            print(target)

    return report(arguments, show, targets, figures)


if __name__ == "__main__":
    exit_with(main)
