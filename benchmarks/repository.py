#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What does an export straight into a restic repository cost, beside the ways there are without it?

It runs on the embedded cloud (``devcloud/devcloud up``; ``OS_CLIENT_CONFIG_FILE`` names its
clouds.yaml), makes images there and removes them at the end, however it ends. Half of each disk is
content: the files below ``--source`` in an ext4 file system, or random data; the rest is empty. For
each disk, as raw and as qcow2, it measures ``image export-full --repository`` against ``image
export-full --output`` followed by ``restic backup`` of the directory, and against ``restic backup``
of the disk's file alone, which is in the page cache. Then all of it again after ``--changes`` of the
disk have changed, into what the first backups have stored. The commands run by turns, in reversed
order in every other round; every first backup goes into a new repository.

A time is that of the whole processes, from their start to their end. ``own`` is the largest resident
set of ``openstack`` itself, ``all`` the largest sum of the resident sets of all processes at one
moment; what they share counts for each. ``local`` is the most that was on the disk of this machine at
one moment besides the repository, restic's cache included. ``stored`` is by how much the files of
the repository have grown.
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
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from embedded_cloud import Cloud, prepared_cloud
from measurement import (
    Target,
    add_cloud_options,
    add_report_options,
    disk_use,
    exit_with,
    openstack,
    report,
    run_to_end,
)

MIB, GIB = 1 << 20, 1 << 30
BLOCK = 4096
STORE = "file"
PASSWORD = "not a secret"  # noqa: S105
MEMORY = 160  # MiB

START = "openstack token issue"
EXPORT = "image export-full --repository"
DIRECTORY = "image export-full --output, restic backup"
ALONE = "restic backup of the file alone"


@dataclass(frozen=True)
class Cost:
    """What commands in a row took: elapsed and processor time in seconds; MiB of memory; bytes."""

    seconds: float
    processor: float
    own: float
    all: float
    local: int = 0
    stored: int = 0


@dataclass
class Group:
    """Cases that are compared with each other; *changed*: bytes since what the repositories hold already."""

    title: str
    size: int
    changed: int | None
    runs: dict[str, list[Cost]] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        return statistics.median(cost.seconds for cost in self.runs[name])

    def most(self, name: str, what: str) -> float:
        return max(float(getattr(cost, what)) for cost in self.runs[name])


@dataclass(frozen=True)
class Disk:
    """A disk as it was, and as it is after the changes."""

    title: str
    form: str
    before: pathlib.Path
    after: pathlib.Path
    changed: int


