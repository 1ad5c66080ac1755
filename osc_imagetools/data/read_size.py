# SPDX-License-Identifier: Apache-2.0
"""How many bytes one read of a connection asks for.

Contract: more of them while they come fast, fewer while they come slowly, because those of a read that fails
are lost and a cancellation waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_SMALLEST, _LARGEST = 16 * 1024, 1024 * 1024
_FAST, _SLOW = 0.005, 0.25  # seconds


class ReadSize:
    """Of one connection or of several that follow each other."""

    def __init__(self) -> None:
        self._step = _SMALLEST

    def read(self, receive: Callable[[memoryview], int], view: memoryview) -> int:
        """One read into the beginning of *view*, of a size that suits the speed."""
        began = time.monotonic()
        count = receive(view[: self._step])
        took = time.monotonic() - began
        if took < _FAST:
            self._step = min(self._step * 2, _LARGEST)
        elif took > _SLOW:
            self._step = max(self._step // 2, _SMALLEST)
        return count
