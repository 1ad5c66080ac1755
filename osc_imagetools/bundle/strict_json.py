# SPDX-License-Identifier: Apache-2.0
"""Parses JSON from an untrusted file.

Contract: pure; memory and time are proportional to the input, and the stack is limited to 32 levels. Refused:
encodings other than UTF-8, more than 32 levels, duplicate keys, NaN and infinities, integers of more than 20
digits, and text that is not Unicode (lone surrogates).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 20  # as many as 2**64 has: no file size and no counter of an API is larger

# A string, terminated or not, or a bracket: every byte is read once, whatever the input.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


class InvalidJSON(ValueError):
    """The text is not JSON, or not accepted; the message says why, without quoting the content."""


def parse(data: bytes) -> Any:
    """Parse a JSON text.

    :raises InvalidJSON: see the module.
    """
    if len(data) > MAX_BYTES:
        raise InvalidJSON(f"it has more than {MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise InvalidJSON(f"it is not UTF-8 at byte {exc.start}") from None
    if text.startswith("\ufeff"):
        raise InvalidJSON("it begins with a byte order mark")
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
        raise InvalidJSON(f"it is not JSON: {exc.msg} at {place}") from None
    _check_text(value)
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidJSON(f"it is nested deeper than {MAX_DEPTH} levels")
        elif first in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidJSON(f"the key {key[:100]!r} occurs twice in one object")
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidJSON(f"it has a number of {len(digits)} digits, which is too long")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidJSON(f"the number {digits[:40]} is out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise InvalidJSON(f"{name} is not a JSON number")


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
                raise InvalidJSON("it has text that is not Unicode (a lone surrogate)") from None
