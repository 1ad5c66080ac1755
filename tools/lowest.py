#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``pip install`` with exactly the lower bounds of requirements.txt and of the extras; arguments are pip's.

``name>=1.2`` becomes the constraint ``name==1.2``, so pip either installs the oldest versions that are
promised to work, with releases of what these need in turn that go with them, or says that there is no such
set. The constraints are made from the one list of requirements and cannot be forgotten when a bound changes.
An installer that merely prefers old versions (``--resolution lowest-direct``) gives way in silence where
something else asks for a newer one.

Without arguments the constraints are printed.
"""

from __future__ import annotations

import configparser
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements.txt"
BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z,-]+\])?>=(?P<version>[0-9.]+)")


def constraints() -> str:
    """One line for each requirement."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = "\n".join(setup["options.extras_require"].values())
    lines = []
    for line in (REQUIREMENTS.read_text() + extras).splitlines():
        text = line.partition("#")[0].strip()
        if text:
            bound = BOUND.fullmatch(text)
            if bound is None:
                raise SystemExit(f"{REQUIREMENTS}: not of the form name>=version: {text}")
            lines.append(f"{bound['name']}=={bound['version']}\n")
    return "".join(lines)


def main() -> int:
    if len(sys.argv) == 1:
        print(constraints(), end="")
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(constraints())
        file.flush()
        command = [sys.executable, "-m", "pip", "install", "--constraint", file.name, *sys.argv[1:]]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
