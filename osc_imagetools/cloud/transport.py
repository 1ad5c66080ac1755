# SPDX-License-Identifier: Apache-2.0
"""How requests of a login leave: with time limits, asked again where that is safe, redirected to nobody else.

Contract: below keystoneauth and the SDK, so that a login, the discovery of versions and our own requests are
all covered; what is given up is raised here as an error of ours, which no library above turns into something
else. A response that is read as a stream and a body that can be read once only are sent once: who streams
counts faults by itself.
"""

from __future__ import annotations

import contextlib
import contextvars
import email.utils
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter

from osc_imagetools import errors
from osc_imagetools.cloud.answers import (
    PASSING,
    NoAnswer,
    StatusError,
    broken,
    given_to_nobody,
    message_of,
    never_sent,
    origin_of,
    untrusted,
)
from osc_imagetools.cloud.retries import Retries

if TYPE_CHECKING:
    from keystoneauth1.session import Session

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 60.0
# Nova and Cinder do some of their work before they answer: their own limit for a message is 60 s, and a
# freeze of a guest takes as long as the guest likes.
EFFECT_TIMEOUT = 600.0
MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 305, 307, 308})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# What has the same result however often it is done (RFC 9110, 9.2.2).
IDEMPOTENT = READING | {"DELETE", "PUT"}

# How often a page that is no JSON is asked for again: a proxy's, while the service is away.
MOST_PAGES = 3

# Whether the request of this thread may be sent again, where that is not for its method to say.
_repeatable: contextvars.ContextVar[bool | None] = contextvars.ContextVar("repeatable", default=None)


@contextlib.contextmanager
def repeatable(value: bool | None) -> Iterator[None]:
    """Requests within it may be sent again (or not), whatever their method; None: as the method says."""
    token = _repeatable.set(value)
    try:
        yield
    finally:
        _repeatable.reset(token)


def persistent(session: Session) -> Retries:
    """Makes all requests of a session persistent; what it gives controls and counts that.

    The same for each call with one session.
    """
    http = session.session
    before = http.get_adapter("https://openstack")
    if isinstance(before, PersistentAdapter):
        return before.retries
    retries = Retries()
    for prefix in ("http://", "https://"):
        http.mount(prefix, PersistentAdapter(http.get_adapter(f"{prefix}openstack"), retries))
    return retries


class PersistentAdapter(BaseAdapter):
    """Sends by another adapter of requests, and again."""

    def __init__(self, sender: BaseAdapter, retries: Retries) -> None:
        super().__init__()
        self.retries = retries
        self._sender = sender

    def close(self) -> None:
        self._sender.close()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The answer to a request.

        :raises errors.ServiceUnreachable: there is none (:class:`NoAnswer`, which says what may exist).
        :raises StatusError: a service that was to be read, or deleted from, is out, as its answers say.
        :raises errors.CloudError: the answer leads to another host.
        :raises errors.Cancelled: interrupted while it waited to ask again.
        """
        reading = request.method in READING
        timeout = timeout or (CONNECT_TIMEOUT, READ_TIMEOUT if reading else EFFECT_TIMEOUT)
        how = {"stream": stream, "timeout": timeout, "verify": verify, "cert": cert, "proxies": proxies}
        if stream or not _can_be_read_again(request.body):
            return self._once(request, how)
        tries = self.retries.request(origin_of(request.url))
        pages = 0
        while True:
            try:
                response = self._once(request, how)
                _ = response.content  # here, for a body can break off too
            except requests.RequestException as exc:
                self._failed(exc, request, timeout, tries)
                continue
            reason = f"{origin_of(request.url)} answered {response.status_code}: {message_of(response)}"
            if _is_other(request, response) and pages < MOST_PAGES:
                pages += 1
                if tries.again(reason):
                    continue
            if not self._to_be_repeated(request, response):
                tries.answered()
                return response
            if not tries.again(reason, retry_after(response.headers.get("Retry-After"))):
                return self._given_up(response, request, reason)

    def _failed(
        self, exc: requests.RequestException, request: requests.PreparedRequest, timeout: Any, tries: Any
    ) -> None:
        """Waits for the next try.

        :raises NoAnswer: there is none.
        """
        unsent = never_sent(exc)
        reading = request.method in READING
        reason = broken(exc, request.url, timeout[1] if isinstance(timeout, tuple) else timeout)
        if untrusted(exc):
            hint = "Name the authority that signed it: --os-cacert <file>"
            raise NoAnswer(reason, may_exist=False, hint=hint) from exc
        if not (unsent or _may_repeat(request)) or not tries.again(reason):
            raise NoAnswer(reason, may_exist=not (unsent or reading)) from exc

    def _to_be_repeated(self, request: requests.PreparedRequest, response: requests.Response) -> bool:
        """Whether an answer may be another one the next time, and asking again is safe."""
        status = response.status_code
        if status in PASSING:
            return _may_repeat(request) or given_to_nobody(response)
        return status == 500 and _may_repeat(request) and request.method in READING | {"DELETE"}

    def _given_up(
        self, response: requests.Response, request: requests.PreparedRequest, reason: str
    ) -> requests.Response:
        """Libraries take a failed reading for an old service, and go on with less: they do not get it."""
        if request.method in READING:
            raise StatusError(
                reason, response.status_code, hint="Try again when the service is back.", may_exist=False
            )
        return response

    def _once(self, request: requests.PreparedRequest, how: Mapping[str, Any]) -> requests.Response:
        """The answer to one try, from the same origin: there alone the token is at home."""
        for _ in range(MOST_REDIRECTS):
            response = self._sender.send(request, **how)
            location = response.headers.get("Location")
            if response.status_code not in REDIRECTS or not location:
                return response
            target = urljoin(str(request.url), location)
            response.close()
            if _origin(target) != _origin(str(request.url)):
                raise errors.CloudError(
                    f"{origin_of(request.url)} redirects to {origin_of(target)}, which is not followed: "
                    "the login's token would go there",
                    hint="Where that is the service's address, the catalog or clouds.yaml has to name it.",
                )
            if not _can_be_read_again(request.body):
                raise errors.CloudError(
                    f"{origin_of(request.url)} redirects data that is on its way to {target}",
                    hint="The catalog or clouds.yaml has to name the address to which it leads.",
                )
            request = request.copy()
            request.prepare_url(target, None)
            if response.status_code == 303 and request.method != "HEAD":
                request.method, request.body = "GET", None
                request.headers.pop("Content-Length", None)
        raise errors.CloudError(f"{origin_of(request.url)} redirects in a circle")


def _can_be_read_again(body: object) -> bool:
    return isinstance(body, (str, bytes, type(None)))


def _is_other(request: requests.PreparedRequest, response: requests.Response) -> bool:
    """Whether a success is a page of somebody else, in the place of the JSON that was asked for."""
    if response.status_code not in (200, 201, 203, 300) or not _may_repeat(request):
        return False
    wanted = "json" in request.headers.get("Accept", "") and request.method != "HEAD"
    return wanted and response.content.lstrip()[:1] not in (b"{", b"[")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _may_repeat(request: requests.PreparedRequest) -> bool:
    said = _repeatable.get()
    if said is not None:
        return said
    # A login makes a token and nothing else.
    return request.method in IDEMPOTENT or urlsplit(str(request.url)).path.endswith("/auth/tokens")


def retry_after(value: str | None) -> float | None:
    """Seconds, from either form of Retry-After (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
