# SPDX-License-Identifier: Apache-2.0
"""The releases of OpenStack that a cloud can be of, and how they differ.

Contract: ``RELEASES`` has every value that ``DEVCLOUD_RELEASE`` may have. Each has a file of pinned
requirements in ``requirements/``, and what is said of it here is all that the rest of the
orchestrator and the programs in ``services/`` know of it.
"""

from __future__ import annotations

import dataclasses
import typing

# WSGI applications: module and name, with "()" where it is a function that makes it.
APPLICATIONS = {
    service: f"{service}.wsgi.api:application"
    for service in ("keystone", "placement", "glance", "neutron")
}
OLD_APPLICATIONS = {
    "keystone": "keystone.server.wsgi:initialize_public_application()",
    "placement": "placement.wsgi:init_application()",
    "glance": "glance.common.wsgi_app:init_app()",
    "neutron": "neutron_application:make()",
}


@dataclasses.dataclass(frozen=True)
class Release:
    """One release; the defaults are those of the newest."""

    # The newest versions that the APIs know.
    nova: str
    cinder: str
    glance: str
    applications: typing.Mapping[str, str] = dataclasses.field(default_factory=lambda: APPLICATIONS)
    # Cinder's type in the catalog and the path of its endpoint, as clouds of the time have them.
    volume_service: str = "block-storage"
    volume_path: str = "/v3"
    # Nova's services run on native threads, and its API is a WSGI program. Before, both ran on
    # eventlet, and the API had a server of its own.
    nova_on_threads: bool = True
    # Nova makes tap devices and tells libvirt so. Before, it does not tell, and Debian 12's libvirt
    # starts no guest with such a device.
    nova_tells_of_taps: bool = True
    # Cinder has a module that prepares a process for eventlet. Before, each command did it.
    cinder_prepares_eventlet: bool = True
    # Does Glance open its sessions with oslo.db's enginefacade, which knows readers from writers?
    glance_knows_writers: bool = True
    # Does Neutron keep the rules of new security groups as templates in its database?
    rule_templates: bool = True
    # Debian packages of which modules are used, and those modules' files.
    debian_packages: tuple[str, ...] = ()
    debian_modules: tuple[str, ...] = ()
    # Does Glance take locations from Nova and Cinder over an API that is meant for them? Before,
    # it had to be allowed to all.
    locations_api: bool = True


_2025_1 = Release(
    nova="2.100",
    cinder="3.71",
    glance="2.17",
    nova_on_threads=False,
    cinder_prepares_eventlet=False,
    glance_knows_writers=False,
    locations_api=False,
)
_2024_1 = dataclasses.replace(
    _2025_1,
    nova="2.96",
    glance="2.16",
    applications=OLD_APPLICATIONS,
    volume_service="volumev3",
    volume_path="/v3/%(project_id)s",
    nova_tells_of_taps=False,
    # It has no wheel for this Python, and Debian 12 has no compiler unless it is installed.
    debian_packages=("python3-netifaces",),
    debian_modules=("netifaces.cpython-*.so",),
)
RELEASES = {
    "2026.2": Release(nova="2.104", cinder="3.71", glance="2.18"),
    "2025.1": _2025_1,
    "2024.1": _2024_1,
    "2023.1": dataclasses.replace(_2024_1, nova="2.95", cinder="3.70", rule_templates=False),
}
NEWEST = "2026.2"
