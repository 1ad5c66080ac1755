# SPDX-License-Identifier: Apache-2.0
"""Hashes over the bytes of one file, in one pass.

Contract: every algorithm that is asked for is computed at once. hashlib lets other threads run
meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from osc_imagetools import errors
from osc_imagetools.data.download_source import DownloadSource, Proof, supported


class Digest:
    """The hashes of a file so far."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in sorted(algorithms)}

    def update(self, piece: memoryview) -> None:
        """Add the next bytes."""
        for value in self._hashes.values():
            value.update(piece)

    def values(self) -> dict[str, str]:
        """Algorithm to hex."""
        return {name: value.hexdigest() for name, value in self._hashes.items()}


def needed(source: DownloadSource, algorithms: Iterable[str]) -> frozenset[str]:
    """The ``algorithms`` asked for, and the one by which the cloud's promise is checked.

    Where there is none yet, the one that Glance hashes with by default (its option hashing_algorithm): its
    promise may come while the data does.
    """
    names = {name.lower() for name in algorithms}
    unknown = sorted(name for name in names if not supported(name))
    if unknown:
        raise errors.TransferError(f"This Python cannot compute {', '.join(unknown)}")
    late = set() if source.strong or source.reread is None else {"sha512"}
    return frozenset(names | late | ({source.proof.algorithm} if source.proof else set()))


def agrees(proof: Proof | None, digests: dict[str, str]) -> bool:
    """Whether the data is what the cloud promised, if it promised anything."""
    return proof is None or digests[proof.algorithm] == proof.value
