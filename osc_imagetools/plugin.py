# SPDX-License-Identifier: Apache-2.0
"""The contract between OpenStackClient and this package.

OpenStackClient loads this module on every call of ``openstack``, through the entry point
``openstack.cli.extension``, and then the commands of the group ``openstack.imagetools.v1``. So
nothing is imported here, and nothing is done here.

Source: ``openstackclient.shell`` and ``openstackclient.common.clientmanager``
(python-openstackclient 10.5): ``API_VERSION_OPTION`` and ``DEFAULT_API_VERSION`` must be there, or
the commands vanish.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true, without an import of ``typing``
if TYPE_CHECKING:
    from argparse import ArgumentParser

API_NAME = "imagetools"
API_VERSION_OPTION = "os_imagetools_api_version"
DEFAULT_API_VERSION = "1"
API_VERSIONS = ("1",)


def make_client(instance: object) -> None:
    """No client: the commands use the SDK connection of the client manager, ``instance``."""


def build_option_parser(parser: ArgumentParser) -> ArgumentParser:
    """No global options: the parser as it came."""
    return parser
