# SPDX-License-Identifier: Apache-2.0
"""Waits for Nova's and Cinder's workers, then makes flavors, volume types, quotas and networks.

Runs on each start: it makes what is missing and sets the quotas.
"""

import os
import sys
import time

import openstack

import networks
from orchestrator.settings import SUFFIXES, Settings

SETTINGS = Settings.from_environment(os.environ)
WORKERS = {"nova-conductor", "nova-scheduler", "nova-compute", "cinder-scheduler", "cinder-volume"}
# Name, root disk (GB), ephemeral disk (GB), swap (MB). A flavor without a root disk is for
# servers that boot from a volume: Nova refuses it for an image.
FLAVORS = (("tiny", 0, 0, 0), ("tiny-1g", 1, 0, 0), ("tiny-extra", 1, 1, 64))
UNLIMITED = {"volumes": -1, "snapshots": -1, "gigabytes": -1}
ENCRYPTION = {
    "provider": "luks",
    "cipher": "aes-xts-plain64",
    "key_size": 256,
    "control_location": "front-end",
}
SMALL_STORAGE = {"volumes": 1, "snapshots": 1, "gigabytes": 2}
SMALL_COMPUTE = {"instances": 1}


def connect():
    """The cloud, as its administrator."""
    config = openstack.config.OpenStackConfig(config_files=[str(SETTINGS.clouds_yaml)])
    return openstack.connection.Connection(config=config.get_one(cloud="devcloud-admin"))


def await_workers(cloud):
    """Wait until every worker reports and the hypervisor is known."""
    for _ in range(240):
        services = [
            service
            for api in (cloud.compute, cloud.block_storage)
            for service in api.get("/os-services").json()["services"]
        ]
        missing = WORKERS - {found["binary"] for found in services if found["state"] == "up"}
        if not missing and list(cloud.compute.hypervisors()):
            return
        time.sleep(0.25)
    sys.exit(f"workers are not up: {', '.join(sorted(missing)) or 'the hypervisor'}")


def make_flavors(cloud):
    """The flavors that are missing."""
    present = {flavor.name for flavor in cloud.compute.flavors()}
    for name, disk, ephemeral, swap in FLAVORS:
        if name not in present:
            cloud.compute.create_flavor(
                name=name, ram=64, vcpus=1, disk=disk, ephemeral=ephemeral, swap=swap
            )


def post(service, path, **body):
    """The answer, read. The openstacksdk of older releases knows half of Cinder's calls."""
    answer = service.post(path, json=body)
    answer.raise_for_status()
    return answer.json()


def make_volume_types(cloud):
    """The volume types that are missing; __DEFAULT__ is there from the start."""
    present = {kind.name for kind in cloud.block_storage.types()}
    for name in {"second", "luks"} - present:
        backend = {"volume_backend_name": SETTINGS.stored_in.cinder_backend}
        kind = post(
            cloud.block_storage, "/types", volume_type={"name": name, "extra_specs": backend}
        )
        if name == "luks":
            path = f"/types/{kind['volume_type']['id']}/encryption"
            post(cloud.block_storage, path, encryption=ENCRYPTION)


def set_quotas(cloud):
    """No limits on volumes, except for the project "small"."""
    # Cinder's quota options do nothing here: its migrations write 10 volumes, 10 snapshots
    # and 1000 GB into the class "default".
    cloud.block_storage.put(
        "/os-quota-class-sets/default", json={"quota_class_set": UNLIMITED}
    ).raise_for_status()
    limited = ((cloud.block_storage, SMALL_STORAGE), (cloud.compute, SMALL_COMPUTE))
    for suffix in SUFFIXES:
        small = cloud.identity.find_project(f"small{suffix}").id
        for service, limits in limited:
            service.put(f"/os-quota-sets/{small}", json={"quota_set": limits}).raise_for_status()


if __name__ == "__main__":
    admin = connect()
    await_workers(admin)
    make_flavors(admin)
    make_volume_types(admin)
    set_quotas(admin)
    networks.make(admin, SETTINGS.runs.rule_templates)
