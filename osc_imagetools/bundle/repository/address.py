# SPDX-License-Identifier: Apache-2.0
"""Where a repository is and how restic gets in: its URL and the environment that it is given.

Contract: URL, password and credentials reach restic in its environment alone, never on a command line, and
:attr:`RepositoryAddress.label` and :meth:`RepositoryAddress.redact` keep them out of messages and logs.
Source: https://restic.readthedocs.io/en/stable/030_preparing_a_new_repo.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.names import printable

PASSWORDS = ("RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND")
URLS = ("RESTIC_REPOSITORY", "RESTIC_REPOSITORY_FILE")
# restic does not always run in the directory that this process was started in.
FILES = (
    "RESTIC_PASSWORD_FILE",
    "RESTIC_CACHE_DIR",
    "RESTIC_CACERT",
    "RESTIC_TLS_CLIENT_CERT",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
LOCAL = "local:"
REMOTE = re.compile(r"(sftp|s3|swift|rest|rclone|b2|azure|gs):")
# What restic's swift backend reads, and clients of OpenStack with it: none of it may be mixed with a cloud's.
CLOUD_VARIABLES = re.compile(r"(OS|ST)_[A-Z_]+")
SECRET_NAMES = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|ACCOUNT_KEY|SAS", re.IGNORECASE)
SHORTEST_SECRET = 4  # characters: what is shorter would redact ordinary words
# Up to the last "@", as Go's net/url has it, which restic uses: a password may contain one.
USER_INFO = re.compile(r"(?<=://)[^/:\s]+:[^/\s]*(?=@)")
# Keys of ``auth`` in clouds.yaml, and restic's names for them.
LOGIN = {
    "auth_url": "OS_AUTH_URL",
    "username": "OS_USERNAME",
    "user_id": "OS_USER_ID",
    "password": "OS_PASSWORD",
    "user_domain_name": "OS_USER_DOMAIN_NAME",
    "user_domain_id": "OS_USER_DOMAIN_ID",
    "project_name": "OS_PROJECT_NAME",
    "project_id": "OS_TENANT_ID",
    "project_domain_name": "OS_PROJECT_DOMAIN_NAME",
    "project_domain_id": "OS_PROJECT_DOMAIN_ID",
    "trust_id": "OS_TRUST_ID",
    "application_credential_id": "OS_APPLICATION_CREDENTIAL_ID",
    "application_credential_name": "OS_APPLICATION_CREDENTIAL_NAME",
    "application_credential_secret": "OS_APPLICATION_CREDENTIAL_SECRET",
}


@dataclass(frozen=True)
class RepositoryAddress:
    """A repository: made by :func:`repository_address`.

    :param environment: all of restic's environment, with its secrets.
    :param flags: options of restic that hold no secret.
    """

    url: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    flags: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The URL for messages and commands: without a password."""
        return printable(USER_INFO.sub("***", self.url))

    def redact(self, text: str) -> str:
        """What restic said, without any secret that it was given."""
        secrets = [
            value
            for name, value in self.environment.items()
            if SECRET_NAMES.search(name) and len(value) >= SHORTEST_SECRET
        ]
        secrets += [match[0].partition(":")[2] for match in USER_INFO.finditer(self.url)]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return USER_INFO.sub("***", text)


def repository_address(
    url: str,
    *,
    environment: Mapping[str, str],
    password_file: Path | None = None,
    cloud: str | None = None,
) -> RepositoryAddress:
    """The address of a repository.

    :param environment: of this process; ``RESTIC_*``, ``AWS_*`` and so on are passed on.
    :param password_file: is used in the place of the password in the environment.
    :param cloud: the cloud in clouds.yaml whose login restic uses for ``swift:``.
    :raises errors.UsageError: there is no URL or no password, or the cloud's login cannot be used.
    """
    if not url or "\0" in url or "\n" in url:
        raise errors.UsageError("--repository needs the URL of a restic repository")
    url = _absolute(url)
    found = {name: value for name, value in environment.items() if name not in URLS}
    found |= {name: os.path.abspath(found[name]) for name in FILES if found.get(name)}
    found["RESTIC_REPOSITORY"] = url
    flags: tuple[str, ...] = ()
    if password_file is not None:
        _check_password_file(password_file)
        found = {name: value for name, value in found.items() if name not in PASSWORDS}
        found["RESTIC_PASSWORD_FILE"] = os.path.abspath(password_file)
    elif not any(found.get(name) for name in PASSWORDS):
        # restic would ask on the terminal, or take the beginning of the disk for the password.
        raise errors.UsageError(
            f"There is no password for the repository {USER_INFO.sub('***', url)}",
            hint="Use --password-file <file>, or set RESTIC_PASSWORD_FILE, RESTIC_PASSWORD_COMMAND or "
            "RESTIC_PASSWORD.",
        )
    if cloud is not None:
        if not url.startswith("swift:"):
            raise errors.UsageError("--repository-cloud is for swift: repositories only")
        login, flags = _login(cloud)
        found = {n: v for n, v in found.items() if not CLOUD_VARIABLES.fullmatch(n)} | login
    return RepositoryAddress(url, found, flags)


def _absolute(url: str) -> str:
    """The URL of a repository, which means the same from every directory."""
    if url.startswith(LOCAL):
        return LOCAL + os.path.abspath(url.removeprefix(LOCAL))
    return url if REMOTE.match(url) else os.path.abspath(url)


def _check_password_file(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as exc:
        raise errors.UsageError(f"--password-file {path} cannot be read: {exc.strerror}") from None
    if empty:
        raise errors.UsageError(f"--password-file {path} is empty")


def _login(cloud: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The login of a cloud as restic's environment, and the flags for its certificates."""
    # Imported here: it takes a quarter of a second, and only swift needs it.
    import openstack.config
    from openstack.exceptions import ConfigException

    try:
        region = openstack.config.OpenStackConfig().get_one(cloud=cloud)
    except ConfigException as exc:
        raise errors.UsageError(f"--repository-cloud {cloud}: {exc}") from None
    settings: Mapping[str, Any] = region.config
    login = {name: str(settings["auth"][key]) for key, name in LOGIN.items() if settings["auth"].get(key)}
    if not {"OS_PASSWORD", "OS_APPLICATION_CREDENTIAL_SECRET"} & login.keys():
        kind = settings.get("auth_type", "password")
        raise errors.UsageError(
            f"--repository-cloud {cloud}: restic cannot log in with auth_type {kind}",
            hint="Use a cloud with a password or an application credential: openstack application "
            "credential create <name>",
        )
    name = region.get_region_name()
    if name:
        login["OS_REGION_NAME"] = str(name)
    verify, certificate = settings.get("verify", True), settings.get("cacert")
    if verify is False:
        return login, ("--insecure-tls",)
    return login, (("--cacert", str(certificate)) if certificate else ())
