#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What does it cost any other ``openstack`` command that this plugin is installed?

Two folders are made that hold the same packages, by links to those of the running environment: one
with this plugin, one without. ``openstack module list`` (no cloud, no login; like every command it
loads all plugins and all commands of all groups) runs in both in turn, the order changing from pair
to pair, so that what else the machine does hits both alike. Python runs without ``site``, so that
an editable installation's import hook is not measured on either side.

Printed are the medians of the elapsed time and of the processor time, with and without, and the
median of the differences of the pairs. With ``--fail-above`` the exit code is 1 when the difference
of the medians of the elapsed time is larger.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import statistics
import sys
import sysconfig
import tempfile
import time

PACKAGE = "osc-imagetools"
MODULE = "osc_imagetools"
COMMAND = ("module", "list", "-f", "json")
RUN = """
import sys
sys.path.append(sys.argv.pop(1))
from openstackclient.shell import main
main()
"""
CHECK = f"{RUN}print('osc_imagetools.plugin' in sys.modules)"


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        without, with_plugin = folder / "without", folder / "with"
        _make_site(without, plugin=False)
        _make_site(with_plugin, plugin=True)
        environment = _environment(folder)
        _check(without, environment, expected=False)
        _check(with_plugin, environment, expected=True)
        pairs = _measure(without, with_plugin, environment, arguments.pairs)
    cost = _report(pairs)
    if arguments.fail_above is not None and cost > arguments.fail_above:
        print(f"more than {arguments.fail_above:g} ms", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The cost of the plugin to any other command.")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of runs (default: 30)")
    parser.add_argument("--fail-above", type=float, metavar="<ms>", help="exit 1 when the cost is larger")
    return parser.parse_args()


def _make_site(site: pathlib.Path, *, plugin: bool) -> None:
    """A folder of links to the installed packages, with or without this one."""
    site.mkdir()
    ours = (MODULE, f"{MODULE}-", f"__editable__.{MODULE}", f"__editable___{MODULE}")
    for path in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}):
        for entry in pathlib.Path(path).iterdir():
            if not entry.name.startswith(ours) and not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
    if not plugin:
        return
    spec = importlib.util.find_spec(MODULE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed in this environment")
    (site / MODULE).symlink_to(pathlib.Path(spec.origin).parent)
    distribution = importlib.metadata.distribution(PACKAGE)
    information = site / f"{MODULE}-{distribution.version}.dist-info"
    information.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (information / name).write_text(distribution.read_text(name) or "")


def _environment(folder: pathlib.Path) -> dict[str, str]:
    """No cloud, no settings of Python, and a cache of entry points of our own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "PYTHON"))}
    return kept | {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


def _run(site: pathlib.Path, environment: dict[str, str], code: str, output: int) -> tuple[float, float]:
    """Elapsed and processor time of one command, in milliseconds."""
    arguments = [sys.executable, "-I", "-S", "-c", code, str(site), *COMMAND]
    started = time.perf_counter()
    process = os.posix_spawn(
        sys.executable,
        arguments,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, output, 1)],
    )
    _, status, usage = os.wait4(process, 0)
    elapsed = time.perf_counter() - started
    if status:
        raise SystemExit(f"openstack {' '.join(COMMAND)} failed in {site}")
    return elapsed * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def _check(site: pathlib.Path, environment: dict[str, str], *, expected: bool) -> None:
    """One run that also warms the caches: is the plugin loaded, or not, as it should be?"""
    with tempfile.TemporaryFile("w+") as output:
        _run(site, environment, CHECK, output.fileno())
        output.seek(0)
        found = output.read().splitlines()[-1] == "True"
    if found is not expected:
        raise SystemExit(f"{site}: the plugin is {'' if found else 'not '}loaded")


def _measure(
    without: pathlib.Path, with_plugin: pathlib.Path, environment: dict[str, str], pairs: int
) -> list[dict[str, tuple[float, float]]]:
    """For each pair the times of both, by name."""
    sites = [("without", without), ("with", with_plugin)]
    measured = []
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "w"))
        for number in range(pairs):
            ordered = sites if number % 2 else sites[::-1]
            measured.append({name: _run(site, environment, RUN, null.fileno()) for name, site in ordered})
    return measured


def _report(pairs: list[dict[str, tuple[float, float]]]) -> float:
    """Prints a table; the difference of the medians of the elapsed time, in milliseconds."""
    print(f"openstack {' '.join(COMMAND)}: {len(pairs)} pairs, medians in ms")
    print(f"{'':10}{'without':>10}{'with':>10}{'cost':>10}{'of pairs':>10}")
    costs = []
    for index, title in enumerate(("elapsed", "processor")):
        without = statistics.median(pair["without"][index] for pair in pairs)
        with_plugin = statistics.median(pair["with"][index] for pair in pairs)
        paired = statistics.median(pair["with"][index] - pair["without"][index] for pair in pairs)
        costs.append(with_plugin - without)
        print(f"{title:10}{without:10.1f}{with_plugin:10.1f}{costs[-1]:10.1f}{paired:10.1f}")
    return costs[0]


if __name__ == "__main__":
    sys.exit(main())
