#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast do images come out of a cloud and back into it, beside the commands that there are?

It runs on the embedded cloud (``devcloud/devcloud up``; ``OS_CLIENT_CONFIG_FILE`` names its
clouds.yaml), makes images of random data there, and removes them at the end, however it ends. For
each size and each store it measures ``image export-full`` against ``image save``, ``glance
image-download`` (of python-glanceclient, in the same environment), ``curl``, which verifies
nothing, ``sha512sum`` of the file alone, and the start of ``openstack`` (a login, no data); then
``image import-full`` of the raw disk, and of the same content in a qcow2 with ``--disk-format raw``,
against ``image create --file`` of the raw file and against ``qemu-img convert`` before it; then ``image
convert`` of the qcow2 in the cloud against ``image save``, ``qemu-img convert`` and ``image create``. Then
four disks at once against four exports in a row, and against what bounds them: the bytes written
durably, hashed on all processors, and fetched by four ``curl``; then ``bundle verify`` of these disks
against ``sha512sum -c``. The commands run by turns, in reversed order in every other round, so that
what else the machine does hits all of them alike.

A time is that of the whole process, from its start to its end. What is read is in the page cache:
every image was written just before. What is written goes to a new file in ``--folder``, which is
removed afterwards; ``sync`` before each run sees that no command pays for what another one left to
be written. Only the exports of this project write durably: the others leave that to the system.
A peak is the largest resident set of the process; none can be told that is below this program's.
The space is the most that was seen in the folder, which is also the command's temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from embedded_cloud import Cloud, prepared_cloud
from measurement import (
    Run,
    Target,
    add_cloud_options,
    add_report_options,
    disk_use,
    exit_with,
    report,
    run_to_end,
)
from transfer_cases import (
    AT_ONCE,
    BY_HAND,
    CONVERT,
    CREATE,
    CURL,
    CURLS,
    DISKS,
    DURABLE,
    EXPORT,
    GIB,
    GLANCE,
    HASHES,
    IMPORT,
    IMPORT_RAW,
    IN_A_ROW,
    MIB,
    SAVE,
    START,
    SUM,
    SUMS,
    VERIFY,
    Case,
    Disks,
    conversions,
    downloads,
    export,
    uploads,
    verifications,
)

STORES = ("file", "rbdlike")  # with ranges and without
MEMORY = 160  # MiB


@dataclass
class Group:
    """Cases that are compared with each other; ``base`` is the one that has ratio 1."""

    title: str
    size: int
    base: str
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        return statistics.median(run.seconds for run in self.runs[name])

    def peak(self, name: str) -> float:
        return max(run.peak for run in self.runs[name])

    def space(self, name: str) -> float:
        return max(run.space for run in self.runs[name])


class Bench:
    """Runs cases by turns, and keeps what they took."""

    def __init__(self, cloud: Cloud, rounds: int) -> None:
        self.cloud = cloud
        self.folder = cloud.folder
        self.groups: list[Group] = []
        self._rounds = rounds
        self._number = 0

    def measure(self, title: str, size: int, cases: Sequence[Case], *, base: str) -> None:
        """Measure all cases in every round."""
        group = Group(title, size, base, {case.name: [] for case in cases})
        for number in range(self._rounds):
            for case in cases if number % 2 == 0 else reversed(cases):
                run = self.run(case)
                group.runs[case.name].append(run)
                print(f"{title}, {number + 1}: {case.name} {run.seconds:.2f} s", file=sys.stderr)
        self.groups.append(group)

    def run(self, case: Case) -> Run:
        """Run the commands of a case in a folder of its own, of which nothing stays."""
        self._number += 1
        output = self.folder / f"{self.cloud.prefix}-{self._number}"
        output.mkdir()
        try:
            commands = case.commands(output)
            os.sync()
            runs = [self.process(command, output) for command in commands]
            written = sum(path.stat().st_size for path in output.rglob("*"))
            if written < case.bytes:
                raise SystemExit(f"{case.name} wrote {written} bytes, not {case.bytes}")
        finally:
            shutil.rmtree(output)
            self.cloud.remove_all(output.name)
        seconds, processor = sum(r.seconds for r in runs), sum(r.processor for r in runs)
        return Run(seconds, processor, max(r.peak for r in runs), max(r.space for r in runs))

    def process(self, command: Sequence[str], temporary: pathlib.Path) -> Run:
        """Run one command to its end."""
        environment = self.cloud.environment | {"TMPDIR": str(temporary)}
        most = 0

        def look(_: int) -> None:
            nonlocal most
            most = max(most, disk_use(temporary))

        run = run_to_end(command, environment, self.folder / "log", look=look)
        return replace(run, space=most / MIB)


