# SPDX-License-Identifier: Apache-2.0
"""What an answer of a service says: its status as an error, its document, its words as one line of text.

Contract: the one place that turns an HTTP status, a broken connection or a document that makes no sense into
an error of :mod:`osc_imagetools.errors`. No effects; no words of a library reach a user.
"""

from __future__ import annotations

import contextlib
import html
import re
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from urllib3 import exceptions as urllib3_exceptions

from osc_imagetools import errors

if TYPE_CHECKING:
    from requests import Response

# Statuses of a service, or of the proxy before it, that is restarting, overloaded or gone for a while.
PASSING = frozenset({408, 429, 502, 503, 504})
# What HAProxy says where it gave the request to nobody (its errorfile 503).
GIVEN_TO_NOBODY = re.compile(r"no server is available to handle this request", re.IGNORECASE)
# What a full quota says where it is a 403 (Nova, Glance); policies have "quota" in their names too.
FULL = re.compile(r"quota (exceeded|limit)|exceeds?\b.*\bquota", re.IGNORECASE)
LATE = (TimeoutError, requests.exceptions.Timeout, urllib3_exceptions.TimeoutError)
# What reading a document raises that is not as the API describes it.
SENSELESS = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


class StatusError(errors.CloudError):
    """A service answered with a status that is an error; ``status`` is the HTTP status code.

    ``may_exist``: whether what was asked for may have been done all the same.
    """

    def __init__(
        self, message: str, status: int, *, hint: str | None = None, may_exist: bool | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.may_exist = status >= 500 if may_exist is None else may_exist


class NoAnswer(errors.ServiceUnreachable):
    """There was no answer that could be read; ``may_exist`` as for :class:`StatusError`."""

    def __init__(self, message: str, *, may_exist: bool, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or "Try again when the service is back.")
        self.may_exist = may_exist


class BadAnswer(errors.CloudError):
    """A success without the document that belongs to it: what was asked for may have been done."""

    may_exist = True


def may_exist(error: BaseException) -> bool:
    """Whether what a failed request was to make may be there, or come into being later."""
    return bool(getattr(error, "may_exist", not isinstance(error, errors.ImagetoolsError)))


def status_error(response: Response, what: str, service: str, *, making: bool) -> errors.ImagetoolsError:
    """The error of an answer whose status is none of success.

    :param making: it is the answer to a request that makes something, which a full quota can refuse.
    """
    said = message_of(response)
    status = response.status_code
    if status == 404:
        return errors.ResourceNotFound(f"{what}: not found ({said})")
    if status == 401:
        return errors.Forbidden(
            f"{what}: the {service} service does not accept the login's token: {said}",
            hint="Log in again: openstack token issue. If an application credential has access rules, one of "
            "them must allow this request: openstack access rule list",
        )
    if status == 403 and not (making and FULL.search(said)):
        return errors.Forbidden(
            f"{what}: the {service} service refuses it to this account: {said}",
            hint="Use an account with the role that the cloud's policy asks for.",
        )
    if status < 400:
        return StatusError(
            f"{what}: the {service} service answered {status}, a redirection that is not followed",
            status,
            may_exist=False,
        )
    return StatusError(
        f"{what}: the {service} service answered {status}: {said}",
        status,
        may_exist=status >= 500 and not given_to_nobody(response),
    )


def given_to_nobody(response: Response) -> bool:
    """Whether it is certain that no service has seen the request: only then may what creates be sent again.

    A 429 is given before the work; a 503 can be a proxy's that lost the service in the middle of it, so
    only the words of HAProxy for "there is none" count.
    """
    if response.status_code == 429:
        return True
    return response.status_code == 503 and bool(GIVEN_TO_NOBODY.search(response.text))


def document(response: Response, what: str, key: str = "") -> Any:
    """The JSON document of an answer, or what it has under *key*.

    :raises BadAnswer: there is none.
    """
    try:
        found = response.json()
    except ValueError:
        said = text_of_page(response.text)[:100]
        raise BadAnswer(
            f"{what}: the answer ({response.status_code}) is no JSON document"
            + (f": {said}" if said else ""),
            hint=f"Something else than the service may have answered at {origin_of(response.url)}.",
        ) from None
    if not key:
        return found
    if not isinstance(found, dict) or not isinstance(found.get(key), (dict, list)):
        raise BadAnswer(f"{what}: the answer has no {key!r}")
    return found[key]


@contextlib.contextmanager
def sensible(what: str) -> Iterator[None]:
    """Reading a document within it: one that is not as the API describes it is an error of ours.

    :raises BadAnswer: it lacks something, or has it in another form.
    """
    try:
        yield
    except SENSELESS as exc:
        raise BadAnswer(f"{what}: the answer cannot be read ({exc!r})") from exc


def message_of(response: Response) -> str:
    """What the service said, in one line of at most 300 characters, whatever its form."""
    text = response.reason or ""
    try:
        found = response.json()
    except ValueError:
        found = None
        text = response.text or text
    while isinstance(found, dict) and found:
        if isinstance(found.get("message"), str):
            text = found["message"]
            break
        found = next(iter(found.values()))
    return text_of_page(text)


def text_of_page(page: str) -> str:
    """The words of an error page, in one line of at most 300 printable characters, whatever its markup."""
    if re.search(r"<[a-z!/]", page, re.IGNORECASE):
        page = re.sub(r"<(title|head|style|script)\b.*?</\1\s*>", " ", page, flags=re.S | re.I)
        body = re.sub(r"<h1\b.*?</h1\s*>", " ", page, flags=re.S | re.I)  # the status again, most times
        body, page = (re.sub(r"<[a-z!/][^>]*>", " ", text, flags=re.I) for text in (body, page))
        page = body if body.strip() else page
    page = html.unescape(page)
    return " ".join("".join(c if c.isprintable() else " " for c in page).split())[:300]


def origin_of(url: str | None) -> str:
    """``scheme://host:port`` of a URL: what is asked, without path, query, name or password."""
    parts = urlsplit(url or "")
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def never_sent(error: BaseException) -> bool:
    """Whether a request did not leave: there was no connection to send it on."""
    kinds = (
        urllib3_exceptions.NewConnectionError,
        urllib3_exceptions.ConnectTimeoutError,
        urllib3_exceptions.ProxyError,
        requests.exceptions.ConnectTimeout,
    )
    return any(isinstance(cause, kinds) for cause in _causes(error))


def untrusted(error: BaseException) -> bool:
    """Whether a certificate, or a client certificate, is at fault: asking again does not help."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def broken(error: BaseException, url: str | None, timeout: float | None = None) -> str:
    """One clause for a request without an answer: ``cannot connect to <endpoint>: Connection refused``."""
    causes = list(_causes(error))
    reason = _reason(causes)
    if any(isinstance(cause, urllib3_exceptions.ProxyError) for cause in causes):
        return f"cannot connect to {origin_of(url)} through the proxy: {reason}"
    if never_sent(error) or any(isinstance(cause, ssl.SSLError) for cause in causes):
        return f"cannot connect to {origin_of(url)}: {reason}"
    if any(isinstance(cause, LATE) for cause in causes):
        return f"no answer from {origin_of(url)}" + (f" within {timeout:g} s" if timeout else "")
    return f"the connection to {origin_of(url)} broke: {reason}"


def _reason(causes: list[BaseException]) -> str:
    """The words of the system for the innermost cause, else the last words of the library."""
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return str(cause.reason or cause.strerror or cause).replace("_", " ").lower()
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            if cause.errno and cause.strerror:
                return str(cause.strerror)
            if str(cause):
                return str(cause)
    if any(isinstance(cause, LATE) for cause in causes):
        return "no answer"
    words = re.split(r":\s+", str(causes[-1]).strip()) if causes else [""]
    return words[-1].strip("\"'()")[:100] or type(causes[-1]).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was made of, from the outside in: libraries wrap in three ways."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [getattr(cause, "reason", None), getattr(cause, "original_error", None)]
        waiting += [*cause.args, cause.__cause__, cause.__context__]
