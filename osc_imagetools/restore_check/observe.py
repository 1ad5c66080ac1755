# SPDX-License-Identifier: Apache-2.0
"""Watches a server until its console tells whether the guest has booted, or the time is over.

Contract: reads the cloud only.
Source: https://docs.openstack.org/api-ref/compute/#show-console-output-os-getconsoleoutput-action
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass

from osc_imagetools import errors
from osc_imagetools.cloud.answers import StatusError
from osc_imagetools.cloud.server import Server, get_server
from osc_imagetools.restore_check.patterns import BootEvidence, judge_console, last_line
from osc_imagetools.run.context import RunContext
from osc_imagetools.run.effects.server_requests import server_action

LOG = logging.getLogger(__name__)
PAUSE = 2.0  # seconds between two looks
TELL = 30.0  # seconds between two lines of the log
# What a server is that starts, or runs.
RUNNING = frozenset({"ACTIVE", "BUILD", "REBOOT"})


@dataclass(frozen=True)
class BootObservation:
    """What was seen; ``booted`` None where nothing decided in time. ``seconds`` from the first look on."""

    booted: bool | None
    evidence: str
    console: str
    server: Server | None
    seconds: float


def await_boot(
    context: RunContext, server_id: str, expect: re.Pattern[str] | None, timeout: float
) -> BootObservation:
    """Looks at a server's console again and again.

    :param expect: see :func:`judge_console`.
    :param timeout: seconds.
    :raises errors.Cancelled: interrupted; :raises errors.ImagetoolsError: the cloud does not answer.
    """
    started = told = time.monotonic()
    LOG.info("Waiting until the console of server %s shows that it has booted", server_id)
    while True:
        server = get_server(context.cloud, server_id)
        console, silent = _console(context, server_id)
        seconds = time.monotonic() - started
        evidence = judge_console(console, expect) or _state_of(server)
        if evidence is not None:
            return BootObservation(evidence.booted, evidence.text, console, server, seconds)
        if seconds >= timeout:
            return BootObservation(None, silent or _undecided(console), console, server, seconds)
        if time.monotonic() - told >= TELL:
            told = time.monotonic()
            LOG.info("Still waiting, %d s: %s", seconds, silent or _undecided(console))
        context.deadline.cancelled.wait(min(PAUSE, timeout - seconds))
        context.deadline.check()


def _console(context: RunContext, server_id: str) -> tuple[str, str | None]:
    """(the console's text, why it cannot be read)."""
    try:
        answer = server_action(context, server_id, {"os-getConsoleOutput": {}})
    except errors.ResourceNotFound:
        return "", "the server has no console yet"
    except StatusError as exc:
        return "", f"the console cannot be read: {exc.message}"
    return str(answer.get("output") or ""), None


def _state_of(server: Server | None) -> BootEvidence | None:
    """A server that runs no more has failed to boot."""
    if server is None:
        return BootEvidence(False, "the server is gone")
    if server.status in RUNNING:
        return None
    fault = (server.document.get("fault") or {}).get("message")
    return BootEvidence(False, f"the server is {server.status}" + (f": {fault}" if fault else ""))


def _undecided(console: str) -> str:
    line = last_line(console)
    return f"nothing on the console decides; its last line: {line}" if line else "the console is empty"
