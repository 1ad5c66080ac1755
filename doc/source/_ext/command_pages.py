# SPDX-License-Identifier: Apache-2.0
"""A page and a man page for each command, generated from its own help.

The pages are written to ``reference/commands`` before Sphinx reads its sources; cliff's directive
``autoprogram-cliff`` fills them. They are not kept in the repository.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from pathlib import Path
from typing import Any

GROUP = "openstack.imagetools.v1"
FOLDER = "reference/commands"
PAGE = """.. autoprogram-cliff:: {group}
   :command: {name}
"""


def summaries() -> dict[str, str]:
    """The first line of the help of each command, by the command's name."""
    entry_points = importlib.metadata.entry_points(group=GROUP)
    return {
        entry_point.name.replace("_", " "): (inspect.getdoc(entry_point.load()) or "").partition("\n")[0]
        for entry_point in sorted(entry_points, key=lambda e: e.name)
    }


def file_name(command: str) -> str:
    """The name of a command's page, without its suffix."""
    return command.replace(" ", "-")


def man_pages() -> list[tuple[str, str, str, list[str], int]]:
    """The value of Sphinx's option of this name."""
    return [
        (f"{FOLDER}/{file_name(name)}", f"openstack-{file_name(name)}", text.rstrip("."), [], 1)
        for name, text in summaries().items()
    ]


def index(commands: dict[str, str]) -> str:
    """The page that lists all commands."""
    lines = ["========", "Commands", "========", ""]
    lines += [".. list-table::", "   :header-rows: 1", "   :widths: 35 65", ""]
    lines += ["   * - Command", "     - Summary"]
    for name, text in commands.items():
        lines += [f"   * - :doc:`{name} <{file_name(name)}>`", f"     - {text}"]
    lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {file_name(name)}" for name in commands)]
    return "\n".join(lines) + "\n"


def write_pages(app: Any) -> None:
    """Write the pages that have changed, so that Sphinx reads only these again."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    commands = summaries()
    pages = {f"{file_name(name)}.rst": PAGE.format(group=GROUP, name=name) for name in commands}
    pages["index.rst"] = index(commands)
    for stale in {path.name for path in folder.glob("*.rst")} - pages.keys():
        (folder / stale).unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
