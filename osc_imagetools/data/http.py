# SPDX-License-Identifier: Apache-2.0
"""The data of an image, over HTTP.

Contract: ``GET /v2/images/{id}/file`` through a keystoneauth session, as a stream. Faults that may
pass are raised as ``Broken``, refused ranges as ``RangeRefused``, all else as an error for the
user. The status is always looked at, keystoneauth's own retries and logins are not used: faults are
counted elsewhere.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import requests
import urllib3.exceptions
from keystoneauth1 import exceptions as keystone

from osc_imagetools import errors
from osc_imagetools.cloud.answers import broken, text_of_page
from osc_imagetools.cloud.transport import retry_after
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.ranges import RangeRefused, content_range
from osc_imagetools.data.retry import RESUME_HINT, Broken, RetryPolicy

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter
    from keystoneauth1.session import Session

# Statuses of a service that is restarting, overloaded or behind a proxy that lost it.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_FAULTS = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)


class Body:
    """Bytes of an image that are coming in.

    ``position`` is the offset in the image of the next byte; ``end`` the offset after the last one
    that will come, or None where the server did not tell.
    """

    def __init__(self, response: requests.Response, position: int, end: int | None) -> None:
        self.position = position
        self.end = end
        self._response = response
        raw = response.raw
        # http.client reads straight into a buffer; urllib3 would make an object of each piece and
        # copy it.
        original = getattr(raw, "_original_response", None)
        direct = original if isinstance(original, http.client.HTTPResponse) else raw
        self._readinto: Callable[[memoryview], int] = direct.readinto
        self._socket = _duplicate(raw)

    def read(self, view: memoryview) -> int:
        """Read up to ``len(view)`` bytes, as many as come; 0 at the end. Raises Broken."""
        try:
            count = self._readinto(view)
        except TimeoutError as error:
            raise Broken("no data came for too long") from error
        except _FAULTS as error:
            raise Broken(f"the connection broke ({_reason(error)})") from error
        self.position += count
        return count

    def interrupt(self) -> None:
        """Wake up a thread that is blocked in ``read``; from any thread."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back if all was read, else close it."""
        if self._socket is not None:
            self._socket.close()
        with contextlib.suppress(*_FAULTS):
            if self.end is not None and self.position == self.end:
                self._response.raw.release_conn()
            else:
                self._response.close()


class Login:
    """The session, shared by all streams: one new login for all of them when a token is refused."""

    def __init__(self, session: Session | Adapter) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._renewals = 0

    def get(self, url: str, headers: dict[str, str], timeout: tuple[float, float]) -> requests.Response:
        """Send an authenticated GET and return the response, whatever its status; the body is not
        read.

        Raises Broken; Forbidden or TransferError if there is no way to log in or to connect.
        """
        before = self._renewals
        try:
            response = self._session.get(
                url,
                headers=headers,
                stream=True,
                timeout=timeout,
                raise_exc=False,
                allow_reauth=False,
                connect_retries=0,
            )
        except keystone.SSLError as error:
            raise errors.TransferError(broken(error, url), hint=RESUME_HINT) from error
        except keystone.RetriableConnectionFailure as error:
            raise Broken(broken(error, url)) from error
        except keystone.HttpError as error:
            raise _login_failed(error) from error
        except keystone.ClientException as error:
            raise errors.TransferError(broken(error, url), hint=RESUME_HINT) from error
        except errors.CloudError as error:  # of a new login, which was asked for again below
            raise Broken(error.message) from error
        if response.status_code == 401:
            response.close()
            self._renew(before)
            raise Broken("the token was refused (401)", login=True)
        return response

    def _renew(self, before: int) -> None:
        """Forget the token, unless another stream has done so since the request was sent."""
        with self._lock:
            if self._renewals != before:
                return
            if not self._session.invalidate():
                raise errors.Forbidden(
                    "The token is not accepted any more, and it cannot be renewed",
                    hint="Log in again, with a password or an application credential. " + RESUME_HINT,
                )
            self._renewals += 1


