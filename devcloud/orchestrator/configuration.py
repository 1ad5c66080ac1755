# SPDX-License-Identifier: Apache-2.0
"""Renders the templates in ``conf/`` into the state directory.

Contract: ``render(name, settings)`` gives a template's text with every ``$name`` replaced; an
unknown name is an error, so nothing unresolved can be written. ``write(settings)`` makes the
directories and writes all files. It can run again and again: nothing in it is random except
libvirt's host id, which is made once.
"""

from __future__ import annotations

import pathlib
import shutil
import string
import typing
import uuid

from orchestrator import ceph
from orchestrator import settings as settings_module
from orchestrator.settings import Settings

# libvirt reads this one from where it was compiled to look for it: the only file that the
# cloud writes outside its state directory.
QEMU_CONF = pathlib.Path("/etc/libvirt/qemu.conf")
QEMU_CONF_MARK = "# Written by osc-imagetools' devcloud"

SERVICE_FILES = (
    "keystone.conf",
    "placement.conf",
    "glance-api.conf",
    "cinder.conf",
    "nova.conf",
    "neutron.conf",
    "libvirtd.conf",
)
# In the folder of the storage in ``conf/``: files, and what is put into those above.
STORAGE_FILES = {"file": ("nfs_shares",), "ceph": ("ceph.conf",)}
INCLUDED = {
    "glance_store_sections": "glance-stores",
    "cinder_backend": "cinder-backend",
    "nova_disks": "nova-disks",
}
SWIFT_FILES = ("swift.conf", "swift-proxy.conf")
SWIFT_NODES = ("account", "container", "object")
DATABASES = (
    "keystone",
    "placement",
    "glance",
    "cinder",
    "neutron",
    "nova_api",
    "nova_cell0",
    "nova_cell1",
)
CEPH_PORTS = 20
CEPH_BYTES = 100 << 30  # of the sparse file
# Accounts with which the services talk to each other.
SERVICE_ACCOUNTS = ("glance", "cinder", "nova", "placement", "neutron", "swift")

PUBLIC_DIRECTORIES = (
    "conf",
    "log",
    "run",
    "lock",
    "databases",
    "images",
    "images-rbdlike",
    "staging",
    "tasks",
    "share",
    "mounts/cinder",
    "mounts/nova",
    "instances",
    "conversion",
    "glance",
    "cinder",
    "nova",
    "neutron",
    "libvirt",
    "swift/node/disk",
)
PRIVATE_DIRECTORIES = ("fernet", "credential")


def write(settings: Settings) -> None:
    """Make the directories and write every configuration file."""
    for name in PUBLIC_DIRECTORIES:
        (settings.state / name).mkdir(parents=True, exist_ok=True)
    for name in PRIVATE_DIRECTORIES:
        (settings.state / name).mkdir(mode=0o700, exist_ok=True)
    host_id = settings.state / "libvirt" / "host_uuid"
    if not host_id.exists():
        host_id.write_text(str(uuid.uuid4()))
    for name in SERVICE_FILES:
        (settings.conf / name).write_text(
            render(name, settings, libvirt_host_uuid=host_id.read_text())
        )
    # Older Glances want it beside their configuration file.
    paste = settings.venv / "etc" / "glance" / "glance-api-paste.ini"
    shutil.copyfile(paste, settings.conf / paste.name)
    for name in STORAGE_FILES[settings.storage]:
        (settings.conf / name).write_text(
            render(f"{settings.storage}/{name}", settings, ceph_fsid=ceph.fsid(settings))
        )
    if settings.swift:
        for name in SWIFT_FILES:
            (settings.conf / name).write_text(render(name, settings))
        for kind in SWIFT_NODES:
            (settings.conf / f"swift-{kind}.conf").write_text(
                render("swift-node.conf", settings, kind=kind)
            )
    for suffix in settings_module.SUFFIXES:
        path = settings.clouds_yaml.with_stem(settings.clouds_yaml.stem + suffix)
        path.write_text(render("clouds.yaml", settings, suffix=suffix))
    _write_qemu_conf(settings)


