#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What does ``openstack server backup-check`` of a whole cloud take, beside the lists that there are?

It runs on the embedded cloud (``devcloud/devcloud up``; ``OS_CLIENT_CONFIG_FILE`` names its clouds.yaml),
which it fills with servers that have volumes, snapshots and images (``devcloud/devcloud fleet``), and
removes them at the end, however it ends. For each number of servers it measures, as administrator,
``server backup-check --all-projects --summary``, ``server list --all-projects --long`` and ``volume list
--all-projects --long``: the time of the whole process, the start of ``openstack`` included; the largest
resident set; and the requests, which a proxy on this machine counts for all three alike. The commands run
by turns, in reversed order in every other round. The services are on the same processors.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from counting_proxy import CountingProxy
from embedded_cloud import DEVCLOUD, Cloud
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

PAGE = 1000  # the largest that the services give
# Of what there is for each server of the fleet.
VOLUMES, SNAPSHOTS, IMAGES = 1.5, 1.5, 1.0

CHECK = "openstack server backup-check"
SERVERS = "openstack server list"
LISTED_VOLUMES = "openstack volume list"
COMMANDS = {
    CHECK: ("server", "backup-check", "--all-projects", "--summary", "--fail-on", "never"),
    SERVERS: ("server", "list", "--all-projects", "--long"),
    LISTED_VOLUMES: ("volume", "list", "--all-projects", "--long"),
}
HALF, CONSTANT, GROWTH = 0.5, 30, 10.0  # of the time of both lists; requests; KiB a server


@dataclass
class Size:
    """What was measured with so many servers, for each command."""

    servers: int
    runs: dict[str, list[Run]] = field(default_factory=lambda: {name: [] for name in COMMANDS})
    requests: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def pages(self) -> int:
        """How many full pages the lists of what there is have, and one more of each."""
        return sum(1 + int(self.servers * each) // PAGE for each in (1, VOLUMES, SNAPSHOTS, IMAGES))

    def seconds(self, name: str) -> float:
        return statistics.median(run.seconds for run in self.runs[name])

    def peak(self, name: str) -> float:
        return max(run.peak for run in self.runs[name])

    def asked(self, name: str) -> int:
        return sum(self.requests[name].values())


def _fill(count: int) -> None:
    subprocess.run([str(DEVCLOUD), "fleet", str(count)], check=True, stdout=sys.stderr)


def _measure(size: Size, rounds: int, cloud: Cloud, folder: pathlib.Path) -> None:
    proxy = CountingProxy()
    environment = cloud.environment | proxy.environment
    try:
        run_to_end(openstack("token", "issue"), environment, folder / "log")  # modules and caches
        proxy.take()
        for number in range(rounds):
            for name in COMMANDS if number % 2 == 0 else reversed(COMMANDS):
                run = run_to_end(openstack(*COMMANDS[name]), environment, folder / "log")
                size.runs[name].append(run)
                size.requests[name] = proxy.take()
                told = f"{run.seconds:.1f} s, {size.asked(name)} requests, {run.peak:.0f} MiB"
                print(f"{size.servers} servers, {number + 1}: {name}: {told}", file=sys.stderr)
    finally:
        proxy.close()


def _targets(sizes: Sequence[Size]) -> Iterator[Target]:
    for size in sizes:
        title = f"{size.servers} servers: "
        part = size.seconds(CHECK) / (size.seconds(SERVERS) + size.seconds(LISTED_VOLUMES))
        yield Target(f"{title}of the time of both lists", part, HALF)
        yield Target(f"{title}requests beyond the pages", size.asked(CHECK) - size.pages, CONSTANT)
    small, large = sizes[0], sizes[-1]
    if large.servers > small.servers:
        grown = (large.peak(CHECK) - small.peak(CHECK)) * 1024 / (large.servers - small.servers)
        yield Target("memory for each server more, in KiB", grown, GROWTH)


def _print(sizes: Sequence[Size], targets: Sequence[Target]) -> None:
    for size in sizes:
        heading = f"{size.servers} servers ({len(size.runs[CHECK])} rounds)"
        print(f"{heading:34}{'median s':>9}{'min':>8}{'max':>8}{'requests':>10}{'peak MiB':>10}")
        for name, runs in size.runs.items():
            times = [run.seconds for run in runs]
            row = f"{size.seconds(name):9.1f}{min(times):8.1f}{max(times):8.1f}"
            print(f"{name:34}{row}{size.asked(name):10}{size.peak(name):10.0f}")
        print(f"{'(full pages, and one more of each)':51}{size.pages:18}\n")
    for target in targets:
        print(target)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The check of a whole cloud, beside its lists.")
    parser.add_argument("--servers", default="2000,10000", metavar="<n,...>", help="default: 2000,10000")
    add_cloud_options(parser, rounds=1, cloud="devcloud-admin")
    add_report_options(parser)
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    sizes = [Size(int(text)) for text in arguments.servers.split(",")]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = pathlib.Path(name)
        cloud = Cloud(arguments.cloud, folder)
        try:
            for size in sizes:
                _fill(size.servers)
                _measure(size, arguments.rounds, cloud, folder)
        finally:
            _fill(0)
    targets = list(_targets(sizes))
    figures = {"sizes": [asdict(size) | {"pages": size.pages} for size in sizes]}
    return report(arguments, lambda: _print(sizes, targets), targets, figures)


if __name__ == "__main__":
    exit_with(main)
