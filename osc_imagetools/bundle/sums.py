# SPDX-License-Identifier: Apache-2.0
"""The file with the hashes, in the format that ``sha512sum`` writes and ``sha512sum -c`` reads.

Contract: pure. Names in a bundle have neither backslashes nor newlines, so the escapes of coreutils do not
occur; a line that has them is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from osc_imagetools.bundle.layout import MANIFEST, digest_length, path_problem
from osc_imagetools.cloud.names import printable

_LINE = re.compile(r"([0-9A-Fa-f]+) [ *](.+)", re.DOTALL)


@dataclass(frozen=True)
class Sums:
    """The content of the file: hash by path, and the problems of the file itself."""

    digests: Mapping[str, str]
    problems: tuple[str, ...]


def format_sums(digests: Mapping[str, str]) -> bytes:
    """The content of the file: a line for each path, sorted by path."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()


def parse_sums(data: bytes, algorithm: str) -> Sums:
    """Parse the file; problems are sentences, and do not stop the parser."""
    digests: dict[str, str] = {}
    problems: list[str] = []
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        return Sums({}, (f"It is not UTF-8 at byte {exc.start}.",))
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None or len(match[1]) != digest_length(algorithm):
            problems.append(f"Line {number} is not a {algorithm} hash and a name.")
            continue
        path = match[2]
        wrong = None if path == MANIFEST else path_problem(path)
        if wrong:
            problems.append(f"Line {number}: the path {printable(path)[:300]} {wrong}.")
        elif path in digests:
            problems.append(f"Line {number}: {path} is listed twice.")
        else:
            digests[path] = match[1].lower()
    return Sums(digests, tuple(problems))
