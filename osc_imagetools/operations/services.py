# SPDX-License-Identifier: Apache-2.0
"""The services that operations need, so that each can be asked before the first effect.

Contract: pure. Service types are those of the catalog's standard (``block-storage``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import Operation

# The service of each kind of resource.
BY_KIND = {
    "image": "image",
    "volume": "block-storage",
    "snapshot": "block-storage",
    "server": "compute",
    "port": "network",
}


def services_of(operations: Iterable[Operation]) -> tuple[str, ...]:
    """The services of all resources that operations (dataclasses with references) work on or make."""
    values = [getattr(o, f.name) for o in operations for f in dataclasses.fields(o)]
    return services_of_kinds(value.kind for value in values if isinstance(value, Reference))


def services_of_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """The services that hold resources of these kinds, each once, in a fixed order."""
    wanted = {BY_KIND[kind] for kind in kinds}
    return tuple(service for service in dict.fromkeys(BY_KIND.values()) if service in wanted)
