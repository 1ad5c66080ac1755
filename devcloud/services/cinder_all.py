# SPDX-License-Identifier: Apache-2.0
"""cinder-api, cinder-scheduler and cinder-volume in one process.

They talk over oslo.messaging's in-memory transport, "fake:/". Its queues are a class attribute:
shared by all that is in the process, seen by nothing else. So there is no broker.
"""

import os

from orchestrator.settings import Settings

# First of all: Cinder runs on eventlet.
SETTINGS = Settings.from_environment(os.environ)
if SETTINGS.runs.cinder_prepares_eventlet:
    from cinder import monkey_patch

    monkey_patch.patch()
else:
    import eventlet

    eventlet.monkey_patch()
    # The threading module that eventlet put aside must see the threads that there are.
    import __original_module_threading
    import threading

    __original_module_threading.current_thread.__globals__["_active"] = threading._active

# ruff: noqa: E402, I001
import logging as python_logging
import sys

import os_brick
import os_brick.privileged
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service as oslo_service

from cinder import i18n

i18n.enable_lazy()
from cinder import coordination
from cinder import objects
import cinder.privsep
from cinder import rpc
from cinder import service
from cinder import version
from cinder.api.openstack import api_version_request
from cinder.common import config
from cinder.common import constants

import sqlite_locking

CONF = cfg.CONF
CONF.register_cli_opt(cfg.StrOpt("backend_host"))
CONF.register_opt(cfg.StrOpt("cluster"))


class Service(service.Service):
    """A Cinder service that can share its process with another one."""

    def report_state(self):
        """Send the heartbeat of this service.

        The id of a service's record is a class attribute, one for the process: with two
        services in it both would report for the one that started last, and a minute later the
        other would be "down", and no volume could be made any more.
        """
        service.Service.service_id = self.origin_service_id
        super().report_state()


def prepare():
    """What the stock commands do before they start a service."""
    sqlite_locking.install()
    if SETTINGS.cinder_max:
        api_version_request._MAX_API_VERSION = SETTINGS.cinder_max
    objects.register_all()
    CONF(sys.argv[1:], project="cinder", version=version.version_string())
    config.set_middleware_defaults()
    logging.setup(CONF, "cinder")
    python_logging.captureWarnings(True)
    os_brick.setup(CONF)
    # Root already: run privileged functions here, not in daemons started through sudo.
    for privileges in (cinder.privsep.sys_admin_pctxt, os_brick.privileged.default):
        privileges.set_client_mode(False)
    coordination.COORDINATOR.start()
    rpc.init(CONF)


def main():
    """Start the three, and wait."""
    prepare()
    launcher = oslo_service.ServiceLauncher(CONF, restart_method="mutate")
    launcher.launch_service(Service.create(binary=constants.SCHEDULER_BINARY))
    for backend in CONF.enabled_backends:
        CONF.register_opt(cfg.StrOpt("backend_host"), group=backend)
        launcher.launch_service(
            Service.create(
                host=f"{CONF.host}@{backend}",
                service_name=backend,
                binary=constants.VOLUME_BINARY,
                coordination=True,
            )
        )
    launcher.launch_service(service.WSGIService("osapi_volume"))
    launcher.wait()


if __name__ == "__main__":
    main()
