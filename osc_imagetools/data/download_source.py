# SPDX-License-Identifier: Apache-2.0
"""What is fetched, and what came of it.

Contract: frozen values, no effects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Verified = Literal["os_hash", "checksum", "none"]


@dataclass(frozen=True)
class Proof:
    """The hash that the cloud promises for the data: ``algorithm`` as hashlib names it, ``value``
    in hex.
    """

    algorithm: str
    value: str
    kind: Literal["os_hash", "checksum"]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


@dataclass(frozen=True)
class DownloadSource:
    """The data of one image, as Glance describes it.

    ``size`` is in bytes. Everything that Glance leaves out (a snapshot that Nova made directly in
    RBD has no hashes for a while, or never) is None. ``store`` is the image's ``stores`` attribute,
    where known: whether ranges work is then learnt once for the store, else once for each image.
    ``reread`` gives the same as Glance describes it later: it can hash data long after it is there.
    ``hash_coming`` says that Glance is at it.
    """

    url: str
    label: str
    size: int | None
    hash_algo: str | None
    hash_value: str | None
    checksum: str | None
    store: str | None = None
    hash_coming: bool = False
    reread: Callable[[], DownloadSource] | None = field(default=None, compare=False, repr=False)

    @property
    def strong(self) -> bool:
        """Whether there is a hash that counts; an MD5 alone is a reason to look for a better one."""
        return self.proof is not None and self.proof.kind == "os_hash"

    @property
    def proof(self) -> Proof | None:
        """The strongest promise that this Python can check, or None."""
        return promised(self.hash_algo, self.hash_value, self.checksum)


def promised(hash_algo: str | None, hash_value: str | None, checksum: str | None) -> Proof | None:
    """The strongest promise among those of Glance that this Python can check, or None."""
    if hash_algo and hash_value and supported(hash_algo):
        return Proof(hash_algo.lower(), hash_value.lower(), "os_hash")
    if checksum and supported("md5"):
        return Proof("md5", checksum.lower(), "checksum")
    return None


@dataclass(frozen=True)
class Fetched:
    """A disk that has arrived: verified, durable and under its final name.

    ``digests`` maps an algorithm to hex. ``bytes_fetched`` counts what came over the network, more
    than once if need be; ``bytes_reused`` what was kept from an earlier run; ``retries`` every
    fault that was survived.
    """

    size: int
    digests: Mapping[str, str]
    verified: Verified
    bytes_fetched: int
    bytes_reused: int
    retries: int


def supported(algorithm: str) -> bool:
    """Whether this Python can compute ``algorithm`` (of those with a digest of fixed length)."""
    try:
        return hashlib.new(algorithm.lower(), usedforsecurity=False).digest_size > 0
    except (ValueError, TypeError):
        return False
