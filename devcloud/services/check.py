# SPDX-License-Identifier: Apache-2.0
"""Uses the running cloud in every way that it is made for, and cleans up after itself.

Prints one line for each thing that was looked at, and a last one "N passed, N failed"; exits
with 1 if one failed.
"""

import functools
import json
import os
import pathlib
import sys
import tempfile
import time
import uuid

from expectations import SETTINGS, connect, expect, expect_refusal, summary, until
from orchestrator import guest, taps

if SETTINGS.storage == "ceph":
    import clones  # needs Ceph's bindings

NAME = f"check-{uuid.uuid4().hex[:6]}"
ACCOUNTS = (
    "admin",
    "demo",
    "other",
    "demo-admin",
    "both-other",
    "reader",
    "small",
    "novolume",
    "novolume-admin",
    "novolume-other",
)
FLAVORS = {}
STORAGE = SETTINGS.stored_in


def upload(cloud, disk, store):
    """An image in one of the two stores."""
    image = cloud.image.create_image(
        name=f"{NAME}-{store}", disk_format="raw", container_format="bare"
    )
    with disk.open("rb") as data:
        cloud.image.put(
            f"/images/{image.id}/file",
            data=data,
            headers={"Content-Type": "application/octet-stream", "X-Image-Meta-Store": store},
        ).raise_for_status()
    return cloud.image.get_image(image.id)


def volume(cloud, what, **options):
    """A volume of 1 GB that is ready."""
    made = cloud.block_storage.create_volume(name=NAME, size=1, **options)
    return until(what, lambda: cloud.block_storage.get_volume(made.id), "available")


def server(cloud, what, flavor, networks="none", **source):
    """A server that runs and has been heard on its serial console."""
    made = cloud.compute.create_server(
        name=NAME, flavor_id=FLAVORS[flavor], networks=networks, **source
    )
    until(what, lambda: cloud.compute.get_server(made.id), "active")
    console = ""
    for _ in range(50):
        console = cloud.compute.get_server_console_output(made.id)["output"]
        if guest.WROTE in console:
            break
        time.sleep(0.3)
    expect(
        f"{what} boots and writes to its disk",
        (guest.BOOTED in console, guest.WROTE in console),
        (True, True),
    )
    return made


def newest_version(cloud, service, key):
    """The newest version that an API says it knows."""
    answer = cloud.session.get(f"{SETTINGS.url(service)}/", authenticated=False, raise_exc=False)
    versions = [version[key].lstrip("v") for version in answer.json()["versions"]]
    return max(
        versions, key=lambda text: [int(part or 0) for part in text.split(".")] if text else []
    )


def check_versions(cloud):
    """The release, as clients can tell it, or what it is limited to."""
    wanted = SETTINGS.runs
    for service, key, limit, newest in (
        ("nova", "version", SETTINGS.nova_max, wanted.nova),
        ("cinder", "version", SETTINGS.cinder_max, wanted.cinder),
        ("glance", "id", SETTINGS.glance_max, wanted.glance),
    ):
        expect(
            f"{service}'s newest version, {limit or newest}",
            newest_version(cloud, service, key),
            limit or newest,
        )


def check_accounts(cloud):
    """Who may do what, where."""
    projects = {name: connect(name).current_project_id for name in ACCOUNTS}
    expect(
        "projects of the accounts",
        [
            projects["demo-admin"]
            == projects["demo"]
            == projects["reader"]
            == projects["novolume"],
            projects["both-other"] == projects["other"] == projects["novolume-other"],
            len(set(projects.values())),
        ],
        [True, True, 4],
    )
    reader = connect("reader")
    expect_refusal(
        "the reader makes no volume", lambda: reader.block_storage.create_volume(size=1), 403
    )
    small = connect("small")
    kept = volume(small, "the small project's volume")
    expect_refusal(
        "the small project gets no second one",
        lambda: small.block_storage.create_volume(size=1),
        413,
    )
    small.block_storage.delete_volume(kept.id)
    session = connect("novolume").session
    kind = SETTINGS.runs.volume_service
    catalog = session.auth.get_access(session).service_catalog
    expect(
        "regions that have block storage",
        [
            bool(catalog.get_urls(service_type=kind, region_name=region))
            for region in (SETTINGS.region, SETTINGS.novolume_region)
        ],
        [True, False],
    )
    expect(
        "volume types",
        sorted(kind.name for kind in cloud.block_storage.types()),
        ["__DEFAULT__", "luks", "second"],
    )


