# SPDX-License-Identifier: Apache-2.0
"""Which copies there are of each disk of each server, and what they are worth.

Contract: pure. A copy is an image, a snapshot, a backup of Cinder's or a bundle. It covers disks: volumes by
their ID, and the root disk of a server that boots from an image as :data:`ROOT`. An image of 0 bytes is
worth what its snapshots are; Nova writes on it neither the server nor the volumes (``instance_uuid`` on it is
inherited from the image that the root volume was made from), so that it is known by the volumes of its
snapshots, and where these are all gone by its name, which begins with the server's (``openstack server
image create`` names it so if nothing else is said). A name counts only where all servers are known that it
may be of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from osc_imagetools.backup_check.bundles import BundleCopy, BundleProof
from osc_imagetools.backup_check.fleet import GOOD_SNAPSHOT, Fleet, FleetImage, FleetServer
from osc_imagetools.bundle.records import BOOTED, FAILED

ROOT = "root"
SHELVED = frozenset({"SHELVED", "SHELVED_OFFLOADED"})
GOOD_BACKUP = frozenset({"available", "restoring"})
UNFINISHED = frozenset({"creating", "queued", "saving", "importing", "uploading"})


@dataclass(frozen=True, slots=True)
class Copy:
    """A good copy of some disks; ``taken`` is the moment that its data is of."""

    label: str
    taken: float
    covers: tuple[str, ...]
    image_id: str | None = None  # of an image of 0 bytes


@dataclass(frozen=True, slots=True)
class DeadImage:
    """An image of 0 bytes, and what it points at in vain (nothing: it points at nothing)."""

    image: FleetImage
    lost: tuple[str, ...]
    by_name: bool = False

    @property
    def why(self) -> str:
        return f"{', '.join(self.lost)} gone or broken" if self.lost else "it points at no data"


@dataclass(slots=True)
class ServerCopies:
    """What was made of one server as a whole."""

    good: list[Copy] = field(default_factory=list)
    bundles: list[BundleCopy] = field(default_factory=list)  # that boot as it does
    dead: list[DeadImage] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Protection:
    """How well a server is covered.

    ``newest`` is by disk; ``as_of`` the moment from which there is a copy of every disk, None where one has
    none.
    """

    newest: Mapping[str, Copy]
    lacking: tuple[str, ...]
    copies: ServerCopies

    @property
    def as_of(self) -> float | None:
        if self.lacking or not self.newest:
            return None
        return min(copy.taken for copy in self.newest.values())

    @property
    def newest_bundle(self) -> BundleCopy | None:
        """The newest complete bundle of the server as a whole."""
        return max(self.copies.bundles, key=lambda bundle: bundle.taken or 0.0, default=None)

    @property
    def newest_check(self) -> BundleProof | None:
        """The newest restore check that said whether a bundle boots."""
        decided = (proof for proof in self._checks() if proof.result in (BOOTED, FAILED))
        return max(decided, key=lambda proof: proof.at, default=None)

    @property
    def newest_proof(self) -> float | None:
        """When a bundle of the server was last seen to boot."""
        return max((proof.at for proof in self._checks() if proof.booted), default=None)

    def _checks(self) -> Iterator[BundleProof]:
        return (proof for bundle in self.copies.bundles for proof in bundle.proofs)

    @property
    def newest_copy(self) -> Copy | None:
        return max(self.newest.values(), key=lambda copy: copy.taken, default=None)


class Backups:
    """All copies, by the servers and volumes that they are of.

    ``strays`` are dead images of which no server is known.
    """

    def __init__(self, fleet: Fleet, bundles: Iterable[BundleCopy]) -> None:
        self._fleet = fleet
        self._of_volume: dict[str, Copy] = {}
        self._of_server: dict[str, ServerCopies] = defaultdict(ServerCopies)
        self.strays: list[DeadImage] = []
        self._holder = {volume.id: server.id for server in fleet.servers for volume in server.volumes}
        self._servers = {server.id: server for server in fleet.servers}
        self._names: dict[tuple[str, str], list[FleetServer]] = defaultdict(list)
        for server in fleet.servers:
            self._names[server.project_id, server.name].append(server)
        self._add_snapshots()
        for image in fleet.images.values():
            self._add_image(image)
        for bundle in bundles:
            self._add_bundle(bundle)

    def protection(self, server: FleetServer, disks: Sequence[str]) -> Protection:
        """What there is of these disks of a server."""
        copies = self._of_server.get(server.id) or ServerCopies()
        newest: dict[str, Copy] = {}
        for disk in disks:
            candidates = [copy for copy in copies.good if disk in copy.covers]
            if disk in self._of_volume:
                candidates.append(self._of_volume[disk])
            if candidates:
                newest[disk] = max(candidates, key=lambda copy: copy.taken)
        return Protection(newest, tuple(disk for disk in disks if disk not in newest), copies)

    def _add_snapshots(self) -> None:
        for snapshot in self._fleet.snapshots.values():
            if snapshot.status in GOOD_SNAPSHOT:
                self._keep_newest(snapshot.volume_id, f"snapshot {snapshot.id}", snapshot.created)
        for backup in self._fleet.volume_backups:
            if backup.status in GOOD_BACKUP:
                self._keep_newest(backup.volume_id, f"volume backup {backup.id}", backup.created)

    def _keep_newest(self, volume_id: str, label: str, taken: float | None) -> None:
        known = self._of_volume.get(volume_id)
        if volume_id in self._holder and taken is not None and (known is None or known.taken < taken):
            self._of_volume[volume_id] = Copy(label, taken, (volume_id,))

    # -- images --------------------------------------------------------------------------------

    def _add_image(self, image: FleetImage) -> None:
        server = self._servers.get(image.server_id or "")
        if server and _is_shelved(server, image):
            return
        if image.size:
            self._add_data_image(image)
        elif image.disks != () or image.server_id:
            self._add_empty_image(image)

    def _add_data_image(self, image: FleetImage) -> None:
        if image.server_id is None or image.server_id not in self._servers:
            return
        copies, label = self._of_server[image.server_id], _label(image)
        if image.status in UNFINISHED:
            copies.unfinished.append(label)
        elif image.status != "active":
            copies.unusable.append(f"{label} is {image.status}")
        elif image.created is not None:
            copies.good.append(Copy(label, image.created, (ROOT,)))

    def _add_empty_image(self, image: FleetImage) -> None:
        fleet = self._fleet
        if fleet.is_foreign(image):
            return
        found = fleet.snapshots_of(image)
        server, by_name = self._server_of(image, [snapshot.volume_id for snapshot in found])
        copies = self._of_server[server] if server else ServerCopies()
        if image.status in UNFINISHED or any(s.status in UNFINISHED for s in found):
            copies.unfinished.append(_label(image))
        elif image.status != "active":
            copies.unusable.append(f"{_label(image)} is {image.status}")
        elif fleet.knows_snapshots and (fleet.lost(image) or not image.is_pointer):
            dead = DeadImage(image, fleet.lost(image), by_name)
            (copies.dead if server else self.strays).append(dead)
        elif found:
            taken = min(snapshot.created or 0.0 for snapshot in found)
            covers = tuple(snapshot.volume_id for snapshot in found)
            copies.good.append(Copy(_label(image), taken, covers, image.id))

    def _server_of(self, image: FleetImage, volumes: Iterable[str]) -> tuple[str | None, bool]:
        """(ID of the server that an image was made of, whether only its name says so)."""
        server_id = image.server_id if image.disks == () else None  # with a mapping it is inherited
        if server_id in self._servers:
            return server_id, False
        volumes = list(volumes)
        for volume in volumes:
            if volume in self._holder:
                return self._holder[volume], False
        if volumes or server_id or not self._fleet.whole:
            return None, False  # of a server that is not among these, or may be
        for name in _beginnings(image.name):
            named = self._names.get((image.owner or "", name), [])
            if len(named) == 1 and (named[0].created or 0.0) <= (image.created or 0.0):
                return named[0].id, True
        return None, False

    # -- bundles -------------------------------------------------------------------------------

    def _add_bundle(self, bundle: BundleCopy) -> None:
        label = f"bundle {bundle.path}"
        server_id = bundle.server_id
        if bundle.kind == "image" and bundle.resource_id in self._fleet.images:
            server_id = server_id or self._fleet.images[bundle.resource_id].server_id
        named = [server_id, *(self._holder.get(volume) for volume in bundle.volumes)]
        for holder in {server for server in named if server in self._servers}:
            copies = self._of_server[holder]
            if not bundle.complete:
                copies.unusable.append(f"{label} is not complete")
            elif bundle.taken is not None:
                root = (ROOT,) if bundle.has_root and holder == server_id else ()
                copies.good.append(Copy(label, bundle.taken, (*bundle.volumes, *root)))
                if holder == server_id and bundle.kind in ("image", "server"):
                    copies.bundles.append(bundle)


def _is_shelved(server: FleetServer, image: FleetImage) -> bool:
    """Whether it is Nova's own image of a shelved server, which goes when that is unshelved or deleted.

    Source: nova/compute/api.py (shelve, _delete), nova/compute/manager.py (_unshelve_instance).
    """
    shelved = server.status in SHELVED or (server.task_state or "").startswith("shelving")
    return shelved and image.name == f"{server.name}-shelved"


def _label(image: FleetImage) -> str:
    return f"image {image.name} ({image.id})" if image.name else f"image {image.id}"


def _beginnings(name: str) -> Iterator[str]:
    """A name, and its beginnings up to what is neither a letter nor a digit, longest first."""
    yield name
    for place in range(len(name) - 1, 0, -1):
        if not name[place].isalnum():
            yield name[:place]
