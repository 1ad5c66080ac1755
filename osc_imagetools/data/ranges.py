# SPDX-License-Identifier: Apache-2.0
"""Whether a store answers to ranges, and whether an answer is the range that was asked for.

Contract: Glance serves a range (206) only where the store has random access: file and Cinder. RBD,
Swift, S3, HTTP and VMware raise StoreRandomGetNotSupported, which is 400 even for ``bytes=0-``
(glance ``api/v2/image_data.py`` and ``glance_store/capabilities.py``). A proxy in between may
ignore Range (200) or answer it wrongly. Only a real request can tell, so the first one for data
asks for a range; the answer is remembered.
"""

from __future__ import annotations

import re
import threading
from urllib.parse import urlsplit

from osc_imagetools.data.download_source import DownloadSource

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII | re.IGNORECASE)


class RangeRefused(Exception):
    """There are no ranges to be had for this image: it must be read as one stream."""


def content_range(value: str | None, first: int, last: int) -> tuple[int, int]:
    """Parse a Content-Range that answers to ``bytes=first-last``.

    Returns the last byte that comes and the size of the whole. An answer may be shorter than what
    was asked for (RFC 9110, 15.3.7), but must begin where it was asked to. Raises RangeRefused.
    """
    match = _CONTENT_RANGE.fullmatch((value or "").strip())
    if match is None:
        raise RangeRefused(f"Content-Range is {value!r}")
    begin, end, total = (int(group) for group in match.groups())
    if begin != first or not first <= end <= last or end >= total:
        raise RangeRefused(f"asked for bytes {first}-{last}, answered {value!r}")
    return end, total


class RangeSupport:
    """What was learnt in this run, for each store of each cloud. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], bool] = {}

    def works(self, source: DownloadSource) -> bool | None:
        """True, False, or None: not known yet."""
        with self._lock:
            return self._known.get(_store(source))

    def learn(self, source: DownloadSource, works: bool) -> None:
        """Remember an answer; a refusal is final."""
        with self._lock:
            key = _store(source)
            self._known[key] = works and self._known.get(key, True)


def _store(source: DownloadSource) -> tuple[str, str]:
    return urlsplit(source.url).netloc, source.store or source.url
