# SPDX-License-Identifier: Apache-2.0
"""Interrupts while a run holds temporary resources: Ctrl-C, a closed terminal, a service being stopped.

Contract: the first two of SIGINT, SIGTERM and SIGHUP set events and raise nothing, so that no effect is cut
off between its request and its answer: whoever waits looks at the event. The first stops the work, the
second the clean-up, and where that has not ended the process within two seconds, it is ended whatever hangs.
SIGHUP counts once, however often it comes: what has hung up, a terminal or a parent process, cannot insist.
The kernel tells of the death of a parent once for each of its threads (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # exit code
GRACE = 1.5  # seconds


@contextmanager
def interrupts_set(*events: threading.Event, last_words: Callable[[], str] = str) -> Iterator[None]:
    """Within it, the first of the three signals sets the first event, the next one the next.

    With the last of several events the process gets a moment to end; then it is ended, with what
    *last_words* gives on stderr. When all are set, a signal raises KeyboardInterrupt. One that is ignored
    (``nohup``) stays ignored. Outside the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: h for n in SIGNALS if (h := signal.getsignal(n)) is not signal.SIG_IGN}
    ended = threading.Event()
    handled: list[int] = []

    def heard(number: int, earlier: list[int]) -> bool:
        """Adds a signal to those before; whether it counts. Handler and listener both hear of each."""
        if number == signal.SIGHUP and number in earlier:
            return False
        earlier.append(number)
        if len(earlier) <= len(events):
            events[len(earlier) - 1].set()
        return True

    def interrupt(number: int, frame: FrameType | None) -> None:
        if heard(number, handled) and len(handled) > len(events):
            raise KeyboardInterrupt(signal.Signals(number).name)

    def listen(wakened: socket.socket) -> None:
        """In a thread of its own: the main thread runs no handler as long as it is blocked in the system."""
        listened: list[int] = []
        while data := wakened.recv(64):
            for number in filter(before.__contains__, data):
                if heard(number, listened) and len(listened) == len(events) > 1:
                    threading.Thread(target=end, name="end", daemon=True).start()

    def end() -> None:
        if not ended.wait(GRACE):
            end_process(last_words)

    wakened, waker = socket.socketpair()
    waker.setblocking(False)
    listener = threading.Thread(target=listen, args=(wakened,), name="signals", daemon=True)
    listener.start()
    earlier = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier)
        waker.close()
        listener.join()
        wakened.close()


def end_process(last_words: Callable[[], str]) -> None:
    """Ends the process at once, with all threads, whatever they wait for.

    Nothing but the system is used: a lock of the log may be held by what hangs.
    """
    words = ""
    try:
        words = last_words()
    finally:
        os.write(2, f"Interrupted; a request hangs and is given up.\n{words}\n".encode(errors="replace"))
        os._exit(INTERRUPTED)
