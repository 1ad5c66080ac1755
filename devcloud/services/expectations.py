# SPDX-License-Identifier: Apache-2.0
"""What check.py is written with: accounts, comparisons that are counted, and waiting."""

import os
import time

import openstack
from openstack import exceptions

from orchestrator.settings import Settings

SETTINGS = Settings.from_environment(os.environ)
CONFIG = openstack.config.OpenStackConfig(config_files=[str(SETTINGS.clouds_yaml)])
RESULTS = {"passed": 0, "failed": 0}


def connect(name):
    """One account of clouds.yaml."""
    return openstack.connection.Connection(config=CONFIG.get_one(cloud=f"devcloud-{name}"))


def expect(what, found, wanted):
    """Compare, count and tell."""
    passed = found == wanted
    RESULTS["passed" if passed else "failed"] += 1
    print(f"ok    {what}" if passed else f"FAIL  {what}: {found!r}, not {wanted!r}", flush=True)


def expect_refusal(what, call, status):
    """The call must be refused with this HTTP status."""
    try:
        call()
        expect(what, "not refused", status)
    except exceptions.HttpException as error:
        expect(what, error.status_code, status)


def until(what, get, wanted):
    """Poll until a status is reached; gives the thing."""
    deadline = time.monotonic() + 180
    while True:
        thing = get()
        status = thing.status.lower()
        if status == wanted or "error" in status or time.monotonic() > deadline:
            expect(f"{what} is {wanted}", status, wanted)
            return thing
        time.sleep(0.3)


def summary():
    """Tell the counts; the exit code."""
    print(f"{RESULTS['passed']} passed, {RESULTS['failed']} failed")
    return 1 if RESULTS["failed"] else 0
