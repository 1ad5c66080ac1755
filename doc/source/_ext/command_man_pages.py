# SPDX-License-Identifier: Apache-2.0
"""The manual pages of the commands: ``man openstack-image-export-full``.

As a program it writes a source for each of them into the directory that is its argument; the text is the
command's own help, which cliff's directive takes from the parser. The configuration asks for the list.
"""

from __future__ import annotations

import inspect
import sys
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "openstack.imagetools.v1"
PAGE = """\
{line}
{title}
{line}

.. autoprogram-cliff:: {group}
   :command: {command}

Options for the output
======================

``-f``, ``-c`` and the other options for the output, and the global options for the login, are those of every
``openstack`` command: ``openstack help {command}`` lists the former, ``openstack help`` the latter.

See also
========

:manpage:`openstack(1)`
"""


def commands() -> dict[str, str]:
    """The first line of the help of each command, by its name."""
    found = {}
    for entry_point in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        text = inspect.getdoc(entry_point.load()) or ""
        found[entry_point.name.replace("_", " ")] = text.partition("\n")[0].removesuffix(".")
    return found


def page_name(command: str) -> str:
    """``openstack-image-export-full``."""
    return "-".join(["openstack", *command.split()])


def man_pages() -> list[tuple[str, str, str, list[str], int]]:
    """Sphinx's setting: source, name, description, authors and section of each page."""
    return [
        (page_name(command), page_name(command), summary, ["osc-imagetools developers"], 1)
        for command, summary in commands().items()
    ]


def main(target: Path) -> None:
    """Writes the sources, and an index, which Sphinx asks for."""
    target.mkdir(parents=True, exist_ok=True)
    names = [page_name(command) for command in commands()]
    toctree = ["Commands", "========", "", ".. toctree::", "", *(f"   {name}" for name in names), ""]
    (target / "index.rst").write_text("\n".join(toctree))
    for command, name in zip(commands(), names, strict=True):
        text = PAGE.format(line="=" * len(name), title=name, group=GROUP, command=command)
        (target / f"{name}.rst").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
