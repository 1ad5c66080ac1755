# SPDX-License-Identifier: Apache-2.0
"""Where a jobboard is: ``zookeeper://host:port,host:port/path``.

Contract: pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from osc_imagetools import errors

SCHEME = "zookeeper://"
DEFAULT_PATH = "/osc-imagetools"
DEFAULT_PORT = 2181
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_FORM = "zookeeper://<host>:<port>[,<host>:<port>...][/<path>]"


@dataclass(frozen=True)
class JobboardAddress:
    """The servers of a ZooKeeper ensemble, each with its port, and the path below which all is kept."""

    hosts: tuple[str, ...]
    path: str

    @property
    def url(self) -> str:
        """As it is typed."""
        return f"{SCHEME}{','.join(self.hosts)}{self.path}"


def parse_address(text: str) -> JobboardAddress:
    """The address in a URL.

    :raises errors.UsageError: it is none, or holds a credential, which would be on the command line.
    """
    if "@" in text:
        raise errors.UsageError("--jobboard: a URL with a user or a password is not supported")
    if not text.startswith(SCHEME):
        raise errors.UsageError(f"--jobboard {text}: the URL must have the form {_FORM}")
    names, slash, path = text.removeprefix(SCHEME).partition("/")
    path = f"/{path}".rstrip("/") if slash else ""
    hosts = []
    for name in names.split(","):
        found = _HOST.fullmatch(name)
        if not found or not 0 < int(found["port"] or DEFAULT_PORT) < 65536:
            raise errors.UsageError(f"--jobboard: {name!r} is not a host with a port; the form is {_FORM}")
        hosts.append(name if found["port"] else f"{name}:{DEFAULT_PORT}")
    if path and not _PATH.fullmatch(path):
        raise errors.UsageError(f"--jobboard: {path!r} is not a path of ZooKeeper; the form is {_FORM}")
    return JobboardAddress(tuple(hosts), path or DEFAULT_PATH)
