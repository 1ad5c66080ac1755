# SPDX-License-Identifier: Apache-2.0
"""JSON that was made to hurt."""

from __future__ import annotations

import json
import time

import testtools
from hypothesis import given, strategies

from osc_imagetools.bundle import strict_json

VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**60), 2**60)
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=20,
)


class StrictJson(testtools.TestCase):
    """strict_json.parse."""

    def refused(self, data: bytes) -> str:
        return str(self.assertRaises(strict_json.InvalidJSON, strict_json.parse, data))

    @given(VALUES)
    def test_reads_what_json_writes(self, value: object) -> None:
        self.assertEqual(value, strict_json.parse(json.dumps(value).encode()))

    @given(strategies.text(alphabet='[]{}":,\\ua1d8e.- \n'))
    def test_reads_as_json_does_or_refuses(self, text: str) -> None:
        try:
            value = strict_json.parse(text.encode())
        except strict_json.InvalidJSON:
            return
        self.assertEqual(json.loads(text), value)

    def test_refused(self) -> None:
        for data, reason in (
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b'{"a": 1, "a": 1}', "'a' occurs twice"),
            (b'{"x": {"a": 1, "b": 2, "a": 3}}', "'a' occurs twice"),
            (b"[NaN]", "NaN"),
            (b"[-Infinity]", "-Infinity"),
            (b"[1e999]", "out of range"),
            (b"[" + b"9" * 21 + b"]", "21 digits"),
            (b"[" + b"9" * 1_000_000 + b"]", "1000000 digits"),
            (b'["\xff"]', "not UTF-8 at byte 2"),
            (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
            (b'["\\ud800"]', "lone surrogate"),
            (b'{"\\udfff": 1}', "lone surrogate"),
        ):
            self.assertIn(reason, self.refused(data), repr(data[:40]))

    def test_depth(self) -> None:
        self.assertEqual([], strict_json.parse(b"[]"))
        strict_json.parse(b"[" * 32 + b"]" * 32)
        for deep in (b"[" * 33 + b"]" * 33, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
            self.assertIn("deeper than 32", self.refused(deep))

    def test_brackets_in_text_are_no_depth(self) -> None:
        text = '\\"[[[{{{' * 20
        self.assertEqual([text], strict_json.parse(json.dumps([text]).encode()))

    def test_size(self) -> None:
        self.assertIn("more than 16777216 bytes", self.refused(b" " * (17 * 1024 * 1024)))

    def test_time_is_linear(self) -> None:
        for data in (b'"' + b'\\"' * 1_000_000, b'"' * 1_000_001, b"\\" * 1_000_000):
            started = time.process_time()
            self.refused(data)
            self.assertLess(time.process_time() - started, 1.0)
