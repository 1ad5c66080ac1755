# SPDX-License-Identifier: Apache-2.0
"""Neutron's WSGI application, of releases that have no module for it.

Not ``neutron.cmd.eventlet``, which changes the whole process: this one is served on threads. What
these releases leave to a green thread, to tell Nova of addresses, would never run on one.
"""

import threading

from neutron import server
from neutron.common import config
from neutron.notifiers import batch_notifier


def make():
    """Read the configuration and load it."""
    batch_notifier.utils.spawn_n = _run_on_thread
    server._init_configuration()
    return config.load_paste_app("neutron")


def _run_on_thread(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()
