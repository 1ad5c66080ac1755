# SPDX-License-Identifier: Apache-2.0
"""Interrupts while a run holds temporary resources: Ctrl-C, a closed terminal, a service being stopped.

Contract: SIGINT, SIGTERM and SIGHUP set an event and raise nothing, so that no effect is cut off between
its request and its answer: whoever waits looks at the event. The second signal puts the handlers back that
were there before; so the third ends the process even if a service never answers.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupts_set(event: threading.Event) -> Iterator[None]:
    """Within it, each of the three signals sets *event*.

    A signal that is ignored (``nohup``) stays ignored. Outside the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: h for n in SIGNALS if (h := signal.getsignal(n)) is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            restore()
        event.set()

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        restore()
