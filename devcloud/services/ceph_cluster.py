# SPDX-License-Identifier: Apache-2.0
"""Talks to Ceph's monitor: one process, because each call of the "ceph" command costs a second.

ceph_cluster.py osd UUID    registers the first OSD
ceph_cluster.py pools       waits for the OSD, makes the pools, waits until they have room
"""

import json
import os
import sys
import time

import rados

from orchestrator.settings import Settings

SETTINGS = Settings.from_environment(os.environ)
POOLS = ("images", "volumes", "vms")
SECONDS = 60


def connect():
    """The cluster, as soon as its monitor answers."""
    cluster = rados.Rados(conffile=str(SETTINGS.conf / "ceph.conf"), rados_id="admin")
    cluster.connect(timeout=SECONDS)
    return cluster


def ask(cluster, command, **arguments):
    """What the monitor answers to one command, read as JSON if it is."""
    question = json.dumps({"prefix": command, "format": "json", **arguments})
    code, answer, error = cluster.mon_command(question, b"")
    if code:
        sys.exit(f"{command}: {code} {error}")
    return json.loads(answer) if answer.strip() else None


def wait(what, is_so):
    """Ask again and again."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"after {SECONDS} s: {what}")
        time.sleep(0.1)


def make_pools(cluster):
    """Those that are missing."""
    wait("the OSD is not up", lambda: ask(cluster, "osd stat")["num_up_osds"])
    for pool in sorted(set(POOLS) - set(cluster.list_pools())):
        ask(cluster, "osd pool create", pool=pool, pg_num=8, pgp_num=8, size=1)
        ask(cluster, "osd pool application enable", pool=pool, app="rbd")

    def all_have_room():
        room = {pool["name"]: pool["stats"]["max_avail"] for pool in ask(cluster, "df")["pools"]}
        return all(room.get(pool) for pool in POOLS)

    wait("the pools have no room", all_have_room)


def main(what, *arguments):
    """Do what the command line says."""
    cluster = connect()
    if what == "osd":
        ask(cluster, "osd new", uuid=arguments[0], id=0)
    else:
        make_pools(cluster)


if __name__ == "__main__":
    main(*sys.argv[1:])
