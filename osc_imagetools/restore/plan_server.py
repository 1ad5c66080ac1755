# SPDX-License-Identifier: Apache-2.0
"""Plans the import of a server: its disks, then the server with its mapping, in a cloud that may differ.

Contract: pure. What cannot be resolved (a flavor, a network, a volume type) is found here, before any effect,
and all of it is listed at once with the candidates that fit. What cannot be set again is listed with the
reason, never dropped silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from osc_imagetools import errors
from osc_imagetools.cloud.ownership import plain_description
from osc_imagetools.cloud.volume import GIB
from osc_imagetools.operations.disk_drafts import (
    VolumeOfDisk,
    disk_image,
    disk_volume,
    encrypted_problem,
    image_properties,
    smallest_size,
    volume_type_of,
)
from osc_imagetools.operations.drafts import ImageDraft, MappingEntry, Plug, PortDraft, ServerDraft
from osc_imagetools.operations.quota import QuotaNeed, check_needs, fit_quota
from osc_imagetools.operations.reference import Reference
from osc_imagetools.operations.vocabulary import (
    CreatePort,
    CreateServer,
    Lane,
    Phase,
    SendDisk,
    SetMetadata,
)
from osc_imagetools.restore.inventory_server import Flavor, ServerDestination
from osc_imagetools.restore.plan import ImportPlan
from osc_imagetools.restore.plan_image import check_kind
from osc_imagetools.restore.plan_networks import plan_networks
from osc_imagetools.restore.plan_server_attributes import choose_flavor, server_traits
from osc_imagetools.restore.plan_server_options import ImportNotes, ServerImportOptions


def plan_server_import(
    manifest: Mapping[str, Any], to: ServerDestination, options: ServerImportOptions
) -> ImportPlan:
    """Plans ``server import-full``.

    :param manifest: of a bundle of kind server, validated.
    :raises errors.ImagetoolsError: it cannot be done; several reasons as :class:`errors.Unready`.
    """
    check_kind(manifest, ("server",))
    found = ImportNotes()
    facts = manifest["replayable"]
    name = options.name if options.name is not None else str(facts.get("name") or "server")
    disks = _ImportedDisks(manifest, to, options, found, name)
    flavor = choose_flavor(facts, to, options.flavor, disks.root_size, found)
    network = plan_networks(facts, to, options, found)
    body, hints = server_traits(facts, to, options, found)
    if flavor is not None:
        body["flavorRef"] = flavor.id
    if not network.ports:
        body["networks"] = network.networks
    if network.security_groups:
        body["security_groups"] = [{"name": group} for group in network.security_groups]
    _lose_unreadable(facts, found)
    for entry in manifest["not_captured"]:
        found.lose(entry["name"], f"not in the bundle: {entry['reason']}")
    disks.expect_devices(flavor, found)
    needs = _needs(to, disks.volumes, flavor, found)
    errors.raise_problems("it cannot be imported", found.problems)
    draft = ServerDraft(
        name=name,
        description=plain_description(facts.get("description")),
        body=body,
        hints=hints,
        expected=disks.expected,
    )
    server = Reference("server", None, f"server {name}")
    return ImportPlan(
        result=server,
        phases=_phases(server, draft, disks, network.ports, wait=options.wait),
        listed=tuple(disks.listed),
        disks=len(disks.lanes),
        bytes=disks.bytes,
        not_replayed=tuple(found.lost),
        mapped=tuple(found.mapped),
        needs=needs,
    )


def _phases(
    server: Reference,
    draft: ServerDraft,
    disks: _ImportedDisks,
    drafts: Sequence[PortDraft],
    *,
    wait: bool,
) -> tuple[Phase, ...]:
    """The disks, then the ports and the server, then what makes them the user's."""
    ports = [Reference("port", None, f"port-{number}") for number, _ in enumerate(drafts)]
    plugs = tuple(Plug(port, port_draft.tag) for port, port_draft in zip(ports, drafts, strict=True))
    return (
        Phase(tuple(disks.lanes)),
        Phase.of(
            *(CreatePort(port, port_draft) for port, port_draft in zip(ports, drafts, strict=True)),
            CreateServer(server, draft, tuple(disks.devices), plugs, wait),
        ),
        Phase.of(*map(SetMetadata, (*disks.stay, *ports, server))),
    )


