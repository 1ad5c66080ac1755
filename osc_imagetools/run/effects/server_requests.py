# SPDX-License-Identifier: Apache-2.0
"""Requests that change a server.

Contract: one request each; what is to be undone is registered by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.answers import document
from osc_imagetools.run.context import RunContext


def newest_stop(context: RunContext, server_id: str) -> str | None:
    """The ID of the request that has stopped a server last; None where the cloud does not tell.

    A guest that is shut down from within counts too: Nova then stops the server itself.
    """
    path = f"/servers/{server_id}/os-instance-actions"
    try:
        actions = context.cloud.get(
            "compute", path, what=f"actions of server {server_id}", key="instanceActions"
        )
        return next((str(a["request_id"]) for a in actions if a["action"] == "stop"), None)
    except errors.Cancelled:
        raise
    except errors.ImagetoolsError:
        return None


def server_action(
    context: RunContext,
    server_id: str,
    body: Mapping[str, Any],
    wanted: str = "2.1",
    *,
    again: bool | None = None,
) -> Any:
    """An action on a server, by the newest microversion up to *wanted*; the answer's document.

    :param again: it has the same result when it is done twice.
    """
    version = context.cloud.microversion("compute", wanted)
    path = f"/servers/{server_id}/action"
    return server_request(context, "POST", path, server_id, body, version, again=again)


def server_request(
    context: RunContext,
    method: str,
    path: str,
    server_id: str,
    body: Mapping[str, Any] | None = None,
    version: str | None = None,
    *,
    again: bool | None = None,
) -> Any:
    """One request about a server; the answer's document, empty where it has none."""
    response = context.cloud.request(
        "compute", method, path, what=f"server {server_id}", json=body, microversion=version, again=again
    )
    return document(response, f"server {server_id}") if response.content else {}