def _bundle(bench: Bench, image: str) -> pathlib.Path:
    """A bundle that stays."""
    bench.process(export(image, bench.folder), bench.folder)
    return bench.folder / f"{image}.bundle"


@contextlib.contextmanager
def _as_qcow2(bench: Bench, data: pathlib.Path) -> Iterator[str]:
    """An image with this content in a qcow2, as long as it is needed."""
    path = data.with_suffix(".qcow2")
    try:
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", data, path], check=True)
        image = bench.cloud.add(path, STORES[0], disk_format="qcow2")
    finally:
        path.unlink(missing_ok=True)
    try:
        yield image
    finally:
        bench.cloud.remove(image)


@contextlib.contextmanager
def _random(folder: pathlib.Path, size: int) -> Iterator[pathlib.Path]:
    """A file that cannot be compressed, as long as it is needed."""
    path = folder / f"{size}.raw"
    try:
        with path.open("wb") as file:
            for begin in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size - begin)))
        yield path
    finally:
        path.unlink()


def _warm_up(bench: Bench) -> None:
    """Run everything once on a small image: it works, and compiled modules and caches are there."""
    with _random(bench.folder, MIB) as data, _as_qcow2(bench, data) as qcow2:
        image = bench.cloud.add(data, STORES[0])
        disks = Disks.add(bench.cloud, data, STORES[1])
        bundles = [_bundle(bench, which) for which in (image, qcow2, disks.server)]
        cases = [
            *downloads(bench.cloud, image, data),
            *uploads(bundles[0], bundles[1], data),
            *conversions(qcow2),
            *disks.exports(bench.cloud),
            *verifications(bundles[2]),
        ]
        for case in cases:
            bench.run(case)
        for bundle in bundles:
            shutil.rmtree(bundle)
    bench.cloud.remove_all(bench.cloud.prefix)


def _measure(bench: Bench, sizes: Sequence[int], disk: int, stores: Sequence[str]) -> None:
    """All groups; of each only what it needs is there while it runs."""
    cloud = bench.cloud
    for size in sizes:
        with _random(bench.folder, size) as data:
            for store in stores:
                image = cloud.add(data, store)
                title = f"{_gib(size)}, store {store}"
                bench.measure(title, size, downloads(cloud, image, data), base=SAVE)
                bundle = _bundle(bench, image) if store == stores[-1] else None
                cloud.remove(image)
            assert bundle is not None
            with _as_qcow2(bench, data) as image:
                qcow2 = _bundle(bench, image)
                bench.measure(f"{_gib(size)}, back", size, uploads(bundle, qcow2, data), base=CREATE)
                shutil.rmtree(bundle)
                shutil.rmtree(qcow2)
                bench.measure(f"{_gib(size)}, converted", size, conversions(image), base=BY_HAND)
    if disk:
        with _random(bench.folder, disk) as data:
            for store in stores:
                title = f"{DISKS} times {_gib(disk)}, store {store}"
                disks = Disks.add(cloud, data, store)
                bench.measure(title, disk, disks.exports(cloud), base=IN_A_ROW)
                bundle = _bundle(bench, disks.server) if store == stores[-1] else None
                cloud.remove_all(cloud.prefix)
            assert bundle is not None
            title = f"{DISKS} times {_gib(disk)}, verified"
            bench.measure(title, disk, verifications(bundle), base=SUMS)
            shutil.rmtree(bundle)


