# SPDX-License-Identifier: Apache-2.0
"""Interrupts while a run holds temporary resources: Ctrl-C, a closed terminal, a service being stopped.

Contract: the first two of SIGINT, SIGTERM and SIGHUP set events and raise nothing, so that no effect is cut
off between its request and its answer: whoever waits looks at the event. The first stops the work, the
second the clean-up, and the third ends the process even if a service never answers.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupts_set(*events: threading.Event) -> Iterator[None]:
    """Within it, the first of the three signals sets the first event, the next one the next.

    When all are set, a signal raises KeyboardInterrupt. One that is ignored (``nohup``) stays ignored.
    Outside the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: h for n in SIGNALS if (h := signal.getsignal(n)) is not signal.SIG_IGN}
    waiting = list(events)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not waiting:
            raise KeyboardInterrupt(signal.Signals(number).name)
        waiting.pop(0).set()

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
