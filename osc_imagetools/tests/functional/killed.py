# SPDX-License-Identifier: Apache-2.0
"""Runs ``openstack`` and kills itself (SIGKILL) at one of its steps: ``killed.py FILE NUMBER WORDS...``.

A step is a line in the journal, before the effect that it announces; or the answer to a request that
changes the cloud, before anything is made of it. Each is written to the file by its name; with the number 0
nothing is killed, so that the file tells all steps there are.
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
    names, at = sys.argv[1], int(sys.argv[2])
    lock = threading.Lock()
    done = 0

    def step(name: str) -> None:
        nonlocal done
        with lock, open(names, "a") as file:
            done += 1
            file.write(f"{name}\n")
            file.flush()
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)

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


if __name__ == "__main__":
    sys.exit(main())
