# SPDX-License-Identifier: Apache-2.0
"""Makes the regions, the catalog, the projects, the users and their roles: what is missing.

"keystone-manage bootstrap" has made the administrator, the first region, Keystone's own entry
and the roles admin, manager, member, reader and, in newer releases, service.
"""

import os

from keystoneauth1 import session
from keystoneauth1.identity import v3
from keystoneclient.v3 import client

from orchestrator.settings import SUFFIXES, Settings

SETTINGS = Settings.from_environment(os.environ)
# Service, type, path of its endpoint.
CATALOG = [
    ("keystone", "identity", "/v3"),
    ("glance", "image", ""),
    ("cinder", SETTINGS.runs.volume_service, SETTINGS.runs.volume_path),
    ("nova", "compute", "/v2.1"),
    ("placement", "placement", ""),
    ("neutron", "network", ""),
]
if SETTINGS.swift:
    CATALOG.append(("swift", "object-store", "/v1/AUTH_%(project_id)s"))
PROJECTS = ("demo", "other", "small")
# User, project, role.
GRANTS = (
    ("admin", "demo", "admin"),
    ("demo", "demo", "member"),
    ("demo", "other", "member"),
    ("other", "other", "member"),
    ("reader", "demo", "reader"),
    ("small", "small", "member"),
)


def connect():
    """Keystone, as its administrator."""
    login = v3.Password(
        auth_url=SETTINGS.auth_url,
        username="admin",
        password=SETTINGS.password,
        project_name="admin",
        user_domain_name="Default",
        project_domain_name="Default",
    )
    return client.Client(
        session=session.Session(auth=login), interface="public", region_name=SETTINGS.region
    )


def ensure(manager, name, **attributes):
    """The object of this name, made if it is missing."""
    for thing in manager.list():
        if thing.name == name:
            return thing
    return manager.create(name=name, **attributes)


def make_catalog(keystone):
    """Every service in both regions, except block storage in the second."""
    if SETTINGS.novolume_region not in {region.id for region in keystone.regions.list()}:
        keystone.regions.create(id=SETTINGS.novolume_region)
    for name, kind, path in CATALOG:
        service = ensure(keystone.services, name, type=kind)
        present = {
            (endpoint.interface, endpoint.region_id)
            for endpoint in keystone.endpoints.list(service=service)
        }
        for region in (SETTINGS.region, SETTINGS.novolume_region):
            if name == "cinder" and region == SETTINGS.novolume_region:
                continue
            for interface in ("public", "internal", "admin"):
                if (interface, region) not in present:
                    keystone.endpoints.create(
                        service=service,
                        url=SETTINGS.url(name) + path,
                        interface=interface,
                        region=region,
                    )


def make_accounts(keystone):
    """The services' accounts, and those of the cloud's users."""
    ensure(keystone.roles, "service")  # older releases do not make it
    roles = {role.name: role for role in keystone.roles.list()}
    services = ensure(keystone.projects, "service", domain="default")
    for name, *_ in CATALOG[1:]:
        account = ensure(keystone.users, name, domain="default", password=SETTINGS.password)
        # "service" makes its token a service token.
        for role in ("admin", "service"):
            keystone.roles.grant(roles[role], user=account, project=services)
    for suffix in SUFFIXES:
        projects = {
            name: ensure(keystone.projects, name + suffix, domain="default") for name in PROJECTS
        }
        for name, project, role in GRANTS:
            account = name if name == "admin" else name + suffix
            user = ensure(keystone.users, account, domain="default", password=SETTINGS.password)
            keystone.roles.grant(roles[role], user=user, project=projects[project])


if __name__ == "__main__":
    admin = connect()
    make_catalog(admin)
    make_accounts(admin)
