# SPDX-License-Identifier: Apache-2.0
"""One or more WSGI applications in one process, on threads of cheroot.

    wsgi_server.py [--preload MODULE] MODULE:NAME@HOST:PORT ...

NAME is that of the application, or with "()" behind it of the function that makes it.

Keystone, Placement, Glance and Neutron have no server of their own any more. Applications that
share a process must not both use oslo.config's global object: of these, only Placement does
not, so it can live beside Keystone.
"""

import argparse
import importlib
import logging
import os
import signal
import sys
import threading

from cheroot import wsgi
from sqlalchemy import orm

import old_glance
import sqlite_locking
from orchestrator.settings import Settings


class _Body:
    """The body of a request, without a working close().

    Glance closes it after an upload. For a chunked body cheroot then closes the reader of the
    connection itself, and the next request on the same connection is answered 500. Cinder's and
    Nova's Glance client uploads an image and asks for it on one connection: the image would be
    active and complete, and the task that uploaded it would fail all the same.
    """

    def __init__(self, raw):
        self._raw = raw
        self.read, self.readline, self.readlines = raw.read, raw.readline, raw.readlines

    def __iter__(self):
        return iter(self._raw)

    def close(self):
        """Leave the connection alone."""


def keep_connection_usable(app):
    """Wrap an application so that the next request on its connection works."""

    def wrapper(environ, start_response):
        chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        body = environ["wsgi.input"] = _Body(environ["wsgi.input"])

        def drain_and_start(status, headers, exc_info=None):
            # cheroot itself drains what an application left unread of a body of known
            # length, but not of a chunked one.
            while chunked and body.read(65536):
                pass
            return start_response(status, headers, exc_info)

        return app(environ, drain_and_start)

    return wrapper


def load(target):
    """The application that MODULE:NAME names."""
    module, _, name = target.partition(":")
    found = getattr(importlib.import_module(module), name.removesuffix("()"))
    return found() if name.endswith("()") else found


def serve(app, name, host, port):
    """Start serving one application."""
    # Ten threads: Keystone is called by the other services while it answers one.
    server = wsgi.Server((host, port), app, numthreads=10, server_name=name, request_queue_size=64)
    server.timeout = 600
    server.prepare()
    threading.Thread(target=server.serve, name=name, daemon=True).start()


def await_end():
    """Wait until the process is asked to end, and end: nothing is left to be saved."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    done.wait()
    os._exit(0)


def main():
    """Serve what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--preload", action="append", default=[])
    parser.add_argument("application", nargs="+")
    arguments = parser.parse_args()
    del sys.argv[1:]  # the applications read it too
    settings = Settings.from_environment(os.environ)
    sqlite_locking.install(settings.runs.glance_knows_writers)
    applications = []
    for target in arguments.application:
        name, _, address = target.rpartition("@")
        host, _, port = address.rpartition(":")
        application = keep_connection_usable(load(name))
        if name.startswith("glance.") and settings.glance_max:
            application = old_glance.limit(application, settings.glance_max)
        applications.append((application, name, host, int(port)))
    for module in arguments.preload:
        importlib.import_module(module)
        orm.configure_mappers()
    for application in applications:
        serve(*application)
    logging.getLogger("devcloud").warning("serving %s", arguments.application)
    await_end()


if __name__ == "__main__":
    main()
