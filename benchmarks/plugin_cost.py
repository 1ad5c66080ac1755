#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What does it cost any other ``openstack`` command that this plugin is installed?

Two folders are made that hold the same packages, by links to those of the running environment: one
with this plugin, one without. ``openstack module list`` (no cloud, no login; like every command it
loads all plugins and all commands of all groups) runs in both in turn, the order changing from pair
to pair, so that what else the machine does hits both alike. Python runs without ``site``, so that
an editable installation's import hook is not measured on either side.

Printed are the medians with and without, and the median of the differences of the pairs with its
standard error, of the elapsed time and of the processor time. A last line says how long a process that
has loaded all else takes to load the plugin and its commands: a figure that other programs on the
machine hardly disturb.

With ``--fail-above`` the exit code is 1 when the loading takes longer, or when the elapsed time is
longer by more than that even if twice the standard error is taken off.
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
# What loading us takes, where a stand-in has kept our plugin away until all else was loaded. A full
# collection of garbage (0.1 s) that falls into it by chance is not ours: there are as many without us.
LOAD = """
import gc, importlib, sys, time, types
sys.path.append(sys.argv[1])
stand_in = types.ModuleType("osc_imagetools.plugin")
stand_in.API_NAME, stand_in.API_VERSION_OPTION = "imagetools", "os_imagetools_api_version"
stand_in.build_option_parser = lambda parser: parser
sys.modules["osc_imagetools"] = types.ModuleType("osc_imagetools")
sys.modules["osc_imagetools.plugin"] = stand_in
from openstackclient.shell import OpenStackShell
manager = OpenStackShell().command_manager
manager.add_command_group("openstack.image.v2")
del sys.modules["osc_imagetools"], sys.modules["osc_imagetools.plugin"]
gc.collect()
gc.disable()
started = time.perf_counter()
importlib.import_module("osc_imagetools.plugin")
manager.add_command_group("openstack.imagetools.v1")
print((time.perf_counter() - started) * 1000)
assert "osc_imagetools.v1.image" in sys.modules
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
        loading = [float(_output(with_plugin, environment, LOAD)) for _ in range(arguments.pairs)]
    cost = _report(pairs, loading)
    if arguments.fail_above is not None and cost > arguments.fail_above:
        print(f"more than {arguments.fail_above:g} ms", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The cost of the plugin to any other command.")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of runs (default: 30)")
    parser.add_argument("--fail-above", type=float, metavar="<ms>", help="exit 1 when it costs more")
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


def _output(site: pathlib.Path, environment: dict[str, str], code: str) -> str:
    """The last line that a program prints."""
    with tempfile.TemporaryFile("w+") as output:
        _run(site, environment, code, output.fileno())
        output.seek(0)
        return output.read().splitlines()[-1]


def _check(site: pathlib.Path, environment: dict[str, str], *, expected: bool) -> None:
    """One run that also warms the caches: is the plugin loaded, or not, as it should be?"""
    found = _output(site, environment, CHECK) == "True"
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


def _report(pairs: list[dict[str, tuple[float, float]]], loading: list[float]) -> float:
    """Prints a table; the cost that is certain, in milliseconds."""
    print(f"openstack {' '.join(COMMAND)}: {len(pairs)} pairs, medians in ms")
    print(f"{'':10}{'without':>10}{'with':>10}{'difference of pairs':>24}")
    certain = [statistics.median(loading)]
    for index, title in enumerate(("elapsed", "processor")):
        without = statistics.median(pair["without"][index] for pair in pairs)
        with_plugin = statistics.median(pair["with"][index] for pair in pairs)
        difference, error = _median([pair["with"][index] - pair["without"][index] for pair in pairs])
        print(f"{title:10}{without:10.1f}{with_plugin:10.1f}{difference:16.1f} +- {error:.1f}")
        if title == "elapsed":
            certain.append(difference - 2 * error)
    print(f"{'loading':10}{'':20}{certain[0]:16.1f}")
    return max(certain)


def _median(values: list[float]) -> tuple[float, float]:
    """A median and its standard error, from the middle half of the values: outliers do not count."""
    lower, median, upper = statistics.quantiles(values, n=4)
    return median, 1.2533 * (upper - lower) / 1.349 / len(values) ** 0.5


if __name__ == "__main__":
    sys.exit(main())
