#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the wheel and checks that it holds all that an installation needs.

Every module and every schema of the source is in it, the entry points are, and installing it brings
``openstack`` along. Prints what is missing; exit code 1 if anything is.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "osc_imagetools"
SUFFIXES = (".py", ".json")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        wheel = _build(pathlib.Path(folder))
        problems = _problems(wheel)
        print(f"{wheel.name}: {', '.join(problems) or 'complete'}")
    return 1 if problems else 0


def _build(folder: pathlib.Path) -> pathlib.Path:
    # setuptools would put what an earlier build left there into this one.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    try:
        subprocess.run([*command, str(folder), str(ROOT)], check=True)
    finally:
        shutil.rmtree(ROOT / "build", ignore_errors=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _problems(wheel: pathlib.Path) -> list[str]:
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("*") if path.suffix in SUFFIXES}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        texts = {
            name.rpartition("/")[2]: archive.read(name).decode() for name in names if ".dist-info/" in name
        }
    problems = [f"{name} is missing" for name in sorted(sources - names)]
    problems += [
        f"{file}: no {text!r}"
        for file, text in (
            ("entry_points.txt", "[openstack.cli.extension]"),
            ("entry_points.txt", "[openstack.imagetools.v1]"),
            ("METADATA", "Requires-Dist: python-openstackclient"),
            ("LICENSE", "Apache License"),
        )
        if text not in texts.get(file, "")
    ]
    return problems


if __name__ == "__main__":
    sys.exit(main())
