# SPDX-License-Identifier: Apache-2.0
"""Sends a disk's bytes as an image's data: one request, hashed while it is sent, in bounded memory.

Contract: whoever created the image removes it when this raises. What may pass with another try is raised as
:class:`UploadBroken`; the image must be created anew for that, for a part of its data may have arrived.
Source: ``PUT /v2/images/{image_id}/file``, https://docs.openstack.org/api-ref/image/v2/ ; the header
``x-openstack-image-size`` lets Glance (since 2025.2) refuse a short body, older ones ignore it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystoneauth1 import exceptions as ksa_exceptions
from requests import exceptions as requests_exceptions

from osc_imagetools import errors
from osc_imagetools.cloud.answers import message_of
from osc_imagetools.data.disk_stream import DiskSource, DiskStream
from osc_imagetools.progress.model import Progress

if TYPE_CHECKING:
    from keystoneauth1.session import Session
    from requests import Response

# Seconds: for a block to be taken, and for the answer after the last one (a store may have much to do).
TIMEOUT = (60, 3600)
# Answers of a service or of a proxy before it that another try may not get.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class UploadBroken(errors.TransferError):
    """An upload broke in a way that may pass."""


@dataclass
class UploadSink:
    """The data of an image that has none yet. ``status`` is that of the last answer."""

    session: Session
    url: str  # absolute, of /v2/images/{id}/file
    label: str
    store: str | None = None
    status: int = 0

    def receive(self, stream: DiskStream) -> None:
        """Sends the stream.

        :raises UploadBroken: the connection broke, or the service failed; :raises errors.TransferError: the
            image service refuses the data; and what the stream raises.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if self.store:
            headers["X-Image-Meta-Store"] = self.store
        if stream.size is not None:
            headers["x-openstack-image-size"] = str(stream.size)
        if stream.size == 0:
            stream.read()  # nothing is sent of it, and it must be right all the same
        response = self._put(stream, headers)
        self.status = response.status_code
        if self.status == 401 or self.status < 300:
            return
        text = f"{self.label}: the image service refused the data with {self.status}: {message_of(response)}"
        raise (UploadBroken if self.status in PASSING else errors.TransferError)(text)

    def _put(self, stream: DiskStream, headers: dict[str, str]) -> Response:
        """One request; keystoneauth must not repeat it by itself, for the body would be at its end."""
        try:
            response: Response = self.session.request(
                self.url,
                "PUT",
                data=stream if stream.size != 0 else b"",
                headers=headers,
                raise_exc=False,
                authenticated=True,
                allow_reauth=False,
                redirect=False,
                connect_retries=0,
                status_code_retries=0,
                timeout=TIMEOUT,
            )
        except (ksa_exceptions.ClientException, requests_exceptions.RequestException, OSError) as exc:
            raise UploadBroken(
                f"{self.label}: the upload broke off: {exc}", hint="Run the command again."
            ) from exc
        return response


@dataclass(frozen=True)
class Sent:
    """What was sent: its bytes, and its digests in hex by algorithm."""

    size: int
    digests: Mapping[str, str]


def send(
    source: DiskSource,
    sink: UploadSink,
    *,
    algorithms: Iterable[str],
    progress: Progress,
    cancelled: threading.Event,
) -> Sent:
    """Sends all of a source; the digest of its proof is among those that are computed besides *algorithms*.

    :raises errors.HashMismatch: the source is not what it should be; its last block was not sent.
    :raises errors.TransferError: as of :meth:`UploadSink.receive`; :raises errors.Cancelled: interrupted.
    """
    task = progress.task(source.label, source.size)
    try:
        for again in (True, False):
            with source.open(cancelled) as reader:
                stream = DiskStream(
                    source, reader, algorithms=algorithms, cancelled=cancelled, advance=task.advance
                )
                try:
                    sink.receive(stream)
                    if sink.status != 401:
                        return Sent(stream.sent, stream.digests())
                finally:
                    stream.close()
            if again:  # an expired token: log in again, and send from the beginning
                sink.session.invalidate()
                task.advance(-stream.sent)
    finally:
        task.done()
    raise errors.Forbidden(f"{sink.label}: the image service refuses the new login too")
