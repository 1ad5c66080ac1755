# SPDX-License-Identifier: Apache-2.0
"""nova-api, nova-conductor, nova-scheduler and nova-compute in one process.

On native threads, as Nova's services run by default, with oslo.messaging's in-memory transport
(see cinder_all.py), and the API on cheroot.

nova-compute reads the cell's database itself here. Its usual way through the conductor,
``NovaObject.indirection_api``, is a setting of the process, and the API, the conductor and the
scheduler of this same process must not take it.
"""

from nova import monkey_patch

monkey_patch.patch(backend="threading")  # first of all

# ruff: noqa: E402, I001
import os
import sys
import time

import os_brick
import os_brick.privileged
import os_vif
from oslo_log import log as logging
from oslo_service import opts as service_opts
from paste import deploy

from nova import config
from nova import context
from nova import exception
from nova import objects
import nova.conf
import nova.privsep
from nova import service
from nova.api.openstack import wsgi_app
from nova.compute import rpcapi as compute_rpcapi
from nova.conductor import rpcapi as conductor_rpcapi
from nova.objects import host_mapping
from nova.scheduler import rpcapi as scheduler_rpcapi

from orchestrator.settings import Settings
import sqlite_locking
import wsgi_server

CONF = nova.conf.CONF
LOG = logging.getLogger("nova.devcloud")


def prepare():
    """What the stock commands do before they start a service."""
    sqlite_locking.install()
    config.parse_args(sys.argv)
    logging.setup(CONF, "nova")
    service_opts.register_service_opts(CONF)
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


def serve_api(settings):
    """Serve the API; Nova has no listening options of its own any more."""
    wsgi_app._setup_service(CONF.host, "osapi_compute")
    application = deploy.loadapp(f"config:{CONF.wsgi.api_paste_config}", name="osapi_compute")
    wsgi_server.serve(application, "osapi_compute", settings.host, settings.nova_port)


def main():
    """Start the four, and wait."""
    prepare()
    workers = [
        start("nova-conductor", conductor_rpcapi.RPC_TOPIC),
        start("nova-scheduler", scheduler_rpcapi.RPC_TOPIC),
        start("nova-compute", compute_rpcapi.RPC_TOPIC, topic_alt=compute_rpcapi.RPC_TOPIC_ALT),
    ]
    map_host_into_cell()
    serve_api(Settings.from_environment(os.environ))
    LOG.warning("nova is up with %d services behind its API", len(workers))
    wsgi_server.await_end()


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        LOG.exception("nova could not start")
        os._exit(1)  # else the threads that did start would keep the process alive
