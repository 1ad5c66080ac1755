# SPDX-License-Identifier: Apache-2.0
"""A whole Swift in one process: proxy with its S3 interface, account, container, object server.

The configuration files are rendered already; this makes the rings (one replica on one device)
and serves the stock applications. There are no daemons: nothing is replicated or expires.
"""

import eventlet

eventlet.monkey_patch()  # first of all

# ruff: noqa: E402, I001
import os
import signal

from eventlet import wsgi
from swift.common import utils
from swift.common.ring import RingBuilder

from orchestrator.configuration import SWIFT_NODES
from orchestrator.settings import Settings

SETTINGS = Settings.from_environment(os.environ)
utils.set_swift_dir(str(SETTINGS.conf))
# Both read swift.conf, whose folder must be known by then.
from swift.common.storage_policy import reload_storage_policies
from swift.common.wsgi import loadapp


def make_ring(kind, port):
    """The ring of one kind of server."""
    ring = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    ring.add_dev(
        {
            "id": 0,
            "region": 1,
            "zone": 1,
            "weight": 1,
            "device": "disk",
            "meta": "",
            "ip": SETTINGS.host,
            "port": port,
            "replication_ip": SETTINGS.host,
            "replication_port": port,
        }
    )
    ring.rebalance()
    ring.get_ring().save(str(SETTINGS.conf / f"{kind}.ring.gz"))


def main():
    """Serve the four."""
    reload_storage_policies()
    ports = {}
    for offset, kind in enumerate(SWIFT_NODES, 1):
        ports[kind] = SETTINGS.swift_port + offset
        make_ring(kind, ports[kind])
    ports["proxy"] = SETTINGS.swift_port
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    servers = [
        eventlet.spawn(
            wsgi.server,
            eventlet.listen((SETTINGS.host, port)),
            loadapp(str(SETTINGS.conf / f"swift-{kind}.conf")),
            log_output=False,
        )
        for kind, port in ports.items()
    ]
    for server in servers:
        server.wait()


if __name__ == "__main__":
    main()
