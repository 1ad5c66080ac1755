# SPDX-License-Identifier: Apache-2.0
"""What to type for a server: commands that the one who reads it can run as they stand.

Contract: pure. What ``server export-full`` refuses (``plan/server_export.py``, ``plan/export.py``) is not
suggested. For what belongs to another project than that of the login a command says which: an export makes
its temporary resources there, and lists show the own project otherwise.
"""

from __future__ import annotations

import shlex

from osc_imagetools.backup_check.bundles import BundleCopy
from osc_imagetools.backup_check.fleet import Fleet, FleetVolume
from osc_imagetools.backup_check.plan_case import ServerCase
from osc_imagetools.backup_check.plan_copies import SHELVED
from osc_imagetools.cloud.states import VOLUME_USABLE
from osc_imagetools.export.plan_server import SNAPSHOT_STATES


def openstack(fleet: Fleet, project: str | None, *, region: bool = False) -> str:
    """``openstack``, with the options to be in that project, and in the region with the volumes."""
    words = ["openstack"]
    if is_foreign(fleet, project):
        words.append(f"--os-project-id {project}")
    if region:
        words.append("--os-region-name <region>")
    return " ".join(words)


def is_foreign(fleet: Fleet, project: str | None) -> bool:
    """Whether it is another project than that of the login, as far as both are known."""
    return None not in (project, fleet.login_project) and project != fleet.login_project


def export(case: ServerCase) -> str:
    """What gets a server out of the cloud: at once, or else its volumes and what lets the rest follow."""
    server, fleet = case.server, case.fleet
    far = not fleet.block_storage and (case.boots_from_volume or bool(server.volumes))
    command = f"{openstack(fleet, server.project_id, region=far)} server export-full"
    if far:
        return f"{command} {server.id}"
    usable = [volume for _, volume in case.volumes if volume.status in VOLUME_USABLE]
    if not _obstacle(case, usable):
        encrypted = " --allow-encrypted" if any(volume.encrypted for volume in usable) else ""
        return f"{command}{encrypted} {server.id}"
    commands = [_export_volume(case, volume) for volume in usable]
    if not (commands and case.boots_from_volume):
        commands.append(_obstacle(case, usable))
    return "; ".join(commands)


def restore_check(case: ServerCase, bundle: BundleCopy) -> str:
    """What proves that a bundle boots."""
    where = f" --repository {shlex.quote(bundle.repository)}" if bundle.repository else ""
    command = f"{openstack(case.fleet, case.server.project_id)} server restore-check"
    return f"{command} {shlex.quote(bundle.path)}{where}"


def _obstacle(case: ServerCase, usable: list[FleetVolume]) -> str:
    """The command that deals with what keeps a server from being exported; empty where nothing does."""
    server = case.server
    show = f"openstack server show {server.id}"
    if server.task_state:
        return f"{show} -c OS-EXT-STS:task_state"
    if server.status in SHELVED:
        return f"openstack server unshelve {server.id}"
    if server.status == "ERROR":
        return f"{show} -c fault"
    if server.status not in SNAPSHOT_STATES:
        return show
    if len(usable) == len(server.volumes):
        return ""
    if case.boots_from_volume:
        return f"openstack server volume list {server.id}"
    return f"openstack server image create {server.id}"


def _export_volume(case: ServerCase, volume: FleetVolume) -> str:
    encrypted = " --allow-encrypted" if volume.encrypted else ""
    return f"{openstack(case.fleet, volume.project_id)} volume export-full{encrypted} {volume.id}"


def list_attachments(fleet: Fleet, volume: FleetVolume) -> str:
    """Which attachments a volume has, to delete the one that is too much."""
    every = " --all-projects" if is_foreign(fleet, volume.project_id) else ""
    return f"openstack --os-volume-api-version 3.27 volume attachment list{every} --volume-id {volume.id}"


def list_messages(case: ServerCase, volume: FleetVolume) -> str:
    """What Cinder says of a volume."""
    project = f" --project {volume.project_id}" if is_foreign(case.fleet, volume.project_id) else ""
    return f"openstack --os-volume-api-version 3.3 volume message list{project} | grep {volume.id}"


def show_quota(case: ServerCase) -> str:
    """What is used of a quota; the limits of another project Cinder tells by its quota only."""
    project = case.server.project_id
    if is_foreign(case.fleet, project):
        return f"openstack quota show --usage {project}"
    return "openstack limits show --absolute"
