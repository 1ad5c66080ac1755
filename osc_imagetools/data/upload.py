# SPDX-License-Identifier: Apache-2.0
"""Sends a file as an image's data: a known length, hashed while it is sent, in bounded memory.

Contract: one request; whoever made the image removes it when this raises. The size that is sent is the one
that was measured before: a file that changes meanwhile is an error, and so is a hash that is not the one
expected, which is known before the last block leaves.
Source: ``PUT /v2/images/{image_id}/file``, https://docs.openstack.org/api-ref/image/v2/
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from keystoneauth1 import exceptions as ksa_exceptions
from requests import exceptions as requests_exceptions

from osc_imagetools import errors
from osc_imagetools.cloud.answers import message_of
from osc_imagetools.progress.model import Progress

if TYPE_CHECKING:
    from keystoneauth1.session import Session
    from requests import Response

BLOCK = 1 << 20  # bytes
# Seconds: for a block to be taken, and for the answer after the last one (a store may have much to do).
TIMEOUT = (60, 3600)


class _Body:
    """The file as the HTTP client reads it; the hash follows one block behind in a thread of its own.

    ``read`` gives whole blocks whatever size is asked for: the client would ask for 16 KiB.
    """

    def __init__(
        self,
        path: Path | None,
        algorithm: str,
        expected: str | None,
        cancelled: threading.Event,
        advance: Callable[[int], None],
    ) -> None:
        self._file = path.open("rb", buffering=0) if path else None
        self.left = self.size = path.stat().st_size if path else 0
        self._expected = expected
        self._cancelled = cancelled
        self._digest = hashlib.new(algorithm, usedforsecurity=False)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hash")
        self._hashed: Future[None] | None = None
        self._advance = advance
        self._path = path

    def __len__(self) -> int:
        return self.size

    def read(self, size: int = -1) -> bytes:
        if self._cancelled.is_set():
            raise errors.Cancelled("interrupted")
        if not self.left or self._file is None:
            return b""
        block = self._file.read(min(BLOCK, self.left))
        if not block:
            raise errors.TransferError(f"{self._path} became shorter while it was sent")
        self.left -= len(block)
        if self._hashed is not None:
            self._hashed.result()
        self._hashed = self._pool.submit(self._digest.update, block)
        if not self.left and self._expected not in (None, self.hexdigest()):
            raise errors.HashMismatch(
                f"{self._path} changed while it was sent: its hash is no longer the manifest's",
                hint="openstack bundle verify <bundle>",
            )
        self._advance(len(block))
        return block

    def hexdigest(self) -> str:
        if self._hashed is not None:
            self._hashed.result()
        return self._digest.hexdigest()

    def close(self) -> None:
        self._pool.shutdown()
        if self._file is not None:
            self._file.close()


def upload(
    session: Session,
    url: str,
    path: Path | None,
    *,
    label: str,
    algorithm: str,
    expected: str | None,
    store: str | None,
    progress: Progress,
    cancelled: threading.Event,
) -> str:
    """Sends *path* (None: 0 bytes); the hex digest of what was sent.

    :param url: absolute URL of ``/v2/images/{id}/file``.
    :param expected: the digest that the file must have, None where it is not known.
    :param store: the Glance store to write to, None for the cloud's default.
    :raises errors.TransferError: the connection broke, or Glance refused the data.
    :raises errors.HashMismatch: the file is not what was expected; :raises errors.Cancelled: interrupted.
    """
    headers = {"Content-Type": "application/octet-stream"}
    if store:
        headers["X-Image-Meta-Store"] = store
    task = progress.task(path.name if path else label, path.stat().st_size if path else 0)
    try:
        for again in (True, False):
            body = _Body(path, algorithm, expected, cancelled, task.advance)
            response = _put(session, url, body, headers, label)
            if not (again and response.status_code == 401):
                break
            session.invalidate()  # an expired token: log in again, and send from the beginning
            task.advance(body.left - body.size)
    finally:
        task.done()
    if response.status_code >= 300:
        raise errors.TransferError(
            f"{label}: the image service refused the data with {response.status_code}: {message_of(response)}"
        )
    return body.hexdigest()


def _put(session: Session, url: str, body: _Body, headers: Mapping[str, str], label: str) -> Response:
    """One try; keystoneauth must not repeat it by itself, for the body would be at its end."""
    try:
        response: Response = session.request(
            url,
            "PUT",
            data=body if body.size else b"",
            headers=dict(headers),
            raise_exc=False,
            authenticated=True,
            allow_reauth=False,
            connect_retries=0,
            status_code_retries=0,
            timeout=TIMEOUT,
        )
    except (ksa_exceptions.ClientException, requests_exceptions.RequestException, OSError) as exc:
        raise errors.TransferError(
            f"{label}: the upload broke off: {exc}", hint="Run the command again."
        ) from exc
    finally:
        body.close()
    return response
