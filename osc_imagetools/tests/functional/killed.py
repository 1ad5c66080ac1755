# SPDX-License-Identifier: Apache-2.0
"""Runs ``openstack`` and sends itself a signal at one of its steps: ``killed.py FILE STEP WORDS...``.

A step is a line in the journal, before the effect that it announces; or the answer to a request that
changes the cloud, before anything is made of it. Each is written to the file by its name; with the number 0
nothing is killed, so that the file tells all steps there are. ``STEP`` is a number (SIGKILL), or a signal and
the name of a step, the first of which counts: ``SIGTERM=answered: block-storage POST /volumes``. The thread
that took it goes no further before the signal is handled.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from typing import Any

from openstackclient import shell

from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.run.journal import Journal

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def main() -> int:
    names = sys.argv[1]
    at, number, wanted = _point(sys.argv[2])
    lock = threading.Lock()
    done, sent = 0, False
    handled = threading.Event()
    _note_handlers(handled)

    def step(name: str) -> None:
        nonlocal done, sent
        with lock, open(names, "a") as file:
            done += 1
            file.write(f"{name}\n")
            file.flush()
            if done == at or (name == wanted and not sent):
                sent = True
                os.kill(os.getpid(), number)
                if number != signal.SIGSTOP:  # it goes on when it is continued
                    handled.wait(60)

    make, request = Journal.make, Cloud.request

    def note(journal: Journal, kind: str, name: str, identifier: str | None) -> int:
        number = make(journal, kind, name, identifier)
        step(f"noted: {kind}")
        return number

    def ask(cloud: Cloud, service: str, method: str, path: str, **kwargs: Any) -> Any:
        answer = request(cloud, service, method, path, **kwargs)
        if method != "GET":
            action = next(iter(kwargs.get("json") or ()), "") if path.endswith("/action") else ""
            step(" ".join(filter(None, (f"answered: {service} {method}", ID.sub("ID", path), str(action)))))
        return answer

    setattr(Journal, "make", note)  # noqa: B010
    setattr(Cloud, "request", ask)  # noqa: B010
    return int(shell.OpenStackShell().run(sys.argv[3:]))


def _point(text: str) -> tuple[int, signal.Signals, str]:
    """(number of the step or 0, signal, name of the step or nothing)."""
    if text.isdigit():
        return int(text), signal.SIGKILL, ""
    name, _, step = text.partition("=")
    return 0, signal.Signals[name], step


def _note_handlers(handled: threading.Event) -> None:
    """From now on it is noted when a handler of a signal has run."""
    install = signal.signal

    def noting(number: Any, handler: Any) -> Any:
        def run(number: int, frame: Any) -> None:
            handler(number, frame)
            handled.set()

        return install(number, run if callable(handler) else handler)

    setattr(signal, "signal", noting)  # noqa: B010


if __name__ == "__main__":
    sys.exit(main())
