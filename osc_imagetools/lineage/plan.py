# SPDX-License-Identifier: Apache-2.0
"""The tree of a lineage: a resource at the root, its origins and what was made from it as branches.

Contract: pure. A row has one of two directions: *from* (its parent was made from it) or *to* (it was made
from its parent). Below an origin, only its own origins follow; below what was made from a resource, only what
was made from that. Exceptions: a volume always shows the servers it is attached to, and the volumes of a
server at the root are followed in both directions. A resource that occurs twice is followed at its first
occurrence only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from osc_imagetools.lineage.inventory import Key, Lineage, LineageResource, Link

Direction = Literal["from", "to"]
# What was made by these links cannot be used without its origin.
HARD = frozenset({"mapping", "snapshot", "attachment"})
# Storage with clones lets go of an image or snapshot only when no clone needs it. What is one, no API tells.
CLONE = "prevents the deletion if its disk is a clone of the image (Ceph RBD)"
OLD_CLONE = "prevents the deletion if it is a clone of the snapshot (Ceph RBD, older releases)"
FAILED = frozenset({"error", "error_deleting", "error_restoring", "killed", "deleted"})


@dataclass(frozen=True)
class Row:
    """One line of the tree; ``parent`` is the resource of its parent line.

    ``broken``: it is missing, has failed, or cannot be used without such a resource; None if unknown.
    ``if_deleted`` is what would happen to it if the resource at the root were deleted, None for nothing.
    ``last`` tells for each level whether the branch ends there, ``repeated`` whether its branches are shown
    further up.
    """

    depth: int
    resource: LineageResource
    parent: LineageResource | None
    direction: Direction | None
    relation: str | None
    broken: bool | None
    if_deleted: str | None
    last: tuple[bool, ...] = ()
    repeated: bool = False


@dataclass(frozen=True)
class _Branch:
    key: Key
    link: Link
    direction: Direction
    onward: tuple[Direction, ...]


def lineage_rows(found: Lineage) -> tuple[Row, ...]:
    """The rows of the tree; the first one is the root."""
    return tuple(_Tree(found).rows())


@dataclass
class _Tree:
    found: Lineage
    shown: dict[Key, set[Direction]] = field(default_factory=dict)  # and followed in which directions
    states: dict[Key, bool | None] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        self.consequences = dict(_consequences(self.found))
        asked = self._resource(self.found.asked)
        yield Row(0, asked, None, None, None, self._broken(asked.key), None)
        self.shown[asked.key] = {"from", "to"}
        yield from self._below(asked, ("from", "to"), None, ())

    def _resource(self, key: Key) -> LineageResource:
        return self.found.resources[key]

    def _below(
        self,
        parent: LineageResource,
        onward: tuple[Direction, ...],
        above: Key | None,
        last: tuple[bool, ...],
    ) -> Iterator[Row]:
        branches = [b for b in self._branches(parent, onward) if b.key != above]
        for number, branch in enumerate(branches):
            resource = self._resource(branch.key)
            ends = (*last, number == len(branches) - 1)
            repeated = branch.key in self.shown and self.shown[branch.key].issuperset(branch.onward)
            self.shown.setdefault(branch.key, set()).update(branch.onward)
            yield Row(
                depth=len(ends),
                resource=resource,
                parent=parent,
                direction=branch.direction,
                relation=branch.link.relation,
                broken=self._broken(branch.key),
                if_deleted=self.consequences.get(branch.key),
                last=ends,
                repeated=repeated,
            )
            if not repeated:
                yield from self._below(resource, branch.onward, parent.key, ends)

    def _branches(self, parent: LineageResource, onward: tuple[Direction, ...]) -> Iterator[_Branch]:
        asked = parent.key == self.found.asked
        if "from" in onward:
            for link in self._origins(parent):
                if link.relation != "attachment":
                    yield _Branch(link.origin, link, "from", ("from",))
                elif asked:
                    yield _Branch(link.origin, link, "from", ("from", "to"))
        for key in self.found.derived.get(parent.key, ()):
            for link in self._resource(key).origins:
                if link.origin != parent.key or link not in self._origins(self._resource(key)):
                    continue
                if link.relation == "attachment":
                    yield _Branch(key, link, "to", ())
                elif "to" in onward:
                    yield _Branch(key, link, "to", ("to",))

    def _origins(self, resource: LineageResource) -> list[Link]:
        """Its origins; the second ones only if one of the first ones is missing."""
        first = [link for link in resource.origins if not link.second]
        whole = all(
            self._resource(link.origin).found for link in first if link.origin in self.found.resources
        )
        return first if whole else list(resource.origins)

    def _broken(self, key: Key) -> bool | None:
        if key in self.states:
            return self.states[key]
        self.states[key] = False  # ends a cycle
        resource = self._resource(key)
        values = [None if resource.found is None else not resource.found]
        values.append((resource.status or "").lower() in FAILED)
        values += [
            self._broken(link.origin)
            for link in resource.origins
            if link.relation in HARD and link.origin in self.found.resources
        ]
        self.states[key] = True if True in values else (None if None in values else False)
        return self.states[key]


def _consequences(found: Lineage) -> Iterator[tuple[Key, str]]:
    """What would happen to other resources if the one at the root were deleted."""
    asked = found.resources[found.asked]
    lost = "loses its data and can no longer be booted"
    for key, link in _derived(found, asked.key):
        if link.relation == "attachment":
            yield key, "prevents the deletion while the volume is attached"
        elif link.relation == "snapshot":
            yield key, "prevents the deletion, or is deleted too (volume delete --purge)"
            for image, below in _derived(found, key):
                if below.relation == "mapping":
                    yield image, f"{lost}, once its snapshot is deleted"
        elif link.relation == "mapping":
            yield key, lost
        elif link.relation == "boot":
            stays = "stays, but can no longer be rebuilt from the image"
            yield key, f"{stays}; {CLONE}" if asked.cloned else stays
        elif link.relation == "copy" and asked.cloned:
            yield key, CLONE
        elif link.relation == "copy" and asked.kind == "snapshot":
            yield key, OLD_CLONE
    for link in asked.origins:
        if link.delete_on_termination:
            snapshots = [k for k, below in _derived(found, link.origin) if below.relation == "snapshot"]
            prevented = ", unless its snapshots prevent it" if snapshots else ""
            yield link.origin, f"is deleted too (delete_on_termination){prevented}"


def _derived(found: Lineage, key: Key) -> Iterator[tuple[Key, Link]]:
    for other in found.derived.get(key, ()):
        for link in found.resources[other].origins:
            if link.origin == key:
                yield other, link
