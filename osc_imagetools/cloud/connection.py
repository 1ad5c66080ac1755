# SPDX-License-Identifier: Apache-2.0
"""A cloud as one login sees it: its services as adapters, its answers as documents or errors of ours.

Contract: the one place that turns an HTTP status into an error of :mod:`osc_imagetools.errors`. It knows
services, paths and status codes, but no resource: reading them into values is the inventory's work,
changing them the execution's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import identity
from keystoneauth1.identity.base import BaseIdentityPlugin
from openstack import exceptions as sdk_exceptions
from openstack.utils import maximum_supported_microversion

from osc_imagetools import errors
from osc_imagetools.cloud.origin import Origin

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter
    from openstack.connection import Connection
    from requests import Response

# One page of a list; the services cap it by themselves at their own maximum.
PAGE = 1000

SERVICES = {
    "image": "image",
    "block-storage": "block storage",
    "compute": "compute",
    "network": "network",
    "identity": "identity",
}


class StatusError(errors.CloudError):
    """A service answered with a status that is an error; ``status`` is the HTTP status code."""

    def __init__(self, message: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Cloud:
    """The services of one region, with one login.

    :param connection: an authenticated :class:`openstack.connection.Connection`.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._auth: BaseIdentityPlugin | None = None  # in place of the session's own
        self._projects: dict[str, Cloud] = {}

    @property
    def has_block_storage(self) -> bool:
        """Whether the catalog lists block storage in this region (Cinder may be absent)."""
        return self.has_service("block-storage")

    def has_service(self, service_type: str) -> bool:
        """Whether the catalog lists a service in this region, or the configuration names its endpoint."""
        config = self.connection.config
        if config.get_endpoint(service_type):
            return True
        return config.get_endpoint_from_catalog(service_type) is not None

    @property
    def origin(self) -> Origin:
        config = self.connection.config
        auth = self._login
        access = auth.get_access(self.connection.session) if auth else None
        return Origin(
            cloud=config.name or None,
            region=config.get_region_name() or None,
            auth_url=_without_userinfo(config.get_auth_args().get("auth_url")),
            project_id=access.project_id if access else None,
            project_name=access.project_name if access else None,
        )

    @property
    def project_id(self) -> str:
        """ID of the project of the login; raises :class:`errors.UsageError` for an unscoped one."""
        project = self.origin.project_id
        if not project:
            raise errors.UsageError("the login has no project", hint="Give one: --os-project-name <project>")
        return project

    @property
    def _login(self) -> BaseIdentityPlugin | None:
        auth = self._auth or self.connection.session.auth
        return auth if isinstance(auth, BaseIdentityPlugin) else None

    def in_project(self, project_id: str) -> Cloud:
        """This login in another project of the same user: its token is exchanged for one of that project.

        Source: https://docs.openstack.org/api-ref/identity/v3/ (token authentication with scoped
        authorization); Keystone refuses it to application credentials and trusts, and to everybody where
        its ``allow_rescope_scoped_token`` is off.

        :raises errors.Forbidden: there is no such token, with the reason.
        :raises errors.CloudError: no answer.
        """
        login, session = self._login, self.connection.session
        if login is None or not login.auth_url:
            raise errors.Forbidden("this login is no account of the identity service")
        if project_id == login.get_project_id(session):
            return self
        if project_id not in self._projects:
            other = Cloud(self.connection)
            token = login.get_token(session) or ""
            other._auth = identity.Token(login.auth_url, token, project_id=project_id)
            try:
                other._auth.get_access(session)
            except ksa_exceptions.Unauthorized:
                raise errors.Forbidden(f"this account has no role in project {project_id}") from None
            except ksa_exceptions.HTTPClientError as exc:
                raise errors.Forbidden(
                    f"this login gets no token for project {project_id}: {exc.message}"
                ) from exc
            except ksa_exceptions.ClientException as exc:
                raise errors.CloudError(f"the identity service does not answer: {exc}") from exc
            self._projects[project_id] = other
        return self._projects[project_id]

    def service(self, service_type: str) -> Adapter:
        """The adapter of a service: ``image``, ``block-storage`` or ``compute``."""
        name = service_type.replace("-", "_")
        try:
            return getattr(self.connection, name)  # type: ignore[no-any-return]
        except (sdk_exceptions.SDKException, ksa_exceptions.ClientException) as exc:
            raise errors.CloudError(f"the {SERVICES[service_type]} service: {exc}") from exc

    def url(self, service_type: str, path: str) -> str:
        """The absolute URL of *path* (it begins with ``/``) at a service."""
        return str(self.service(service_type).get_endpoint()).rstrip("/") + path

    def microversion(self, service_type: str, wanted: str) -> str | None:
        """The newest microversion that a service knows, up to *wanted*; None where it knows none."""
        try:
            found = maximum_supported_microversion(self.service(service_type), wanted)
        except (ksa_exceptions.ClientException, sdk_exceptions.SDKException) as exc:
            raise errors.CloudError(
                f"the {SERVICES[service_type]} service does not answer: {exc}",
                hint="Try again when the service is back.",
            ) from exc
        return str(found) if found else None

    def require_block_storage(self, what: str, hint: str) -> None:
        """:raises errors.ServiceAbsent: the catalog has no block storage, which *what* needs."""
        if not self.has_block_storage:
            region = self.origin.region or "this cloud"
            raise errors.ServiceAbsent(f"{what}: the catalog of {region} has no block storage", hint=hint)

    def request(
        self,
        service_type: str,
        method: str,
        path: str,
        *,
        what: str,
        microversion: str | None = None,
        json: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str | None = None,
        params: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> Response:
        """One request; *what* names the resource in an error. With *stream* the body is left to be read.

        :raises errors.ResourceNotFound: 404
        :raises errors.Forbidden: 401, 403 (a full quota is a :class:`StatusError`)
        :raises StatusError: any other status from 400
        :raises errors.CloudError: no answer at all
        """
        kwargs: dict[str, Any] = {"params": dict(params)} if params else {}
        if self._auth:
            kwargs["auth"] = self._auth
        if stream:
            kwargs["stream"] = True
        if json is not None:
            kwargs["json"] = json
        if microversion:
            kwargs["microversion"] = microversion
        if content_type:
            kwargs["headers"] = {"Content-Type": content_type}
        if method == "POST":
            # What may have been made already is never made twice behind the undo's back.
            kwargs.update(status_code_retries=0, connect_retries=0)
        try:
            response: Response = self.service(service_type).request(path, method, raise_exc=False, **kwargs)
        except (ksa_exceptions.ClientException, sdk_exceptions.SDKException) as exc:
            raise errors.CloudError(
                f"{what}: the {SERVICES[service_type]} service does not answer: {exc}",
                hint="Try again when the service is back.",
            ) from exc
        if response.status_code >= 400:
            raise _error(response, what, SERVICES[service_type], making=method == "POST")
        return response

    def get(self, service_type: str, path: str, *, what: str, **kwargs: Any) -> Any:
        """The JSON document at *path*."""
        response = self.request(service_type, "GET", path, what=what, **kwargs)
        try:
            return response.json()
        except ValueError as exc:
            raise errors.CloudError(f"{what}: the answer is no JSON document") from exc

    def patch_image(self, image_id: str, changes: Sequence[Mapping[str, Any]], *, what: str) -> None:
        """Changes an image by a JSON patch (``application/openstack-images-v2.1-json-patch``)."""
        kind = "application/openstack-images-v2.1-json-patch"
        path = f"/images/{image_id}"
        self.request("image", "PATCH", path, what=what, json=list(changes), content_type=kind)

    def list(
        self,
        service_type: str,
        path: str,
        key: str,
        *,
        what: str,
        params: Mapping[str, str] | None = None,
        microversion: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """All documents of a list, page after page, by the marker of the last one (its ``id``).

        :raises errors.CloudError: the answer is no list of documents.
        """
        query = {"limit": str(PAGE), **(params or {})}
        while True:
            answer = self.get(service_type, path, what=what, params=query, microversion=microversion)
            page = (answer.get(key) or []) if isinstance(answer, dict) else None
            if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
                raise errors.CloudError(f"{what}: the answer is no list of {key}")
            yield from page
            more = answer.get("next") or answer.get(f"{key}_links")
            if not page or not more:
                return
            if "id" not in page[-1]:
                raise errors.CloudError(f"{what}: there is more, but the last of a page has no ID")
            query = {**query, "marker": str(page[-1]["id"])}


def _without_userinfo(url: str | None) -> str | None:
    """A URL without the name and password that may stand in it."""
    if not url:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


# What a full quota says where it is a 403 (Nova, Glance); policies have "quota" in their names too.
FULL = re.compile(r"quota (exceeded|limit)|exceeds?\b.*\bquota", re.IGNORECASE)


def _error(response: Response, what: str, service: str, *, making: bool) -> errors.ImagetoolsError:
    said = message_of(response)
    status = response.status_code
    if status == 404:
        return errors.ResourceNotFound(f"{what}: not found ({said})")
    if status == 401:
        return errors.Forbidden(
            f"{what}: the {service} service does not accept the login's token: {said}",
            hint="Log in again: openstack token issue",
        )
    if status == 403 and not (making and FULL.search(said)):
        return errors.Forbidden(
            f"{what}: the {service} service refuses it to this account: {said}",
            hint="Use an account with the role that the cloud's policy asks for.",
        )
    return StatusError(f"{what}: the {service} service answered {status}: {said}", status)


def message_of(response: Response) -> str:
    """What the service said, in one line of at most 300 characters, whatever its form."""
    text = response.reason or ""
    try:
        document = response.json()
    except ValueError:
        document = None
        text = response.text or text
    while isinstance(document, dict) and document:
        if isinstance(document.get("message"), str):
            text = document["message"]
            break
        document = next(iter(document.values()))
    if "<" in text:
        text = re.sub(r"<[^>]*>", " ", re.sub(r"<(title|head)>.*?</\1>", " ", text, flags=re.S))
    return " ".join(text.split())[:300]
