# SPDX-License-Identifier: Apache-2.0
"""What must be installed: Debian packages, an account, and the virtual environment.

Contract: ``install(settings)`` installs what is missing and nothing else. When all is there
it takes a fraction of a second and runs neither apt-get nor pip.
"""

from __future__ import annotations

import grp
import os
import pathlib
import pwd
import shutil
import subprocess
import sys

from orchestrator import settings as settings_module
from orchestrator import steps
from orchestrator.releases import NEWEST
from orchestrator.settings import Settings

# Without their recommendations: no systemd unit, no bridge, no dnsmasq.
DEBIAN_PACKAGES = (
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "qemu-system-x86",
    "qemu-utils",
    "python3-libvirt",
    "iproute2",  # Nova makes tap devices with "ip"
    "e2fsprogs",  # Nova formats ephemeral disks with mkfs.ext4
    "mount",
    "procps",  # Nova asks "uptime"
)
PYTHON_VERSION = (3, 11)  # of Debian 12, whose libvirt binding is used
DEBIAN_MODULES = pathlib.Path("/usr/lib/python3/dist-packages")
LIBVIRT_ACCOUNT = "libvirt-qemu"
TUN = pathlib.Path("/dev/net/tun")


def install(settings: Settings) -> None:
    """Install whatever is missing."""
    if os.geteuid() != 0:
        raise steps.Failure("must be run by root: libvirt, mounts and packages need it")
    settings.log.mkdir(parents=True, exist_ok=True)
    _install_debian_packages(settings)
    _make_libvirt_account(settings)
    _install_environment(settings)
    if not TUN.exists():
        steps.say(f"there is no {TUN}: only servers without a network (--nic none) can be made")


def _install_debian_packages(settings: Settings) -> None:
    wanted = (
        *DEBIAN_PACKAGES,
        *settings.stored_in.debian_packages,
        *settings.runs.debian_packages,
    )
    missing = [name for name in wanted if not _is_installed(name)]
    if subprocess.run(
        [_interpreter(), "-c", "import ensurepip"], stderr=subprocess.DEVNULL, check=False
    ).returncode:
        missing.append("python3-venv")
    if not missing:
        return
    steps.say(f"installing Debian packages: {' '.join(missing)}")
    log = settings.log / "apt.log"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    steps.run_logged(["apt-get", "update", "-q"], log, environment)
    steps.run_logged(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], log, environment
    )
    steps.say("Debian packages installed")


def _is_installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True, check=False
    )
    return answer.stdout.endswith("ok installed")


def _make_libvirt_account(settings: Settings) -> None:
    """libvirt's QEMU driver does not start unless its compiled-in account exists.

    The package that would make it, libvirt-daemon-system, wants systemd. Guests do not run
    under this account: see conf/qemu.conf.
    """
    log = settings.log / "apt.log"
    try:
        grp.getgrnam(LIBVIRT_ACCOUNT)
    except KeyError:
        steps.run_logged(["groupadd", "--system", LIBVIRT_ACCOUNT], log)
    try:
        pwd.getpwnam(LIBVIRT_ACCOUNT)
    except KeyError:
        steps.run_logged(
            [
                "useradd",
                "--system",
                "-g",
                LIBVIRT_ACCOUNT,
                "-d",
                "/var/lib/libvirt",
                "-s",
                "/usr/sbin/nologin",
                LIBVIRT_ACCOUNT,
            ],
            log,
        )


def _interpreter() -> str:
    """A Python of the version for which Debian's libvirt binding is compiled."""
    if sys.version_info[:2] == PYTHON_VERSION:
        return sys.executable
    name = "python{}.{}".format(*PYTHON_VERSION)
    path = shutil.which(name)
    if not path:
        raise steps.Failure(f"{name} is needed: this cloud is for Debian 12")
    return path


def _install_environment(settings: Settings) -> None:
    """Make the virtual environment, or bring it up to the requirements.

    What was installed last is noted inside it, so that pip runs only for a change.
    """
    folder = settings_module.ROOT / "requirements"
    requirements = [folder / f"{settings.release}.txt"]
    if settings.swift:
        requirements.append(folder / "swift.txt")
    wanted = "".join(path.read_text() for path in requirements)
    note = settings.venv / "devcloud-requirements.txt"
    if note.exists() and note.read_text().startswith(wanted):
        return
    steps.say(f"making the virtual environment {settings.venv}")
    log = settings.log / "pip.log"
    steps.run_logged([_interpreter(), "-m", "venv", settings.venv], log)
    pip: list[str | pathlib.Path] = [settings.python, "-m", "pip", "install", "-q"]
    steps.run_logged([*pip, "--upgrade", "pip"], log)
    if settings.release != NEWEST:
        # The file is the whole environment. Some packages of the time are built here, though never
        # compiled, and not by what a setuptools of the future makes of them.
        pip += ["--no-deps", "--build-constraint", folder / "build.txt"]
    for path in requirements:
        pip += ["-r", path]
    steps.run_logged(pip, log)
    _link_debian_modules(settings)
    note.write_text(wanted)
    steps.say("virtual environment made")


def _link_debian_modules(settings: Settings) -> None:
    """The binding comes from Debian, built against the installed libvirt: link, not compile."""
    site = settings.venv / "lib" / "python{}.{}".format(*PYTHON_VERSION) / "site-packages"
    for pattern in ("libvirt*.py", "libvirtmod*.so", *settings.runs.debian_modules):
        for source in DEBIAN_MODULES.glob(pattern):
            link = site / source.name
            link.unlink(missing_ok=True)
            link.symlink_to(source)
    steps.run_logged([settings.python, "-c", "import libvirt"], settings.log / "pip.log")
