# SPDX-License-Identifier: Apache-2.0
"""Finding a flavor.

Contract: reads only. Source: https://docs.openstack.org/api-ref/compute/#flavors
"""

from __future__ import annotations

from urllib.parse import quote

from osc_imagetools import errors
from osc_imagetools.cloud.connection import Cloud


def find_flavor_id(cloud: Cloud, name_or_id: str) -> str:
    """The ID of the flavor with this ID, which can be any text, or else with this name.

    :raises errors.ResourceNotFound: there is none; names of flavors are unique.
    """
    what = f"flavor {name_or_id}"
    try:
        path = f"/flavors/{quote(name_or_id, safe='')}"
        return str(cloud.get("compute", path, what=what, key="flavor")["id"])
    except errors.ResourceNotFound:
        # None: those of administrators too.
        listed = cloud.list(
            "compute", "/flavors", "flavors", what="list of flavors", params={"is_public": "None"}
        )
        for document in listed:
            if document.get("name") == name_or_id:
                return str(document["id"])
        raise
