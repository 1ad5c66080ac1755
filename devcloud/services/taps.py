# SPDX-License-Identifier: Apache-2.0
"""A Neutron mechanism that gives every port of a server a tap device, and no wire behind it.

Nova makes the device, the guest gets a network card on it, and nothing that is sent arrives
anywhere: ports, addresses and security groups are as real as the API makes them, the network is
not. Neutron finds this through the ``taps-1.0.dist-info`` beside it; nothing is installed.
"""

import os

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
TUN = "/dev/net/tun"


class MechanismDriver(api.MechanismDriver):
    """Binds each normal port at once, without an agent."""

    def initialize(self):
        """Nothing has to be prepared."""

    def bind_port(self, context):
        """Bind to the network's first segment, and let the port be ACTIVE.

        Nova's error for a port that is not bound names Neutron's log, so that is where the
        reason stands.
        """
        if context.current[portbindings.VNIC_TYPE] != portbindings.VNIC_NORMAL:
            return
        if not os.path.exists(TUN):
            LOG.error("Port %s is not bound: there is no %s", context.current["id"], TUN)
            return
        context.set_binding(
            context.segments_to_bind[0][api.ID],
            portbindings.VIF_TYPE_TAP,
            {portbindings.CAP_PORT_FILTER: False},
            status=constants.PORT_STATUS_ACTIVE,
        )
