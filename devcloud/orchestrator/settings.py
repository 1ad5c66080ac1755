# SPDX-License-Identifier: Apache-2.0
"""Every choice about the cloud, in one place.

Contract: ``Settings.from_environment(environ)`` is the only way in which anything learns a
port, a path, a name or a password. Each field can be set from the environment, as
``DEVCLOUD_`` and its name in capitals. The orchestrator and the programs in ``services/``
read the same environment, so that both see the same settings.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing

from orchestrator.releases import NEWEST, RELEASES, Release
from orchestrator.storages import STORAGES, Storage

PREFIX = "DEVCLOUD_"
ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVICES = ROOT / "services"
WRAPPERS = ROOT / "wrappers"
TEMPLATES = ROOT / "conf"
# The projects and users are there three times, so that three test runs can count what is in
# theirs; each set has a clouds.yaml, with the same names for the clouds.
SUFFIXES = ("", "-2", "-3")

LIMITS = (
    ("nova_max", r"(2\.\d+)?", "a version, 2.60"),
    ("cinder_max", r"(3\.\d+)?", "a version, 3.50"),
    ("glance_max", r"(2\.6)?", "2.6"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What can be set, with the defaults. ``state`` and ``venv`` are always absolute."""

    state: pathlib.Path
    venv: pathlib.Path
    # The only address that anything listens on.
    host: str = "127.0.0.1"
    keystone_port: int = 5000
    placement_port: int = 8778
    glance_port: int = 9292
    cinder_port: int = 8776
    nova_port: int = 8774
    neutron_port: int = 9696
    # Swift's proxy; its account, container and object servers take the next three ports.
    swift_port: int = 8080
    # Glance's import method "web-download" may fetch from this port of the host.
    web_port: int = 18080
    region: str = "RegionOne"
    # The same services, without block storage.
    novolume_region: str = "NoVolume"
    # Of every account.
    password: str = "devcloud-secret"
    # Seconds for which a token is valid.
    token_expiration: int = 86400
    # The one key of all encrypted volumes, in hexadecimal digits.
    volume_key: str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    # May a volume that is attached be uploaded to an image? Cinder's own default is no.
    force_upload: bool = False
    # How Cinder writes volumes: sparse raw files, or qcow2 files.
    qcow2_volumes: bool = False
    # What Nova uploads for a server image: qcow2 or raw.
    snapshot_format: str = "qcow2"
    # An object store too: Swift with its S3 interface.
    swift: bool = False
    # Where images, volumes and servers' disks are: one of storages.STORAGES.
    storage: str = "file"
    # Ceph's monitor. Not 6789: clients that are told only a host and this port, as QEMU is, take it
    # for one that speaks the first version of the protocol.
    ceph_monitor_port: int = 3300
    # Ceph's other daemons take ports from this one on, fewer than twenty.
    ceph_port: int = 6800
    # One of releases.RELEASES.
    release: str = NEWEST
    # The newest versions that these APIs know, for example 2.60, 3.50 and 2.6, as in the release
    # Queens; of Glance no other one can be had. Empty: all that the release knows.
    nova_max: str = ""
    cinder_max: str = ""
    glance_max: str = ""

    @classmethod
    def from_environment(cls, environ: typing.Mapping[str, str]) -> Settings:
        """Defaults, with what the environment says instead."""
        values: dict[str, typing.Any] = {}
        for field in dataclasses.fields(cls):
            text = environ.get(PREFIX + field.name.upper(), "")
            if text:
                values[field.name] = _parse(field.name, str(field.type), text)
        storage = _one_of("storage", values.get("storage", cls.storage), STORAGES)
        release = _one_of("release", values.get("release", cls.release), RELEASES)
        for name, pattern, wanted in LIMITS:
            if not re.fullmatch(pattern, values.get(name, "")):
                raise ValueError(f"{PREFIX}{name.upper()} is {values[name]!r}: want {wanted}")
        home = _default_home(environ)
        folder = "devcloud" if release == NEWEST else f"devcloud-{release}"
        # The environment does not depend on the storage.
        values.setdefault("venv", values.get("state", home / folder) / "venv")
        values.setdefault("state", home / (folder + STORAGES[storage].suffix))
        return cls(**values)

    @property
    def auth_url(self) -> str:
        """Keystone's URL, as clients want it."""
        return f"{self.url('keystone')}/v3"

    @property
    def conf(self) -> pathlib.Path:
        """The folder of the rendered configuration files."""
        return self.state / "conf"

    @property
    def log(self) -> pathlib.Path:
        """The folder of all logs."""
        return self.state / "log"

    @property
    def databases(self) -> pathlib.Path:
        """The folder of the SQLite databases."""
        return self.state / "databases"

    @property
    def clouds_yaml(self) -> pathlib.Path:
        """The client configuration for all accounts."""
        return self.state / "clouds.yaml"

    @property
    def stored_in(self) -> Storage:
        """What the choice of ``storage`` means."""
        return STORAGES[self.storage]

    @property
    def runs(self) -> Release:
        """What the choice of ``release`` means."""
        return RELEASES[self.release]

    @property
    def python(self) -> pathlib.Path:
        """The virtual environment's interpreter."""
        return self.venv / "bin" / "python"

    def port(self, service: str) -> int:
        """The port of one service's API."""
        return typing.cast(int, getattr(self, f"{service}_port"))

    def url(self, service: str) -> str:
        """The root URL of one service's API."""
        return f"http://{self.host}:{self.port(service)}"

    def as_environment(self) -> dict[str, str]:
        """The variables from which ``from_environment`` makes these settings again."""
        return {
            PREFIX + field.name.upper(): _as_text(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }


def _default_home(environ: typing.Mapping[str, str]) -> pathlib.Path:
    home = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME') or '/root'}/.local/state"
    return pathlib.Path(home).absolute() / "osc-imagetools"


def _one_of(name: str, value: str, values: typing.Iterable[str]) -> str:
    if value not in values:
        raise ValueError(f"{PREFIX}{name.upper()} is {value!r}: want {' or '.join(values)}")
    return value


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _parse(name: str, kind: str, text: str) -> object:
    if kind == "pathlib.Path":
        return pathlib.Path(text).absolute()
    if kind == "bool":
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise ValueError(f"{PREFIX}{name.upper()} is {text!r}: want 1 or 0")
    if kind == "int":
        return int(text)
    return text