class ImageData:
    """Opens the data of one image."""

    def __init__(self, login: Login, source: DownloadSource, policy: RetryPolicy) -> None:
        self.label = source.label
        self._login = login
        self._source = source
        self._policy = policy

    def whole(self) -> Body:
        """Open all of the data; ``end`` is None if the server does not tell the length."""
        response = self._get({})
        if response.status_code != 200:
            raise self._refusal(response)
        length = response.headers.get("Content-Length", "")
        end = int(length) if length.isascii() and length.isdigit() else None
        self._check_total(response, end)
        return Body(response, 0, end)

    def part(self, first: int, last: int) -> Body:
        """Open the bytes ``first`` to ``last``, or at least the first of these. Raises RangeRefused
        too.
        """
        response = self._get({"Range": f"bytes={first}-{last}"})
        if response.status_code in {200, 400, 416}:
            response.close()
            raise RangeRefused(f"a range was answered with {response.status_code}")
        if response.status_code != 206:
            raise self._refusal(response)
        try:
            end, total = content_range(response.headers.get("Content-Range"), first, last)
        except RangeRefused:
            response.close()
            raise
        self._check_total(response, total)
        return Body(response, first, end + 1)

    def _get(self, headers: dict[str, str]) -> requests.Response:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        timeout = (self._policy.connect_timeout, self._policy.read_timeout)
        response = self._login.get(self._source.url, headers, timeout)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise errors.TransferError(
                f"{self._source.label}: the data comes compressed, although nobody asked for it",
                hint="Something between here and the image service changes what passes.",
            )
        return response

    def _check_total(self, response: requests.Response, total: int | None) -> None:
        expected = self._source.size
        if total is None or expected is None or total == expected:
            return
        response.close()
        if total == 0:
            raise self._no_data()
        raise errors.TransferError(
            f"{self._source.label} has {total} bytes now, not {expected}: it has changed",
            hint="Start again: the details of the image are read anew.",
        )

    def _no_data(self) -> errors.TransferError:
        return errors.TransferError(
            f"{self._source.label}: the service sends no data for it",
            hint="Its data may lie in volume snapshots, or was never uploaded.",
        )

    def _refusal(self, response: requests.Response) -> Exception:
        """What a status other than success means; Broken if it may pass."""
        status = response.status_code
        said = f"{status} {response.reason or ''}".strip()
        if status in _PASSING:
            response.close()
            return Broken(
                f"the service answered {said}",
                wait=retry_after(response.headers.get("Retry-After")),
            )
        details = _explanation(response)
        label = self._source.label
        if status == 204:
            return self._no_data()
        if status == 403:
            return errors.Forbidden(
                f"{label}: the service does not let this account read the data ({said}){details}",
                hint="It takes the member role in the project, and a share that was accepted.",
            )
        if status in {404, 410}:
            return errors.ResourceNotFound(
                f"{label}: the data is not there, or this account cannot see it ({said}){details}",
                hint="Look with: openstack image show <image>",
            )
        return errors.TransferError(f"{label}: the service answered {said}{details}")


def _login_failed(error: keystone.HttpError) -> Exception:
    """The identity service refused a new login."""
    if error.http_status in _PASSING:
        return Broken(f"the identity service failed ({error.http_status})")
    return errors.Forbidden(
        f"The login is not accepted any more: {text_of_page(str(error))}", hint=RESUME_HINT
    )


def _duplicate(raw: object) -> socket.socket | None:
    """The connection's socket under a number of its own, so that it can be shut down from another
    thread.
    """
    try:
        number = os.dup(raw.fileno())  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError, TypeError):
        return None  # not a socket: nothing can block
    return socket.socket(fileno=number)


def _explanation(response: requests.Response) -> str:
    """The first words of an error page, or nothing."""
    try:
        page = response.raw.read(4096, decode_content=True)
    except _FAULTS:
        page = b""
    finally:
        response.close()
    text = text_of_page(page.decode("utf-8", "replace"))
    return f": {text}" if text else ""


def _reason(error: BaseException) -> str:
    return text_of_page(str(error)) or type(error).__name__