def render(name: str, settings: Settings, **more: str) -> str:
    """The text of one template."""
    values = {**_values(settings), **more}
    for key, part in INCLUDED.items():
        values[key] = _substitute(f"{settings.storage}/{part}", values).rstrip("\n")
    return _substitute(name, values)


def _substitute(name: str, values: typing.Mapping[str, str]) -> str:
    template = string.Template((settings_module.TEMPLATES / name).read_text())
    return template.substitute(values)


def database(settings: Settings, name: str) -> str:
    """The address of one database. The timeout is for a write that waits for another one."""
    return f"sqlite:///{settings.databases}/{name}.sqlite?timeout=60"


def remove_qemu_conf() -> None:
    """Undo what ``write`` did outside the state directory."""
    if _is_ours(QEMU_CONF):
        QEMU_CONF.unlink()
        if _kept_qemu_conf().exists():
            _kept_qemu_conf().rename(QEMU_CONF)


def _write_qemu_conf(settings: Settings) -> None:
    if QEMU_CONF.exists() and not _is_ours(QEMU_CONF):
        QEMU_CONF.rename(_kept_qemu_conf())
    QEMU_CONF.parent.mkdir(exist_ok=True)
    QEMU_CONF.write_text(render("qemu.conf", settings, mark=QEMU_CONF_MARK))


def _is_ours(path: pathlib.Path) -> bool:
    return path.exists() and path.read_text().startswith(QEMU_CONF_MARK)


def _kept_qemu_conf() -> pathlib.Path:
    return QEMU_CONF.with_name("qemu.conf.before-devcloud")


def _values(settings: Settings) -> typing.Mapping[str, str]:
    """What the templates may name."""
    stored_in = settings.stored_in
    values = {
        "state": str(settings.state),
        "conf": str(settings.conf),
        "etc": str(settings.venv / "etc"),
        "host": settings.host,
        "auth_url": settings.auth_url,
        "keystone_url": settings.url("keystone"),
        "glance_url": settings.url("glance"),
        "cinder_port": str(settings.cinder_port),
        "neutron_port": str(settings.neutron_port),
        "web_port": str(settings.web_port),
        "region": settings.region,
        "novolume_region": settings.novolume_region,
        "password": settings.password,
        "token_expiration": str(settings.token_expiration),
        "volume_key": settings.volume_key,
        "force_upload": str(settings.force_upload),
        "qcow2_volumes": str(settings.qcow2_volumes),
        "snapshot_format": settings.snapshot_format,
        "glance_stores": ",".join(f"{name}:{name}" for name in stored_in.glance_stores),
        "glance_default_store": stored_in.glance_default,
        "glance_direct_url": str(settings.storage == "ceph"),
        "glance_locations": str(settings.storage == "ceph" and not settings.runs.locations_api),
        "cinder_backend_name": stored_in.cinder_backend,
        "volume_service": settings.runs.volume_service,
        "nova_port": str(settings.nova_port),
        "ceph_monitor_port": str(settings.ceph_monitor_port),
        "ceph_port": str(settings.ceph_port),
        "ceph_last_port": str(settings.ceph_port + CEPH_PORTS - 1),
        "ceph_bytes": str(CEPH_BYTES),
    }
    for name in DATABASES:
        values[f"database_{name}"] = database(settings, name)
    for name in SERVICE_ACCOUNTS:
        values[f"account_{name}"] = _account(settings, name)
        values[f"token_check_{name}"] = _token_check(settings, name)
    return values


def _account(settings: Settings, name: str) -> str:
    """Options with which a service logs in to Keystone."""
    return "\n".join(
        (
            "auth_type = password",
            f"auth_url = {settings.auth_url}",
            f"username = {name}",
            f"password = {settings.password}",
            "project_name = service",
            "user_domain_name = Default",
            "project_domain_name = Default",
            f"region_name = {settings.region}",
        )
    )


def _token_check(settings: Settings, name: str) -> str:
    """Options with which a service checks its callers' tokens."""
    return "\n".join(
        (
            _account(settings, name),
            f"www_authenticate_uri = {settings.auth_url}",
            # Deleting an attachment, for one, is refused to a caller without a service token.
            "service_token_roles = service",
            "service_token_roles_required = true",
        )
    )