def _lose_unreadable(facts: Mapping[str, Any], found: ImportNotes) -> None:
    """What the export could not read: the user data is judged with its option, and no image is needed."""
    for fact, reason in (facts.get("unreadable") or {}).items():
        if fact in ("user data", "image"):
            continue
        without = "; the server gets no network" if fact == "ports" and not facts.get("ports") else ""
        found.lose(str(fact), f"it is not in the bundle: {reason}{without}")


class _ImportedDisks:
    """The disks of a server as volumes and images, and its block devices in order.

    Nova's libvirt driver names devices in the order of the request, whatever names it is given.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        to: ServerDestination,
        options: ServerImportOptions,
        found: ImportNotes,
        name: str,
    ) -> None:
        self._to = to
        self._options = options
        self._found = found
        self._name = name
        self._facts = manifest["replayable"]
        self.lanes: list[Lane] = []
        self.volumes: list[VolumeOfDisk] = []
        self.devices: list[MappingEntry] = []
        self.stay: list[Reference] = []  # what the server is made of
        self.listed: list[tuple[str, Reference]] = []
        self.bytes = 0
        self.expected: dict[str, str | None] = {}
        self.root: str | None = None
        self.root_size: int | None = None  # GiB that the flavor's own disk must have; None: any will do
        disks = sorted(manifest["disks"], key=_device_order)
        types = {str((d["replayable"].get("volume") or {}).get("volume_type") or "") for d in disks} - {""}
        for old in options.volume_types:
            if old not in types:
                known = ", ".join(sorted(types)) or "none"
                text = f"--volume-type {old}: no disk had such a type; they had {known}"
                found.problems.append(errors.UsageError(text))
        roots = [disk for disk in disks if disk["role"] == "boot"]
        if not roots:
            found.problems.append(
                errors.UsageError(
                    "the bundle has no disk to boot from: it was exported with --disk",
                    hint="Its disks can be imported one by one: "
                    "openstack volume import-full <bundle> --disk <name>",
                )
            )
        for root in roots[:1]:
            self._root(root)
        for disk in disks:
            if disk not in roots[:1]:
                self._data(disk)

    def expect_devices(self, flavor: Flavor | None, found: ImportNotes) -> None:
        """Where the original had disks that the copy has not, the others move up: no device to expect."""
        original = self._facts.get("flavor") or {}
        local = [kind for kind in ("ephemeral", "swap") if int(original.get(kind) or 0)]
        boot_from = self._options.boot_from or self._facts.get("boot_from")
        same_flavor = flavor is not None and flavor.name == original.get("name")
        if not local or (same_flavor and boot_from == self._facts.get("boot_from")):
            return
        moved = [name for name, device in self.expected.items() if device and name != self.root]
        for name in moved:
            del self.expected[name]
        if moved:
            found.mapped.append(
                f"devices of {', '.join(moved)}: others, for the original had {' and '.join(local)} disks"
            )

    def _root(self, disk: Mapping[str, Any]) -> None:
        self.root = disk["name"]
        boot_from = self._options.boot_from or self._facts.get("boot_from") or "volume"
        original = self._facts.get("boot_from")
        if boot_from != original:
            self._found.mapped.append(f"{disk['name']}: boots from {boot_from} (it was {original})")
        if boot_from == "image":
            properties = self._boot_properties(disk)
            image = disk_image(disk, f"{self._name}-{disk['name']}"[:255], properties)
            if problem := encrypted_problem(disk):
                self._found.problems.append(problem)
            self.root_size = smallest_size(disk) // GIB
            entry = {**_entry(disk, 0), "destination_type": "local", "delete_on_termination": True}
            reference = self._image(image)
            self.devices.append(MappingEntry(disk["name"], reference, {**entry, "source_type": "image"}))
        else:
            self._volume(disk, 0, properties=self._boot_properties(disk))

    def _boot_properties(self, disk: Mapping[str, Any]) -> dict[str, str]:
        """What decides how the guest boots: of the root volume, or else of the server's image."""
        volume = disk["replayable"].get("volume") or {}
        return image_properties(volume.get("image_metadata") or self._facts.get("image_properties"))

    def _data(self, disk: Mapping[str, Any]) -> None:
        if self._to.storage.block_storage:
            self._volume(disk, -1)
            return
        name = f"{self._name}-{disk['name']}"[:255]
        self._image(disk_image(disk, name, {}))
        self._found.lose(
            f"disk {disk['name']}",
            f"this region has no block storage, so no disk can be attached; its data is in image {name}",
        )

    def _image(self, draft: ImageDraft) -> Reference:
        """An image that stays, with a disk's data."""
        image = Reference("image", None, draft.title)
        self.lanes.append((SendDisk(image, draft),))
        self.stay.append(image)
        self.listed.append((f"{draft.file}: {draft.title}", image))
        self.bytes += draft.size
        return image

    def _volume(
        self, disk: Mapping[str, Any], boot_index: int, properties: Mapping[str, str] | None = None
    ) -> None:
        storage = self._to.storage
        if not storage.block_storage:
            self._found.problems.append(
                errors.ServiceAbsent(
                    f"{disk['name']}: the catalog of {storage.origin.region or 'this cloud'} has no block "
                    "storage, so no server can boot from a volume",
                    hint="--boot-from image boots it from an image.",
                )
            )
            return
        volume_type, problem = volume_type_of(disk, self._options.volume_types, storage.volume_types)
        self._found.problems += [p for p in (problem, encrypted_problem(disk)) if p]
        facts = disk["replayable"].get("volume") or {}
        if volume_type and volume_type != facts.get("volume_type"):
            self._found.mapped.append(
                f"{disk['name']}: volume type {facts.get('volume_type')} -> {volume_type}"
            )
        volume = disk_volume(
            disk,
            fallback=self._name,
            volume_type=volume_type,
            zone=self._zone(disk),
            properties=properties,
        )
        self.expected[disk["name"]] = disk["device"]
        entry = {**_entry(disk, boot_index), "source_type": "volume", "destination_type": "volume"}
        self.devices.append(MappingEntry(disk["name"], volume.volume, entry))
        self.volumes.append(volume)
        self.lanes.append(volume.lane)
        self.stay.append(volume.volume)
        self.listed.append((f"disk {disk['name']}: volume {volume.keep.name}", volume.volume))
        self.bytes += volume.send.draft.size

    def _zone(self, disk: Mapping[str, Any]) -> str | None:
        zone = (disk["replayable"].get("volume") or {}).get("availability_zone")
        if zone is None or zone in self._to.storage.volume_zones:
            return str(zone) if zone else None
        self._found.lose(f"volume zone {zone} of {disk['name']}", "there is no such zone here: the default")
        return None


