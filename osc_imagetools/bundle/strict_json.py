# SPDX-License-Identifier: Apache-2.0
"""JSON from a file that nobody vouches for.

Contract: pure; memory and time in proportion to the input, never more stack than its 32 levels
need. Refused: other encodings than UTF-8, nesting deeper than 32 levels, duplicate keys, NaN and
infinities, whole numbers of more than 20 digits, and text that is no Unicode (lone surrogates).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 20  # 2**64 has as many: no file, no counter of an API is larger

# A string, closed or not, or a bracket: every byte is looked at once, whatever the input.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


class Unacceptable(ValueError):
    """The text is no JSON, or JSON that is not accepted; the message says why, without its
    content."""


def parse(data: bytes) -> Any:
    """The value of a JSON text.

    :raises Unacceptable: see the module.
    """
    if len(data) > MAX_BYTES:
        raise Unacceptable(f"it has more than {MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise Unacceptable(f"it is not UTF-8 at byte {exc.start}") from None
    if text.startswith("\ufeff"):
        raise Unacceptable("it begins with a byte order mark")
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno}, column {exc.colno}"
        raise Unacceptable(f"it is not JSON: {exc.msg} at {place}") from None
    _check_text(value)
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Unacceptable(f"it is nested deeper than {MAX_DEPTH} levels")
        elif first in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Unacceptable(f"the key {key[:100]!r} stands twice in one object")
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Unacceptable(f"it has a number of {len(digits)} digits, which no size can have")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Unacceptable(f"the number {digits[:40]} is out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise Unacceptable(f"{name} is not a number of JSON")


def _check_text(value: Any) -> None:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending.extend(one)
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, str):
            try:
                one.encode()
            except UnicodeEncodeError:
                raise Unacceptable("it has text that is not Unicode (a lone surrogate)") from None
