# SPDX-License-Identifier: Apache-2.0
"""The real client and its real parsers, without a cloud: can a line be typed?"""

from __future__ import annotations

import contextlib
import io
import itertools
import shlex
from typing import Any
from unittest import mock

from openstackclient import shell

GROUPS = ("common", "compute.v2", "identity.v3", "image.v2", "network.v2", "volume.v3", "imagetools.v1")
# Words after which a line is no longer the command's own.
ENDS = frozenset({"|", ">", ">>", "&&"})


class Client:
    """``openstack`` with all commands of the newest API versions, and ours."""

    def __init__(self) -> None:
        self._shell = shell.OpenStackShell()
        for group in GROUPS:
            self._shell.command_manager.add_command_group(f"openstack.{group}")

    def knows(self, line: str) -> bool:
        """Whether a line is the name of a command and nothing else."""
        words = shlex.split(line)[1:]
        _, name, rest = self._shell.command_manager.find_command(words)
        return name == " ".join(words) and not rest

    def parse(self, line: str) -> tuple[str, Any]:
        """(the name of the command, its arguments) of a line that begins with openstack.

        :raises AssertionError: the line cannot be typed
        """
        words = list(itertools.takewhile(lambda w: w not in ENDS, shlex.split(line, comments=True)))
        assert words.pop(0) == "openstack", line
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                _, rest = self._shell.parser.parse_known_args(words)
                factory, name, arguments = self._shell.command_manager.find_command(rest)
                return name, factory(mock.MagicMock(), None).get_parser(name).parse_args(arguments)
        except (SystemExit, ValueError) as exc:
            if getattr(exc, "code", None) == 0 and not said.getvalue():  # --version, --help
                return "", None
            raise AssertionError(f"{line}: {exc} {said.getvalue()}") from exc
