# SPDX-License-Identifier: Apache-2.0
"""The hash that Glance promises for data only after it was read: it can hash an image long after it is there.

Contract: asks again while Glance says that it is at it, for as long as the policy allows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from osc_imagetools import errors
from osc_imagetools.data.download_source import DownloadSource
from osc_imagetools.data.retry import RESUME_HINT, RetryPolicy


def with_late_proof(
    source: DownloadSource,
    size: int,
    *,
    policy: RetryPolicy,
    cancelled: threading.Event,
    say: Callable[[str], None],
) -> DownloadSource:
    """The source as the cloud describes it now, where it had no good proof when the transfer began.

    :param size: bytes that have come.
    :raises errors.TransferError: the image has changed; :raises errors.Cancelled: interrupted.
    """
    if source.strong or source.reread is None:
        return source
    end = time.monotonic() + policy.hash_patience
    while True:
        now = source.reread()
        if now.strong or not now.hash_coming or time.monotonic() >= end:
            break
        say("waiting for the image service to hash the image")
        if cancelled.wait(policy.hash_pause):
            raise errors.Cancelled(f"{source.label}: interrupted", hint=RESUME_HINT)
    if now.size not in (None, size):
        raise errors.TransferError(
            f"{source.label} has {now.size} bytes now, not {size}: it has changed",
            hint="Start again: the details of the image are read anew.",
        )
    return now
