# SPDX-License-Identifier: Apache-2.0
"""The errors that a user can meet, one class for each kind.

Contract: standard library only, no effects. Every error has a kebab-case ``reference`` (stable: scripts
and the documentation name it), an ``exit_code`` (see ``doc/source/reference/exit-codes.rst``), a message that
says what happened to which resource, what is ``left`` behind, and a ``hint``: what to type next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class ImagetoolsError(Exception):
    """The command failed."""

    reference = "failed"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, left: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.left = tuple(left)

    def __str__(self) -> str:
        lines = [f"{self.message} [{self.reference}]"]
        if self.left:
            lines.append("Left behind: " + "; ".join(self.left))
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)


class UsageError(ImagetoolsError):
    """Options that contradict each other or values that cannot be."""

    reference = "usage"
    exit_code = 2


class ResourceNotFound(ImagetoolsError):
    """No resource has this name or ID."""

    reference = "resource-not-found"


class ResourceAmbiguous(ImagetoolsError):
    """Several resources have this name."""

    reference = "resource-ambiguous"


class ResourceUnusable(ImagetoolsError):
    """A resource is there, but in a state or of a kind that cannot be worked with."""

    reference = "resource-unusable"


class NoData(ImagetoolsError):
    """An image of 0 bytes from which no way leads to data."""

    reference = "no-data"


class Forbidden(ImagetoolsError):
    """The cloud does not let this account do it."""

    reference = "forbidden"


class ServiceAbsent(ImagetoolsError):
    """The catalog of this cloud or region has no such service."""

    reference = "service-absent"


class CloudError(ImagetoolsError):
    """A service failed or gave an answer that it should not give."""

    reference = "cloud-error"


class QuotaTooSmall(ImagetoolsError):
    """The project's quota has no room for the temporary resources."""

    reference = "quota-too-small"


class WaitTimeout(ImagetoolsError):
    """A resource did not reach its state within ``--timeout`` seconds."""

    reference = "timeout"


class JournalUnwritable(ImagetoolsError):
    """What a run makes cannot be written down, so it makes nothing."""

    reference = "journal-unwritable"


class Unready(ImagetoolsError):
    """Several problems, found before any effect and listed together."""

    reference = "not-possible"

    def __init__(self, what: str, problems: Sequence[ImagetoolsError]) -> None:
        hints = list(dict.fromkeys(p.hint for p in problems if p.hint))
        text = "".join(f"\n- {p.message} [{p.reference}]" for p in problems)
        super().__init__(f"{what}:{text}", hint="\n".join(hints) or None)
        self.problems = tuple(problems)


class TransferError(ImagetoolsError):
    """Bytes could not be moved."""

    reference = "transfer-failed"


class HashMismatch(TransferError):
    """What arrived is not what the cloud says it is."""

    reference = "hash-mismatch"


class NoSpace(TransferError):
    """The file system of the output has no room."""

    reference = "no-space"


class Cancelled(ImagetoolsError):
    """Interrupted by the user; raised inside the worker threads only."""

    reference = "interrupted"
    exit_code = 130


class Declined(ImagetoolsError):
    """The answer to a question on the terminal was no; nothing was changed."""

    reference = "declined"


class OutputExists(ImagetoolsError):
    """The output path holds something that an export must not touch."""

    reference = "output-exists"


class BundleBusy(ImagetoolsError):
    """Another process is exporting into the same output."""

    reference = "bundle-busy"


class NoBundle(ImagetoolsError):
    """There is no bundle at this path."""

    reference = "no-bundle"


class BundleRefused(ImagetoolsError):
    """The bundle is broken, incomplete, of a newer format, or not to be trusted."""

    reference = "bundle-refused"


class UnsafeDisk(BundleRefused):
    """A disk refers to data outside its own file, or is not of the format it claims."""

    reference = "unsafe-disk"


class DamagedDisk(ImagetoolsError):
    """A disk is truncated or corrupt: reading it would replace the missing data by zeros."""

    reference = "damaged-disk"


class RepositoryError(ImagetoolsError):
    """restic failed, or the storage behind the repository did."""

    reference = "repository-failed"


class ResticAbsent(RepositoryError):
    """restic is not installed on this machine."""

    reference = "restic-absent"


class ResticTooOld(RepositoryError):
    """The installed restic is older than 0.14.0."""

    reference = "restic-too-old"


class RepositoryAbsent(RepositoryError):
    """There is no restic repository at this URL."""

    reference = "repository-absent"


class RepositoryLocked(RepositoryError):
    """Another restic process uses the repository, or has left its lock there."""

    reference = "repository-locked"


class RepositoryPassword(RepositoryError):
    """The password does not open the repository."""

    reference = "repository-password"


class RepositoryFull(RepositoryError):
    """The storage behind the repository has no room."""

    reference = "repository-full"
