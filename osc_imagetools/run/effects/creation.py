# SPDX-License-Identifier: Apache-2.0
"""Making one thing once, although the answer to the request can get lost.

Contract: a request that creates is sent again by the connection only where it certainly reached nobody. Here
it is sent again after an unclear failure, when nothing with the name (and the mark) of what was to be made
has come of it; what comes of it later all the same is removed with the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from osc_imagetools import errors
from osc_imagetools.cloud.answers import PASSING, StatusError, sensible
from osc_imagetools.run.context import CreatedResource, RunContext, creating
from osc_imagetools.run.effects.removal import REMOVALS, SEARCHES

LOG = logging.getLogger(__name__)
# Seconds from the moment in which the service answers again until nothing more is expected of a request.
LATEST = 10.0
PAUSE = 1.5


def create(
    context: RunContext, made: CreatedResource, send: Callable[[], str], *, resend: bool = True
) -> str:
    """Makes what is registered as *made*; its ID, which is noted.

    :param send: sends the request, and gives the ID that the answer has.
    :param resend: whether the request may be sent again when nothing has come of it.
    :raises errors.ImagetoolsError: it was refused, or the service was out for too long.
    """
    tries = context.cloud.retries.request(f"creation of {made.name}")
    while True:
        try:
            with creating(made), sensible(made.label):
                return context.identify(made, str(send()))
        except errors.CloudError as exc:
            if not made.may_exist:
                raise
            LOG.warning("%s; looking whether it was made.", exc.message)
            found = _look(context, made)
            if found is not None:
                return context.identify(made, found)
            passing = not isinstance(exc, StatusError) or exc.status in PASSING
            if not (resend and passing and tries.again(exc.message)):
                raise
            _expect_another(context, made)


def _look(context: RunContext, made: CreatedResource) -> str | None:
    """The ID of what bears the name and the mark; None where there is nothing for a while."""
    end: float | None = None
    while True:
        context.deadline.check()
        found = next(iter(SEARCHES[made.kind](context, made)), None)
        if found is not None:
            return found
        end = time.monotonic() + LATEST if end is None else end
        if time.monotonic() >= end:
            return None
        context.deadline.cancelled.wait(PAUSE)


def _expect_another(context: RunContext, made: CreatedResource) -> None:
    """There may come two of it: one is removed at the end, whichever is not known by its ID."""

    def remove() -> None:
        for identifier in list(SEARCHES[made.kind](context, made)):
            if identifier != made.id:
                REMOVALS[made.kind](context, CreatedResource(made.kind, made.name, id=identifier))

    context.cleanup.register(f"a second {made.label}", remove)
