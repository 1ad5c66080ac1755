# SPDX-License-Identifier: Apache-2.0
"""Runs the lanes of a plan at the same time, and stops all of them when one fails.

Contract: knows threads and nothing of clouds. ``cancelled`` is set when a lane fails, or by whoever wants
all to stop; lanes look at it and raise :class:`errors.Cancelled`. All lanes have ended when this returns
or raises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from osc_imagetools import errors

T = TypeVar("T")


def run_lanes(lanes: Sequence[Callable[[], T]], *, width: int, cancelled: threading.Event) -> list[T]:
    """The results of all lanes, in their order; at most *width* run at a time.

    :raises BaseException: the first failure of a lane, in the order of the lanes; :class:`errors.Cancelled`
        where no lane failed by itself.
    """

    def guarded(lane: Callable[[], T]) -> T:
        if cancelled.is_set():
            raise errors.Cancelled("interrupted")
        try:
            return lane()
        except BaseException:
            cancelled.set()
            raise

    with ThreadPoolExecutor(max_workers=max(1, width), thread_name_prefix="lane") as pool:
        futures = [pool.submit(guarded, lane) for lane in lanes]
    failures = [e for future in futures if (e := future.exception()) is not None]
    for failure in sorted(failures, key=lambda e: isinstance(e, errors.Cancelled)):
        raise failure
    return [future.result() for future in futures]