class Bench:
    """Runs cases, each in an empty place of its own, and keeps what they took."""

    def __init__(self, cloud: Cloud, rounds: int) -> None:
        self.cloud = cloud
        self.groups: list[Group] = []
        self._rounds = rounds
        self._stored = cloud.folder / "repositories"

    def measure(self, disk: Disk) -> None:
        """Both backups of a disk."""
        for file, changed in ((disk.before, None), (disk.after, disk.changed)):
            words = {} if disk.form == "raw" else {"disk_format": disk.form}
            image = self.cloud.add(file, STORE, **words)
            title = f"{disk.title}, {disk.form}, {'first' if changed is None else 'second'}"
            group = Group(title, disk.before.stat().st_size, changed)
            cases = self._cases(image, file)
            group.runs = {name: [] for name in cases}
            for number in range(self._rounds):
                for name in cases if number % 2 == 0 else reversed(cases):
                    cost = self.run(disk, name, cases[name], first=changed is None)
                    group.runs[name].append(cost)
                    print(f"{title}, {number + 1}: {name} {cost.seconds:.2f} s", file=sys.stderr)
            self.groups.append(group)
            self.cloud.remove(image)
        shutil.rmtree(self._stored)

    def _cases(self, image: str, file: pathlib.Path) -> dict[str, Callable[[], list[list[str]]]]:
        export = ("image", "export-full", image)
        return {
            EXPORT: lambda: [openstack(*export)],
            DIRECTORY: lambda: [
                openstack(*export, "--output", "bundle"),
                ["restic", "backup", "-q", "bundle"],
            ],
            ALONE: lambda: [["restic", "backup", "-q", str(file)]],
            START: lambda: [openstack("token", "issue", "-f", "value", "-c", "id")],
        }

    def run(self, disk: Disk, name: str, case: Callable[[], list[list[str]]], *, first: bool) -> Cost:
        """Runs the commands of a case: the second time into a copy of what the first one has made."""
        kept = self._stored / f"{disk.form} {name}"
        with tempfile.TemporaryDirectory(dir=self.cloud.folder) as folder:
            place = pathlib.Path(folder)
            work, repository = place / "work", place / "repository"
            work.mkdir()
            environment = self._environment(work, repository)
            if first:
                subprocess.run(["restic", "init", "-q"], check=True, env=environment)
            else:  # restic replaces no file that is there
                shutil.copytree(kept, repository, copy_function=os.link)
            before = disk_use(repository)
            os.sync()
            costs = [_watched(command, environment, work, self.cloud.folder / "log") for command in case()]
            stored = disk_use(repository) - before
            if first:
                shutil.rmtree(kept, ignore_errors=True)
                kept.parent.mkdir(exist_ok=True)
                repository.rename(kept)
        return Cost(
            sum(cost.seconds for cost in costs),
            sum(cost.processor for cost in costs),
            costs[0].own,
            max(cost.all for cost in costs),
            max(cost.local for cost in costs),
            stored,
        )

    def _environment(self, work: pathlib.Path, repository: pathlib.Path) -> dict[str, str]:
        kept = {n: v for n, v in self.cloud.environment.items() if not n.startswith(("RESTIC_", "OSC_IMAGE"))}
        own = {"TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
        for folder in own.values():
            (work / folder).mkdir()
        ours = {"OSC_IMAGETOOLS_REPOSITORY": str(repository), "RESTIC_REPOSITORY": str(repository)}
        return kept | {n: str(work / f) for n, f in own.items()} | ours | {"RESTIC_PASSWORD": PASSWORD}


def _watched(
    command: Sequence[str], environment: Mapping[str, str], work: pathlib.Path, log: pathlib.Path
) -> Cost:
    """Runs one command in *work* to its end, and looks at it all the time."""
    own = together = local = 0

    def look(process: int) -> None:
        nonlocal own, together, local
        own = max(own, _resident(process, "VmHWM"))
        together = max(together, sum(_resident(pid, "VmRSS") for pid in _tree(process)))
        local = max(local, disk_use(work))

    run = run_to_end(command, environment, log, folder=work, look=look)
    local = max(local, disk_use(work))
    return Cost(run.seconds, run.processor, own / MIB, together / MIB, local)


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for task in pathlib.Path("/proc").glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):  # this thread is over
            for child in task.read_text().split():
                yield from _tree(int(child))


def _resident(pid: int, name: str) -> int:
    """Bytes of memory of a process; 0 when it is over."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def _file_system(
    folder: pathlib.Path, source: pathlib.Path, size: int, changes: int
) -> tuple[pathlib.Path, pathlib.Path]:
    """A disk with a file system in which the files below *source* fill one half, and with some more files."""
    staging, left = folder / "staging", size // 2
    for root, folders, files in os.walk(source):
        folders.sort()
        for file in sorted(files):
            path = pathlib.Path(root, file)
            if path.is_symlink() or not path.is_file():
                continue
            target = staging / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            left -= path.stat().st_size
            if left <= 0:
                break
        if left <= 0:
            break
    else:
        raise SystemExit(f"{source} has less than {size // 2} bytes of files: use another --source")
    before, after = folder / "before.raw", folder / "after.raw"
    with before.open("wb") as disk:
        disk.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-d", str(staging), str(before)], check=True)
    shutil.rmtree(staging)
    subprocess.run(["cp", "--sparse=always", str(before), str(after)], check=True)
    script = folder / "script"
    for number in range(-(-changes // MIB)):
        (folder / f"more-{number}").write_bytes(os.urandom(MIB))
    script.write_text("".join(f"write {p} {p.name}\n" for p in sorted(folder.glob("more-*"))))
    subprocess.run(["debugfs", "-w", "-f", script, after], check=True, capture_output=True)
    for path in (script, *folder.glob("more-*")):
        path.unlink()
    return before, after


def _random(folder: pathlib.Path, size: int, changes: int) -> tuple[pathlib.Path, pathlib.Path]:
    """A disk of which one half is random data, and with other data in one place.

    restic stores whole chunks, of half a MiB to eight: each place that changes costs about one more.
    """
    before, after = folder / "before.raw", folder / "after.raw"
    with before.open("wb") as disk:
        for _ in range(0, size // 2, MIB):
            disk.write(os.urandom(MIB))
        disk.truncate(size)
    subprocess.run(["cp", "--sparse=always", str(before), str(after)], check=True)
    with after.open("r+b") as disk:
        disk.seek(size // 6)
        disk.write(os.urandom(changes))
    return before, after


def _changed(before: pathlib.Path, after: pathlib.Path) -> int:
    """How many bytes of blocks are different."""
    changed = 0
    with before.open("rb") as one, after.open("rb") as other:
        while left := one.read(MIB):
            right = other.read(MIB)
            if left != right:
                changed += sum(
                    BLOCK for at in range(0, MIB, BLOCK) if left[at : at + BLOCK] != right[at : at + BLOCK]
                )
    return changed


@contextlib.contextmanager
def _disks(
    folder: pathlib.Path, title: str, make: Callable[[pathlib.Path], tuple[pathlib.Path, pathlib.Path]]
) -> Iterator[list[Disk]]:
    """A disk as raw and as qcow2, as the services of the cloud convert it."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        before, after = make(pathlib.Path(name))
        changed = _changed(before, after)
        disks = [Disk(title, "raw", before, after, changed)]
        converted = [path.with_suffix(".qcow2") for path in (before, after)]
        for source, target in zip((before, after), converted, strict=True):
            words = ("convert", "-f", "raw", "-O", "qcow2", str(source), str(target))
            subprocess.run(["qemu-img", *words], check=True)
        yield [*disks, Disk(title, "qcow2", converted[0], converted[1], changed)]