def check_stores(cloud, disk):
    """Two stores: one serves ranges, the other refuses them. Gives the image in the default one."""
    images = {}
    for store, status in ((STORAGE.serves_ranges, 206), (STORAGE.refuses_ranges, 400)):
        images[store] = image = upload(cloud, disk, store)
        path = f"/images/{image.id}/file"
        told = None if SETTINGS.glance_max else store
        expect(f"{store}: the image's store", image.properties.get("stores"), told)
        expect(f"{store}: download", cloud.image.get(path).content == disk.read_bytes(), True)
        part = cloud.image.get(path, headers={"Range": "bytes=512-1023"}, raise_exc=False)
        expect(f"{store}: a range is {status}", part.status_code, status)
    kept = images.pop(STORAGE.glance_default)
    for image in images.values():
        cloud.image.delete_image(image.id)
    return kept


def addresses(cloud, made):
    """A server's addresses, for each network and kind."""
    return {
        (name, address["OS-EXT-IPS:type"]): address["addr"]
        for name, found in cloud.compute.get_server(made.id).addresses.items()
        for address in found
    }


def check_networks(cloud, made):
    """A server on the network "private" has an address there, and can have others."""
    port = next(cloud.network.ports(device_id=made.id))
    device = pathlib.Path("/sys/class/net", taps.device_name(port.id))
    wanted = {("private", "fixed"): port.fixed_ips[0]["ip_address"]}
    expect("its address on the network", addresses(cloud, made), wanted)
    expect("its port and its device", (port.status, device.exists()), ("ACTIVE", True))
    groups = [cloud.network.get_security_group(found) for found in port.security_group_ids]
    expect(
        "its security group, and the rules in it",
        [(group.name, len(group.security_group_rules)) for group in groups],
        [("default", 4)],
    )
    outside = cloud.network.find_network("public")
    floating = cloud.network.create_ip(floating_network_id=outside.id, port_id=port.id)
    wanted["private", "floating"] = floating.floating_ip_address
    deadline = time.monotonic() + 30
    while addresses(cloud, made) != wanted and time.monotonic() < deadline:
        time.sleep(0.3)
    expect("and with a floating one", addresses(cloud, made), wanted)
    second = cloud.network.create_port(network_id=cloud.network.find_network("private2").id)
    cloud.compute.create_server_interface(made.id, port_id=second.id)
    wanted["private2", "fixed"] = second.fixed_ips[0]["ip_address"]
    expect("and on a second network", addresses(cloud, made), wanted)
    cloud.network.delete_ip(floating.id)
    return port, second, device


def boot_from(root):
    """The block device mapping of a server that boots from a volume."""
    kind = {"source_type": "volume", "destination_type": "volume"}
    return {"uuid": root.id, "boot_index": 0, **kind}


def check_servers(cloud, image):
    """Servers booted from an image and from a volume, and images of both."""
    storage = cloud.block_storage
    private = [{"uuid": cloud.network.find_network("private").id}]
    first = server(cloud, "server from an image", "tiny-extra", private, image_id=image.id)
    own, given, device = check_networks(cloud, first)
    made = cloud.compute.create_server_image(first.id, f"{NAME}-1")
    taken = until("image of it", lambda: cloud.image.get_image(made.id), "active")
    expect("its size is that of real data", taken.size > guest.MIB, True)

    root = volume(cloud, "volume from an image", image_id=image.id)
    data = volume(cloud, "second volume", volume_type="second")
    second = server(
        cloud,
        "server from a volume",
        "tiny",
        block_device_mapping=[boot_from(root)],
    )
    cloud.compute.create_volume_attachment(second.id, volume_id=data.id)
    until("attached volume", lambda: storage.get_volume(data.id), "in-use")
    made = cloud.compute.create_server_image(second.id, f"{NAME}-2")
    empty = until("image of it", lambda: cloud.image.get_image(made.id), "active")
    mapping = json.loads(empty.properties["block_device_mapping"])
    expect("its size and snapshots", (empty.size, len(mapping)), (0, 2))
    snapshots = [entry["snapshot_id"] for entry in mapping]
    for snapshot in snapshots:
        until("snapshot", functools.partial(storage.get_snapshot, snapshot), "available")

    for thing in (first, second):
        cloud.compute.delete_server(thing.id)
    for thing in (first, second):
        cloud.compute.wait_for_delete(thing, interval=0.3)
    expect(
        "of a deleted server's ports and devices there are left",
        ([port.id for port in (own, given) if cloud.network.find_port(port.id)], device.exists()),
        ([given.id], False),
    )
    cloud.network.delete_port(given.id)
    for snapshot in snapshots:
        storage.delete_snapshot(snapshot)
        storage.wait_for_delete(storage.get_snapshot(snapshot), interval=0.3)
    for thing in (taken, empty):
        cloud.image.delete_image(thing.id)
    for thing in (root, data):
        storage.delete_volume(thing.id)


