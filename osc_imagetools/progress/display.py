# SPDX-License-Identifier: Apache-2.0
"""Where the progress of a command is shown: on a terminal, or in the log.

Contract: never writes to stdout. On a terminal one line for each disk and for the run, redrawn in place, cut
to its width and removed at the end; nothing from a background job. On a terminal that cannot do that
(``TERM=dumb``) a line for each step. Without a terminal lines of the log at INFO (``-v``): at the beginning
and the end of each step, and every half minute for one that goes on. rich is imported for a terminal only.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from osc_imagetools.progress.log import LogPresenter
from osc_imagetools.progress.model import Presenter, Progress

LOG = logging.getLogger(__name__)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """The progress of a command, shown while the context lasts."""
    if sys.stderr is None:  # it is closed
        yield Progress()
    elif sys.stderr.isatty():
        with _on_terminal() as presenter:
            yield Progress(presenter)
    elif LOG.isEnabledFor(logging.INFO):
        with LogPresenter() as presenter:
            yield Progress(presenter)
    else:
        yield Progress()


@contextmanager
def _on_terminal() -> Iterator[Presenter]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if console.is_dumb_terminal:
        from osc_imagetools.progress.plain import PlainPresenter

        yield PlainPresenter(sys.stderr)
        return
    from osc_imagetools.progress.terminal import TerminalPresenter

    with TerminalPresenter(console) as presenter:
        yield presenter