def _device_order(disk: Mapping[str, Any]) -> tuple[int, str, int]:
    device = disk["device"] or "~"
    return len(device), device, int(disk["index"])


def _entry(disk: Mapping[str, Any], boot_index: int) -> dict[str, Any]:
    facts = disk["replayable"].get("block_device") or {}
    kept = {key: facts[key] for key in ("device_type", "disk_bus", "tag") if facts.get(key)}
    index = disk["boot_index"]
    if boot_index < 0 and isinstance(index, int) and index > 0:
        boot_index = index
    return {
        **kept,
        "boot_index": boot_index,
        "delete_on_termination": bool(facts.get("delete_on_termination")),
    }


def _needs(
    to: ServerDestination, volumes: Sequence[VolumeOfDisk], flavor: Flavor | None, found: ImportNotes
) -> tuple[QuotaNeed, ...]:
    """What the import takes of the quotas; what does not fit is a problem."""
    project = to.storage.origin.project_id
    needs = []
    if flavor is not None:
        wanted = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram}
        needs = [QuotaNeed(name, amount, to.left.get(name)) for name, amount in wanted.items()]
        found.problems += check_needs(needs, project)
    uses = [volume.use for volume in volumes]
    try:
        _, more = fit_quota(to.storage.quota, uses, max(1, len(uses)), project=project, at_once=True)
    except (errors.QuotaTooSmall, errors.Unready) as exc:
        found.problems += errors.problems_in(exc)
        more = ()
    return (*needs, *more)