def check_volume_images(cloud, image):
    """A volume from an image, and its upload to another; on Ceph, whose copies are clones."""
    storage = cloud.block_storage
    source = volume(cloud, "volume from an image", image_id=image.id)
    snapshot = storage.create_snapshot(volume_id=source.id, name=NAME)
    until("snapshot of it", lambda: storage.get_snapshot(snapshot.id), "available")
    second = volume(cloud, "volume from the snapshot", snapshot_id=snapshot.id)
    if SETTINGS.storage == "ceph":
        expect(
            "of what these are clones",
            [clones.parent(SETTINGS, made.id) for made in (source, second)],
            [("images", image.id), ("volumes", f"volume-{source.id}")],
        )
    uploaded = upload_volume(cloud, second, "qcow2")
    expect("its size is that of real data", uploaded.size > guest.MIB, True)
    cloud.image.delete_image(uploaded.id)
    storage.delete_volume(second.id)
    storage.wait_for_delete(second, interval=0.3)
    storage.delete_snapshot(snapshot.id)
    storage.wait_for_delete(snapshot, interval=0.3)
    storage.delete_volume(source.id)


def upload_volume(cloud, source, disk_format):
    """The image that Cinder made of a volume."""
    answer = cloud.block_storage.post(
        f"/volumes/{source.id}/action",
        json={
            "os-volume_upload_image": {
                "image_name": NAME,
                "disk_format": disk_format,
                "container_format": "bare",
            }
        },
    )
    image = answer.json()["os-volume_upload_image"]["image_id"]
    found = until("image of it", lambda: cloud.image.get_image(image), "active")
    until("uploaded volume", lambda: cloud.block_storage.get_volume(source.id), "available")
    return found


def check_encryption(cloud, image):
    """An encrypted volume, and its upload; and where that works, a server that boots from one."""
    source = volume(cloud, "encrypted volume", volume_type="luks")
    expect("it is encrypted", source.is_encrypted, True)
    uploaded = upload_volume(cloud, source, "raw")
    expect("it names its key", "cinder_encryption_key_id" in uploaded.properties, True)
    with cloud.image.get(f"/images/{uploaded.id}/file", stream=True) as answer:
        expect("it is a LUKS container", answer.raw.read(4), b"LUKS")
    cloud.image.delete_image(uploaded.id)
    cloud.block_storage.delete_volume(source.id)
    if STORAGE.attaches_encrypted:
        root = volume(cloud, "encrypted from an image", volume_type="luks", image_id=image.id)
        made = server(cloud, "server from it", "tiny", block_device_mapping=[boot_from(root)])
        cloud.compute.delete_server(made.id)
        cloud.compute.wait_for_delete(made, interval=0.3)
        cloud.block_storage.delete_volume(root.id)


def check_objects(cloud):
    """The object store."""
    data = os.urandom(1000)
    cloud.object_store.create_container(NAME)
    cloud.object_store.upload_object(NAME, "object", data=data)
    expect("an object", cloud.object_store.download_object("object", NAME), data)
    cloud.object_store.delete_object("object", container=NAME)
    cloud.object_store.delete_container(NAME)


def main():
    """Check all."""
    cloud = connect("demo")
    FLAVORS.update((flavor.name, flavor.id) for flavor in cloud.compute.flavors())
    print(f"release {SETTINGS.release}, storage {SETTINGS.storage}")
    check_versions(cloud)
    check_accounts(cloud)
    with tempfile.TemporaryDirectory(prefix="devcloud-check-") as folder:
        disk = pathlib.Path(folder) / "guest.raw"
        guest.write_disk(disk, mebibytes=16)
        image = check_stores(cloud, disk)
    check_servers(cloud, image)
    check_volume_images(cloud, image)
    check_encryption(cloud, image)
    if SETTINGS.swift:
        check_objects(cloud)
    cloud.image.delete_image(image.id)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
