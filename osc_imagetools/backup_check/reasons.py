# SPDX-License-Identifier: Apache-2.0
"""Every reason for which ``server backup-check`` has something to say, as a table.

Contract: values only. A code never changes its meaning; the user's guide has a section for each of them,
made from this table. ``covered`` is the severity of a reason that is of little weight for a server all of
whose disks are in good copies (not older than ``--max-age``, where that is given).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad something is; the names are what the command prints."""

    info = 0
    warning = 1
    critical = 2


@dataclass(frozen=True)
class Reason:
    """``code`` in kebab-case; ``meaning`` and ``way_out`` are paragraphs for the user's guide."""

    code: str
    severity: Severity
    meaning: str
    way_out: str
    covered: Severity | None = None


INFO, WARNING, CRITICAL = Severity.info, Severity.warning, Severity.critical
_TABLE = (
    # -- what a backup that is made now would be ---------------------------------------------------
    Reason(
        "boots-from-volume",
        WARNING,
        "The server has its root disk on a volume. ``openstack server image create`` makes an image of 0 "
        "bytes of it, which only points at one snapshot for each volume; ``openstack server backup create``"
        " is refused by the cloud.",
        "``openstack server export-full <server>`` brings the data of all volumes out of the cloud.",
        INFO,
    ),
    Reason(
        "volumes-not-in-image",
        WARNING,
        "The server boots from an image and has volumes attached. An image of it holds the root disk only.",
        "``openstack server export-full <server>`` takes the volumes too.",
        INFO,
    ),
    Reason(
        "ephemeral-disk",
        WARNING,
        "The flavor gives the server an ephemeral disk. No call of the API copies one, and it is gone with "
        "the server.",
        "Copy its files from inside of the server, or move them to a volume.",
    ),
    Reason(
        "swap-disk",
        WARNING,
        "The flavor gives the server a swap disk. No call of the API copies it; its size is that of the "
        "flavor, its content is worth nothing after a restart.",
        "Nothing, once there is a complete backup of the other disks: a server of the same flavor gets a "
        "new one.",
        INFO,
    ),
    Reason(
        "state-forbids-snapshot",
        WARNING,
        "Nova makes images of servers that are active, shut off, paused or suspended. This one is not.",
        "Wait, or bring the server into one of these states. Its volumes can be exported in any state.",
    ),
    Reason(
        "task-in-progress",
        WARNING,
        "Nova is doing something with the server and accepts nothing else until it is done.",
        "Wait until ``openstack server show <server> -c OS-EXT-STS:task_state`` is None.",
        INFO,
    ),
    Reason(
        "server-in-error",
        CRITICAL,
        "The server is in the state ERROR: Nova makes no image of it.",
        "``openstack server show <server> -c fault`` says why. Export its volumes one by one; an "
        "administrator can set its state: ``openstack server set --state active <server>``.",
    ),
    Reason(
        "locked",
        WARNING,
        "The server is locked. Images of it can be made, but it cannot be stopped for a copy at rest, and "
        "no volume can be detached.",
        "``openstack server unlock <server>``, if who locked it agrees.",
        INFO,
    ),
    Reason(
        "shelved",
        WARNING,
        "The server is shelved: Nova makes no image of it. If it boots from an image, Nova keeps its root "
        "disk in an image of its own (``<server>-shelved``), which is no backup: it is removed when the "
        "server is unshelved or deleted.",
        "``openstack server unshelve <server>``. Its volumes stay reserved while it is shelved: they cannot "
        "be exported either.",
    ),
    Reason(
        "volume-encrypted",
        WARNING,
        "A volume is encrypted. What leaves the cloud stays encrypted, and can be read with its key only, "
        "which no copy of the data contains.",
        "Keep the key where the copies are, or make the copies from inside of the server.",
        INFO,
    ),
    Reason(
        "volume-multi-attached",
        WARNING,
        "A volume is attached to several servers, which may write to it while a snapshot is taken of it.",
        "Stop all of the servers that it is attached to, or quiesce what uses it.",
        INFO,
    ),
    Reason(
        "volume-in-error",
        CRITICAL,
        "A volume is in an error state: Cinder takes no snapshot of it.",
        "``openstack --os-volume-api-version 3.3 volume message list`` says why; an administrator can set "
        "its state: ``openstack volume set --state in-use <volume>``.",
    ),
    Reason(
        "volume-busy",
        WARNING,
        "A volume is neither available nor in use: Cinder takes no snapshot of it now.",
        "Wait until ``openstack volume show <volume> -c status`` says in-use.",
    ),
    Reason(
        "volume-gone",
        CRITICAL,
        "Nova has a volume attached that Cinder does not have. The server may still run, but no copy can be"
        " made of this disk, nor of a server that boots from it.",
        "Copy the data from inside of the server, while it runs.",
    ),
    Reason(
        "attached-to-gone-server",
        WARNING,
        "A volume says that it is attached to a server that does not exist. It cannot be attached to "
        "another one, nor deleted.",
        "``openstack --os-volume-api-version 3.27 volume attachment list --volume-id <volume>``, then "
        "``openstack --os-volume-api-version 3.27 volume attachment delete <attachment>``.",
    ),
    Reason(
        "delete-on-termination",
        WARNING,
        "A volume will be deleted together with the server, its data with it.",
        "``openstack --os-compute-api-version 2.85 server volume update --preserve-on-termination <server> "
        "<volume>``.",
        INFO,
    ),
    # -- how consistent it would be, and what no copy holds ----------------------------------------
    Reason(
        "consistency-stopped",
        INFO,
        "The server is stopped: a copy that is made now is of disks at rest.",
        "Nothing.",
    ),
    Reason(
        "consistency-freeze-requested",
        INFO,
        "The image that the server was made from says that it has the QEMU guest agent: Nova will ask the "
        "guest to freeze its file systems, for all disks of a server that boots from a volume, and for the "
        "root disk of one that has no volumes beside it. Unless os_require_quiesce is set, no API tells "
        "whether it did.",
        "Stop the server first, if a copy at rest is wanted.",
    ),
    Reason(
        "consistency-crash",
        INFO,
        "A copy that is made now is what the disks are after a power failure. So is one of a server that "
        "boots from an image and has volumes: their snapshots are taken without a freeze.",
        "Stop the server first, or use images with the property ``hw_qemu_guest_agent`` and the agent in "
        "them.",
    ),
    Reason(
        "quiesce-impossible",
        CRITICAL,
        "The image that the server was made from demands a quiesced file system (``os_require_quiesce``), "
        "without the guest agent that could do it: Nova makes no image of the running server.",
        "Stop the server first.",
        INFO,
    ),
    Reason(
        "uefi-variables",
        WARNING,
        "The server boots by UEFI. Its variables (boot entries, for example) are in a file of the "
        "hypervisor that no call of the API copies.",
        "Make sure that the system boots by the fallback path ``\\EFI\\BOOT``; an image needs "
        "``hw_firmware_type``.",
        INFO,
    ),
    Reason(
        "secure-boot",
        WARNING,
        "The server uses secure boot. Keys that were enrolled in it are among the UEFI variables, which no "
        "copy holds.",
        "Keep the keys, to enrol them again.",
        INFO,
    ),
    Reason(
        "vtpm",
        WARNING,
        "The server has a virtual TPM. Its state is in no copy, so what was sealed by it (disks encrypted "
        "by BitLocker or LUKS) cannot be opened by it again.",
        "Keep the recovery keys of these disks elsewhere.",
    ),
    Reason(
        "boot-image-gone",
        WARNING,
        "The image that the server was made from does not exist any more, or this login may not see it. "
        "Rebuild and rescue will not find it.",
        "Nothing for a backup, which does not need it.",
        INFO,
    ),
    Reason(
        "flavor-gone",
        WARNING,
        "There is no flavor of the name that the server was made with, or this project may not use it: a "
        "server that is restored will need another one.",
        "Name another flavor when it is restored: ``openstack flavor list --all``.",
        INFO,
    ),
    # -- what is in the way ------------------------------------------------------------------------
    Reason(
        "quota-too-small",
        CRITICAL,
        "The backup itself needs more than the project has left: a snapshot of each volume and its "
        "gigabytes, a temporary volume to read the largest of them from, and an image.",
        "``openstack limits show --absolute`` shows what is used, of another project ``openstack quota show "
        "--usage <project>``; remove what is not needed, or ask an administrator for more (``openstack quota "
        "set``).",
        INFO,
    ),
    Reason(
        "no-volume-service",
        INFO,
        "This region has no block storage: the server's root disk is all that there is to copy, by an image.",
        "Nothing.",
    ),
    Reason(
        "volumes-out-of-reach",
        CRITICAL,
        "The server has volumes, but this region has no block storage in its catalog: their data cannot be "
        "copied through it, nor can anything be said of them.",
        "Log in to the region that has the volume service: ``--os-region-name <region>``.",
    ),
    Reason(
        "not-judged",
        CRITICAL,
        "Something that has to be known could not be read: the account may not, a service does not answer, "
        "or the database of a cell of Nova's is down. The servers of such a cell are in no list; only "
        "administrators are told that there is one.",
        "The message says what was asked and what the cloud answered.",
    ),
    # -- the backups that there are ----------------------------------------------------------------
    Reason(
        "newest-backup",
        INFO,
        "The newest copy that is good, how old it is, and what of.",
        "Nothing.",
    ),
    Reason(
        "no-backup",
        WARNING,
        "There is no copy of any disk of the server: no image, snapshot, volume backup or bundle.",
        "``openstack server export-full <server>``",
    ),
    Reason(
        "backup-lacks-disks",
        WARNING,
        "A disk of the server is in none of the copies that there are of the others.",
        "``openstack server export-full <server>``",
    ),
    Reason(
        "volume-attached-since",
        WARNING,
        "A volume was attached after the newest backup was made, which therefore does not have it.",
        "``openstack server export-full <server>``",
    ),
    Reason(
        "backup-too-old",
        CRITICAL,
        "The newest copy of at least one disk is older than ``--max-age``, or there is none.",
        "``openstack server export-full <server>``",
    ),
    Reason(
        "backup-dead",
        CRITICAL,
        "An image of 0 bytes was made of the server, and a snapshot or volume that it points at is gone or "
        "broken. ``openstack image list`` shows it as active; it is no backup at all.",
        "Make a new backup, then ``openstack image delete <image>``.",
        INFO,
    ),
    Reason(
        "dead-image",
        WARNING,
        "An image of 0 bytes points at snapshots or volumes that are gone or broken, and it is not to be "
        "told which server it was made of.",
        "``openstack image delete <image>``, so that nobody takes it for a backup.",
    ),
    Reason(
        "backup-without-bytes",
        INFO,
        "The backup is an image of 0 bytes whose snapshots are whole. It works inside of this project; "
        "``openstack image save`` gives an empty file, and the snapshots are in the same storage as the "
        "volumes.",
        "``openstack image export-full <image>`` brings its data out of the cloud.",
    ),
    Reason(
        "backup-in-progress",
        INFO,
        "A backup is being made; it does not count yet.",
        "Nothing.",
    ),
    Reason(
        "backup-unusable",
        WARNING,
        "An image or a bundle of the server is there, but cannot be used: deactivated, killed, or an export"
        " that did not end.",
        "An export goes on where it stopped by the same command. A deactivated image can be exported by an "
        "administrator (``openstack image export-full <image>``); one that was killed has no data.",
        INFO,
    ),
    Reason(
        "policy-unclear",
        WARNING,
        "No policy of ``--policy-file`` is for the server, or several are: ``server backup-run`` skips it.",
        "Change the policies so that exactly one is for it.",
    ),
    # -- what the backups are known to be worth ----------------------------------------------------
    Reason(
        "never-restored",
        INFO,
        "No restore check of a bundle of the server has shown whether it boots: there was none, or none that "
        "saw anything.",
        "``openstack server restore-check <bundle>``, or ``--max-proof-age`` if it matters.",
    ),
    Reason(
        "restore-failed",
        CRITICAL,
        "The newest restore check of a bundle of the server has failed: what was restored did not boot.",
        "``openstack bundle show <bundle>`` lists the checks. Run it again with ``--keep`` for a look at the "
        "copy, or after a new export.",
    ),
    Reason(
        "restore-check-old",
        CRITICAL,
        "The newest restore check that succeeded is older than ``--max-proof-age``, or there is none.",
        "``openstack server restore-check <bundle>``",
    ),
)
REASONS = {reason.code: reason for reason in _TABLE}
