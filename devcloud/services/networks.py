# SPDX-License-Identifier: Apache-2.0
"""The networks that each cloud has from the start: makes what is missing.

``private`` and ``private2`` of the project demo, ``private`` of the project other, and ``public``,
which is external; a router between ``public`` and demo's ``private``, so that demo's servers there
can have floating addresses. The same for each set of projects.
"""

from orchestrator.settings import SUFFIXES

# Project, network, second byte of its addresses; the third is the number of the set.
TENANT_NETWORKS = (("demo", "private", 10), ("demo", "private2", 20), ("other", "private", 30))
# Set aside for documentation: nobody has them.
PUBLIC_ADDRESSES = "203.0.113.0/24"
# The rules of a new security group: all may leave; into a project's group "default", and no other,
# what comes from the same group. Direction, remote group, is it for groups that a user makes?
GROUP_RULES = (("egress", None, True), ("ingress", "PARENT", False))


def make(cloud, rule_templates):
    """All of it, as the administrator; rule templates only where Neutron has them."""
    _make_rule_templates(cloud.network, rule_templates)
    owners = {project.name: project.id for project in cloud.identity.projects()}
    network = cloud.network
    present = {(found.project_id, found.name): found for found in network.networks()}
    subnets = {found.network_id: found for found in network.subnets()}

    def ensure(project, name, addresses, **more):
        owner = owners[project]
        found = present.get((owner, name)) or network.create_network(
            name=name, project_id=owner, **more
        )
        # On an external network no addresses are handed to guests.
        return subnets.get(found.id) or network.create_subnet(
            name=name,
            project_id=owner,
            network_id=found.id,
            ip_version=4,
            cidr=addresses,
            is_dhcp_enabled=not found.is_router_external,
        )

    outside = ensure(
        "admin",
        "public",
        PUBLIC_ADDRESSES,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="public",
    )
    for number, suffix in enumerate(SUFFIXES):
        inside, *_ = [
            ensure(project + suffix, name, f"10.{byte}.{number}.0/24")
            for project, name, byte in TENANT_NETWORKS
        ]
        _make_router(network, owners[f"demo{suffix}"], outside, inside)


def _make_rule_templates(network, rule_templates):
    """What Neutron copies into new security groups; its migrations, not run here, write these.

    Older releases have the rules in their code.
    A project's group "default" is made with its first network: these come before.
    """
    if not rule_templates or list(network.default_security_group_rules()):
        return
    for direction, remote, for_all in GROUP_RULES:
        for ether_type in ("IPv4", "IPv6"):
            network.create_default_security_group_rule(
                direction=direction,
                ether_type=ether_type,
                remote_group_id=remote,
                used_in_default_sg=True,
                used_in_non_default_sg=for_all,
            )


def _make_router(network, owner, outside, inside):
    """Floating addresses are for ports that a router connects with an external network."""
    router = next(network.routers(name="router", project_id=owner), None)
    if not router:
        router = network.create_router(
            name="router",
            project_id=owner,
            external_gateway_info={"network_id": outside.network_id},
        )
    if not list(network.ports(device_id=router.id, network_id=inside.network_id)):
        network.add_interface_to_router(router, subnet_id=inside.id)
