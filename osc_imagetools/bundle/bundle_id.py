# SPDX-License-Identifier: Apache-2.0
"""The UUID that names a bundle wherever it lies.

Contract: pure. An export gives its bundle one (``bundle_id`` in the manifest). A manifest without it has
one all the same, which follows from its bytes, so every copy of the bundle has the same.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

NAMESPACE = uuid.UUID("6f1d3f0e-5b52-4d0c-9d2e-3a9f4f1c7b60")


def bundle_id_of(manifest: Mapping[str, Any], data: bytes) -> str:
    """The ID of a bundle.

    :param manifest: as it was read from *data*, the bytes of its file.
    """
    told = manifest.get("bundle_id")
    if isinstance(told, str):
        try:
            return str(uuid.UUID(told))
        except ValueError:
            pass
    return str(uuid.uuid5(NAMESPACE, hashlib.sha512(data).hexdigest()))