def _targets(groups: Sequence[Group]) -> Iterator[Target]:
    """What is to be reached."""
    for group in groups:
        ratio = group.seconds(EXPORT) / group.seconds(ALONE)
        yield Target(f"{group.title}: export, of the time of restic backup alone", ratio, 1.1)
        if group.changed:
            part = group.most(EXPORT, "stored") / group.changed
            yield Target(f"{group.title}: stored, of what changed", part, 1.3)
        yield Target(
            f"{group.title}: local disk, of the disk", group.most(EXPORT, "local") / group.size, 0.01
        )
    yield Target("largest peak of our own process in MiB", max(g.most(EXPORT, "own") for g in groups), MEMORY)


def _print(groups: Sequence[Group], targets: Sequence[Target]) -> None:
    for group in groups:
        changed = f", {group.changed / MIB:.1f} MiB changed" if group.changed else ""
        print(f"{group.title}{changed} ({len(group.runs[EXPORT])} rounds)")
        titles = f"{'median s':>9}{'min':>8}{'max':>8}{'ratio':>7}{'CPU s':>8}"
        print(f"{'':42}{titles}{'own MiB':>9}{'all MiB':>9}{'local':>8}{'stored MiB':>12}")
        for name, costs in group.runs.items():
            times = [cost.seconds for cost in costs]
            ratio = group.seconds(name) / group.seconds(ALONE)
            row = f"{group.seconds(name):9.2f}{min(times):8.2f}{max(times):8.2f}{ratio:7.2f}"
            row += f"{statistics.median(cost.processor for cost in costs):8.1f}"
            sizes = [group.most(name, "local") / MIB, group.most(name, "stored") / MIB]
            row += f"{group.most(name, 'own'):9.0f}{group.most(name, 'all'):9.0f}"
            print(f"{name:42}{row}{sizes[0]:8.1f}{sizes[1]:12.1f}")
        print()
    for target in targets:
        print(target)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The cost of exports into a restic repository.")
    parser.add_argument("--size", type=float, default=2, metavar="<GiB>", help="of a disk (default: 2)")
    parser.add_argument("--changes", type=int, default=20, metavar="<MiB>", help="default: 20")
    parser.add_argument("--source", type=pathlib.Path, default="/usr", help="files (default: /usr)")
    add_cloud_options(parser, rounds=3)
    parser.add_argument("--folder", help="where to write (default: the system's temporary folder)")
    add_report_options(parser)
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    size, changes = int(arguments.size * GIB), arguments.changes * MIB
    makers: dict[str, Callable[[pathlib.Path], tuple[pathlib.Path, pathlib.Path]]] = {
        "file system": lambda place: _file_system(place, arguments.source, size, changes),
        "random data": lambda place: _random(place, size, changes),
    }
    with prepared_cloud(arguments.cloud, arguments.folder) as cloud:
        bench = Bench(cloud, arguments.rounds)
        for title, make in makers.items():
            with _disks(cloud.folder, f"{title} in {arguments.size:g} GiB", make) as disks:
                for disk in disks:
                    bench.measure(disk)
    targets = list(_targets(bench.groups))
    figures = {"groups": [asdict(group) for group in bench.groups]}
    return report(arguments, lambda: _print(bench.groups, targets), targets, figures)


if __name__ == "__main__":
    exit_with(main)
