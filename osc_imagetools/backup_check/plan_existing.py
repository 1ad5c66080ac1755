# SPDX-License-Identifier: Apache-2.0
"""What the backups that a server has are worth: one function for each reason.

Contract: pure. Where it is not known which copies there are, nothing is said to be missing: then the server
is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator

from osc_imagetools.backup_check.plan_case import Observation, ServerCase, finds, listed, span
from osc_imagetools.backup_check.plan_commands import export, openstack, restore_check


@finds("newest-backup")
def newest_backup(case: ServerCase) -> Iterator[Observation]:
    protection = case.protection
    if copy := protection.newest_copy:
        disks = f"{len(protection.newest)} of its {len(case.disks)} disks"
        yield Observation(f"newest: {copy.label}, {case.age(copy.taken)} old; there are copies of {disks}")


@finds("no-backup")
def no_backup(case: ServerCase) -> Iterator[Observation]:
    protection = case.protection
    if not (protection.newest or protection.copies.dead or case.copies_unread) and case.disks:
        yield Observation("there is no backup of it", export(case))


@finds("backup-lacks-disks")
def backup_lacks_disks(case: ServerCase) -> Iterator[Observation]:
    missing = [disk for disk in _lacking(case) if disk not in _attached_since(case)]
    if missing:
        yield Observation(
            f"in no backup of it: {listed([case.name_of(disk) for disk in missing])}", export(case)
        )


@finds("volume-attached-since")
def volume_attached_since(case: ServerCase) -> Iterator[Observation]:
    for disk in _attached_since(case):
        yield Observation(f"{case.name_of(disk)} was attached after the newest backup was made", export(case))


@finds("backup-too-old")
def backup_too_old(case: ServerCase) -> Iterator[Observation]:
    protection, max_age = case.protection, case.max_age
    if max_age is None or case.is_covered or case.copies_unread or not case.disks:
        return
    old = {disk: copy for disk, copy in protection.newest.items() if case.now - copy.taken > max_age}
    said = [f"the newest copy of {case.name_of(d)} is {case.age(c.taken)} old" for d, c in old.items()]
    said += [f"there is none of {case.name_of(disk)}" for disk in protection.lacking]
    yield Observation(f"{listed(said)}; it may be {span(max_age)} old", export(case))


@finds("backup-dead")
def backup_dead(case: ServerCase) -> Iterator[Observation]:
    for dead in case.protection.copies.dead:
        kin = ", by its name made of it," if dead.by_name else ""
        yield Observation(
            f"image {dead.image.name} ({dead.image.id}){kin} has 0 bytes and leads nowhere: {dead.why}",
            f"{export(case)}; openstack image delete {dead.image.id}",
        )


@finds("backup-without-bytes")
def backup_without_bytes(case: ServerCase) -> Iterator[Observation]:
    for copy in {id(copy): copy for copy in case.protection.newest.values() if copy.image_id}.values():
        image = case.fleet.images.get(copy.image_id or "")
        yield Observation(
            f"{copy.label} has 0 bytes; its {len(copy.covers)} snapshots are whole",
            f"{openstack(case.fleet, image.owner if image else None)} image export-full {copy.image_id}",
        )


@finds("backup-in-progress")
def backup_in_progress(case: ServerCase) -> Iterator[Observation]:
    for label in case.protection.copies.unfinished:
        yield Observation(f"{label} is being made")


@finds("backup-unusable")
def backup_unusable(case: ServerCase) -> Iterator[Observation]:
    for text in case.protection.copies.unusable:
        yield Observation(f"{text}: it cannot be used", export(case))


@finds("policy-unclear")
def policy_unclear(case: ServerCase) -> Iterator[Observation]:
    if case.ages.problem:
        yield Observation(case.ages.problem)


@finds("never-restored")
def never_restored(case: ServerCase) -> Iterator[Observation]:
    protection = case.protection
    bundle = protection.newest_bundle
    if bundle is not None and protection.newest_check is None:
        count = len(protection.copies.bundles)
        bundles = "its only bundle was" if count == 1 else f"none of its {count} bundles was"
        which = "never" if count == 1 else "ever"
        yield Observation(f"{bundles} {which} seen to boot", restore_check(case, bundle))


@finds("restore-failed")
def restore_failed(case: ServerCase) -> Iterator[Observation]:
    protection = case.protection
    check, bundle = protection.newest_check, protection.newest_bundle
    if check is not None and bundle is not None and not check.booted:
        said = f"the newest restore check, {case.age(check.at)} ago, has failed"
        yield Observation(said, restore_check(case, bundle))


@finds("restore-check-old")
def restore_check_old(case: ServerCase) -> Iterator[Observation]:
    protection, most = case.protection, case.max_proof_age
    bundle, proof = protection.newest_bundle, protection.newest_proof
    if most is None or bundle is None or (proof is not None and case.now - proof <= most):
        return
    said = (
        "none of its bundles was seen to boot"
        if proof is None
        else f"last seen to boot {case.age(proof)} ago"
    )
    yield Observation(f"{said}; it may be {span(most)}", restore_check(case, bundle))


def _lacking(case: ServerCase) -> list[str]:
    """Disks without a copy, where others have one."""
    protection = case.protection
    return list(protection.lacking) if protection.newest and not case.copies_unread else []


def _attached_since(case: ServerCase) -> list[str]:
    """Volumes without a copy that were attached after the newest one of the server was made."""
    newest = case.protection.newest_copy
    if newest is None:
        return []
    since = {
        volume.id: attachment.since
        for _, volume in case.volumes
        for attachment in volume.attachments
        if attachment.server_id == case.server.id and attachment.since is not None
    }
    return [disk for disk in _lacking(case) if since.get(disk, 0.0) > newest.taken]
