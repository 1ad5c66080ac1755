# SPDX-License-Identifier: Apache-2.0
"""nova-api, nova-conductor, nova-scheduler and nova-compute in one process.

With oslo.messaging's in-memory transport (see cinder_all.py). On native threads, as Nova's services
run by default, and the API on cheroot; older releases on eventlet, and the API as they serve it.

nova-compute reads the cell's database itself here. Its usual way through the conductor,
``NovaObject.indirection_api``, is a setting of the process, and the API, the conductor and the
scheduler of this same process must not take it.
"""

import os

from orchestrator.settings import Settings

# First of all. Older releases prepare for eventlet when this is imported.
from nova import monkey_patch

SETTINGS = Settings.from_environment(os.environ)
if SETTINGS.runs.nova_on_threads:
    monkey_patch.patch(backend="threading")

# ruff: noqa: E402, I001
import signal
import sys
import time

import os_brick
import os_brick.privileged
import os_vif
from oslo_log import log as logging
from paste import deploy

from nova import config
from nova import context
from nova import exception
from nova import objects
import nova.conf
import nova.privsep
from nova import service
from nova.api.openstack import api_version_request
from nova.compute import rpcapi as compute_rpcapi
from nova.conductor import rpcapi as conductor_rpcapi
from nova.objects import host_mapping
from nova.scheduler import rpcapi as scheduler_rpcapi
from nova.virt.libvirt import vif

import sqlite_locking

CONF = nova.conf.CONF
LOG = logging.getLogger("nova.devcloud")


def prepare():
    """What the stock commands do before they start a service."""
    sqlite_locking.install()
    config.parse_args(sys.argv)
    logging.setup(CONF, "nova")
    if SETTINGS.runs.nova_on_threads:
        from oslo_service import opts

        opts.register_service_opts(CONF)
    if not SETTINGS.runs.nova_tells_of_taps:
        # libvirt makes the device then, as Nova's description of the guest says.
        vif.LibvirtGenericVIFDriver.plug_tap = lambda *_: None
    if SETTINGS.nova_max:
        api_version_request._MAX_API_VERSION = SETTINGS.nova_max
    objects.register_all()
    os_brick.setup(CONF)
    os_vif.initialize()
    # Root already: run privileged functions here, not in daemons started through sudo.
    for privileges in (nova.privsep.sys_admin_pctxt, os_brick.privileged.default):
        privileges.set_client_mode(False)


def start(binary, topic, **more):
    """Start one of the services behind the API."""
    worker = service.Service.create(binary=binary, topic=topic, **more)
    worker.start()
    return worker


def map_host_into_cell():
    """What "nova-manage cell_v2 discover_hosts" does, as soon as the host has reported."""
    admin = context.get_admin_context()
    for _ in range(60):
        host_mapping.discover_hosts(admin)
        try:
            return objects.HostMapping.get_by_host(admin, CONF.host)
        except exception.HostMappingNotFound:
            time.sleep(0.5)
    raise RuntimeError("nova-compute does not report")


def serve_and_wait():
    """Serve the API; Nova has no listening options of its own any more."""
    import wsgi_server
    from nova.api.openstack import wsgi_app

    wsgi_app._setup_service(CONF.host, "osapi_compute")
    application = deploy.loadapp(f"config:{CONF.wsgi.api_paste_config}", name="osapi_compute")
    wsgi_server.serve(application, "osapi_compute", SETTINGS.host, SETTINGS.nova_port)
    wsgi_server.await_end()


def serve_on_eventlet_and_wait():
    """Serve the API as older releases do."""
    service.WSGIService("osapi_compute").start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    while True:
        time.sleep(3600)  # all else runs meanwhile


def main():
    """Start the four, and wait."""
    prepare()
    more = {}
    if SETTINGS.runs.nova_on_threads:
        more["topic_alt"] = compute_rpcapi.RPC_TOPIC_ALT
    workers = [
        start("nova-conductor", conductor_rpcapi.RPC_TOPIC),
        start("nova-scheduler", scheduler_rpcapi.RPC_TOPIC),
        start("nova-compute", compute_rpcapi.RPC_TOPIC, **more),
    ]
    map_host_into_cell()
    LOG.warning("nova is up with %d services behind its API", len(workers))
    if SETTINGS.runs.nova_on_threads:
        serve_and_wait()
    else:
        serve_on_eventlet_and_wait()


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        LOG.exception("nova could not start")
        os._exit(1)  # else the threads that did start would keep the process alive