def _targets(groups: Sequence[Group]) -> Iterator[Target]:
    """What is to be reached, as far as it was measured."""
    for group in groups:
        title = group.title
        if EXPORT in group.runs and group.size >= GIB:
            limit = 3.0 if group.size >= 4 * GIB else 2.2
            times = group.seconds(SAVE) / group.seconds(EXPORT)
            yield Target(f"{title}: times as fast as image save", times, limit, at_least=True)
        if EXPORT in group.runs and group.size >= 4 * GIB:
            bound = group.seconds(START) + max(group.seconds(CURL), group.seconds(SUM))
            part = group.seconds(EXPORT) / bound
            yield Target(f"{title}: times start + slower of curl and sha512sum", part, 1.15)
        if EXPORT in group.runs:
            times = group.seconds(GLANCE) / group.seconds(EXPORT)
            yield Target(f"{title}: times as fast as glance image-download", times, 1.0, at_least=True)
        if AT_ONCE in group.runs:
            bound = max(group.seconds(name) for name in (DURABLE, HASHES, CURLS))
            part = group.seconds(AT_ONCE) / bound
            yield Target(f"{title}: at once, times the slowest of writing, hashing and curl", part, 1.15)
        if IMPORT in group.runs:
            part = group.seconds(IMPORT) / group.seconds(CREATE)
            yield Target(f"{title}: import-full, of the time of image create", part, 1.05)
            part = group.seconds(IMPORT_RAW) / group.seconds(CREATE)
            yield Target(f"{title}: import-full to raw, of sending the raw file alone", part, 1.1)
            yield Target(
                f"{title}: temporary space of import-full to raw in MiB", group.space(IMPORT_RAW), 64
            )
        if CONVERT in group.runs:
            limit = group.size // MIB + 64  # the source, which has to be a file
            yield Target(f"{title}: temporary space of image convert in MiB", group.space(CONVERT), limit)
        if VERIFY in group.runs:
            part = group.seconds(VERIFY) / group.seconds(SUMS)
            yield Target(f"{title}: bundle verify, of the time of sha512sum -c", part, 1.0)
    ours = (EXPORT, AT_ONCE, IN_A_ROW, IMPORT, IMPORT_RAW, CONVERT, VERIFY)
    peaks = [group.peak(name) for group in groups for name in group.runs if name in ours]
    if peaks:
        yield Target("largest peak of ours in MiB", max(peaks), MEMORY)


def _print(groups: Sequence[Group], targets: Sequence[Target]) -> None:
    for group in groups:
        heading = f"{group.title} ({len(group.runs[group.base])} rounds)"
        print(f"{heading:38}{'median s':>9}{'min':>8}{'max':>8}{'as fast':>9}{'peak MiB':>10}{'space':>8}")
        for name, runs in group.runs.items():
            times = [run.seconds for run in runs]
            ratio = group.seconds(group.base) / group.seconds(name)
            row = f"{group.seconds(name):9.2f}{min(times):8.2f}{max(times):8.2f}{ratio:9.2f}"
            print(f"{name:38}{row}{group.peak(name):10.0f}{group.space(name):8.0f}")
        print()
    for target in targets:
        print(target)


def _gib(size: int) -> str:
    return f"{size / GIB:g} GiB"


def _bytes(text: str) -> int:
    return int(float(text) * GIB)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The speed of export and import, beside others.")
    parser.add_argument("--sizes", default="1,4", metavar="<GiB,...>", help="default: 1,4")
    parser.add_argument("--disk-size", type=_bytes, default=GIB, metavar="<GiB>", help="of the four")
    parser.add_argument("--stores", default=",".join(STORES), help=f"default: {','.join(STORES)}")
    add_cloud_options(parser, rounds=3)
    parser.add_argument("--folder", help="where to write (default: the system's temporary folder)")
    add_report_options(parser)
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    sizes = [_bytes(text) for text in arguments.sizes.split(",") if text]
    with prepared_cloud(arguments.cloud, arguments.folder) as cloud:
        bench = Bench(cloud, arguments.rounds)
        _warm_up(bench)
        _measure(bench, sizes, arguments.disk_size, arguments.stores.split(","))
    targets = list(_targets(bench.groups))
    figures = {"groups": [asdict(group) for group in bench.groups]}
    glance = "python-glanceclient"
    return report(arguments, lambda: _print(bench.groups, targets), targets, figures, glance)


if __name__ == "__main__":
    exit_with(main)
