# SPDX-License-Identifier: Apache-2.0
"""What the hooks read: the server or the image of one of the client's own commands, by requests of their own.

Contract: reads only. Each request is made once and has a time limit, so that a service in trouble does not
hold up the command that the hook belongs to.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

from osc_imagetools.cloud.connection import Cloud
from osc_imagetools.cloud.image import Image, find_image, get_image
from osc_imagetools.cloud.retries import Retries, RetryPhase
from osc_imagetools.cloud.server import Server, find_server

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter
    from openstack.connection import Connection

SECONDS = 10.0  # for a request


class ImpatientCloud(Cloud):
    """A cloud that is asked once and not waited for; the connection and its session stay as they are."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, retries=Retries(limits=dict.fromkeys(RetryPhase, 0.0)))

    def _adapter(self, service_type: str) -> Adapter:
        adapter = copy.copy(super()._adapter(service_type))
        adapter.connect_retries = adapter.status_code_retries = 0
        adapter.request = partial(adapter.request, timeout=SECONDS)  # type: ignore[method-assign]
        return adapter


def server_of(connection: Connection, name_or_id: str) -> Server:
    """The server that a command is given."""
    return find_server(ImpatientCloud(connection), name_or_id)


def image_of(connection: Connection, name_or_id: str) -> Image:
    """The image that a command is given."""
    return find_image(ImpatientCloud(connection), name_or_id)


def image_with_id(connection: Connection, image_id: str) -> Image:
    """The image that a command has made."""
    return get_image(ImpatientCloud(connection), image_id)
