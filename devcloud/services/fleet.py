# SPDX-License-Identifier: Apache-2.0
"""Fills the running cloud with as many servers as wanted, or removes them: ``fleet.py COUNT``.

Two real servers of the project demo are made over the API, once, and copied by turns as rows
(``orchestrator/fleet.py``), for the projects demo and other:

    fleet-a   boots from an image; an ephemeral disk and swap, an attached volume with a snapshot;
              an image of it
    fleet-b   boots from a volume, with a second one attached; an image of it, which is 0 bytes and
              has a snapshot of each volume

So for each two servers there are three volumes, three snapshots and two images. COUNT is what there
is afterwards: copies are added; for fewer all of them are removed first. With 0 the two servers
go too, and everything that belongs to them.
"""

import os
import pathlib
import sys
import tempfile
import time

import openstack

from orchestrator import fleet, guest, steps
from orchestrator.settings import Settings

SETTINGS = Settings.from_environment(os.environ)
CONFIG = openstack.config.OpenStackConfig(config_files=[str(SETTINGS.clouds_yaml)])
BASE, FIRST, SECOND = "fleet-base", "fleet-a", "fleet-b"
POLL = 0.3


def connect(name):
    """One account of clouds.yaml."""
    return openstack.connection.Connection(config=CONFIG.get_one(cloud=f"devcloud-{name}"))


def volume(cloud, name, **options):
    """A volume of 1 GB that is ready."""
    made = cloud.block_storage.create_volume(name=name, size=1, **options)
    return cloud.block_storage.wait_for_status(made, "available", interval=POLL)


def server(cloud, name, flavor, **source):
    """A server that runs."""
    made = cloud.compute.create_server(
        name=name,
        flavor_id=cloud.compute.find_flavor(flavor).id,
        networks="none",
        metadata={"role": "web"},
        **source,
    )
    return cloud.compute.wait_for_server(made, interval=POLL)


def attach(cloud, made, disk):
    """Attach a volume."""
    cloud.compute.create_volume_attachment(made.id, volume_id=disk.id)
    cloud.block_storage.wait_for_status(disk, "in-use", interval=POLL)


def copy_of(cloud, made, disks):
    """An image of a server, complete with the snapshots of its volumes; its id."""
    image = cloud.compute.create_server_image(made.id, made.name)
    cloud.image.wait_for_status(cloud.image.get_image(image.id), "active", interval=POLL)
    for disk in disks:
        for snapshot in list(cloud.block_storage.snapshots(volume_id=disk.id)):
            cloud.block_storage.wait_for_status(snapshot, "available", interval=POLL)
    return image.id


def make_originals(cloud):
    """The two servers and all that belongs to them; gives their ids and those of their images."""
    with tempfile.TemporaryDirectory(prefix="devcloud-fleet-") as folder:
        disk = pathlib.Path(folder) / "guest.raw"
        guest.write_disk(disk, mebibytes=16)
        image = cloud.image.create_image(
            name=BASE, filename=str(disk), disk_format="raw", container_format="bare"
        )
    first = server(cloud, FIRST, "tiny-extra", image_id=image.id)
    data = volume(cloud, f"{FIRST}-data")
    attach(cloud, first, data)
    cloud.compute.put(
        f"/servers/{first.id}/tags", json={"tags": ["fleet"]}, microversion="2.26"
    ).raise_for_status()
    cloud.block_storage.create_snapshot(volume_id=data.id, name=data.name, is_forced=True)
    root = volume(cloud, f"{SECOND}-root", image_id=image.id)
    mapping = {"source_type": "volume", "destination_type": "volume", "boot_index": 0}
    second = server(cloud, SECOND, "tiny", block_device_mapping=[mapping | {"uuid": root.id}])
    more = volume(cloud, f"{SECOND}-data", volume_type="second")
    attach(cloud, second, more)
    return [
        (first.id, [copy_of(cloud, first, [data])]),
        (second.id, [copy_of(cloud, second, [root, more])]),
    ]


def find_originals(cloud):
    """What ``make_originals`` gave; None unless all of it is there."""
    found = []
    for name in (FIRST, SECOND):
        servers = [made.id for made in cloud.compute.servers(name=f"^{name}$", status="ACTIVE")]
        images = [image.id for image in cloud.image.images(name=name, status="active")]
        if (len(servers), len(images)) != (1, 1):
            return None
        found.append((servers[0], images))
    return found


def remove_originals(cloud):
    """Remove all that ``make_originals`` made, or had made when it was cut short."""
    for made in list(cloud.compute.servers(name=r"^fleet-[ab]$")):
        cloud.compute.delete_server(made.id)
        cloud.compute.wait_for_delete(made, interval=POLL)
    for name in (FIRST, SECOND, BASE):
        for image in list(cloud.image.images(name=name)):
            cloud.image.delete_image(image.id)
    storage = cloud.block_storage
    volumes = [
        disk for disk in storage.volumes() if disk.name.startswith((f"{FIRST}-", f"{SECOND}-"))
    ]
    ids = {disk.id for disk in volumes}
    for snapshot in [found for found in storage.snapshots() if found.volume_id in ids]:
        storage.delete_snapshot(snapshot.id)
        storage.wait_for_delete(snapshot, interval=POLL)
    for disk in volumes:
        storage.delete_volume(disk.id)
        storage.wait_for_delete(disk, interval=POLL)


def main(count):
    """Make it so many."""
    demo = connect("demo")
    with fleet.Fleet(SETTINGS.databases) as rows:
        if count < rows.count():
            rows.remove()
            steps.say("the copies are removed")
        if count == 0:
            remove_originals(demo)
            return
        originals = find_originals(demo)
        if not originals:
            rows.remove()
            remove_originals(demo)
            originals = make_originals(demo)
            steps.say("two real servers are made")
        projects = [connect(name).current_project_id for name in ("demo", "other")]
        read = [rows.original(*ids) for ids in originals]
        started = time.monotonic()
        made = rows.add(read, projects, count - rows.count())
        steps.say(f"{made} rows in {time.monotonic() - started:.1f} s: {count} servers more")


if __name__ == "__main__":
    main(int(sys.argv[1]))
