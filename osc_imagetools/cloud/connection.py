# SPDX-License-Identifier: Apache-2.0
"""A cloud as one login sees it: its services as adapters, its answers as documents or errors of ours.

Contract: it knows services, paths and status codes, but no resource: reading them into values is the work of
the modules beside it, changing them the effects'. Requests are persistent
(:mod:`osc_imagetools.cloud.transport`); what is not done after all is an error of ours, whose ``may_exist``
says whether it may have been done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import identity
from keystoneauth1.identity.base import BaseIdentityPlugin
from openstack.utils import maximum_supported_microversion

from osc_imagetools import errors
from osc_imagetools.cloud.answers import BadAnswer, NoAnswer, StatusError, broken, document, status_error
from osc_imagetools.cloud.library_errors import ours
from osc_imagetools.cloud.origin import Origin
from osc_imagetools.cloud.retries import Retries, RetryPhase
from osc_imagetools.cloud.transport import READING, persistent, repeatable, retry_after

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter
    from openstack.connection import Connection
    from requests import Response

# One page of a list; the services cap it by themselves at their own maximum.
PAGE = 1000

# What is asked of a service to see whether it answers: the first of a list.
SMALL = {
    "image": "/images",
    "block-storage": "/volumes",
    "compute": "/servers",
    "network": "/networks",
}

SERVICES = {
    "image": "image",
    "block-storage": "block storage",
    "compute": "compute",
    "network": "network",
    "identity": "identity",
}


class Cloud:
    """The services of one region, with one login.

    :param connection: an authenticated :class:`openstack.connection.Connection`.

    ``retries`` says how patient requests are, and counts what was asked again.
    """

    def __init__(self, connection: Connection, *, retries: Retries | None = None) -> None:
        """:param retries: of requests that the session is not to send again; None: it becomes persistent."""
        self.connection = connection
        self.retries: Retries = persistent(connection.session) if retries is None else retries
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
            with ours(f"token for project {project_id}", may_exist=False):
                try:
                    other._auth.get_access(session)
                except ksa_exceptions.Unauthorized:
                    raise errors.Forbidden(f"this account has no role in project {project_id}") from None
                except ksa_exceptions.HTTPClientError as exc:
                    raise errors.Forbidden(
                        f"this login gets no token for project {project_id}: {exc.message}"
                    ) from exc
            self._projects[project_id] = other
        return self._projects[project_id]

    def service(self, service_type: str) -> Adapter:
        """The adapter of a service: a key of ``SERVICES``.

        :raises errors.ServiceUnreachable: it does not answer, or not as such a service does.
        """
        with ours(f"{SERVICES[service_type]} service", may_exist=False):
            return self._adapter(service_type)

    def _adapter(self, service_type: str) -> Adapter:
        return getattr(self.connection, service_type.replace("-", "_"))  # type: ignore[no-any-return]

    def url(self, service_type: str, path: str) -> str:
        """The absolute URL of *path* (it begins with ``/``) at a service."""
        with ours(f"{SERVICES[service_type]} service", may_exist=False):
            return str(self._adapter(service_type).get_endpoint()).rstrip("/") + path

    def microversion(self, service_type: str, wanted: str) -> str | None:
        """The newest microversion that a service knows, up to *wanted*; None where it knows none."""
        with ours(f"{SERVICES[service_type]} service", may_exist=False):
            found = maximum_supported_microversion(self._adapter(service_type), wanted)
        return str(found) if found else None

    def reach(self, *service_types: str) -> None:
        """Asks each of these services something small: whether it answers at all, with this login.

        Before the first effect of a run, so that none is found missing after it. What a policy forbids is an
        answer. A service that the catalog does not have is not asked.

        :raises errors.ServiceUnreachable, StatusError: one does not answer, or is out.
        """
        with self.retries.during(RetryPhase.BEFORE_EFFECTS, self.retries.cancelled):
            for service_type in dict.fromkeys(service_types):
                if service_type in SMALL and self.has_service(service_type):
                    self._reach(service_type)

    def _reach(self, service_type: str) -> None:
        what = f"{SERVICES[service_type]} service"
        try:
            self.request(service_type, "GET", SMALL[service_type], what=what, params={"limit": "1"})
        except (errors.Forbidden, errors.ResourceNotFound):
            return
        except StatusError as exc:
            if exc.status >= 500:
                raise

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
        again: bool | None = None,
    ) -> Response:
        """One request; *what* names the resource in an error. With *stream* the body is left to be read.

        It is sent again where that is safe (:mod:`osc_imagetools.cloud.transport`).

        :param again: whether it may be sent again, where the method does not say it: a POST or PATCH that
            has the same result when it is done twice.
        :raises errors.ResourceNotFound: 404
        :raises errors.Forbidden: 401, 403 (a full quota is a :class:`StatusError`)
        :raises StatusError: any other status that is no success
        :raises errors.ServiceUnreachable: no answer at all (:class:`NoAnswer`)
        """
        headers = {"Accept": "*/*" if stream else "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        kwargs: dict[str, Any] = {"headers": headers, "status_code_retries": 0, "connect_retries": 0}
        if params:
            kwargs["params"] = dict(params)
        if self._auth:
            kwargs["auth"] = self._auth
        if stream:
            kwargs["stream"] = True
        if json is not None:
            kwargs["json"] = json
        if microversion:
            kwargs["microversion"] = microversion
        reading = method in READING
        with ours(what, may_exist=not reading), repeatable(again):
            adapter = self._adapter(service_type)
            if stream:
                response = self._streamed(adapter, path, kwargs)
            else:
                response = adapter.request(path, method, raise_exc=False, **kwargs)
        if response.status_code >= 300:
            raise status_error(response, what, SERVICES[service_type], making=method == "POST")
        return response

    def _streamed(self, adapter: Adapter, path: str, kwargs: Mapping[str, Any]) -> Response:
        """A GET whose body is left to be read: nobody below asks for it again."""
        tries = self.retries.request(adapter.get_endpoint() or "")
        while True:
            after = None
            try:
                response: Response = adapter.request(path, "GET", raise_exc=False, **kwargs)
            except ksa_exceptions.ConnectFailure as exc:
                if not tries.again(broken(exc, adapter.get_endpoint())):
                    raise
                continue
            if response.status_code < 500 and response.status_code != 429:
                tries.answered()
                return response
            after = retry_after(response.headers.get("Retry-After"))
            if not tries.again(f"{response.url} answered {response.status_code}", after):
                return response
            response.close()

    def get(self, service_type: str, path: str, *, what: str, key: str = "", **kwargs: Any) -> Any:
        """The JSON document at *path*, or what it has under *key*.

        :raises BadAnswer: there is none; and as :meth:`request`.
        """
        return document(self.request(service_type, "GET", path, what=what, **kwargs), what, key)

    def post(self, service_type: str, path: str, *, what: str, key: str = "", **kwargs: Any) -> Any:
        """Sends a POST that makes something: the JSON document of the answer, or what it has under *key*.

        :raises BadAnswer: it may have been made, but the answer does not say so; and as :meth:`request`.
        """
        return document(self.request(service_type, "POST", path, what=what, **kwargs), what, key)

    def patch_image(self, image_id: str, changes: Sequence[Mapping[str, Any]], *, what: str) -> None:
        """Changes an image by a JSON patch (``application/openstack-images-v2.1-json-patch``).

        It is sent again after an answer that got lost: what is set is the same twice, and what was to be
        removed is left out then where it is gone.
        """
        kind = "application/openstack-images-v2.1-json-patch"
        path = f"/images/{image_id}"
        left = list(changes)
        tries = self.retries.request(self.url("image", ""))
        while True:
            removes = any(change["op"] == "remove" for change in left)
            try:
                self.request(
                    "image", "PATCH", path, what=what, json=left, content_type=kind, again=not removes
                )
                return
            except (NoAnswer, StatusError) as exc:
                if not (removes and exc.may_exist and tries.again(exc.message)):
                    raise
            found = self.get("image", path, what=what)
            left = [change for change in left if change["op"] != "remove" or _key(change["path"]) in found]
            if not left:
                return

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

        :raises BadAnswer: the answer is no list of documents; and as :meth:`request`.
        """
        query = {"limit": str(PAGE), **(params or {})}
        while True:
            answer = self.get(service_type, path, what=what, params=query, microversion=microversion)
            page = answer.get(key) if isinstance(answer, dict) else None
            if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
                raise BadAnswer(f"{what}: the answer is no list of {key}")
            yield from page
            if not page or not _has_more(answer, key):
                return
            if "id" not in page[-1]:
                raise BadAnswer(f"{what}: there is more, but the last of a page has no ID")
            query = {**query, "marker": str(page[-1]["id"])}


def _key(pointer: str) -> str:
    """The property that a JSON pointer names (RFC 6901)."""
    return pointer[1:].replace("~1", "/").replace("~0", "~")


def _has_more(answer: Mapping[str, Any], key: str) -> bool:
    """Whether a page of a list is not the last one.

    Glance says ``next``; the others have links beside the list, under its name (``servers_links``), or under
    that of one of it (``volume_type_links``): cinder/api/common.py, _get_collection_links.
    """
    if answer.get("next"):
        return True
    for name in (f"{key}_links", f"{key.removesuffix('s')}_links"):
        links = answer.get(name)
        if isinstance(links, list):
            return any(isinstance(link, dict) and link.get("rel") == "next" for link in links)
    return False


def _without_userinfo(url: str | None) -> str | None:
    """A URL without the name and password that may stand in it."""
    if not url:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
